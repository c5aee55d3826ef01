"""Inspecting files: claims beside truth, and the warnings that follow."""

from __future__ import annotations

from pathlib import Path

import pytest
from media.clips import ClipLibrary
from media.damage import truncated, with_matroska_duration
from media.generate import TortureLibrary
from media.ill_reader import make_ill
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.pipeline.inspection.media import inspect_media
from sightsound.pipeline.inspection.records import MediaFacts, PictureFacts
from sightsound.pipeline.inspection.run import inspect_all
from sightsound.stages.errors import StageError


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def facts_of(path: Path) -> MediaFacts:
    facts = inspect_media(str(path)).facts
    assert facts is not None
    return facts


def picture_of(path: Path) -> PictureFacts:
    picture = facts_of(path).picture
    assert picture is not None
    return picture


def warnings_of(path: Path) -> dict[str, str]:
    return {warning.code: warning.message for warning in inspect_media(str(path)).warnings}


def test_a_plain_file_is_described_and_nothing_is_warned_of(clips: ClipLibrary) -> None:
    path = clips("both_mp4")
    facts, picture = facts_of(path), picture_of(path)
    assert warnings_of(path) == {}
    assert facts.duration_s == pytest.approx(8, abs=0.05)
    assert (picture.codec, picture.shown_width, picture.shown_height) == ("h264", 96, 72)
    assert (picture.times.n_frames, picture.claimed_frames) == (200, 200)
    assert picture.times.rate_hz == pytest.approx(25)
    assert not picture.times.is_variable
    assert picture.key_frames.count == picture.key_frames.n_decoded >= 8
    assert picture.key_frames.longest_interval_s == pytest.approx(1)
    assert facts.sound is not None
    assert (facts.sound.sample_rate_hz, facts.sound.channels) == (48000, 2)
    assert facts.sound.layout == "stereo"
    assert facts.sound.decodes
    assert [stream.kind for stream in facts.streams] == ["video", "audio"]
    assert all(stream.is_used for stream in facts.streams)


def test_a_false_duration_is_set_against_the_true_one(clips: ClipLibrary, tmp_path: Path) -> None:
    path = with_matroska_duration(clips("both_mkv"), tmp_path / "liar.mkv", seconds=143165)
    facts = facts_of(path)
    assert facts.claimed_duration_s == 143165
    assert facts.duration_s == pytest.approx(8, abs=0.05)
    assert warnings_of(path)["duration"] == "It says 143,165.0 s, it holds 8.0 s."


def test_uneven_times_are_told_from_even_ones_in_milliseconds(torture: TortureLibrary) -> None:
    assert picture_of(torture("variable_rate.mkv")).times.is_variable
    assert not picture_of(torture("rate_23_976.mkv")).times.is_variable
    message = warnings_of(torture("variable_rate.mp4"))["variable_rate"]
    assert message.endswith("the times of its frames are uneven: 12 to 1300 ms apart.")


def test_a_still_is_a_gap(torture: TortureLibrary) -> None:
    (gap,) = picture_of(torture("variable_rate.mp4")).times.gaps
    assert gap.end_s - gap.start_s == pytest.approx(1.3)


def test_a_false_rate_is_set_against_the_true_one(torture: TortureLibrary) -> None:
    picture = picture_of(torture("wrong_rate.mkv"))
    assert picture.claimed_rate_hz == 50
    assert picture.times.rate_hz == pytest.approx(25)
    assert warnings_of(torture("wrong_rate.mkv"))["rate"] == (
        "It says 50 frames a second, it holds 25."
    )


@pytest.mark.parametrize(
    ("name", "rotation", "size"),
    [
        ("rotation_90.mp4", 90, (72, 96)),
        ("rotation_180.mp4", 180, (96, 72)),
        ("rotation_270.mp4", 270, (72, 96)),
        ("pixels_16_11.mp4", 0, (140, 72)),
        ("odd_size.webm", 0, (161, 121)),
    ],
)
def test_the_size_is_that_which_a_viewer_sees(
    torture: TortureLibrary, name: str, rotation: int, size: tuple[int, int]
) -> None:
    picture = picture_of(torture(name))
    assert (picture.rotation, (picture.shown_width, picture.shown_height)) == (rotation, size)


@pytest.mark.parametrize(
    ("name", "depth"),
    [("ten_bit_hevc.mp4", 10), ("twelve_bit_hevc.mp4", 12), ("sixteen_bit_ffv1.mkv", 16)],
)
def test_bit_depth_is_told(torture: TortureLibrary, name: str, depth: int) -> None:
    assert picture_of(torture(name)).bit_depth == depth


@pytest.mark.parametrize(("name", "hdr"), [("hdr_pq.mp4", "PQ"), ("hdr_hlg.mp4", "HLG")])
def test_hdr_is_named_and_said_to_be_untouched(
    torture: TortureLibrary, name: str, hdr: str
) -> None:
    picture = picture_of(torture(name))
    assert (picture.hdr, picture.colour_primaries, picture.colour_space) == (
        hdr,
        "bt2020",
        "bt2020nc",
    )
    assert f"HDR ({hdr}) is not tone-mapped" in warnings_of(torture(name))["hdr"]


@pytest.mark.parametrize(
    "name", ["alpha.webm", "alpha_vp8.webm", "alpha_png.mov", "alpha_prores.mov"]
)
def test_transparency_is_said_to_be_dropped(torture: TortureLibrary, name: str) -> None:
    assert "alpha" in warnings_of(torture(name))


@pytest.mark.parametrize("name", ["interlaced.ts", "interlaced_mpeg2.ts", "fields.ts"])
def test_interlacing_is_told(torture: TortureLibrary, name: str) -> None:
    assert "interlaced" in warnings_of(torture(name))


@pytest.mark.parametrize(
    "name", ["fields.ts", "fields_timed.ts", "fields_copied.mkv", "fields_sparse.ts", "fields.h264"]
)
def test_two_fields_are_one_frame(torture: TortureLibrary, name: str) -> None:
    picture = picture_of(torture(name))
    assert picture.times.n_frames == picture.key_frames.count == 50
    assert picture.times.n_hidden == 0
    assert picture.times.rate_hz == pytest.approx(25)
    assert picture.key_frames.n_decoded == picture.key_frames.n_tried == 50


@pytest.mark.parametrize("name", ["joined_sizes.ts", "joined_sizes.webm"])
def test_a_change_of_size_is_told_with_its_time(torture: TortureLibrary, name: str) -> None:
    first, second = picture_of(torture(name)).sizes
    assert (first.width, first.height, first.start_s) == (96, 72, 0)
    assert (second.width, second.height) == (160, 120)
    assert second.start_s == pytest.approx(2 if name.endswith("ts") else 38 / 25, abs=0.001)
    assert "size_change" in warnings_of(torture(name))


def test_timestamps_that_start_again_are_told(torture: TortureLibrary) -> None:
    assert picture_of(torture("joined_restart.ts")).times.n_restarts == 1
    assert picture_of(torture("joined.ts")).times.n_restarts == 0


def test_a_wrapped_clock_is_no_restart(torture: TortureLibrary) -> None:
    picture = picture_of(torture("wrap.ts"))
    assert picture.times.n_restarts == 0
    assert picture.times.rate_hz == pytest.approx(25)


def test_a_stream_without_times_is_told(torture: TortureLibrary) -> None:
    assert "no_times" in warnings_of(torture("missing_times.h264"))
    assert "no_times" in warnings_of(torture("missing_times_b.ts"))
    assert "no_times" not in warnings_of(torture("b_frames.ts"))
    assert "no_times" not in warnings_of(torture("fields.ts"))


@pytest.mark.parametrize("name", ["edit_list_two_parts.mp4", "negative_start.mp4", "wrap_late.ts"])
def test_odd_but_sound_times_are_nothing_to_warn_of(torture: TortureLibrary, name: str) -> None:
    assert not {"restarts", "duration", "frame_count", "gaps"} & set(warnings_of(torture(name)))


def test_a_picture_without_data_is_told(torture: TortureLibrary) -> None:
    warnings = warnings_of(torture("atom_zero.mp4"))
    assert "empty_picture" in warnings
    assert "no_key_frame" not in warnings


def test_frames_that_an_edit_list_hides_are_counted_apart(torture: TortureLibrary) -> None:
    picture = picture_of(torture("edit_list_start.mp4"))
    assert picture.times.n_frames == 42
    assert picture.times.n_hidden > 0
    assert picture.key_frames.n_decoded == picture.key_frames.n_tried
    assert warnings_of(torture("edit_list_start.mp4")) == {}


def test_a_late_sound_is_told(torture: TortureLibrary) -> None:
    facts = facts_of(torture("click_sound_late.mkv"))
    assert facts.sound is not None
    assert facts.sound.offset_s == pytest.approx(0.5, abs=0.002)
    assert warnings_of(torture("click_sound_late.mkv"))["offset"] == (
        "Its sound starts 0.50 s after its picture."
    )


def test_a_truncated_file_is_told(clips: ClipLibrary, tmp_path: Path) -> None:
    path = truncated(clips("both_mp4"), tmp_path / "cut.mp4", keep=0.5)
    warnings = warnings_of(path)
    assert warnings["duration"].startswith("It says 8.0 s, it holds 3.")
    assert warnings["frame_count"].startswith("It says 200 frames, it holds 9")


def test_sound_without_a_picture_is_described(clips: ClipLibrary) -> None:
    facts = facts_of(clips("sound_only_m4a"))
    assert facts.picture is None
    assert facts.sound is not None and facts.sound.offset_s is None


def test_long_tags_are_cut_and_said_to_be(tmp_path: Path) -> None:
    """Tags that a hostile file fills with megabytes do not become megabytes of output."""
    path = make_clip(tmp_path / "plain.mp3", sound=Sound(
        samples=sweep(1, 16000), codec="libmp3lame", rate_hz=16000))  # fmt: skip
    text = b"\x03" + b"x" * 100_000
    size = bytes((len(text) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    frame = b"TIT2" + size + b"\0\0" + text
    length = bytes((len(frame) >> shift) & 0x7F for shift in (21, 14, 7, 0))
    data = path.read_bytes()
    rest = data[10 + sum(b << s for b, s in zip(data[6:10], (21, 14, 7, 0), strict=True)) :]
    path.write_bytes(b"ID3\x04\0\0" + length + frame + rest)
    facts = facts_of(path)
    assert len(facts.tags["title"]) == 500
    assert facts.n_tags_cut == 1


def test_a_file_of_which_nothing_decodes_is_unreadable(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "noise.mkv", picture=Picture(times=even_times(25), codec="ffv1"))
    data = bytearray(path.read_bytes())
    first = data.index(b"\x1f\x43\xb6\x75") + 400
    data[first:-200] = bytes(len(data) - first - 200)
    path.write_bytes(data)
    with pytest.raises(StageError):
        inspect_media(str(path))


def test_a_file_that_kills_or_stops_its_reader_is_a_failure_and_the_others_are_read(
    clips: ClipLibrary,
) -> None:
    good = str(clips("both_mp4"))
    paths = [good, "/crash.mp4", "/hang.mp4", "/bug.mp4", good]
    found = list(inspect_all(paths, deadline_s=4, n_workers=2, make_handler=make_ill))
    assert [one.path for one in found] == paths
    codes = [one.failure.code if one.failure is not None else None for one in found]
    assert codes == [None, "crashed", "timeout", "internal", None]
    messages = [one.failure.message for one in found if one.failure is not None]
    assert "SIGSEGV" in messages[0]
    assert "4 s" in messages[1] and "--deadline" in messages[1]
