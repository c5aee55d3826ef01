"""Damaged and hostile files: every sample accounted for, and no harm done."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import pytest
from helpers.decoding import SMALL_VIEW, decode
from media.clips import ClipLibrary
from media.generate import TORTURE, TortureLibrary
from media.torture_damage import DAMAGE
from media.torture_hostile import HOSTILE, SECRET
from media.torture_look import LOOK
from media.torture_times import TIMES

from sightsound.stages.errors import StageError
from sightsound.stages.probe import Probe

_FPS = Fraction(8)
_READABLE = [torture.file for torture in DAMAGE if torture.statuses != ("failed",)]
_REFUSED = [t.file for t in (*DAMAGE, *HOSTILE) if t.statuses == ("failed",)]
_NAMES = [torture.file for torture in HOSTILE if torture.statuses == ("ok",)]
_HEADERS = [t.file for t in HOSTILE if t.duration_s is not None and t.file not in _NAMES]
_LIMITED = [torture.file for torture in HOSTILE if torture.needs_limits]
_REST = [
    torture.file
    for torture in HOSTILE
    if torture.file not in (*_NAMES, *_HEADERS, *_LIMITED, *_REFUSED)
]
_GENERATOR = Path(__file__).parents[1] / "media" / "generate.py"


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_making_an_av1_clip_leaves_the_scheduling_of_the_process_alone(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    ClipLibrary(tmp_path)("av1_mp4")
    assert os.sched_getscheduler(0) == before


def assert_accounted_for(path: Path) -> None:
    """Every sample within the picture is shown or lost, in order, and none lies beyond its end."""
    decoded = decode(path, fps=_FPS, sound=True, view=SMALL_VIEW)
    plan = decoded.plan
    begin_s, end_s = plan.video_span_s or (0.0, 0.0)
    within = {sample for sample in range(100_000) if begin_s <= sample / _FPS < end_s}
    assert within - set(decoded.shown) == within & decoded.report.lost
    assert all(sample / _FPS < end_s for sample in decoded.shown)
    times = [decoded.shown[sample].time_s for sample in sorted(decoded.shown)]
    assert all(before <= after for before, after in pairwise(times))
    assert plan.slices[-1].windows[-1].end_s == plan.duration_s
    assert sum(map(len, decoded.sound.values())) / 16000 <= plan.duration_s + 0.1


@pytest.mark.parametrize("name", _READABLE)
def test_every_sample_of_a_damaged_file_is_shown_or_lost(
    torture: TortureLibrary, name: str
) -> None:
    try:
        assert_accounted_for(torture(name))
    except (StageError, MemoryError):
        if "failed" not in TORTURE[name].statuses:
            raise


@pytest.mark.parametrize("name", [t.file for t in DAMAGE if t.statuses == ("partial",)])
def test_damage_is_noticed(torture: TortureLibrary, name: str) -> None:
    decoded = decode(torture(name), fps=_FPS, sound=True, view=SMALL_VIEW)
    report = decoded.report
    assert report.lost or report.tainted or report.sound_errors_s or decoded.plan.truncated


@pytest.mark.parametrize("name", ["bit_flips.mp4", "hole.mp4", "overwritten.mp4"])
def test_frames_after_the_damage_are_intact(torture: TortureLibrary, name: str) -> None:
    decoded = decode(torture(name), fps=_FPS, view=SMALL_VIEW)
    good = [
        sample
        for sample, shown in decoded.shown.items()
        if not shown.tainted and sample not in decoded.report.lost
    ]
    assert 0 in good
    assert max(good) == 31


@pytest.mark.parametrize("name", _REFUSED)
def test_what_is_no_recording_is_refused_with_a_reason(torture: TortureLibrary, name: str) -> None:
    with pytest.raises(StageError) as caught:
        decode(torture(name), view=SMALL_VIEW)
    assert caught.value.message.count("\n") == 0


@pytest.mark.parametrize("name", _NAMES)
def test_a_nasty_name_changes_nothing(torture: TortureLibrary, name: str) -> None:
    path = torture(name)
    decoded = decode(path, fps=_FPS, view=SMALL_VIEW)
    assert sorted(decoded.shown) == list(range(8))
    assert decoded.plan.duration_s == 1
    assert not (path.parent / "gone").exists() and not Path("gone").exists()


@pytest.mark.parametrize("name", _HEADERS)
def test_an_absurd_header_is_not_believed(torture: TortureLibrary, name: str) -> None:
    duration_s = TORTURE[name].duration_s
    decoded = decode(torture(name), fps=_FPS, view=SMALL_VIEW)
    assert decoded.plan.duration_s == pytest.approx(duration_s)
    assert sorted(decoded.shown) == list(range(8))


@pytest.mark.parametrize("name", _REST)
def test_a_hostile_file_is_read_or_refused(torture: TortureLibrary, name: str) -> None:
    """Whatever it claims, it is read as what is there, or refused in one sentence."""
    refused, duration_s = False, 0.0
    try:
        duration_s = decode(torture(name), fps=_FPS, view=SMALL_VIEW).plan.duration_s
    except StageError:
        refused = True
    assert refused or 0 < duration_s <= 2


_UNDER_LIMITS = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
from fractions import Fraction
from pathlib import Path
from helpers.decoding import SMALL_VIEW, decode
from sightsound.stages.errors import StageError
try:
    decode(Path(sys.argv[1]), fps=Fraction(2), view=SMALL_VIEW)
except (StageError, MemoryError) as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize("name", _LIMITED)
def test_a_bomb_ends_within_limits_of_memory_and_time(torture: TortureLibrary, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _UNDER_LIMITS, str(torture(name))],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        cwd=Path(__file__).parents[1],
    )
    assert done.returncode == 0, done.stderr


def test_a_file_that_refers_to_another_does_not_show_that_one(torture: TortureLibrary) -> None:
    path = torture("data_elsewhere.mov")
    other = path.with_name("secret.mov")
    assert other.is_file()
    try:
        decoded = decode(path, fps=_FPS, view=SMALL_VIEW)
    except StageError:
        return
    # Its own bytes are those of the other, so that only their count can tell.
    assert decoded.info.size_bytes == path.stat().st_size


def test_one_playlist_after_another_is_refused_for_what_it_is(torture: TortureLibrary) -> None:
    codes = []
    for name in ("playlist_file.m3u8", "playlist_passwd.m3u8", "playlist_address.m3u8"):
        with pytest.raises(StageError) as caught:
            Probe()(str(torture(name)))
        codes.append(caught.value.code)
    assert codes == ["not_allowed"] * 3


def test_a_playlist_lies_beside_the_file_that_it_names(torture: TortureLibrary) -> None:
    """Were it refused for the lack of that, the test of refusal would prove nothing."""
    path = torture("playlist_file.m3u8")
    assert SECRET in path.read_text()
    assert Probe()(str(path.with_name(SECRET))).video is not None


@pytest.mark.parametrize(
    "name",
    ["variable_rate.mkv", "joined.ts", "fragmented.mp4", "fields.avi", "fields.ts", "alpha.webm",
     "wrong_rate.flv", "swapped_packets.mkv", "bit_flips.mp4", "click_together.ts",
     "negative_start.mp4", "hdr_pq.mp4", "missing_times.mpg", "fields_copied.mkv", "tracks.mkv",
     "cover.mp3", "cover_attached.mkv"],
)  # fmt: skip
def test_a_file_is_made_of_the_same_bytes_each_time(name: str, tmp_path: Path) -> None:
    digests = set()
    for folder in ("first", "second"):
        path = tmp_path / folder / name
        path.parent.mkdir()
        TORTURE[name].make(path)
        digests.add(hashlib.sha256(path.read_bytes()).digest())
    assert len(digests) == 1


def test_no_two_files_have_one_name() -> None:
    assert len(TORTURE) >= len(TIMES) + len(LOOK) + len(DAMAGE) + len(HOSTILE)
    assert all(name == torture.file for name, torture in TORTURE.items())


def test_the_generator_writes_what_is_asked_for_and_a_manifest(tmp_path: Path) -> None:
    names = ("wrap.ts", "-i.mp4")
    done = subprocess.run(
        [sys.executable, str(_GENERATOR), "--", str(tmp_path / "out"), *names],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert [entry["file"] for entry in entries] == list(names)
    for entry in entries:
        data = (tmp_path / "out" / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
    assert entries[0]["frame_times_s"][:3] == [0.0, 0.04, 0.08]


def test_the_generator_lists_every_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(_GENERATOR), "--list"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(TORTURE)


def test_the_generator_refuses_a_name_that_it_does_not_know(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(_GENERATOR), str(tmp_path), "nothing.mp4"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "there is no nothing.mp4: --list says what there is" in done.stderr
