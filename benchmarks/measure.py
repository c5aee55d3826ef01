"""CPU seconds, wall time and peak memory of whole process trees (Linux).

CPU seconds come from the kernel's own accounts: the benchmark adopts orphans (it is their
"subreaper") and waits for every descendant, so that workers which were killed, or which
outlived their parent, count as well. Memory is read every 50 ms while a command runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36
_ORPHAN_GRACE_S = 10.0
_POLL_S = 0.05
# Reading proportional sizes walks the page tables of the process that is measured.
_POLLS_A_PSS = 10
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class CommandFailedError(RuntimeError):
    """A measured command ended with a status that it should not have."""


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What one or several commands took.

    ``rss_bytes`` is the peak, over time, of the summed resident memory of the tree, where pages
    shared between processes count once for each; ``pss_bytes`` counts them once.
    """

    cpu_s: float
    wall_s: float
    rss_bytes: int
    pss_bytes: int


def adopt_orphans() -> None:
    """Make this process the one that orphaned descendants are handed to."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER) failed")


def use_cores(count: int) -> int:
    """Keep this process and all that it starts to ``count`` cores; return how many it got."""
    allowed = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, allowed)
    return len(allowed)


def measure(
    commands: Sequence[Sequence[str]], *, log: Path, allowed_status: Sequence[int] = (0,)
) -> Usage:
    """Run commands one after the other and add up what they took.

    Standard output and error go to ``log``.

    Raises:
        CommandFailedError: one ended with a status that is not allowed.
    """
    usages = [_measure_one(command, log=log, allowed_status=allowed_status) for command in commands]
    return Usage(
        cpu_s=sum(usage.cpu_s for usage in usages),
        wall_s=sum(usage.wall_s for usage in usages),
        rss_bytes=max(usage.rss_bytes for usage in usages),
        pss_bytes=max(usage.pss_bytes for usage in usages),
    )


def _measure_one(command: Sequence[str], *, log: Path, allowed_status: Sequence[int]) -> Usage:
    before = _children_cpu_s()
    with log.open("wb") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        with _MemoryWatch(process.pid) as memory:
            status = process.wait()
        wall_s = time.perf_counter() - began
    _reap_orphans()
    if status not in allowed_status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise CommandFailedError(f"{' '.join(command)}\nended with status {status}:\n{tail}")
    return Usage(
        cpu_s=_children_cpu_s() - before,
        wall_s=wall_s,
        rss_bytes=memory.rss_bytes,
        pss_bytes=memory.pss_bytes,
    )


def _children_cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap_orphans() -> None:
    """Wait for descendants that outlived the command."""
    deadline = time.monotonic() + _ORPHAN_GRACE_S
    while time.monotonic() < deadline:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            time.sleep(0.01)
    raise CommandFailedError(f"A descendant is still running {_ORPHAN_GRACE_S:.0f} s later.")


class _MemoryWatch:
    """Polls the memory of a process and its descendants while the ``with`` block runs."""

    def __init__(self, pid: int) -> None:
        self.rss_bytes = self.pss_bytes = 0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> _MemoryWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        n_polls = 0
        while not self._over.wait(_POLL_S):
            pids = _tree(self._pid)
            self.rss_bytes = max(self.rss_bytes, sum(_rss_bytes(pid) for pid in pids))
            if n_polls % _POLLS_A_PSS == 0:
                self.pss_bytes = max(self.pss_bytes, sum(_pss_bytes(pid) for pid in pids))
            n_polls += 1


def _tree(pid: int) -> list[int]:
    """A process and its descendants, without a look at all the others (as psutil would)."""
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _rss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_BYTES
    return 0


def _pss_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
