"""Running ``sightsound batch`` as a user does, and checking that nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
from helpers.command import COMMAND, command_line, without_weights

from sightsound.pipeline.digest import run_digest, video_digest
from sightsound.pipeline.keys import KEY, make_keys

TABLES = ("videos", "windows", "segments")


def batch_command(*arguments: str | Path, commit_s: float = 1) -> list[str]:
    return [*COMMAND, "batch", *map(str, arguments), "--set", f"batch.commit_s={commit_s}"]


def batch(
    *arguments: str | Path, timeout_s: float = 300, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        batch_command(*arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        env={**without_weights(), **environment},
    )


def faulty_batch(
    factory: str, folder: Path, out: Path, *settings: str
) -> subprocess.CompletedProcess[str]:
    """A run whose workers handle their tasks by a factory in ``helpers.faulty``."""
    script = (
        "import sys\n"
        f"from helpers.faulty import {factory} as factory\n"
        "from sightsound.pipeline.batch import batch\n"
        "from sightsound.pipeline.config import load_config\n"
        "folder, out, *settings = sys.argv[1:]\n"
        "sys.exit(batch([folder], load_config(settings=tuple(settings)), out=out, "
        "make_handler=factory))\n"
    )
    return subprocess.run(
        [sys.executable, "-c", script, str(folder), str(out), *settings],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**without_weights(), "PYTHONPATH": str(Path(__file__).parents[1])},
    )


def start_batch(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        batch_command(*arguments),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**without_weights(), **environment},
        start_new_session=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 120) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come about within {timeout_s} s")


def n_commits(out: Path) -> int:
    return len(list(out.glob("ledger/*.parquet")))


def workers_of(pid: int) -> list[psutil.Process]:
    """The processes that decode and label: children of the label actors."""
    return [
        child
        for child in psutil.Process(pid).children(recursive=True)
        if command_line(child).startswith("ray::MapWorker(MapBatches(Label")
        or "spawn_main" in command_line(child)
    ]


def rows(out: Path, table: str) -> list[dict[str, Any]]:
    return pq.read_table(out / table).to_pylist()


def check_whole(out: Path, uris: Iterable[str]) -> str:
    """Assert that the tables have exactly one row an input and nothing else; the digest."""
    expected = sorted(uris)
    videos = rows(out, "videos")
    assert sorted(row["uri"] for row in videos) == expected
    record = json.loads((out / "run.json").read_text())
    assert sum(record["counts"].values()) == record["inputs"] == len(expected)
    left = [path for path in out.rglob("*") if path.is_file() and path.name.startswith(".")]
    assert left == []
    numbers = {path.name for path in out.glob("ledger/*.parquet")}
    for table in TABLES:
        assert {path.name for path in (out / table).glob("*")} <= numbers
    assert not (out / "ledger" / "slices").exists()
    by_uri: dict[str, tuple[list[Any], list[Any]]] = {uri: ([], []) for uri in expected}
    for part, table in enumerate(TABLES[1:]):
        for row in rows(out, table):
            by_uri[row["uri"]][part].append(row)
    assert all(len(by_uri[row["uri"]][0]) == row["n_windows"] for row in videos)
    digests = [video_digest(row, *by_uri[row["uri"]]) for row in videos]
    import numpy as np

    found = run_digest(
        make_keys([row["uri"] for row in videos]), np.frombuffer(b"".join(digests), dtype=KEY)
    )
    assert found == record["digest"]
    return found


def kill_all(process: subprocess.Popen[Any]) -> None:
    """kill -9 of the driver, as an operator or the kernel does it; its Ray ends with it."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
