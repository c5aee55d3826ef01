"""Which window a moment is in, and when what was seen and heard in it was."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from helpers.networks import LOG_MEL, visual_backbone

from sightsound.pipeline.explain.errors import ExplainUsageError
from sightsound.pipeline.explain.window import find_window, frame_times_s, patch_starts_s
from sightsound.stages.plan import lay_windows
from sightsound.stages.records import Slice, VideoPlan


def plan_of(duration_s: float) -> VideoPlan:
    windows = lay_windows(duration_s, length_s=8.0, hop_s=4.0)
    pieces = tuple(
        Slice(
            index=window.index,
            windows=(window,),
            first_sample=0,
            sample_pts=np.zeros(0, dtype=np.int64),
            owned_from=0,
            owned_to=0,
            packets=None,
        )
        for window in windows
    )
    return VideoPlan(
        origin_s=Fraction(0),
        duration_s=duration_s,
        fps=Fraction(2),
        video_span_s=(0.0, duration_s),
        audio_span_s=(0.0, duration_s),
        n_windows=len(windows),
        slices=pieces,
        truncated=False,
    )


@pytest.mark.parametrize(
    ("at_s", "index"), [(0.0, 0), (5.9, 0), (6.0, 0), (6.1, 1), (9.0, 1), (19.9, 3), (20.0, 3)]
)
def test_the_window_with_the_nearest_middle_is_taken(at_s, index):
    _, window = find_window(plan_of(20.0), at_s=at_s, path="a.mp4")
    assert window.index == index
    assert window.start_s <= at_s <= window.end_s


def test_a_window_that_does_not_hold_the_moment_is_not_taken():
    """The last window is short: the middle of the one before is nearer to its end."""
    _, window = find_window(plan_of(8.1), at_s=8.05, path="a.mp4")
    assert (window.index, window.end_s) == (1, 8.1)


@pytest.mark.parametrize("at_s", [-0.1, 20.1, float("nan"), float("inf")])
def test_a_moment_that_is_not_in_the_video_is_refused(at_s):
    with pytest.raises(ExplainUsageError, match=r"is not in a\.mp4, which is 20\.0 s long"):
        find_window(plan_of(20.0), at_s=at_s, path="a.mp4")


def test_patches_begin_on_their_grid_even_where_sound_fills_only_a_part():
    """Patches of a second every half second; sound from 0.3 to 2.7 s."""
    span_s = (0.3, 2.7)
    starts = np.array([0.0, 0.5, 1.0, 1.5, 2.0])
    middles = (np.maximum(starts, 0.3) + np.minimum(starts + 1, 2.7)) / 2
    np.testing.assert_allclose(patch_starts_s(LOG_MEL, middles, span_s), starts)


def test_frames_of_a_clip_are_on_the_grid_of_samples():
    clips = visual_backbone(clip_frames=4)
    times = frame_times_s(clips, np.array([0.75, 2.75]), plan_of(20.0))
    np.testing.assert_allclose(times, [[0.0, 0.5, 1.0, 1.5], [2.0, 2.5, 3.0, 3.5]])


@pytest.mark.parametrize(
    ("middle_s", "first_s"), [(2.0, 0.5), (2.25, 1.0), (2.5, 1.5), (0.25, 0.0)]
)
def test_the_clip_at_the_end_begins_before_its_own_samples(middle_s, first_s):
    """Of one, two and three samples; and one at the end that is the first, which is not moved."""
    times = frame_times_s(visual_backbone(clip_frames=4), np.array([middle_s]), plan_of(20.0))
    np.testing.assert_allclose(times[0], first_s + np.arange(4) / 2)


def test_a_frame_is_at_the_time_of_its_token():
    plan = replace(plan_of(20.0), fps=Fraction(5, 2))
    times = frame_times_s(visual_backbone(), np.array([0.4, 0.8]), plan)
    np.testing.assert_allclose(times, [[0.4], [0.8]])
