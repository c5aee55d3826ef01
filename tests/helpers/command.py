"""Running the real command as a user does, and reading the tables that it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq

COMMAND = (sys.executable, "-c", "from sightsound.pipeline.cli import main; main()")


def sightsound(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``sightsound ARGUMENTS`` and return its status, standard output and standard error."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**without_weights(), **environment},
    )


def without_weights() -> dict[str, str]:
    """The environment as it is where nobody has set up anything."""
    return {key: value for key, value in os.environ.items() if key != "SIGHTSOUND_WEIGHTS"}


def read_table(folder: Path, name: str, *, drop: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The rows of a result table, in an order that does not depend on how they were made."""
    rows = pq.read_table(folder / name).drop_columns(list(drop)).to_pylist()
    keys = ("uri", "task", "window", "start_s", "label")
    return sorted(rows, key=lambda row: tuple(str(row.get(key, "")) for key in keys))


def command_line(process: psutil.Process) -> str:
    """What a process was started with, nothing if it has ended."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
