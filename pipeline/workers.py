"""Worker processes: native code that hangs or crashes costs its task, never the run.

A worker does one task at a time and says that it is alive while it does. One that dies, is
silent for too long or passes its deadline is killed; the caller learns which task it had. Its
memory has a ceiling: what asks for more fails there, and not in whatever process the kernel picks.
Workers are started when there is work for them, or by ``start`` before there is. Nothing waits
in queues: a task is handed out only to an idle worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import re
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

from sightsound.pipeline.worker_process import (
    WORKER_ENVIRONMENT,
    Handler,
    HandlerFactory,
    work,
)
from sightsound.stages.errors import StageError

__all__ = [
    "WORKER_ENVIRONMENT",
    "Handler",
    "HandlerFactory",
    "Limits",
    "Outcome",
    "WorkerPool",
    "WorkersDieError",
]

_POLL_S = 0.25
_EXIT_GRACE_S = 5.0
_MOST_STILLBORN = 4
# A process that crashes with so much of its memory in use lacked more of it.
_NEARLY_ALL = 0.75


class WorkersDieError(RuntimeError):
    """Workers die before they have read their task: the installation is broken."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long a task may take: ``stall_s`` without a sign of life, ``deadline_s`` in all."""

    stall_s: float
    deadline_s: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a task.

    ``kind`` "done" has the handler's ``value``; "failed" has the StageError that it raised or,
    for a bug, its text; "crashed" and "timeout" mean that the worker is gone. ``out_of_memory``
    says that it is gone for want of memory.
    """

    task: Any
    kind: Literal["done", "failed", "crashed", "timeout"]
    value: Any = None
    error: StageError | None = None
    reason: str = ""
    out_of_memory: bool = False


class WorkerPool:
    """At most ``n_workers`` processes, started as tasks come and again where one has died.

    ``make_handler`` must be picklable; it runs in each worker. ``memory_bytes`` is the most that
    a worker may set aside (RLIMIT_DATA: heap, private mappings and stacks, not code and files).
    With ``runs_main=False`` workers do not run the parent's main script, as they otherwise do to
    find what it defines; ``make_handler`` must then come from a module. Use as a context manager.
    """

    def __init__(
        self,
        make_handler: HandlerFactory,
        n_workers: int,
        *,
        memory_bytes: int | None = None,
        runs_main: bool = True,
    ) -> None:
        self._make_handler = make_handler
        self._memory_bytes = memory_bytes
        self._runs_main = runs_main
        # A fresh interpreter: a forked child would share the parent's locks and threads.
        self._context = multiprocessing.get_context("spawn")
        self._n_workers = n_workers
        self._workers: list[_Worker] = []
        self._n_stillborn = 0

    def __enter__(self) -> WorkerPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def n_idle(self) -> int:
        """How many more tasks can be begun."""
        return self._n_workers - self.n_busy

    @property
    def n_busy(self) -> int:
        """How many workers have a task."""
        return sum(worker.task is not None for worker in self._workers)

    def start(self) -> None:
        """Start all workers before there is work for them."""
        while len(self._workers) < self._n_workers:
            self._add_worker()

    def submit(self, task: Any, limits: Limits) -> None:
        """Give a task to an idle worker, or to a new one; ``n_idle`` must be above 0."""
        idle = [worker for worker in self._workers if worker.task is None] or [self._add_worker()]
        # One that has worked before has its models loaded and its memory warm.
        max(idle, key=lambda worker: worker.n_done).begin(task, limits)

    def wait(self) -> Iterator[Outcome]:
        """Yield the tasks that ended, after a short wait if none has yet.

        Raises:
            WorkersDieError: workers die one after the other while they start.
        """
        by_pipe = {worker.pipe: worker for worker in self._workers}
        ready = wait(list(by_pipe), timeout=_POLL_S)
        for pipe in ready:
            worker = by_pipe[pipe]  # type: ignore[index]
            outcome = worker.receive()
            if outcome is not None:
                if outcome.kind == "crashed":
                    self._discard(worker)
                    self._watch_starts(worker, outcome.reason)
                    if outcome.task is None:
                        continue
                yield outcome
        for worker in list(self._workers):
            worker.look_at_memory()
            reason = worker.overdue()
            if reason:
                task = worker.task
                self._discard(worker)
                yield Outcome(task=task, kind="timeout", reason=reason)

    def close(self) -> None:
        """Stop all workers, idle ones politely."""
        for worker in self._workers:
            worker.stop()

    def _add_worker(self) -> _Worker:
        with contextlib.nullcontext() if self._runs_main else _no_main_script():
            worker = _Worker(self._context, self._make_handler, self._memory_bytes)
        self._workers.append(worker)
        return worker

    def _watch_starts(self, dead: _Worker, reason: str) -> None:
        self._n_stillborn = 0 if dead.has_started else self._n_stillborn + 1
        if self._n_stillborn >= _MOST_STILLBORN:
            raise WorkersDieError(
                f"Worker processes end while they start ({reason}): run 'sightsound doctor' "
                "to see what is missing."
            )

    def _discard(self, worker: _Worker) -> None:
        worker.kill()
        self._workers.remove(worker)


class _Worker:
    """The parent's side of one worker process."""

    def __init__(
        self, context: Any, make_handler: HandlerFactory, memory_bytes: int | None
    ) -> None:
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=work, args=(theirs, make_handler, memory_bytes), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: Any = None
        self.has_started = False
        self.n_done = 0
        self._limits = Limits(stall_s=0, deadline_s=0)
        self._began = self._heard = 0.0
        self._memory_bytes = memory_bytes
        self._is_nearly_full = False

    def begin(self, task: Any, limits: Limits) -> None:
        self.task, self._limits = task, limits
        self._began = self._heard = time.monotonic()
        # One that died while idle is reported by the next wait, as the end of its pipe.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send(task)

    def receive(self) -> Outcome | None:
        """Read one message; None for a sign of life."""
        self._heard = time.monotonic()
        try:
            kind, value = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self.process.join(timeout=_EXIT_GRACE_S)
            return Outcome(
                task=self.task,
                kind="crashed",
                reason=_exit_reason(self.process),
                out_of_memory=self._is_nearly_full or self.process.exitcode == -signal.SIGKILL,
            )
        self.has_started = True
        if kind == "alive":
            return None
        if kind == "memory":
            # Not to be used again: what it still holds might fail a later task.
            return Outcome(task=self.task, kind="crashed", reason=value, out_of_memory=True)
        task, self.task = self.task, None
        self.n_done += 1
        if kind == "done":
            return Outcome(task=task, kind="done", value=value)
        if isinstance(value, StageError):
            return Outcome(task=task, kind="failed", error=value, reason=value.message)
        return Outcome(task=task, kind="failed", reason=str(value))

    def overdue(self) -> str:
        """Why the worker must be given up, or nothing."""
        if self.task is None:
            return ""
        now = time.monotonic()
        if now - self._heard > self._limits.stall_s:
            return f"no progress for {self._limits.stall_s:.0f} s"
        if now - self._began > self._limits.deadline_s:
            return f"not finished within its deadline of {self._limits.deadline_s:.0f} s"
        return ""

    def look_at_memory(self) -> None:
        """Note how near to its ceiling the worker is; when it has crashed it is too late."""
        if self._memory_bytes is not None and self.task is not None:
            used = _data_bytes(self.process.pid)
            self._is_nearly_full = used > _NEARLY_ALL * self._memory_bytes

    def stop(self) -> None:
        if self.task is None:
            self.pipe.close()
            self.process.join(timeout=_EXIT_GRACE_S)
        self.kill()

    def kill(self) -> None:
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.pipe.close()


@contextlib.contextmanager
def _no_main_script() -> Iterator[None]:
    """Processes that are spawned meanwhile are not told of a main script to run."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    main.__file__ = None
    try:
        yield
    finally:
        main.__file__ = path


def _exit_reason(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return "its process was killed (SIGKILL), perhaps for using too much memory"
        return f"its process crashed ({name})"
    return f"its process ended unexpectedly (exit status {code})"


def _data_bytes(pid: int | None) -> int:
    """What a process counts towards RLIMIT_DATA; 0 where it is gone or the system does not say."""
    with contextlib.suppress(OSError):
        found = re.search(r"^VmData:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
        return int(found[1]) << 10 if found else 0
    return 0
