"""CPU seconds of all descendants of this process, read while they run (Linux).

The kernel's accounts, which measure.py reads, lack the children of a parent that ignores
SIGCHLD, and Ray's raylet does, so that its workers are missing there. Here every process is asked
every 50 ms what it has used, and its last answer counts: what it does after that, and processes
shorter than that, are missing. Either number is a lower bound.
"""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

_POLL_S = 0.05
_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Fields of /proc/PID/stat, counted from the one that follows the name.
_USER, _SYSTEM, _STARTED = 11, 12, 19


class TreeCpu:
    """Adds up the CPU seconds of the descendants while the ``with`` block runs."""

    def __init__(self) -> None:
        self._ticks: dict[tuple[int, int], int] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> TreeCpu:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def cpu_s(self) -> float:
        """What has been seen so far."""
        return sum(self._ticks.values()) / _TICKS_A_SECOND

    def _watch(self) -> None:
        while not self._over.wait(_POLL_S):
            for pid in _descendants():
                with contextlib.suppress(OSError, IndexError):
                    text = Path(f"/proc/{pid}/stat").read_text()
                    fields = text.rpartition(")")[2].split()
                    # A number may be given to another process later.
                    key = (pid, int(fields[_STARTED]))
                    self._ticks[key] = int(fields[_USER]) + int(fields[_SYSTEM])


def _descendants() -> list[int]:
    found = [os.getpid()]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found[1:]
