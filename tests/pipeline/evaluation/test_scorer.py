"""What is said of a file must be what inference says of it, and more."""

from pathlib import Path

import numpy as np
import pytest
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.config import load_config
from sightsound.pipeline.decoding import make_grid
from sightsound.pipeline.evaluation.scorer import Scorer, ScoreTask
from sightsound.pipeline.slices import SliceRunner
from sightsound.stages.plan import Plan
from sightsound.stages.probe import Probe

CONFIG = load_config(settings=("workers.slice_s=8",))


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """22 s, so that it is cut into slices that share tokens."""
    return make_clip(
        tmp_path_factory.mktemp("clips") / "clip.mp4",
        picture=Picture(times=even_times(22 * 5, 5), gop=25),
        sound=Sound(samples=sweep(22, 16000, channels=1), rate_hz=16000),
    )


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return Scorer(CONFIG)


@pytest.fixture(scope="module")
def windows(clip):
    """The windows as inference labels them, in one slice."""
    bundle = load_bundle(CONFIG.model)
    info = Probe()(str(clip))
    plan = Plan(make_grid(CONFIG, bundle), slice_s=300)(info)
    return SliceRunner(CONFIG)(info, plan, plan.slices[0]).windows


def score(scorer, path, *spans):
    return scorer(ScoreTask(path=str(path), spans=spans or ((0.0, None),)), lambda: None)


@pytest.mark.parametrize("task", ["action", "scene", "sound"])
def test_whole_file_is_the_mean_of_the_windows_of_inference(scorer, clip, windows, task):
    (span,) = score(scorer, clip).spans
    assert len(windows) == 5
    probabilities = span.probabilities["both"][task]
    # Inference keeps the best labels of each window; compare those that all windows kept.
    kept = set.intersection(*(set(each.tasks[task].indices.tolist()) for each in windows))
    assert kept
    for label in kept:
        scores = [
            each.tasks[task].scores[each.tasks[task].indices.tolist().index(label)]
            for each in windows
        ]
        assert probabilities[label] == pytest.approx(np.mean(scores), abs=1e-5)


def test_span_of_one_window_is_that_window(scorer, clip, windows):
    (span,) = score(scorer, clip, (4.0, 12.0)).spans
    expected = windows[1].tasks["scene"]
    found = span.probabilities["both"]["scene"][expected.indices]
    np.testing.assert_allclose(found, expected.scores, atol=1e-5)


def test_probabilities_of_one_label_add_up_to_one(scorer, clip):
    (span,) = score(scorer, clip).spans
    assert span.probabilities["both"]["action"].sum() == pytest.approx(1, abs=1e-5)
    assert span.has_visual and span.has_audio


def test_each_sense_alone_answers_what_it_can(scorer, clip):
    (span,) = score(scorer, clip).spans
    assert set(span.probabilities["visual"]) == {"action", "scene"}
    assert set(span.probabilities["audio"]) == {"sound"}
    np.testing.assert_array_equal(
        span.probabilities["audio"]["sound"], span.probabilities["both"]["sound"]
    )
    assert not np.array_equal(
        span.probabilities["visual"]["action"], span.probabilities["both"]["action"]
    )


def test_span_past_the_end_has_no_answers(scorer, clip):
    (span,) = score(scorer, clip, (40.0, 50.0)).spans
    assert not any(span.probabilities.values())
    assert not span.has_visual


def test_only_the_slices_of_the_spans_are_read(scorer, clip):
    assert score(scorer, clip).read_whole
    assert not score(scorer, clip, (0.0, 4.0)).read_whole


def test_cost_is_told_by_stage(scorer, clip):
    found = score(scorer, clip)
    assert set(found.stage_s) == {"decode", "spectrogram", "features", "fuse"}
    assert found.duration_s == pytest.approx(22, abs=0.2)


def test_silent_clip_has_no_sound_to_answer_by(scorer, tmp_path):
    silent = make_clip(tmp_path / "silent.mp4", picture=Picture(times=even_times(15, 5)))
    (span,) = score(scorer, silent).spans
    assert span.has_visual and not span.has_audio
    assert span.probabilities["audio"] == {}
    assert set(span.probabilities["both"]) == {"action", "scene"}
