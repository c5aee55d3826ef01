"""A file is refused only where the bundle could say nothing of it, however well it decodes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.networks import audio_backbone, small_bundle, visual_backbone
from helpers.results import video_plan

from sightsound.models.bundle import Task
from sightsound.pipeline.answerable import check_answerable
from sightsound.stages.errors import StageError

SILENT = replace(video_plan(n_windows=1), video_span_s=(0.0, 8.0), audio_span_s=None)
UNSEEN = replace(video_plan(n_windows=1), video_span_s=None, audio_span_s=(0.0, 8.0))
BOTH = replace(video_plan(n_windows=1), video_span_s=(0.0, 8.0), audio_span_s=(0.0, 8.0))
FUSED = Task(name="label", kind="single", labels=("a", "b"), sources={"fusion": 1.0})
HEARD = Task(name="sound", kind="multi", labels=("bark",), sources={"ear": 1.0})

LISTENS = small_bundle((FUSED,), visual=(), fusion={"method": "bottleneck"})
LOOKS = small_bundle((FUSED,), audio=(), fusion={"method": "bottleneck"})
NEEDS_SOUND = small_bundle((replace(FUSED, requires=("audio",)),), fusion={"method": "audio"})
NEEDS_PICTURE = small_bundle((replace(FUSED, requires=("visual",)),), fusion={"method": "gated"})
HAS_HEARD_TASK = small_bundle((replace(FUSED, requires=("visual",)), HEARD), fusion={})
LATE = small_bundle((HEARD,), visual=(visual_backbone(),), audio=(audio_backbone(),))
EITHER = small_bundle((FUSED,), fusion={"method": "bottleneck"})


@pytest.mark.parametrize("bundle", [LISTENS, NEEDS_SOUND, LATE])
def test_a_silent_video_is_no_matter_for_a_model_that_needs_sound(bundle):
    with pytest.raises(StageError, match=r"^a.mp4 has no sound, without which") as caught:
        check_answerable(bundle, SILENT, "a.mp4")
    assert (caught.value.stage, caught.value.code) == ("plan", "no_sound")


@pytest.mark.parametrize("bundle", [LOOKS, NEEDS_PICTURE])
def test_a_sound_file_is_no_matter_for_a_model_that_needs_pictures(bundle):
    with pytest.raises(StageError, match=r"^a.wav has no picture, without which") as caught:
        check_answerable(bundle, UNSEEN, "a.wav")
    assert (caught.value.stage, caught.value.code) == ("plan", "no_picture")


@pytest.mark.parametrize(
    ("bundle", "plan"),
    [
        (LISTENS, UNSEEN),
        (LOOKS, SILENT),
        (EITHER, SILENT),
        (EITHER, UNSEEN),
        (HAS_HEARD_TASK, UNSEEN),
        (HAS_HEARD_TASK, SILENT),
        (LISTENS, BOTH),
        (NEEDS_PICTURE, BOTH),
    ],
)
def test_a_file_of_which_something_can_be_said_is_taken(bundle, plan):
    check_answerable(bundle, plan, "a.mp4")
