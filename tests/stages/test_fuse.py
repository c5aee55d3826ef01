"""Fuse: which sense counts for how much, by networks small enough to check by hand."""

from __future__ import annotations

import dataclasses
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.networks import Arrays, SmallEngine, audio_backbone, small_bundle, visual_backbone
from numpy.typing import NDArray

from sightsound.models.bundle import WEIGHTS_FILE, Task
from sightsound.stages.fuse import KEPT_LABELS, Fuse
from sightsound.stages.plan import Grid
from sightsound.stages.records import TaskScores, Tokens, Window

GRID = Grid(fps=Fraction(2), length_s=2.0, hop_s=1.0)
WINDOW = Window(index=3, start_s=3.0, end_s=5.0)
LABELS = ("cat", "dog")


def tokens(
    times_s: list[float], *, dim: int = 2, logits: list[list[float]] | None = None
) -> Tokens:
    """Tokens whose embedding is their time, with logits if given."""
    times = np.array(times_s)
    return Tokens(
        times_s=times,
        embeddings=np.repeat(times[:, None], dim, axis=1).astype(np.float32),
        logits=np.array(logits, dtype=np.float32) if logits is not None else None,
    )


def unused(*_: NDArray[np.generic]) -> Arrays:
    """A function for an engine that must not be asked."""
    raise AssertionError("no network is needed here")


def late(*tasks: Task) -> Fuse:
    """A fuse without a trained fusion."""
    return Fuse(small_bundle(tasks), SmallEngine(unused), GRID)


SCENE = Task(name="scene", kind="single", labels=LABELS, sources={"eye": 1})
SOUND = Task(name="sound", kind="multi", labels=LABELS, sources={"ear": 1})
BOTH = Task(name="sound", kind="multi", labels=LABELS, sources={"eye": 1, "ear": 3})


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def test_a_single_label_task_is_the_mean_of_the_moments() -> None:
    seen = tokens([3.0, 3.5], logits=[[2, 0], [0, 0]])
    found = late(SCENE)(WINDOW, {"eye": seen}, corrupt=False).tasks["scene"]
    expected = (sigmoid(2) + 0.5) / 2
    assert found.indices.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx([expected, 1 - expected])
    assert (found.visual_share, found.audio_share) == (1.0, 0.0)


def test_a_sound_is_weighted_towards_the_moments_in_which_it_is_heard() -> None:
    heard = tokens([3.2, 3.7], dim=3, logits=[[3, -9], [-3, -9]])
    found = late(SOUND)(WINDOW, {"ear": heard}, corrupt=False).tasks["sound"]
    high, low = sigmoid(3), sigmoid(-3)
    assert found.scores[0] == pytest.approx((high**2 + low**2) / (high + low), rel=1e-5)
    assert found.indices.tolist() == [0, 1]
    assert (found.visual_share, found.audio_share) == (0.0, 1.0)


def test_the_peak_of_each_label_is_its_own_best_moment() -> None:
    heard = tokens([3.2, 3.7, 4.4], dim=3, logits=[[0, 1], [5, 0], [0, 4]])
    found = late(SOUND)(WINDOW, {"ear": heard}, corrupt=False).tasks["sound"]
    peaks = dict(zip(found.indices.tolist(), found.peaks_s.tolist(), strict=True))
    assert peaks == {0: 3.7, 1: 4.4}


def test_sources_are_weighted() -> None:
    found = late(BOTH)(
        WINDOW,
        {
            "eye": tokens([3.0], logits=[[4, -4]]),
            "ear": tokens([3.0], dim=3, logits=[[-4, 4]]),
        },
        corrupt=False,
    ).tasks["sound"]
    high, low = sigmoid(4), sigmoid(-4)
    assert found.indices.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([(low + 3 * high) / 4, (high + 3 * low) / 4])
    assert (found.visual_share, found.audio_share) == (0.25, 0.75)


def test_a_missing_source_leaves_the_scores_to_the_other() -> None:
    """It is not counted as silence: the weights are of what there is."""
    found = late(BOTH)(WINDOW, {"eye": tokens([3.0], logits=[[4, -4]])}, corrupt=False)
    assert found.tasks["sound"].scores[0] == pytest.approx(sigmoid(4))
    assert (found.tasks["sound"].visual_share, found.tasks["sound"].audio_share) == (1.0, 0.0)
    assert (found.has_video, found.has_audio) == (True, False)


def test_a_task_whose_sense_is_missing_is_absent() -> None:
    found = late(SCENE, SOUND)(
        WINDOW, {"ear": tokens([3.0], dim=3, logits=[[1, 1]])}, corrupt=False
    )
    assert list(found.tasks) == ["sound"]
    assert (found.has_video, found.has_audio) == (False, True)


def test_a_window_without_any_token_has_no_scores() -> None:
    found = late(SCENE, SOUND)(WINDOW, {}, corrupt=True)
    assert found.tasks == {}
    assert not found.has_video and not found.has_audio
    assert found.corrupt


def test_a_higher_temperature_flattens_the_scores() -> None:
    seen = tokens([3.0], logits=[[2, 0]])
    hot = Task(name="scene", kind="single", labels=LABELS, sources={"eye": 1}, temperature=2.0)
    found = late(hot)(WINDOW, {"eye": seen}, corrupt=False).tasks["scene"]
    assert found.scores[0] == pytest.approx(sigmoid(1))


def test_only_the_best_labels_are_kept_and_equal_ones_in_order() -> None:
    labels = tuple(f"label {number}" for number in range(30))
    task = Task(name="scene", kind="single", labels=labels, sources={"eye": 1})
    logits = [0.0] * 30
    logits[25] = 1.0
    found = late(task)(WINDOW, {"eye": tokens([3.0], logits=[logits])}, corrupt=False)
    assert found.tasks["scene"].indices.tolist() == [25, *range(KEPT_LABELS - 1)]


ACTION = Task(
    name="action", kind="single", labels=LABELS, sources={"fusion": 1}, requires=("visual",)
)


class Fusion:
    """A network of three numbers: logit of the first label by what is there.

    Attention is uneven, so that the peak shows: each token weighs as much as its time.
    """

    def __init__(self, *, picture: float, sound: float) -> None:
        self._picture, self._sound = picture, sound
        self.inputs: list[tuple[NDArray[np.generic], ...]] = []

    def __call__(self, *inputs: NDArray[np.generic]) -> Arrays:
        self.inputs.append(inputs)
        _, visual_times, visual_mask, _, audio_times, audio_mask = inputs
        logit = self._picture * visual_mask.any(1) + self._sound * audio_mask.any(1)
        weights = np.concatenate((visual_times * visual_mask, audio_times * audio_mask), axis=1)
        weights = weights + np.concatenate((visual_mask, audio_mask), axis=1)
        weights = weights / weights.sum(axis=1, keepdims=True)
        n_visual = visual_mask.shape[1]
        return [
            np.stack((logit, np.zeros_like(logit)), axis=1).astype(np.float32),
            np.stack((logit, logit, logit), axis=1).astype(np.float32),
            weights[:, :n_visual].astype(np.float32),
            weights[:, n_visual:].astype(np.float32),
        ]


def fused(
    tmp_path: Path,
    network: Fusion,
    *extra: Task,
    task: Task = ACTION,
    method: str = "bottleneck",
    **backbones: Any,
) -> Fuse:
    """A fuse with that network as its trained fusion."""
    (tmp_path / WEIGHTS_FILE).write_bytes(b"none")
    bundle = small_bundle(
        (task, *extra),
        path=tmp_path,
        fusion={"dim": 3, "method": method},  # type: ignore[dict-item]
        **backbones,
    )
    return Fuse(bundle, SmallEngine(network), GRID)


SEEN = tokens([3.0, 3.5, 4.0])
HEARD = tokens([3.4, 3.9], dim=3)


def action(fuse: Fuse, found: dict[str, Tokens]) -> TaskScores:
    """The scores of the action in the window."""
    return fuse(WINDOW, found, corrupt=False).tasks["action"]


def test_fusion_sees_times_from_the_start_of_the_window_and_masks(tmp_path: Path) -> None:
    network = Fusion(picture=1, sound=1)
    fused(tmp_path, network)(WINDOW, {"eye": SEEN, "ear": HEARD}, corrupt=False)
    visual, visual_times, visual_mask, audio, audio_times, audio_mask = (
        batch[0] for batch in network.inputs[0]
    )
    assert visual.shape == (5, 2) and audio.shape == (5, 3)
    assert visual[:, 0].tolist() == [3.0, 3.5, 4.0, 0, 0]
    assert visual_times.tolist() == [0.0, 0.5, 1.0, 0, 0]
    assert visual_mask.tolist() == [True, True, True, False, False]
    assert audio_times[:2].tolist() == pytest.approx([0.4, 0.9])
    assert audio_mask.tolist() == [True, True, False, False, False]


def test_a_missing_sense_is_masked_and_not_silence(tmp_path: Path) -> None:
    network = Fusion(picture=1, sound=1)
    fused(tmp_path, network)(WINDOW, {"eye": SEEN}, corrupt=False)
    assert len(network.inputs) == 1
    assert not network.inputs[0][5].any()


def test_shares_are_by_what_is_lost_without_a_sense(tmp_path: Path) -> None:
    found = action(fused(tmp_path, Fusion(picture=1, sound=2)), {"eye": SEEN, "ear": HEARD})
    whole = sigmoid(3)
    by_picture, by_sound = whole - sigmoid(2), whole - sigmoid(1)
    assert found.indices[0] == 0
    assert found.scores[0] == pytest.approx(whole)
    assert found.visual_share == pytest.approx(by_picture / (by_picture + by_sound), rel=1e-4)
    assert found.visual_share + found.audio_share == 1


def test_a_sense_that_only_hurts_has_no_share(tmp_path: Path) -> None:
    found = action(fused(tmp_path, Fusion(picture=3, sound=-1)), {"eye": SEEN, "ear": HEARD})
    assert (found.visual_share, found.audio_share) == (1.0, 0.0)


def test_where_neither_sense_matters_attention_decides(tmp_path: Path) -> None:
    found = action(fused(tmp_path, Fusion(picture=0, sound=0)), {"eye": SEEN, "ear": HEARD})
    visual = 1.0 + 1.5 + 2.0
    assert found.visual_share == pytest.approx(visual / (visual + 1.4 + 1.9), rel=1e-5)


def test_without_sound_the_picture_has_the_whole_share(tmp_path: Path) -> None:
    found = action(fused(tmp_path, Fusion(picture=1, sound=2)), {"eye": SEEN})
    assert (found.visual_share, found.audio_share) == (1.0, 0.0)
    assert found.scores[0] == pytest.approx(sigmoid(1))


def test_the_peak_is_where_attention_is_highest(tmp_path: Path) -> None:
    found = action(fused(tmp_path, Fusion(picture=1, sound=1)), {"eye": SEEN, "ear": HEARD})
    assert found.peaks_s.tolist() == [4.0, 4.0]


def test_sound_alone_names_no_action_but_has_an_embedding(tmp_path: Path) -> None:
    found = fused(tmp_path, Fusion(picture=1, sound=2))(WINDOW, {"ear": HEARD}, corrupt=False)
    assert found.tasks == {}
    assert found.embedding is not None
    assert found.embedding.tolist() == [2, 2, 2]


ANY_SENSE = dataclasses.replace(ACTION, requires=())
EITHER = [{"eye": SEEN}, {"ear": HEARD}, {"eye": SEEN, "ear": HEARD}]


@pytest.mark.parametrize("requires", [(), ("visual",), ("audio",), ("visual", "audio")])
@pytest.mark.parametrize("found", EITHER, ids=lambda found: "+".join(found))
def test_a_task_is_answered_where_the_senses_it_requires_are_there(
    tmp_path: Path, requires: tuple[Any, ...], found: dict[str, Tokens]
) -> None:
    task = dataclasses.replace(ACTION, requires=requires)
    answered = fused(tmp_path, Fusion(picture=1, sound=2), task=task)(WINDOW, found, corrupt=False)
    there = {{"eye": "visual", "ear": "audio"}[name] for name in found}
    assert (list(answered.tasks) == ["action"]) == (set(requires) <= there)


def test_sound_alone_has_the_whole_share_and_its_peak_by_its_attention(tmp_path: Path) -> None:
    found = action(fused(tmp_path, Fusion(picture=1, sound=2), task=ANY_SENSE), {"ear": HEARD})
    assert (found.visual_share, found.audio_share) == (0.0, 1.0)
    assert found.peaks_s.tolist() == [3.9, 3.9]
    assert found.scores[0] == pytest.approx(sigmoid(2))


def test_a_window_without_any_token_is_not_fused(tmp_path: Path) -> None:
    network = Fusion(picture=1, sound=2)
    found = fused(tmp_path, network, task=ANY_SENSE)(WINDOW, {}, corrupt=False)
    assert (found.tasks, found.embedding, network.inputs) == ({}, None, [])


def test_labels_of_a_fused_task_with_several_are_scored_each_by_itself(tmp_path: Path) -> None:
    """The logits are 3 and 0, at a temperature of 2; the share is by the best label's score."""
    task = dataclasses.replace(ANY_SENSE, kind="multi", temperature=2.0)
    found = action(
        fused(tmp_path, Fusion(picture=1, sound=2), task=task), {"eye": SEEN, "ear": HEARD}
    )
    assert found.scores.tolist() == pytest.approx([sigmoid(1.5), 0.5])
    by_picture, by_sound = sigmoid(1.5) - sigmoid(1), sigmoid(1.5) - sigmoid(0.5)
    assert found.visual_share == pytest.approx(by_picture / (by_picture + by_sound), rel=1e-4)


@pytest.mark.parametrize(
    ("method", "used", "share"), [("visual", {"eye": SEEN}, 1.0), ("audio", {"ear": HEARD}, 0.0)]
)
def test_a_fusion_of_one_sense_is_shown_that_one_alone(
    tmp_path: Path, method: str, used: dict[str, Tokens], share: float
) -> None:
    network = Fusion(picture=1, sound=2)
    fuse = fused(tmp_path, network, task=ANY_SENSE, method=method)
    both = action(fuse, {"eye": SEEN, "ear": HEARD})
    alone = action(fuse, used)
    assert both.visual_share == share
    assert both.scores.tolist() == alone.scores.tolist()
    assert both.peaks_s.tolist() == alone.peaks_s.tolist()


@pytest.mark.parametrize(
    ("backbones", "found", "share"),
    [({"audio": ()}, {"eye": SEEN}, 1.0), ({"visual": ()}, {"ear": HEARD}, 0.0)],
    ids=["picture", "sound"],
)
def test_a_bundle_may_have_backbones_of_one_sense_only(
    tmp_path: Path, backbones: dict[str, Any], found: dict[str, Tokens], share: float
) -> None:
    """The fusion gets one masked token of one number in place of the other sense."""
    network = Fusion(picture=1, sound=2)
    scores = action(fused(tmp_path, network, task=ANY_SENSE, **backbones), found)
    assert scores.visual_share == share
    visual, _, visual_mask, audio, _, audio_mask = network.inputs[0]
    absent, mask = (audio, audio_mask) if "audio" in backbones else (visual, visual_mask)
    assert absent.shape == (1, 1, 1)
    assert not mask.any()


def test_fused_and_late_tasks_stand_side_by_side(tmp_path: Path) -> None:
    heard = tokens([3.4], dim=3, logits=[[0, 2]])
    found = fused(tmp_path, Fusion(picture=1, sound=1), SOUND)(
        WINDOW, {"eye": SEEN, "ear": heard}, corrupt=False
    )
    assert set(found.tasks) == {"action", "sound"}
    assert found.tasks["sound"].indices[0] == 1


def test_more_tokens_than_a_window_can_have_are_cut_off(tmp_path: Path) -> None:
    network = Fusion(picture=1, sound=1)
    many = tokens([3 + number / 10 for number in range(19)])
    fused(tmp_path, network)(WINDOW, {"eye": many}, corrupt=False)
    assert network.inputs[0][2].shape == (1, 5)


@pytest.mark.parametrize("fps", [Fraction(1, 2), Fraction(2), Fraction(30000, 1001)])
@pytest.mark.parametrize("length_s", [1.0, 8.0, 9.7])
def test_every_token_of_a_window_fits(fps: Fraction, length_s: float) -> None:
    """Wherever on the grids of samples and patches the window begins."""
    bundle = small_bundle((), visual=(visual_backbone(),), audio=(audio_backbone(),))
    grid = Grid(fps=fps, length_s=length_s, hop_s=length_s / 3)
    most_visual, most_audio = Fuse.token_counts(bundle, grid)
    for number in range(40):
        begin_s = number * grid.hop_s
        end_s = begin_s + length_s
        n_visual = sum(begin_s <= float(k / fps) < end_s for k in range(5000))
        n_audio = sum(begin_s <= k / 2 + 0.5 < end_s for k in range(2000))
        assert n_visual <= most_visual and n_audio <= most_audio
