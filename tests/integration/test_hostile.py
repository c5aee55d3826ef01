"""Whole runs over files that are made to do harm: each costs its own row, and nothing more."""

from __future__ import annotations

import os
import random
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers.batch import batch, rows
from helpers.hungry import make_hungry_for_slices
from media.clips import ClipLibrary
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.config import Config, load_config
from sightsound.pipeline.local import LocalEngine
from sightsound.pipeline.tasks import make_handler
from sightsound.pipeline.workers import Handler
from sightsound.stages.records import VideoResult
from sightsound.stages.tables import result_rows


def run(
    paths: list[Path],
    *settings: str,
    make_handler: Callable[[Config], Handler] = make_handler,
) -> dict[str, VideoResult]:
    """Results by the name of the file."""
    config = load_config(settings=("workers.count=2", *settings))
    engine = LocalEngine(config, load_bundle("default"), make_handler=make_handler)
    found = list(engine.run([str(path) for path in paths]))
    assert sorted(result.uri for result in found) == sorted(map(str, paths))
    return {Path(result.uri).name: result for result in found}


def failure(result: VideoResult) -> tuple[str, str]:
    """Code and message of a file that failed."""
    assert result.status == "failed" and result.failure is not None
    return result.failure.code, result.failure.message


@pytest.fixture
def good(clips: ClipLibrary, tmp_path: Path) -> Path:
    path = tmp_path / "good.mp4"
    path.write_bytes(clips("both_mp4").read_bytes())
    return path


@pytest.fixture
def port() -> Iterator[int]:
    """A port that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield server.getsockname()[1]
        with pytest.raises(TimeoutError):
            server.accept()


def test_playlists_beside_good_files_cost_their_own_rows(
    good: Path, tmp_path: Path, port: int
) -> None:
    playlist = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    texts = {
        "playlist.m3u8": playlist.format(f"http://127.0.0.1:{port}/a.ts"),
        "passwords.m3u8": playlist.format("file:///etc/passwd"),
        "list.mp4": f"ffconcat version 1.0\nfile '{good}'\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    results = run([*(tmp_path / name for name in texts), good])
    assert results["good.mp4"].status == "ok"
    for name in texts:
        code, message = failure(results[name])
        assert code == "not_allowed"
        assert message.startswith(str(tmp_path / name))


def test_file_that_takes_all_memory_costs_its_own_row(good: Path, tmp_path: Path) -> None:
    hungry = tmp_path / "hungry.mp4"
    shutil.copy(good, hungry)
    results = run(
        [hungry, good],
        "limits.memory_bytes=2000000000",
        make_handler=make_hungry_for_slices,
    )
    assert results["good.mp4"].status == "ok"
    code, message = failure(results["hungry.mp4"])
    assert code == "out_of_memory"
    assert "1.86 GiB" in message and "limits.memory_bytes" in message


def test_file_that_has_used_up_its_time_is_given_up(good: Path, tmp_path: Path) -> None:
    long = make_clip(
        tmp_path / "long.mp4",
        picture=Picture(times=even_times(600, 10), gop=50, width=64, height=48),
    )
    results = run([long], "workers.deadline_file_s=0.001", "workers.slice_s=8")
    code, message = failure(results["long.mp4"])
    assert code == "timeout"
    assert "given up" in message


def test_chosen_track_that_one_file_lacks_is_said_in_its_row(good: Path, tmp_path: Path) -> None:
    silent = make_clip(tmp_path / "silent.mp4", picture=Picture(times=even_times(25)))
    results = run([good, silent], "streams.audio_track=0")
    assert results["good.mp4"].status == "ok"
    code, message = failure(results["silent.mp4"])
    assert code == "no_track"
    assert message.startswith(f"{silent} has no sound track 0, only none at all")


NAMES = (
    b"-leading-dash.mp4",
    b"--out.mp4",
    b"two\nlines.mp4",
    b"'single\"double`$(touch hacked)`.mp4",
    b"red\x1b[31m\x1b]0;title\x07.mp4",
    b"not-utf-8-\xff\xfe.mp4",
    b"c1-\xc2\x9b2J.mp4",
)


@pytest.fixture
def named(clips: ClipLibrary, tmp_path: Path) -> Path:
    """A folder of one clip under every name."""
    folder = tmp_path / "named"
    folder.mkdir()
    for name in NAMES:
        os.symlink(clips("tenth_of_a_second_mp4"), os.path.join(os.fsencode(folder), name))
    return folder


def assert_safe(text: str) -> None:
    """Nothing that a terminal obeys but ends of lines."""
    assert not set(text) & (set(map(chr, (*range(32), *range(127, 160)))) - {"\n"})


def expected_uris(folder: Path) -> list[str]:
    """Names as they are, but as a URI where they are no UTF-8, which no table can hold."""
    found = []
    for name in NAMES:
        try:
            found.append(f"{folder}/{name.decode()}")
        except UnicodeDecodeError:
            found.append(f"file://{folder}/not-utf-8-%FF%FE.mp4")
    return sorted(found)


@pytest.mark.slow
def test_batch_has_a_row_for_every_name(named: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = batch(named, "--out", out)
    assert done.returncode == 0, done.stderr
    assert sorted(row["uri"] for row in rows(out, "videos")) == expected_uris(named)
    assert_safe(done.stdout + done.stderr)
    assert not list(tmp_path.rglob("hacked"))


@pytest.mark.alone
def test_names_in_messages_are_safe_in_every_row(named: Path, tmp_path: Path) -> None:
    for number, link in enumerate(sorted(named.iterdir())):
        link.unlink()
        link.write_text("no video" * (number + 1))
    out = tmp_path / "out"
    done = batch(named, "--out", out)
    assert done.returncode == 3, done.stderr
    for row in rows(out, "videos"):
        assert row["error_code"] == "not_media"
        assert_safe(row["error_message"])
        assert "\n" not in row["error_message"]
    assert_safe(done.stdout + done.stderr)


def rows_of(results: dict[str, VideoResult]) -> dict[str, Any]:
    """All that the tables say of each file, but for the time that it took."""
    bundle = load_bundle("default")
    found = {}
    for name, result in results.items():
        video, windows, segments = result_rows(
            result, bundle.tasks, model_id="m", config_id="c", top_k=5, embedding=False
        )
        found[name] = ({**video, "processing_s": 0}, windows, segments)
    return found


def kill_workers_at_random(stop: threading.Event, killed: list[int]) -> None:
    """Kill a worker of this process now and then, as the kernel does."""
    chance = random.Random(5)
    while not stop.wait(chance.uniform(0.5, 2.5)):
        workers = [
            child
            for child in psutil.Process().children()
            if "spawn_main" in " ".join(child.cmdline())
        ]
        if workers:
            victim = chance.choice(workers)
            victim.kill()
            killed.append(victim.pid)


@pytest.mark.slow
def test_workers_killed_at_random_change_nothing(clips: ClipLibrary, tmp_path: Path) -> None:
    """100 files, of which every tenth is damaged, and some are cut into slices."""
    names = ("both_mp4", "h264_gop30_mp4", "vp9_webm", "mpeg4_avi", "sound_only_m4a")
    long = make_clip(
        tmp_path / "long.mp4",
        picture=Picture(times=even_times(400, 10), gop=20, width=64, height=48),
        sound=Sound(samples=sweep(40, 16000, channels=2), rate_hz=16000),
    )
    paths = []
    for number in range(100):
        source = long if number % 25 == 0 else clips(names[number % len(names)])
        path = tmp_path / f"{number:03d}{source.suffix}"
        data = bytearray(source.read_bytes())
        if number % 10 == 9:
            middle = len(data) // 2
            data[middle : middle + 400] = random.Random(number).randbytes(400)
        path.write_bytes(data)
        paths.append(path)
    settings = ("workers.slice_s=12", "workers.attempts=10")
    calm = rows_of(run(paths, *settings))
    stop, killed = threading.Event(), []
    killer = threading.Thread(target=kill_workers_at_random, args=(stop, killed))
    killer.start()
    try:
        disturbed = rows_of(run(paths, *settings))
    finally:
        stop.set()
        killer.join()
    assert len(killed) >= 5
    assert disturbed == calm
    assert {row[0]["status"] for row in calm.values()} >= {"ok", "partial"}
