"""Plan: windows, slices and samples, and what is measured of a file."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from helpers.decoding import make_plan, reference_frames
from hypothesis import given
from hypothesis import strategies as st
from media.clips import PICTURES, ClipLibrary
from media.damage import (
    truncated,
    with_hidden_frames,
    with_matroska_duration,
    with_stated_duration,
)
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.stages.errors import StageError
from sightsound.stages.plan import Grid, Plan, lay_windows
from sightsound.stages.probe import Probe
from sightsound.stages.records import NO_FRAME, VideoPlan

durations = st.floats(0.01, 600, allow_nan=False)
lengths = st.sampled_from([0.5, 1.0, 2.0, 8.0, 9.7, 30.0])
overlaps = st.sampled_from([1, 0.5, 1 / 3, 0.1])


@given(durations, lengths, overlaps)
def test_windows_cover_the_video_without_a_gap(
    duration_s: float, length_s: float, overlap: float
) -> None:
    windows = lay_windows(duration_s, length_s=length_s, hop_s=length_s * overlap)
    assert windows[0].start_s == 0
    assert windows[-1].end_s == duration_s
    for before, after in pairwise(windows):
        assert before.start_s < after.start_s <= before.end_s + 1e-9


@given(durations, lengths, overlaps)
def test_no_window_lies_beyond_the_end_or_is_empty(
    duration_s: float, length_s: float, overlap: float
) -> None:
    for window in lay_windows(duration_s, length_s=length_s, hop_s=length_s * overlap):
        assert 0 <= window.start_s < window.end_s <= duration_s


@given(durations, lengths, overlaps)
def test_every_window_begins_on_the_grid_and_all_but_the_last_are_whole(
    duration_s: float, length_s: float, overlap: float
) -> None:
    hop_s = length_s * overlap
    windows = lay_windows(duration_s, length_s=length_s, hop_s=hop_s)
    for number, window in enumerate(windows):
        assert window.index == number
        assert window.start_s == number * hop_s
    for window in windows[:-1]:
        assert window.end_s - window.start_s == pytest.approx(length_s)


@given(durations, lengths, overlaps)
def test_the_last_window_tells_something_new(
    duration_s: float, length_s: float, overlap: float
) -> None:
    windows = lay_windows(duration_s, length_s=length_s, hop_s=length_s * overlap)
    if len(windows) > 1:
        assert windows[-2].end_s < duration_s


def test_a_video_shorter_than_a_window_has_one() -> None:
    (window,) = lay_windows(0.1, length_s=8, hop_s=4)
    assert (window.start_s, window.end_s) == (0, 0.1)


def test_a_video_of_just_two_windows_has_no_third() -> None:
    assert len(lay_windows(12, length_s=8, hop_s=4)) == 2


def plan_of(
    path: Path,
    *,
    fps: str = "2",
    slice_s: float = 1e6,
    min_slices: int = 1,
    min_slice_s: float = 60,
    margin_s: float = 0,
) -> VideoPlan:
    """The plan of a file with windows of 2 s every 1 s."""
    grid = Grid(fps=Fraction(fps), length_s=2, hop_s=1, sample_margin_s=margin_s)
    stage = Plan(grid, slice_s=slice_s, min_slices=min_slices, min_slice_s=min_slice_s)
    return stage(Probe()(str(path)))


@pytest.mark.parametrize("slice_s", [0.5, 1, 2.5, 3, 7, 100])
@pytest.mark.parametrize("fps", ["1/2", "2", "7", "30000/1001"])
def test_every_window_and_sample_belongs_to_one_slice(
    clips: ClipLibrary, fps: str, slice_s: float
) -> None:
    path = clips("h264_gop30_mp4")
    whole, cut = plan_of(path, fps=fps), plan_of(path, fps=fps, slice_s=slice_s)
    windows = [window for piece in cut.slices for window in piece.windows]
    assert windows == list(whole.slices[0].windows)
    owned = [sample for piece in cut.slices for sample in range(piece.owned_from, piece.owned_to)]
    assert owned == list(range(whole.slices[0].owned_from, whole.slices[0].owned_to))
    assert [piece.index for piece in cut.slices] == list(range(len(cut.slices)))


@pytest.mark.parametrize("margin_s", [0, 1.7])
def test_a_slice_samples_all_that_its_windows_and_the_margin_need(
    clips: ClipLibrary, margin_s: float
) -> None:
    plan = plan_of(clips("h264_gop30_mp4"), fps="4", slice_s=2, margin_s=margin_s)
    assert len(plan.slices) >= 4
    for piece in plan.slices:
        last_sample = piece.first_sample + len(piece.sample_pts) - 1
        begin_s = max(0, piece.windows[0].start_s - margin_s)
        assert (piece.first_sample - 1) / 4 < begin_s <= piece.first_sample / 4
        end_s = piece.windows[-1].end_s + margin_s
        assert last_sample / 4 < end_s <= (last_sample + 1) / 4


def test_neighbouring_slices_agree_on_the_samples_that_they_share(clips: ClipLibrary) -> None:
    plan = plan_of(clips("h264_variable_rate_mp4"), fps="4", slice_s=2, margin_s=1)
    known: dict[int, int] = {}
    n_shared = 0
    for piece in plan.slices:
        for offset, pts in enumerate(piece.sample_pts.tolist()):
            n_shared += piece.first_sample + offset in known
            assert known.setdefault(piece.first_sample + offset, pts) == pts
    assert n_shared > 0


_WITHOUT_TIMES = ("h264_avi", "mpeg4_avi", "h264_bare")


@pytest.mark.parametrize("name", [name for name in PICTURES if name not in _WITHOUT_TIMES])
def test_a_sample_has_the_last_frame_that_is_not_later(clips: ClipLibrary, name: str) -> None:
    info, plan = make_plan(clips(name), fps=Fraction(5))
    assert info.video is not None
    frames = [time for time, _ in reference_frames(clips(name), info.video.index)]
    (piece,) = plan.slices
    for sample, pts in enumerate(piece.sample_pts.tolist()):
        past = [time for time in frames if time - plan.origin_s <= Fraction(sample, 5)]
        assert pts * info.video.time_base == (past[-1] if past else frames[0])


def test_times_count_from_the_start_of_the_presentation(clips: ClipLibrary) -> None:
    plan = plan_of(clips("h264_starts_late_mp4"))
    assert plan.origin_s == 5
    assert plan.video_span_s == (0, 8)
    assert plan.duration_s == 8


def test_a_late_sound_has_its_own_span(clips: ClipLibrary) -> None:
    plan = plan_of(clips("sound_late_mp4"))
    assert plan.video_span_s == (0, 8)
    assert plan.audio_span_s == pytest.approx((3.5, 7.5), abs=0.03)


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "ts", "mov"])
def test_a_very_late_sound_is_not_said_to_start_with_the_picture(
    tmp_path: Path, suffix: str
) -> None:
    """It is not there yet when a demuxer first looks, which then takes its start to be 0."""
    path = make_clip(
        tmp_path / f"late.{suffix}",
        picture=Picture(times=even_times(30, 1), rate=Fraction(1), width=32, height=32),
        sound=Sound(samples=sweep(2, 48000), start_s=Fraction(25)),
    )
    plan = plan_of(path)
    assert plan.video_span_s is not None and plan.audio_span_s is not None
    begin_s = plan.audio_span_s[0] - plan.video_span_s[0]
    assert begin_s == pytest.approx(25, abs=0.03)


def test_a_late_picture_has_its_own_span(clips: ClipLibrary) -> None:
    plan = plan_of(clips("picture_late_mkv"))
    assert plan.video_span_s == (3, 5)
    assert plan.audio_span_s == pytest.approx((0, 6), abs=0.03)
    (piece,) = plan.slices
    assert (piece.sample_pts == NO_FRAME).tolist() == [
        sample not in range(6, 10) for sample in range(12)
    ]


def test_without_a_picture_there_are_windows_and_no_frames(clips: ClipLibrary) -> None:
    plan = plan_of(clips("sound_only_m4a"))
    assert plan.video_span_s is None
    assert plan.n_windows == 7
    assert all((piece.sample_pts == NO_FRAME).all() for piece in plan.slices)
    assert all(piece.packets is None for piece in plan.slices)


@pytest.mark.parametrize("name", ["h264_open_gop_ts", "one_frame_ts", "mpeg2_ts"])
def test_a_last_frame_of_unknown_duration_stays_for_an_interval(
    clips: ClipLibrary, name: str
) -> None:
    plan = plan_of(clips(name))
    expected = 0.04 if name == "one_frame_ts" else 8.0
    assert plan.duration_s == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", PICTURES)
def test_the_duration_is_that_of_the_pictures(clips: ClipLibrary, name: str) -> None:
    picture = PICTURES[name].picture
    assert picture is not None
    last = picture.times[-1] - picture.times[-2]
    expected = picture.times[-1] + last + min(picture.start_s, Fraction(0))
    # A demuxer knows a last frame's own duration only roughly where frames vary.
    slack = 0.25 if "variable_rate" in name else 0.002
    assert plan_of(clips(name)).duration_s == pytest.approx(float(expected), abs=slack)


def test_a_stated_duration_is_not_believed(clips: ClipLibrary, tmp_path: Path) -> None:
    mp4 = with_stated_duration(clips("h264_mp4"), tmp_path / "liar.mp4", seconds=143165)
    mkv = with_matroska_duration(clips("both_mkv"), tmp_path / "liar.mkv", seconds=143165)
    for path in (mp4, mkv):
        plan = plan_of(path)
        assert plan.duration_s == pytest.approx(8, abs=0.05)
        assert not plan.truncated


def test_an_ogg_packet_of_negative_duration_does_not_last_for_a_day(tmp_path: Path) -> None:
    """A stream that ends before its last packet does: FFmpeg gives the difference as 2^32 - n."""
    path = tmp_path / "cut.ogg"
    samples = sweep(3, 44100, channels=2)
    make_clip(path, sound=Sound(samples=samples, codec="vorbis", rate_hz=44100))
    path.write_bytes(_ending_earlier(path.read_bytes(), by=1500))
    with av.open(str(path)) as container:
        longest = max(packet.duration or 0 for packet in container.demux(audio=0))
    if longest < 1 << 31:
        pytest.skip("this FFmpeg does not wrap the duration")
    assert plan_of(path).duration_s == pytest.approx(3, abs=0.1)


def _ending_earlier(data: bytes, *, by: int) -> bytes:
    """An Ogg file whose last page states an earlier end, with its checksum (RFC 3533, 6)."""
    at = data.rindex(b"OggS")
    page = bytearray(data[at:])
    end = int.from_bytes(page[6:14], "little") - by
    page[6:14] = end.to_bytes(8, "little")
    page[22:26] = bytes(4)
    checksum = 0
    for byte in page:
        checksum ^= byte << 24
        for _ in range(8):
            checksum = (checksum << 1 ^ (0x04C11DB7 if checksum >> 31 else 0)) & 0xFFFFFFFF
    page[22:26] = checksum.to_bytes(4, "little")
    return data[:at] + bytes(page)


@pytest.mark.parametrize("keep", [0.98, 0.8, 0.4])
@pytest.mark.parametrize("name", ["both_mp4", "h264_fragments_mp4"])
def test_a_truncated_mp4_is_said_to_be_truncated(
    clips: ClipLibrary, tmp_path: Path, name: str, keep: float
) -> None:
    path = truncated(clips(name), tmp_path / "short.mp4", keep=keep)
    plan = plan_of(path)
    assert plan.truncated
    assert 0 < plan.duration_s <= 8.1


@pytest.mark.parametrize("suffix", ["mkv", "flac", "flv"])
def test_other_files_that_end_early_are_said_to_be_truncated(
    clips: ClipLibrary, tmp_path: Path, suffix: str
) -> None:
    name = {"mkv": "both_mkv", "flac": "flac", "flv": "h264_flv"}[suffix]
    path = truncated(clips(name), tmp_path / f"short.{suffix}", keep=0.6)
    assert plan_of(path).truncated
    assert not plan_of(clips(name)).truncated


@pytest.mark.parametrize("name", [*PICTURES, "both_mp4", "both_mkv", "both_ts"])
def test_a_whole_file_is_not_said_to_be_truncated(clips: ClipLibrary, name: str) -> None:
    assert not plan_of(clips(name)).truncated


def test_a_header_without_data_has_no_packets(clips: ClipLibrary, tmp_path: Path) -> None:
    data = clips("both_mp4").read_bytes()
    path = tmp_path / "hollow.mp4"
    path.write_bytes(data[: data.index(b"mdat") + 4])
    with pytest.raises(StageError) as caught:
        plan_of(path)
    assert (caught.value.stage, caught.value.code) == ("plan", "no_packets")
    assert str(path) in caught.value.message


def test_a_file_that_vanished_after_probing_is_not_found(
    clips: ClipLibrary, tmp_path: Path
) -> None:
    path = tmp_path / "gone.mp4"
    path.write_bytes(clips("h264_mp4").read_bytes())
    info = Probe()(str(path))
    path.unlink()
    with pytest.raises(StageError) as caught:
        Plan(Grid(fps=Fraction(2), length_s=8, hop_s=4), slice_s=300)(info)
    assert (caught.value.stage, caught.value.code) == ("plan", "not_found")


@pytest.mark.parametrize(
    ("min_slices", "min_slice_s", "expected"),
    [(1, 60, 1), (2, 60, 2), (8, 60, 2), (8, 20, 6)],
)
def test_a_long_video_is_shared_among_workers(
    clips: ClipLibrary, min_slices: int, min_slice_s: float, expected: int
) -> None:
    plan = plan_of(clips("h264_flac_mkv"), min_slices=min_slices, min_slice_s=min_slice_s)
    assert len(plan.slices) == expected


def test_no_slice_is_much_longer_than_asked(clips: ClipLibrary) -> None:
    plan = plan_of(clips("h264_flac_mkv"), slice_s=20)
    assert len(plan.slices) == math.ceil(plan.n_windows / 20)
    assert max(len(piece.windows) for piece in plan.slices) <= 20


def test_where_no_plan_is_possible_there_is_one_slice(clips: ClipLibrary) -> None:
    plan = plan_of(clips("mpeg4_avi"), slice_s=1, min_slices=4, min_slice_s=1)
    (piece,) = plan.slices
    assert piece.packets is None


def test_fewer_samples_need_fewer_packets(clips: ClipLibrary) -> None:
    """The point of a packet plan: of 200 packets, few are sent for a frame every two seconds."""
    sent = []
    for fps in ("1/2", "2", "25"):
        packets = plan_of(clips("h264_gop30_mp4"), fps=fps).slices[0].packets
        assert packets is not None
        sent.append(len(packets.pts))
    assert sent[0] < sent[1] < sent[2] == 200
    assert sent[0] < 100


def test_a_slice_in_the_middle_does_not_begin_at_the_start(clips: ClipLibrary) -> None:
    plan = plan_of(clips("h264_gop30_mp4"), slice_s=2)
    packets = plan.slices[-1].packets
    assert packets is not None and packets.seek_dts is not None
    assert len(packets.pts) < 100


def test_frames_that_are_never_shown_are_not_sampled(clips: ClipLibrary, tmp_path: Path) -> None:
    path = with_hidden_frames(clips("vp8_webm"), tmp_path / "some.webm", packets=(7, 50, 130))
    with av.open(str(path)) as container:
        shown = {frame.pts for frame in container.decode(video=0)}
    plan = plan_of(path, fps="25")
    sampled = {pts for pts in plan.slices[0].sample_pts.tolist() if pts != NO_FRAME}
    assert len(shown) == 197
    assert sampled == shown


def test_a_hundred_frames_a_second_may_be_sampled_from_25(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "few.mp4", picture=Picture(times=even_times(5)))
    plan = plan_of(path, fps="100")
    sampled = [pts for pts in plan.slices[0].sample_pts.tolist() if pts != NO_FRAME]
    assert len(sampled) == 20
    assert len(set(sampled)) == 5


@pytest.mark.parametrize(
    ("slice_s", "min_slices", "expected"), [(50, 1, 3), (50, 2, 4), (25, 4, 8)]
)
def test_all_who_share_a_video_get_as_many_slices(
    clips: ClipLibrary, slice_s: float, min_slices: int, expected: int
) -> None:
    plan = plan_of(clips("h264_flac_mkv"), slice_s=slice_s, min_slices=min_slices, min_slice_s=20)
    assert len(plan.slices) == expected


def with_wild_time(source: Path, path: Path, *, number: int) -> Path:
    """A copy of an MPEG-TS whose ``number``-th PES packet of picture is 26.5 hours off.

    The highest bit of the 33 of its PTS is turned: ISO/IEC 13818-1, 2.4.3.6.
    """
    data = bytearray(source.read_bytes())
    at = -1
    for _ in range(number + 1):
        at = data.index(b"\x00\x00\x01\xe0", at + 1)
    assert data[at + 7] & 0x80
    data[at + 9] ^= 0b1000
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("number", [0, 1, 60, 120, 199])
def test_one_wild_timestamp_does_not_stretch_a_video(
    clips: ClipLibrary, tmp_path: Path, number: int
) -> None:
    path = with_wild_time(clips("both_ts"), tmp_path / "wild.ts", number=number)
    _, plan = make_plan(path)
    assert plan.duration_s == pytest.approx(8, abs=0.1)
    assert plan.n_windows <= 2


def test_only_frames_that_do_not_say_their_times_are_given_some(clips: ClipLibrary) -> None:
    (bare,) = plan_of(clips("h264_bare")).slices
    (timed,) = plan_of(clips("h264_mp4")).slices
    assert bare.packets is None and bare.frame_pts is not None
    assert len(bare.frame_pts) == 200
    assert timed.packets is not None and timed.frame_pts is None
