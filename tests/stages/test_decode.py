"""Decoding a clip: which frame comes out at which time, by plan, in full and cut into slices."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import (
    RATES,
    SMALL_VIEW,
    Decoded,
    Expected,
    Shown,
    decode,
    decode_long,
    due_number,
    reference_samples,
)
from helpers.real import SHARED_MEDIA
from media.clips import CLICKS, FLASH_AT, LONG, LONG_SOUND, PICTURES, ClipLibrary
from media.damage import with_hidden_frames
from media.pictures import read_number

from sightsound.models.backbones.base import FrameView
from sightsound.stages.errors import StageError
from sightsound.stages.probe import Probe

# AVI stores no times: where frames are reordered the demuxer's are wrong, and a full decode
# that believes them is no reference. Bare streams have none at all.
_WITHOUT_TIMES = ("h264_avi", "mpeg4_avi", "h264_bare")
# Where a plan by timestamps is not possible, and everything is decoded.
_WITHOUT_PLAN = (*_WITHOUT_TIMES, "h264_gradual_refresh_mp4", "h264_gradual_refresh_ts")
_WITH_TIMES = [name for name in PICTURES if name not in _WITHOUT_TIMES]


def assert_same(found: Mapping[int, Shown], expected: Mapping[int, Shown | Expected]) -> None:
    """The same samples, the same times, the same pictures to the bit."""
    assert sorted(found) == sorted(expected)
    for sample, shown in expected.items():
        assert found[sample].time_s == pytest.approx(shown.time_s, abs=1e-9), sample
        assert found[sample].digest == shown.digest, sample


def assert_intact(decoded: Decoded) -> None:
    """Nothing was lost or doubted, and the packet plan held."""
    assert decoded.fell_back == ()
    assert decoded.report.lost == set()
    assert decoded.report.tainted == set()
    assert decoded.report.sound_errors_s == []


@pytest.mark.parametrize("fps", RATES, ids=str)
@pytest.mark.parametrize("name", _WITH_TIMES)
def test_frames_by_plan_are_those_of_a_plain_loop(
    clips: ClipLibrary, name: str, fps: Fraction
) -> None:
    decoded = decode(clips(name), fps=fps)
    assert_intact(decoded)
    reference = reference_samples(clips(name), decoded.info, decoded.plan, fps)
    assert len(reference) >= 4
    assert_same(decoded.shown, reference)


@pytest.mark.parametrize("name", _WITH_TIMES)
def test_frames_in_full_are_those_of_a_plain_loop(clips: ClipLibrary, name: str) -> None:
    fps = Fraction(4)
    decoded = decode(clips(name), fps=fps, in_full=True)
    assert_intact(decoded)
    assert_same(decoded.shown, reference_samples(clips(name), decoded.info, decoded.plan, fps))


@pytest.mark.parametrize("name", PICTURES)
def test_the_picture_of_a_sample_is_the_one_drawn_for_its_time(
    clips: ClipLibrary, name: str
) -> None:
    picture = PICTURES[name].picture
    assert picture is not None
    fps = Fraction(8)
    decoded = decode(clips(name), fps=fps)
    numbers = {sample: read_number(shown.picture) for sample, shown in decoded.shown.items()}
    assert len(numbers) >= 50
    assert numbers == {sample: due_number(picture, sample / fps) for sample in numbers}


@pytest.mark.parametrize("name", PICTURES)
def test_the_time_of_a_frame_is_the_one_it_was_made_with(clips: ClipLibrary, name: str) -> None:
    picture = PICTURES[name].picture
    assert picture is not None
    decoded = decode(clips(name), fps=Fraction(8))
    first = picture.times[0] if picture.start_s >= 0 else -picture.start_s
    for shown in decoded.shown.values():
        made_at = picture.times[read_number(shown.picture)] - first
        # Matroska and FLV state milliseconds, MPEG streams 1/90,000 s.
        assert shown.time_s == pytest.approx(float(made_at), abs=0.00051)


@pytest.mark.parametrize("name", PICTURES)
def test_a_plan_is_made_wherever_frames_can_be_told_apart(clips: ClipLibrary, name: str) -> None:
    decoded = decode(clips(name))
    has_plan = all(piece.packets is not None for piece in decoded.plan.slices)
    assert has_plan == (name not in _WITHOUT_PLAN)


def test_a_hidden_frame_is_never_on_screen(clips: ClipLibrary, tmp_path: Path) -> None:
    """Frames 25 and 50 are due at samples but only referred to: the ones before them stay."""
    path = with_hidden_frames(clips("vp8_webm"), tmp_path / "some.webm", packets=(25, 50))
    decoded = decode(path, fps=Fraction(1))
    assert_intact(decoded)
    numbers = [read_number(decoded.shown[sample].picture) for sample in range(8)]
    assert numbers == [0, 24, 49, 75, 100, 125, 150, 175]


@pytest.mark.parametrize("slice_s", [1.0, 2.6])
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_do_not_depend_on_how_a_video_is_cut(
    clips: ClipLibrary, name: str, slice_s: float
) -> None:
    whole = decode(clips(name), fps=Fraction(4), length_s=2.0)
    cut = decode(clips(name), fps=Fraction(4), length_s=2.0, slice_s=slice_s)
    assert_intact(cut)
    if name not in _WITHOUT_PLAN:
        assert len(cut.plan.slices) >= 3
    assert_same(cut.shown, whole.shown)


@pytest.mark.parametrize("name", _WITH_TIMES)
def test_a_slice_in_full_is_the_same_as_by_plan(clips: ClipLibrary, name: str) -> None:
    by_plan = decode(clips(name), fps=Fraction(4), length_s=2.0, slice_s=2.0)
    in_full = decode(clips(name), fps=Fraction(4), length_s=2.0, slice_s=2.0, in_full=True)
    assert_intact(in_full)
    assert_same(in_full.shown, by_plan.shown)


# Their pictures are cut in short clips above, and most of their sounds by themselves below.
_ONLY_BY_SLOW = ("h264_mp3_mkv", "h264_flac_mkv", "h264_vorbis_mkv", "hevc_aac_mkv")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if name in _ONLY_BY_SLOW else [])
        for name in LONG
    ],
)
def test_pictures_and_sound_do_not_depend_on_how_a_long_video_is_cut(
    clips: ClipLibrary, name: str
) -> None:
    whole = decode_long(clips(name))
    assert_intact(whole)
    assert len(whole.sound) == 3
    cut = decode(clips(name), sound=True, slice_s=24.0, view=SMALL_VIEW)
    assert_intact(cut)
    assert len(cut.plan.slices) >= 5
    assert_same(cut.shown, whole.shown)
    np.testing.assert_array_equal(cut.mono, whole.mono)


@pytest.mark.parametrize(
    "name",
    [
        # AAC in MP4 is above.
        pytest.param(name, marks=[pytest.mark.slow] if name == "aac_m4a" else [])
        for name in LONG_SOUND
    ],
)
def test_sound_alone_does_not_depend_on_how_it_is_cut(clips: ClipLibrary, name: str) -> None:
    whole = decode_long(clips(name))
    cut = decode(clips(name), sound=True, slice_s=24.0)
    assert_intact(cut)
    assert len(cut.plan.slices) >= 5
    assert len(whole.sound) == 3
    np.testing.assert_array_equal(cut.mono, whole.mono)


@pytest.mark.parametrize("name", CLICKS)
def test_a_click_and_a_flash_stay_together(clips: ClipLibrary, name: str) -> None:
    decoded = decode(clips(name), fps=Fraction(100), sound=True)
    bright = [shown for shown in decoded.shown.values() if shown.picture.mean() > 128]
    assert bright
    flash_s = min(shown.time_s for shown in bright)
    loud = np.flatnonzero(np.abs(decoded.mono) > 0.2)
    click_s = loud[0] / 16000
    assert abs(click_s - flash_s) < 0.010
    assert flash_s == pytest.approx(FLASH_AT / 25, abs=0.03)


def test_samples_of_a_frame_that_stays_come_together(clips: ClipLibrary) -> None:
    """Of 8 samples a second in the 1.3 s that a frame stays, one frame with all of them."""
    decoded = decode(clips("h264_variable_rate_mkv"), fps=Fraction(8))
    still = PICTURES["h264_variable_rate_mkv"].picture
    assert still is not None
    number = len(still.times) // 3
    samples = [
        sample for sample, shown in decoded.shown.items() if read_number(shown.picture) == number
    ]
    assert len(samples) in (10, 11)
    assert len({decoded.shown[sample].time_s for sample in samples}) == 1


def test_every_view_asked_for_is_given(clips: ClipLibrary) -> None:
    view = FrameView(width=40, height=30, fit="cover", short_side=32)
    decoded = decode(clips("h264_gop30_mp4"), view=view)
    assert {shown.picture.shape for shown in decoded.shown.values()} == {(30, 40, 3)}


def test_a_clip_of_a_tenth_of_a_second_has_its_first_frame(clips: ClipLibrary) -> None:
    decoded = decode(clips("tenth_of_a_second_mp4"), sound=True)
    assert {sample: read_number(shown.picture) for sample, shown in decoded.shown.items()} == {0: 0}
    assert len(decoded.mono) == 1600


@pytest.mark.parametrize("name", ["one_frame_mp4", "one_frame_ts"])
def test_a_clip_of_one_frame_has_that_frame(clips: ClipLibrary, name: str) -> None:
    decoded = decode(clips(name))
    assert_intact(decoded)
    assert list(decoded.shown) == [0]
    assert read_number(decoded.shown[0].picture) == 0


def test_before_a_late_picture_there_is_no_frame(clips: ClipLibrary) -> None:
    """The picture begins 3 s after the sound, and lasts 2 s."""
    decoded = decode(clips("picture_late_mkv"), sound=True)
    assert sorted(decoded.shown) == [6, 7, 8, 9]
    assert decoded.report.lost == set()


def test_without_a_rate_no_sound_is_decoded(clips: ClipLibrary) -> None:
    assert decode(clips("both_mp4"), sound=False).sound == {}


# Real files, some of them odd, that any player shows whole.
_QUICK = (
    "arm_wrestling.mp4",
    "bear_vp9_opus.webm",
    "flipping_pancake.mkv",
    "high_jump.mp4",
    "decord__unordered.mov",
    "decord__video_90.mov",
    "exoplayer__bear-vp9-odd-dimensions.webm",
    "exoplayer__roadtrip-vp92-10bit.webm",
    "exoplayer__sample_av1.mp4",
    "exoplayer__sample_fragmented.mp4",
    "exoplayer__sample.flv",
    "imageio__cockatoo.mp4",  # Old x264 in 4:4:4, which only its first packet says.
    "torchcodec__discard_first_keyframe.mp4",
    "torchcodec__gradient.gif",
    "torchcodec__sine_stereo_mp2.mpg",
)
# Real files that are damaged, truncated or encrypted.
_DAMAGED = (
    "exoplayer__invalid-bitstream.webm",
    "mediabunny__annex-b.mp4",
    "mediabunny__no-initial-keyframe.ts",
    "mp4parse__no_timescale.mp4",
    "mp4parse__short-cenc.mp4",
    "mp4parse__zero_empty_stsc.mp4",
)
# AVI with reordered frames: see above.
_UNTIMED = ("apply_eye_makeup.avi",)


def real_files() -> list[Path]:
    """All real files, if they are there."""
    files = (path for part in ("demo", "edge") for path in (SHARED_MEDIA / part).glob("*"))
    return sorted(path for path in files if path.suffix != ".csv")


def assert_real_file_as_reference(path: Path, rates: tuple[Fraction, ...]) -> None:
    """At every rate, whole and cut, the frames are those of a plain loop."""
    if Probe()(str(path)).video is None:
        pytest.skip("there is no picture in it")
    for fps in rates:
        decoded = decode(path, fps=fps)
        assert_intact(decoded)
        reference = reference_samples(path, decoded.info, decoded.plan, fps)
        assert reference
        assert_same(decoded.shown, reference)
        cut = decode(path, fps=fps, length_s=2.0, slice_s=3.0)
        assert_intact(cut)
        assert_same(cut.shown, reference)


@pytest.mark.parametrize("name", _QUICK)
def test_frames_of_a_real_file_are_those_of_a_plain_loop(shared_media: Path, name: str) -> None:
    path = next((path for path in real_files() if path.name == name), None)
    if path is None:
        pytest.skip(f"{name} is not in {shared_media}")
    assert_real_file_as_reference(path, (Fraction(2),))


@pytest.mark.slow
@pytest.mark.parametrize("path", real_files(), ids=lambda path: path.name)
def test_frames_of_every_real_file_are_those_of_a_plain_loop(path: Path) -> None:
    if path.name in (*_DAMAGED, *_UNTIMED):
        pytest.skip("it is damaged or states no times: no reference")
    try:
        assert_real_file_as_reference(path, RATES)
    except StageError as error:
        pytest.skip(error.message)


@pytest.mark.parametrize("in_full", [False, True])
@pytest.mark.parametrize("name", _DAMAGED)
def test_every_sample_of_a_damaged_real_file_is_shown_or_lost(
    shared_media: Path, name: str, in_full: bool
) -> None:
    path = shared_media / "edge" / name
    if not path.is_file():
        pytest.skip(f"{name} is not in {shared_media}")
    decoded = decode(path, fps=Fraction(8), in_full=in_full, sound=True)
    assert decoded.plan.video_span_s is not None
    begin_s, end_s = decoded.plan.video_span_s
    in_picture = {sample for sample in range(1000) if begin_s <= sample / 8 < end_s}
    assert in_picture - set(decoded.shown) == in_picture & decoded.report.lost
    assert decoded.report.lost or decoded.report.tainted or decoded.plan.truncated
