"""The ``probe`` command as a user gives it: every file a row, whatever it does to its reader."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from helpers.command import sightsound
from media.clips import ClipLibrary
from media.damage import with_matroska_duration
from media.generate import TortureLibrary

_HOSTILE = (
    "bomb_gzip.mp4",
    "billion_frames.mp4",
    "giant_header.mov",
    "giant_header.gif",
    "playlist_address.m3u8",
    "gigabyte_tags.mp4",
    "two\nlines.mp4",
    os.fsdecode(b"not \xff\xfe utf-8.mp4"),
    "\x1b[31mred.mp4",
    "-i.mp4",
)


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def found_in(output: str) -> dict[str, dict[str, Any]]:
    return {row["path"]: row for row in json.loads(output)["files"]}


def test_claims_stand_beside_what_was_measured(clips: ClipLibrary, tmp_path: Path) -> None:
    path = with_matroska_duration(clips("both_mkv"), tmp_path / "liar.mkv", seconds=240)
    done = sightsound("probe", path, COLUMNS="80")
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["duration", "4:00.0", "(240.000", "s)", "0:08.0", "(8.000", "s)"] in lines
    assert "! It says 240.0 s, it holds 8.0 s." in done.stdout
    assert "1 file: 1 readable, 0 not." in done.stderr


def test_json_is_complete_and_alone_on_standard_output(clips: ClipLibrary) -> None:
    done = sightsound("probe", clips("both_mp4"), "/absent.mp4", "--format", "json")
    assert done.returncode == 3
    found = found_in(done.stdout)
    assert list(found) == [str(clips("both_mp4")), "/absent.mp4"]
    good, absent = found.values()
    assert good["status"] == "readable"
    assert good["picture"]["times"]["n_frames"] == 200
    assert good["sound"]["claimed_sample_rate_hz"] == 48000
    assert good["error"] is None
    assert (absent["status"], absent["error"]["code"]) == ("unreadable", "not_found")
    assert "1 readable, 1 not" in done.stderr


def test_every_hostile_file_has_one_row(torture: TortureLibrary, clips: ClipLibrary) -> None:
    paths = [str(torture(name)) for name in _HOSTILE]
    good = str(clips("both_mp4"))
    done = sightsound("probe", "--format", "json", "--deadline", "60", *paths, good)
    found = found_in(done.stdout)
    assert list(found) == [*paths, good]
    assert found[good]["status"] == "readable"
    assert found[paths[0]]["status"] == found[paths[4]]["status"] == "unreadable"
    assert all(found[path]["status"] == "readable" for path in paths[6:])
    assert done.returncode == 3
    for row in found.values():
        assert (row["error"] is None) == (row["status"] == "readable")
        if row["error"] is not None:
            assert row["error"]["code"] not in ("internal", "crashed")


def test_a_nasty_name_does_not_reach_the_terminal(torture: TortureLibrary) -> None:
    names = ("two\nlines.mp4", os.fsdecode(b"not \xff\xfe utf-8.mp4"), "\x1b[31mred.mp4")
    done = sightsound("probe", *(torture(name) for name in names))
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    headings = [line for line in done.stdout.splitlines() if ".mp4  readable" in line]
    assert len(headings) == 3
    assert r"two\nlines.mp4" in done.stdout
    assert r"not \xff\xfe utf-8.mp4" in done.stdout


@pytest.mark.parametrize("width", ["80", "120"])
def test_no_line_is_wider_than_the_terminal(
    torture: TortureLibrary, clips: ClipLibrary, width: str
) -> None:
    for files in ([torture("variable_rate.mp4")], [torture("wrap.ts"), clips("both_mp4")]):
        done = sightsound("probe", *files, COLUMNS=width)
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= int(width)


def test_no_file_is_a_wrong_command_line() -> None:
    assert sightsound("probe").returncode == 2
