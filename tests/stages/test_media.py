"""Opening files: odd names, files that name others, and reading on after errors."""

from __future__ import annotations

import os
import pickle
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media.clips import ClipLibrary
from media.damage import truncated

from sightsound.stages.errors import ERROR_CODES, StageError, printable
from sightsound.stages.media import Demuxer, frame_interval, has_guessed_times, open_media
from sightsound.stages.probe import Probe
from sightsound.stages.records import Failure


@pytest.mark.parametrize(
    "name",
    [
        "a clip with spaces.mp4",
        "-leading-dash.mp4",
        "http:not-a-protocol.mp4",
        "concat:a|b.mp4",
        "frame%03d.mp4",
        "what?#is[this]*.mp4",
        "'quoted\"$HOME`.mp4",
        "two\nlines.mp4",
        "видео-動画-🎬.mp4",
        "no_suffix",
        os.fsdecode(b"not-utf-8-\xff\xfe.mp4"),
    ],
)
def test_a_name_is_only_a_name(
    clips: ClipLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(clips("h264_gop30_mp4").read_bytes())
    monkeypatch.chdir(tmp_path)
    with open_media(name, stage="probe") as container:
        assert container.streams.video[0].width == 96


def test_a_name_with_a_null_byte_is_an_error_of_the_file() -> None:
    with pytest.raises(StageError) as caught:
        open_media("a\0b.mp4", stage="probe")
    assert caught.value.code == "not_readable"


@pytest.mark.parametrize("scheme", ["http", "tcp", "rtmp"])
def test_a_playlist_does_not_reach_the_network(tmp_path: Path, scheme: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        path = tmp_path / "list.m3u8"
        path.write_text(
            "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n"
            f"{scheme}://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(StageError):
            Probe()(str(path))
        with pytest.raises(TimeoutError):
            server.accept()


def test_the_demuxer_gives_only_packets_with_data(clips: ClipLibrary) -> None:
    with open_media(str(clips("h264_mp4")), stage="plan") as container:
        demuxer = Demuxer(container, (0,))
        sizes = [packet.size for packet in demuxer]
    assert len(sizes) == 200
    assert min(sizes) > 0
    assert demuxer.n_errors == 0


def test_the_demuxer_reads_on_after_a_read_error(clips: ClipLibrary, tmp_path: Path) -> None:
    """A fragmented MP4 whose third fragment is noise: what comes before is given."""
    data = bytearray(clips("h264_fragments_mp4").read_bytes())
    places = [at for at in range(len(data)) if data[at : at + 4] == b"moof"]
    assert len(places) >= 4
    data[places[2] + 4 : places[2] + 60] = b"\xa5" * 56
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    with open_media(str(path), stage="plan") as container:
        demuxer = Demuxer(container, (0,))
        times = [packet.pts for packet in demuxer]
    assert len(times) >= 100


def test_the_demuxer_gives_up_where_nothing_but_errors_comes(
    clips: ClipLibrary, tmp_path: Path
) -> None:
    path = truncated(clips("both_mp4"), tmp_path / "short.mp4", keep=0.5)
    with open_media(str(path), stage="plan") as container:
        demuxer = Demuxer(container, (0, 1))
        n_packets = sum(1 for _ in demuxer)
    assert 0 < n_packets < 575
    assert demuxer.n_errors <= 16


def test_only_reordered_avi_has_guessed_times(clips: ClipLibrary) -> None:
    guessed = {
        name: has_guessed_times(Probe()(str(clips(name))))
        for name in ("mpeg4_avi", "h264_avi", "mpeg4_no_b_avi", "mpeg4_mp4", "sound_only_m4a")
    }
    assert guessed == {
        "mpeg4_avi": True,
        "h264_avi": True,
        "mpeg4_no_b_avi": False,
        "mpeg4_mp4": False,
        "sound_only_m4a": False,
    }


def test_a_frame_without_times_stays_for_one_interval_of_the_rate(clips: ClipLibrary) -> None:
    video = Probe()(str(clips("h264_bare"))).video
    assert video is not None
    assert frame_interval(video) * video.time_base == pytest.approx(1 / 25)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("plain name.mp4", "plain name.mp4"),
        ("видео-動画-🎬.mp4", "видео-動画-🎬.mp4"),
        ("two\nlines\r.mp4", r"two\nlines\r.mp4"),
        ("\x1b[31mred\x1b]0;title\x07.mp4", r"\x1b[31mred\x1b]0;title\x07.mp4"),
        ("\x9b2J.mp4", r"\x9b2J.mp4"),
        ("gpj\u202e4pm.exe", r"gpj\u202e4pm.exe"),
        (os.fsdecode(b"\xff\xfe.mp4"), r"\xff\xfe.mp4"),
        ("line\u2028end", r"line\u2028end"),
    ],
    ids=["plain", "any script", "lines", "colours", "C1", "direction", "bytes", "separator"],
)
def test_a_name_is_shown_without_what_a_terminal_obeys(name: str, shown: str) -> None:
    assert printable(name) == shown


@given(st.text())
def test_what_is_shown_is_one_line_of_valid_text(text: str) -> None:
    shown = printable(text)
    shown.encode()
    assert len(shown.splitlines()) <= 1
    assert not set(shown) & set(map(chr, (*range(32), *range(127, 160))))
    assert printable(shown) == shown


def test_the_message_of_an_error_shows_a_name_safely() -> None:
    error = StageError("probe", "not_found", "\x1b[31m does not exist.")
    assert str(error) == error.message == r"\x1b[31m does not exist."
    assert Failure(stage="probe", code="not_found", message="a\nb").message == r"a\nb"


@pytest.mark.parametrize("code", ERROR_CODES)
def test_a_stage_error_crosses_processes_whole(code: str) -> None:
    error = StageError("decode", code, "It says so.")  # type: ignore[arg-type]
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.stage, copy.code, copy.message) == ("decode", code, "It says so.")
