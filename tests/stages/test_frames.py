"""Damage: what is before and after it is used, what it touches is lost or marked."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.decoding import RATE_HZ, Decoded, decode, make_plan
from media.clips import ClipLibrary
from media.damage import overwritten, packet_places, truncated, with_early_cues

from sightsound.stages.all_frames import AllFrames
from sightsound.stages.decode import Decode
from sightsound.stages.frames import DecodeReport
from sightsound.stages.media import open_media

EVERY_FRAME = Fraction(25)
# Codecs that notice when their data is overwritten with noise. To the arithmetic decoders of VP8,
# VP9 and, within a group of pictures, AV1 any data is a picture.
_NOTICING = (
    "h264_gop30_mp4",
    "h264_no_b_mp4",
    "h264_open_gop_mp4",
    "h264_fragments_mp4",
    "hevc_mp4",
    "mpeg4_mp4",
    "mjpeg_mov",
)
_NOTICING_KEYS = (*_NOTICING, "av1_mp4")


def group_around(path: Path, number: int) -> tuple[int, int]:
    """First packet of the group of pictures that a packet is in, and of the next."""
    keys = [i for i, (_, _, is_key) in enumerate(packet_places(path)) if is_key]
    start = max(key for key in keys if key <= number)
    return start, min((key for key in keys if key > number), default=200)


def damaged(clips: ClipLibrary, tmp_path: Path, name: str, packets: tuple[int, ...]) -> Path:
    """A clip with noise instead of some packets."""
    source = clips(name)
    return overwritten(source, tmp_path / f"damaged{source.suffix}", packets=packets)


def silently_wrong(found: Decoded, intact: Decoded) -> list[int]:
    """Samples whose picture is not the right one and not marked either."""
    return [
        sample
        for sample, shown in found.shown.items()
        if not shown.tainted and shown.digest != intact.shown[sample].digest
    ]


@pytest.mark.parametrize("packets", [(100,), (101,), (100, 101, 102, 103)], ids=str)
@pytest.mark.parametrize("name", _NOTICING)
def test_every_sample_is_right_or_marked_or_lost(
    clips: ClipLibrary, tmp_path: Path, name: str, packets: tuple[int, ...]
) -> None:
    intact = decode(clips(name), fps=EVERY_FRAME)
    found = decode(damaged(clips, tmp_path, name, packets), fps=EVERY_FRAME)
    assert silently_wrong(found, intact) == []
    assert set(intact.shown) - set(found.shown) == found.report.lost
    assert found.report.lost
    assert found.report.tainted == {s for s, shown in found.shown.items() if shown.tainted}


@pytest.mark.parametrize("name", _NOTICING_KEYS)
def test_frames_before_and_after_the_damaged_group_are_untouched(
    clips: ClipLibrary, tmp_path: Path, name: str
) -> None:
    source = clips(name)
    intact = decode(source, fps=EVERY_FRAME)
    start, stop = group_around(source, 100)
    found = decode(damaged(clips, tmp_path, name, (start,)), fps=EVERY_FRAME)
    # Frames shown before the next key frame refer to the damage too. And x264's next open group
    # unmarks references that are lost: errors that look like more damage.
    margin = 30 if name == "h264_open_gop_mp4" else 6
    for sample in (*range(start - 3), *range(stop + margin, 200)):
        assert sample in found.shown, sample
        assert not found.shown[sample].tainted, sample
        assert found.shown[sample].digest == intact.shown[sample].digest, sample


@pytest.mark.parametrize("name", _NOTICING_KEYS)
def test_a_damaged_key_frame_costs_its_group(clips: ClipLibrary, tmp_path: Path, name: str) -> None:
    source = clips(name)
    start, stop = group_around(source, 100)
    found = decode(damaged(clips, tmp_path, name, (start,)), fps=EVERY_FRAME)
    for sample in range(start + 3, stop - 3):
        assert sample in found.report.lost | found.report.tainted


def with_turned_bits(source: Path, path: Path, *, seed: int, packets: range) -> Path:
    """A copy with one bit in a hundred bytes turned, in some packets past their first bytes."""
    data = bytearray(source.read_bytes())
    chance = np.random.default_rng(seed)
    places = packet_places(source)
    for number in packets:
        position, size, _ = places[number]
        for at in chance.integers(position + 12, position + size, size=max(1, size // 100)):
            data[at] ^= 1 << int(chance.integers(8))
    path.write_bytes(data)
    return path


def frames_called_corrupt(path: Path) -> set[float]:
    """Times of frames that the decoder itself marks, asked in the plainest way."""
    found = set()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        stream.codec_context.options = {"err_detect": "explode"}
        for packet in container.demux(stream):
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                continue
            found |= {float(f.pts * stream.time_base) for f in frames if f.is_corrupt and f.pts}
    return found


@pytest.mark.parametrize("in_full", [False, True])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", ["h264_gop30_mp4", "h264_mp4", "mpeg4_mp4", "vp9_webm"])
def test_a_frame_that_the_decoder_calls_corrupt_is_not_shown_as_good(
    clips: ClipLibrary, tmp_path: Path, name: str, seed: int, in_full: bool
) -> None:
    source = clips(name)
    path = tmp_path / f"turned{source.suffix}"
    with_turned_bits(source, path, seed=seed, packets=range(90, 110))
    corrupt = frames_called_corrupt(path)
    found = decode(path, fps=EVERY_FRAME, in_full=in_full)
    good = {shown.time_s for shown in found.shown.values() if not shown.tainted}
    assert not corrupt & {round(time, 9) for time in good}
    intact = decode(source, fps=EVERY_FRAME)
    # Before the damage, and from the second key frame after it on, nothing is touched.
    _, stop = group_around(source, 110)
    for sample in (*range(85), *range(stop + 6, 200)):
        assert found.shown[sample].digest == intact.shown[sample].digest
        assert not found.shown[sample].tainted


class _Called:
    """A frame as far as the rule looks at it."""

    def __init__(self, pts: int, *, key: bool = False, corrupt: bool = False) -> None:
        self.pts, self.key_frame, self.is_corrupt = pts, key, corrupt


def test_what_follows_a_corrupt_frame_is_doubted_until_a_key_frame(clips: ClipLibrary) -> None:
    """Later frames refer to it, though the decoder finds no fault with them."""
    info, plan = make_plan(clips("h264_mp4"))
    with open_media(info.path, stage="decode") as container:
        frames = AllFrames(
            container.streams.video[0].codec_context,
            info.video,
            plan,
            plan.slices[0],
            views=(),
            report=DecodeReport(),
            most_pixels=1 << 26,
            guessed_times=False,
        )
        series = [
            _Called(0, key=True),
            _Called(1),
            _Called(2, corrupt=True),
            _Called(3),
            _Called(4, key=True),
            _Called(5),
            _Called(6, key=True, corrupt=True),
            _Called(7),
        ]
        doubted = [frame.pts for frame in series if frames._follows_corrupt(frame)]
    assert doubted == [2, 3, 6, 7]


def test_a_lost_target_breaks_the_plan(clips: ClipLibrary, tmp_path: Path) -> None:
    """The caller is told, and can decode the slice in full."""
    path = damaged(clips, tmp_path, "h264_gop30_mp4", tuple(range(90, 120)))
    info, plan = make_plan(path)
    stage = Decode((), sample_rate_hz=None)
    assert list(stage(info, plan, plan.slices[0], report=DecodeReport())) == []
    found = decode(path)
    assert found.fell_back == (0,)


def test_damage_that_nothing_wanted_needs_costs_nothing(clips: ClipLibrary, tmp_path: Path) -> None:
    """Samples 4 s apart; the noise lies in a group of pictures between them."""
    name = "h264_gop30_mp4"
    start, stop = group_around(clips(name), 50)
    assert start > 0 and stop < 100
    path = damaged(clips, tmp_path, name, tuple(range(start + 1, stop)))
    intact = decode(clips(name), fps=Fraction(1, 4))
    found = decode(path, fps=Fraction(1, 4))
    assert found.fell_back == ()
    assert found.report.lost == found.report.tainted == set()
    assert {s: shown.digest for s, shown in found.shown.items()} == {
        s: shown.digest for s, shown in intact.shown.items()
    }


@pytest.mark.parametrize("in_full", [False, True])
def test_a_video_without_one_good_frame_loses_every_sample(
    clips: ClipLibrary, tmp_path: Path, in_full: bool
) -> None:
    path = damaged(clips, tmp_path, "h264_gop30_mp4", tuple(range(200)))
    found = decode(path, in_full=in_full)
    assert found.shown == {}
    assert found.report.lost == set(range(16))


@pytest.mark.parametrize("in_full", [False, True])
def test_a_decoder_that_its_headers_keep_from_opening_loses_every_sample(
    clips: ClipLibrary, tmp_path: Path, in_full: bool
) -> None:
    data = bytearray(clips("hevc_mp4").read_bytes())
    parameters = data.index(b"hvcC") + 4 + 23
    data[parameters + 8 : parameters + 40] = bytes(32)
    path = tmp_path / "damaged.mp4"
    path.write_bytes(data)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        context.options = {"err_detect": "explode"}
        with pytest.raises(av.error.InvalidDataError):
            context.open(strict=False)
    found = decode(path, in_full=in_full)
    assert found.shown == {}
    assert found.report.lost == set(range(16))


@pytest.mark.parametrize("keep", [0.9, 0.5, 0.2])
@pytest.mark.parametrize("name", ["both_mp4", "both_mkv", "both_ts", "h264_fragments_mp4"])
def test_what_is_left_of_a_truncated_file_is_used(
    clips: ClipLibrary, tmp_path: Path, name: str, keep: float
) -> None:
    source = clips(name)
    intact = decode(source, sound=True)
    path = truncated(source, tmp_path / f"short{source.suffix}", keep=keep)
    found = decode(path, sound=True)
    n_shown = len(found.shown)
    assert n_shown >= keep * 16 - 3
    # The picture at the cut may be concealed; all before it are as they were.
    for sample in range(n_shown - 1):
        assert found.shown[sample].digest == intact.shown[sample].digest
    if name != "h264_fragments_mp4":
        n_samples = len(found.mono) - RATE_HZ // 10
        assert n_samples > (keep - 0.1) * 8 * RATE_HZ
        np.testing.assert_array_equal(found.mono[:n_samples], intact.mono[:n_samples])


def test_frames_of_a_cut_broadcast_begin_at_its_first_key_frame(
    clips: ClipLibrary, tmp_path: Path
) -> None:
    """MPEG-TS from the middle of a group: nothing can be shown until the next begins."""
    source = clips("h264_open_gop_ts")
    data = source.read_bytes()
    begin = packet_places(source)[60][0] // 188 * 188
    path = tmp_path / "cut.ts"
    path.write_bytes(data[: 188 * 3] + data[begin:])
    found = decode(path, fps=EVERY_FRAME)
    intact = {shown.digest for shown in decode(source, fps=EVERY_FRAME).shown.values()}
    assert found.report.lost
    assert min(found.shown) > 5
    # What x264's first open group unmarks is not there, which taints that group.
    assert all(shown.digest in intact for shown in found.shown.values())
    assert len(found.shown) > 100


def assert_cut_as_whole(path: Path) -> None:
    """Slices of a second, each beginning somewhere else in the file, give what one slice does."""
    whole = decode(path, fps=Fraction(4), length_s=2.0)
    cut = decode(path, fps=Fraction(4), length_s=2.0, slice_s=1.0)
    assert len(cut.plan.slices) >= 5
    assert cut.fell_back == ()
    assert len(cut.shown) == 32
    assert {s: shown.digest for s, shown in cut.shown.items()} == {
        s: shown.digest for s, shown in whole.shown.items()
    }


def test_a_file_without_an_index_is_cut_like_any_other(clips: ClipLibrary, tmp_path: Path) -> None:
    """Matroska's index of positions becomes an element that nobody knows."""
    data = clips("h264_open_gop_mkv").read_bytes()
    assert b"\x1c\x53\xbb\x6b" in data
    path = tmp_path / "no_cues.mkv"
    path.write_bytes(data.replace(b"\x1c\x53\xbb\x6b", b"\x1c\x53\xbb\x6d"))
    assert_cut_as_whole(path)


@pytest.mark.parametrize("name", ["h264_open_gop_mkv", "vp9_webm", "both_mkv"])
def test_a_seek_that_lands_too_late_is_replaced_by_reading_from_the_start(
    clips: ClipLibrary, tmp_path: Path, name: str
) -> None:
    source = clips(name)
    assert_cut_as_whole(with_early_cues(source, tmp_path / "lying.mkv", by_ms=2500))


def test_damaged_sound_is_reported_where_it_is(clips: ClipLibrary, tmp_path: Path) -> None:
    """Ten packets of 21 ms from 4.27 s on; all other sound is nearly as it was."""
    source = clips("both_mp4")
    intact = decode(source, sound=True)
    path = tmp_path / "crackling.mp4"
    overwritten(source, path, packets=range(200, 210), kind="audio", spare=0)
    found = decode(path, sound=True)
    assert found.report.sound_errors_s
    begin_s, end_s = 200 * 1024 / 48000, 211 * 1024 / 48000
    assert all(begin_s - 0.05 <= time <= end_s + 0.05 for time in found.report.sound_errors_s)
    assert len(found.mono) == len(intact.mono)
    before, after = int((begin_s - 0.1) * RATE_HZ), int((end_s + 0.1) * RATE_HZ)
    np.testing.assert_array_equal(found.mono[:before], intact.mono[:before])
    # AAC fills in noise from a generator that goes on differently; the tone is at 0.3.
    np.testing.assert_allclose(found.mono[after:], intact.mono[after:], atol=0.03)
