"""One suite that every decoder of pictures runs: the frames of the plan, at its times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import Decoded, decode, due_number, make_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from media.clips import PICTURES, ClipLibrary
from media.generate import TortureLibrary
from media.make import Picture, even_times, make_clip
from media.pictures import four_colours, read_number
from media.torture_damage import DAMAGE

from sightsound.models.backbones.base import FrameView
from sightsound.stages.decode import Decode
from sightsound.stages.decoders import BACKENDS, BackendName, create_decoder
from sightsound.stages.errors import DecoderUnavailableError, StageError
from sightsound.stages.frames import DecodeReport
from sightsound.stages.probe import Probe

# Of a channel of 8 bits, between a picture that was made RGB before it was scaled and one that
# was so while it was: measured 2.4 and 17 at most. Other frames of the clips differ by 40 and more
# in the mean.
MEAN_TOLERANCE, MAX_TOLERANCE = 3.0, 40
EVERY_FRAME = Fraction(25)

CLIPS = (
    "h264_mp4",
    "h264_gop30_mp4",
    "h264_no_b_mp4",
    "h264_open_gop_mkv",
    "h264_open_gop_mp4",
    "h264_variable_rate_mkv",
    "h264_variable_rate_mp4",
    "h264_29_97_mp4",
    "h264_starts_late_mp4",
    "h264_starts_late_mkv",
    "h264_edit_list_mp4",
    "h264_fragments_mp4",
    "h264_flv",
    "h264_open_gop_ts",
    "hevc_mp4",
    "hevc_mkv",
    "hevc_layers_mp4",
    "vp9_webm",
    "vp8_webm",
    "av1_mp4",
    "mpeg4_mp4",
    "mpeg4_no_b_avi",
    "mjpeg_mov",
    "ffv1_mkv",
)
LOOKS = (
    "rotation_90.mp4",
    "rotation_180.mp4",
    "rotation_270.mp4",
    "pixels_16_11.mp4",
    "odd_size.webm",
    "odd_size_444.mp4",
    "ten_bit.mp4",
    "ten_bit_hevc.mp4",
    "alpha.webm",
    "hdr_pq.mp4",
)
COVER = FrameView(width=60, height=40, fit="cover", short_side=48)


@pytest.fixture(params=BACKENDS, scope="module")
def backend(request: pytest.FixtureRequest) -> BackendName:
    name: BackendName = request.param
    try:
        create_decoder(name)
    except DecoderUnavailableError as error:
        pytest.skip(str(error))
    return name


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def numbers(decoded: Decoded) -> dict[int, int]:
    return {sample: read_number(shown.picture) for sample, shown in decoded.shown.items()}


def assert_close(found: Decoded, expected: Decoded) -> None:
    """The same samples and times to a microsecond; pictures as near as their way allows."""
    assert sorted(found.shown) == sorted(expected.shown)
    for sample, shown in expected.shown.items():
        assert found.shown[sample].time_s == pytest.approx(shown.time_s, abs=1e-6), sample
        away = np.abs(found.shown[sample].picture.astype(int) - shown.picture)
        assert found.shown[sample].picture.shape == shown.picture.shape
        assert away.mean() <= MEAN_TOLERANCE, sample
        assert away.max() <= MAX_TOLERANCE, sample


@pytest.mark.parametrize("name", CLIPS)
def test_the_picture_of_a_sample_is_the_one_drawn_for_its_time(
    clips: ClipLibrary, backend: BackendName, name: str
) -> None:
    picture = PICTURES[name].picture
    assert picture is not None
    fps = Fraction(8)
    decoded = decode(clips(name), fps=fps, backend=backend)
    assert decoded.fell_back == ()
    found = numbers(decoded)
    assert len(found) >= 50
    assert found == {sample: due_number(picture, sample / fps) for sample in found}


@pytest.mark.parametrize("name", CLIPS)
def test_times_and_pictures_are_those_of_pyav(
    clips: ClipLibrary, backend: BackendName, name: str
) -> None:
    fps = Fraction(2)
    assert_close(decode(clips(name), fps=fps, backend=backend), decode(clips(name), fps=fps))


@pytest.mark.parametrize("name", CLIPS)
def test_pictures_do_not_depend_on_how_a_video_is_cut(
    clips: ClipLibrary, backend: BackendName, name: str
) -> None:
    fps = Fraction(4)
    whole = decode(clips(name), fps=fps, length_s=2.0, backend=backend)
    cut = decode(clips(name), fps=fps, length_s=2.0, slice_s=2.6, backend=backend)
    assert len(cut.plan.slices) >= 3
    assert sorted(cut.shown) == sorted(whole.shown)
    for sample, shown in whole.shown.items():
        assert cut.shown[sample].time_s == shown.time_s
        assert cut.shown[sample].digest == shown.digest


@pytest.mark.parametrize("name", ["h264_mp4", "h264_open_gop_mkv", "hevc_mp4", "vp9_webm"])
def test_every_frame_is_there_from_the_first_to_the_last(
    clips: ClipLibrary, backend: BackendName, name: str
) -> None:
    decoded = decode(clips(name), fps=EVERY_FRAME, backend=backend)
    assert numbers(decoded) == {number: number for number in range(200)}
    times_s = [decoded.shown[sample].time_s for sample in sorted(decoded.shown)]
    assert (np.diff(times_s) > 0).all()


@settings(max_examples=6)
@given(rate=st.fractions(min_value=Fraction(1, 3), max_value=Fraction(30), max_denominator=12))
@pytest.mark.parametrize("name", ["h264_variable_rate_mkv", "h264_variable_rate_mp4"])
def test_at_any_rate_a_sample_has_the_last_frame_that_is_not_later(
    clips: ClipLibrary, backend: BackendName, name: str, rate: Fraction
) -> None:
    picture = PICTURES[name].picture
    assert picture is not None
    decoded = decode(clips(name), fps=rate, backend=backend)
    for sample, number in numbers(decoded).items():
        assert number == due_number(picture, sample / rate)


@pytest.mark.parametrize("view", [FrameView(width=64, height=64, fit="stretch"), COVER])
@pytest.mark.parametrize("name", LOOKS)
def test_an_odd_picture_looks_as_pyav_shows_it(
    torture: TortureLibrary, backend: BackendName, name: str, view: FrameView
) -> None:
    found = decode(torture(name), view=view, backend=backend)
    expected = decode(torture(name), view=view)
    assert_close(found, expected)
    assert found.report.rotation == expected.report.rotation


@pytest.mark.parametrize(("rotation", "first"), [(0, 0), (90, 1), (180, 3), (-90, 2)])
def test_a_picture_that_is_stored_turned_comes_out_upright(
    tmp_path: Path, backend: BackendName, rotation: int, first: int
) -> None:
    """Red, green, blue and yellow quarters: which one ends up at the top left."""
    picture = Picture(
        times=even_times(5),
        rotation=rotation,
        width=128,
        height=96,
        draw=lambda number, width, height: four_colours(width, height),
    )
    decoded = decode(make_clip(tmp_path / "turned.mp4", picture=picture), backend=backend)
    corner = decoded.shown[0].picture[20:90, 20:90].mean(axis=(0, 1))
    colours = np.array([(220, 30, 30), (30, 200, 30), (30, 30, 220), (220, 210, 30)])
    assert int(np.abs(colours - corner).sum(axis=1).argmin()) == first
    assert decoded.report.rotation == rotation % 360
    assert decoded.report.fallback == ""


def test_a_clip_of_one_frame_has_that_frame(clips: ClipLibrary, backend: BackendName) -> None:
    decoded = decode(clips("one_frame_mp4"), backend=backend)
    assert numbers(decoded) == {0: 0}


def test_before_a_late_picture_there_is_no_frame(clips: ClipLibrary, backend: BackendName) -> None:
    decoded = decode(clips("picture_late_mkv"), sound=True, backend=backend)
    assert sorted(decoded.shown) == [6, 7, 8, 9]


def test_samples_of_a_frame_that_stays_come_together(
    clips: ClipLibrary, backend: BackendName
) -> None:
    """Of 8 samples a second in the 1.3 s that a frame stays, one frame with all of them."""
    info, plan = make_plan(clips("h264_variable_rate_mkv"), fps=Fraction(8))
    view = FrameView(width=32, height=32, fit="stretch")
    stage = Decode((view,), sample_rate_hz=None, backend=backend)
    frames = list(stage(info, plan, plan.slices[0], report=DecodeReport()))
    times_s = [frame.pts_s for frame in frames]
    assert len(set(times_s)) == len(times_s)
    assert max(len(frame.samples) for frame in frames) >= 10


@pytest.mark.parametrize("name", ["both_mp4", "both_mkv"])
def test_the_sound_beside_the_picture_is_the_same_to_the_bit(
    clips: ClipLibrary, backend: BackendName, name: str
) -> None:
    found = decode(clips(name), sound=True, slice_s=3.0, length_s=2.0, backend=backend)
    expected = decode(clips(name), sound=True, slice_s=3.0, length_s=2.0)
    np.testing.assert_array_equal(found.mono, expected.mono)
    assert sorted(found.shown) == sorted(expected.shown)


def test_a_file_of_sound_alone_is_read(clips: ClipLibrary, backend: BackendName) -> None:
    decoded = decode(clips("sound_only_m4a"), sound=True, backend=backend)
    assert len(decoded.mono) == pytest.approx(8 * 16000, abs=2000)
    assert decoded.report.fallback == ""


def test_progress_is_told_for_every_frame(clips: ClipLibrary, backend: BackendName) -> None:
    info, plan = make_plan(clips("h264_mp4"), fps=EVERY_FRAME)
    view = FrameView(width=32, height=32, fit="stretch")
    stage = Decode((view,), sample_rate_hz=None, backend=backend)
    calls: list[int] = []
    frames = stage(
        info, plan, plan.slices[0], report=DecodeReport(), on_progress=lambda: calls.append(1)
    )
    assert len(list(frames)) == 200
    assert len(calls) >= 200


@pytest.mark.parametrize("name", ["weird: name.mp4", "concat:a|b.mp4", "-n %03d.mp4"])
def test_a_name_is_never_taken_for_a_protocol_or_a_sequence(
    clips: ClipLibrary, tmp_path: Path, backend: BackendName, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(clips("h264_no_b_mp4").read_bytes())
    decoded = decode(path, backend=backend)
    assert decoded.report.fallback == ""
    assert numbers(decoded) == numbers(decode(clips("h264_no_b_mp4")))


def test_a_file_that_is_gone_is_said_to_be(
    clips: ClipLibrary, tmp_path: Path, backend: BackendName
) -> None:
    path = tmp_path / "gone.mp4"
    path.write_bytes(clips("h264_no_b_mp4").read_bytes())
    info, plan = make_plan(path)
    path.unlink()
    view = FrameView(width=32, height=32, fit="stretch")
    stage = Decode((view,), sample_rate_hz=None, backend=backend)
    with pytest.raises(StageError) as caught:
        list(stage(info, plan, plan.slices[0], report=DecodeReport()))
    assert (caught.value.stage, caught.value.code) == ("decode", "not_found")


@pytest.mark.parametrize("name", [torture.file for torture in DAMAGE if not torture.needs_limits])
def test_every_sample_of_a_damaged_file_is_shown_or_lost(
    torture: TortureLibrary, backend: BackendName, name: str
) -> None:
    """Nothing that is wrong in a file ends a decoder with anything but a row's reason."""
    try:
        if Probe()(str(torture(name))).video is None:
            pytest.skip("there is no picture in it")
        decoded = decode(torture(name), fps=Fraction(4), backend=backend)
    except (StageError, MemoryError):  # What no decoder is asked for, and what it may say.
        return
    if decoded.plan.video_span_s is None:
        return
    begin_s, end_s = decoded.plan.video_span_s
    in_picture = {sample for sample in range(1000) if begin_s <= sample / 4 < end_s}
    assert in_picture - set(decoded.shown) == in_picture & decoded.report.lost
