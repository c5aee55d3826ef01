"""Features: which token has which time, and what waits until a batch is full."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from helpers.networks import VIEW, SmallNetwork, audio_backbone, visual_backbone
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sightsound.stages.features import AudioFeatures, TokenBuffer, VisualFeatures
from sightsound.stages.records import DecodedFrame

FPS = Fraction(2)


def frame(*samples: int, shade: int | None = None) -> DecodedFrame:
    """A frame of one shade of grey, by default the number of its first sample."""
    shade = samples[0] if shade is None else shade
    picture = np.full((2, 2, 3), shade, dtype=np.uint8)
    return DecodedFrame(
        samples=samples, pts_s=samples[0] / 2, pictures={VIEW: picture}, tainted=False
    )


def shades(pictures: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """As embedding (n, 2): the shades of the first and the last picture of a clip."""
    grey = pictures[:, :, 0, 0, 0].astype(np.float32)
    return [np.stack((grey[:, 0], grey[:, -1]), axis=1)]


def visual(*, clip_frames: int = 1, batch_size: int = 1) -> VisualFeatures:
    """Features by :func:`shades`."""
    backbone = visual_backbone(clip_frames=clip_frames)
    network = SmallNetwork(backbone.network(), shades, batch_size=batch_size)
    return VisualFeatures(backbone, network, fps=FPS)


def tokens_of(features: VisualFeatures) -> list[tuple[float, list[float]]]:
    """Time and embedding of every token."""
    tokens = features.tokens.between(-math.inf, math.inf)
    if tokens is None:
        return []
    return list(zip(tokens.times_s.tolist(), tokens.embeddings.tolist(), strict=True))


def test_an_image_network_gives_a_token_for_every_sample() -> None:
    features = visual()
    for item in (frame(0), frame(1, 2, 3), frame(4)):
        features.add(item)
    features.finish()
    assert tokens_of(features) == [
        (0.0, [0, 0]),
        (0.5, [1, 1]),
        (1.0, [1, 1]),
        (1.5, [1, 1]),
        (2.0, [4, 4]),
    ]


def test_a_frame_that_stays_is_run_once() -> None:
    backbone = visual_backbone()
    network = SmallNetwork(backbone.network(), shades)
    features = VisualFeatures(backbone, network, fps=FPS)
    features.add(frame(0, 1, 2, 3, 4, 5))
    features.finish()
    assert network.n_batches == 1


def test_frames_wait_until_a_batch_is_full() -> None:
    features = visual(batch_size=3)
    for number in range(2):
        features.add(frame(number))
        assert tokens_of(features) == []
        assert features.settled_s == -math.inf
    features.add(frame(2))
    assert [time for time, _ in tokens_of(features)] == [0.0, 0.5, 1.0]
    assert features.settled_s == 1.0


def test_what_waits_is_run_at_the_end() -> None:
    features = visual(batch_size=8)
    features.add(frame(0))
    features.add(frame(1))
    features.finish()
    assert tokens_of(features) == [(0.0, [0, 0]), (0.5, [1, 1])]
    assert features.settled_s == math.inf


def test_a_clip_network_gives_a_token_for_each_clip_at_its_middle() -> None:
    features = visual(clip_frames=4)
    for number in range(8):
        features.add(frame(number))
    features.finish()
    assert tokens_of(features) == [(0.75, [0, 3]), (2.75, [4, 7])]


def test_a_clip_is_counted_from_the_start_of_the_video() -> None:
    """A slice that begins at sample 6 finishes the clip of samples 4 to 7 first."""
    features = visual(clip_frames=4)
    for number in range(6, 12):
        features.add(frame(number))
    features.finish()
    assert tokens_of(features)[-1] == (4.75, [8, 11])


def test_a_clip_at_the_end_is_described_at_the_middle_of_what_there_is() -> None:
    features = visual(clip_frames=4)
    for number in range(6):
        features.add(frame(number))
    features.finish()
    assert tokens_of(features)[-1] == (2.25, [2, 5])


def test_a_clip_at_the_end_repeats_its_last_picture_where_nothing_is_before_it() -> None:
    features = visual(clip_frames=4)
    for number in range(2):
        features.add(frame(number))
    features.finish()
    assert tokens_of(features) == [(0.25, [0, 1])]


def test_a_clip_at_the_end_is_not_filled_over_a_gap() -> None:
    features = visual(clip_frames=4)
    for number in (0, 1, 2, 3, 8, 9):
        features.add(frame(number))
    features.finish()
    assert tokens_of(features)[-1] == (4.25, [8, 9])


@given(n_samples=st.integers(1, 40), first=st.integers(0, 40))
def test_a_slice_gives_the_tokens_of_the_whole_video(n_samples: int, first: int) -> None:
    """A slice samples a clip's length more on either side of its windows."""
    whole, part = visual(clip_frames=4), visual(clip_frames=4)
    first = min(first, n_samples - 1)
    for number in range(n_samples):
        whole.add(frame(number))
        if number >= first - 4:
            part.add(frame(number))
    whole.finish()
    part.finish()
    from_s = first / FPS
    assert [token for token in tokens_of(part) if token[0] >= from_s] == [
        token for token in tokens_of(whole) if token[0] >= from_s
    ]


def test_a_sample_without_a_picture_repeats_the_one_before() -> None:
    features = visual(clip_frames=4)
    for number in (0, 3, 4, 6):
        features.add(frame(number))
    features.finish()
    (_, first), (_, second) = tokens_of(features)
    assert first == [0, 3]
    assert second == [3, 6]


def test_a_clip_of_lost_pictures_gives_no_token() -> None:
    features = visual(clip_frames=4)
    for number in (0, 1, 2, 3, 8, 9, 10, 11):
        features.add(frame(number))
    features.finish()
    assert [time for time, _ in tokens_of(features)] == [0.75, 4.75]


def test_without_a_frame_there_is_no_token() -> None:
    features = visual(clip_frames=4)
    features.finish()
    assert tokens_of(features) == []


@given(
    st.integers(1, 5),
    st.integers(1, 7),
    st.lists(st.integers(1, 3), min_size=1, max_size=20),
)
def test_tokens_before_the_settled_time_never_change(
    clip_frames: int, batch_size: int, lengths: list[int]
) -> None:
    features = visual(clip_frames=clip_frames, batch_size=batch_size)
    settled: list[tuple[float, list[float]]] = []
    sample = 0
    for length in lengths:
        features.add(frame(*range(sample, sample + length), shade=sample % 256))
        sample += length
        known = [token for token in tokens_of(features) if token[0] < features.settled_s]
        assert known[: len(settled)] == settled
        settled = known
    features.finish()
    tokens = tokens_of(features)
    assert [token for token in tokens if token in settled] == settled
    times = [time for time, _ in tokens]
    assert times == sorted(set(times))
    assert all(0 <= time < sample / FPS for time in times)


@given(st.integers(1, 4), st.lists(st.integers(1, 3), min_size=1, max_size=12))
def test_the_size_of_a_batch_changes_nothing(clip_frames: int, lengths: list[int]) -> None:
    results = []
    for batch_size in (1, 2, 5, 64):
        features = visual(clip_frames=clip_frames, batch_size=batch_size)
        sample = 0
        for length in lengths:
            features.add(frame(*range(sample, sample + length)))
            sample += length
        features.finish()
        results.append(tokens_of(features))
    assert all(result == results[0] for result in results)


def test_patches_become_tokens_at_their_times() -> None:
    backbone = audio_backbone(labels=("a", "b"))

    def loudness(log_mel: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        mean = log_mel.mean(axis=(1, 2), keepdims=True)[:, 0]
        return [np.repeat(mean, 3, axis=1), np.repeat(mean, 2, axis=1) * (1, -1)]

    features = AudioFeatures(backbone, SmallNetwork(backbone.network(), loudness))
    log_mel = np.stack([np.full((4, 3), value, dtype=np.float32) for value in (1, 5)])
    features.add(np.array([0.5, 1.0]), log_mel)
    tokens = features.tokens.between(0, 2)
    assert tokens is not None and tokens.logits is not None
    assert tokens.times_s.tolist() == [0.5, 1.0]
    assert tokens.embeddings.tolist() == [[1, 1, 1], [5, 5, 5]]
    assert tokens.logits.tolist() == [[1, -1], [5, -5]]


def buffer(*times: float) -> TokenBuffer:
    """A buffer of tokens whose embedding is their time."""
    made = TokenBuffer()
    for time in times:
        made.add(time, [np.array([time], dtype=np.float32)])
    return made


def test_a_span_holds_its_start_and_not_its_end() -> None:
    tokens = buffer(0.0, 1.0, 2.0, 3.0).between(1.0, 3.0)
    assert tokens is not None
    assert tokens.times_s.tolist() == [1.0, 2.0]
    assert tokens.embeddings.tolist() == [[1.0], [2.0]]


def test_a_span_without_tokens_is_none() -> None:
    assert buffer(0.0, 5.0).between(1.0, 4.0) is None


def test_a_backbone_without_a_head_has_no_logits() -> None:
    tokens = buffer(0.0).between(0.0, 1.0)
    assert tokens is not None and tokens.logits is None


@pytest.mark.parametrize(("before_s", "left"), [(0, 4), (1, 3), (1.5, 2), (9, 0)])
def test_what_lies_behind_is_let_go(before_s: float, left: int) -> None:
    tokens = buffer(0.0, 1.0, 2.0, 3.0)
    tokens.drop_before(before_s)
    kept = tokens.between(-math.inf, math.inf)
    assert (len(kept.times_s) if kept is not None else 0) == left
