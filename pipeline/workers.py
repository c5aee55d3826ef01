"""Worker processes: native code that hangs or crashes costs its task, never the run.

A worker does one task at a time and says that it is alive while it does. One that dies, is
silent for too long or passes its deadline is killed; the caller learns which task it had.
Workers are started when there is work for them. Nothing waits in queues: a task is handed out
only to an idle worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal

from sightsound.stages.errors import StageError

# What a worker may be asked: it makes its handler once, then calls it for every task.
Handler = Callable[[Any, Callable[[], None]], Any]
HandlerFactory = Callable[[], Handler]

# What a worker's environment must hold before it starts. One thread: the workers are the
# parallelism. Blocks of over 1 MiB go back to the system when freed: left to itself, glibc keeps
# ever more of them in its heap, among small ones that live on (100 MB more after two minutes).
WORKER_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": str(1 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(4 << 20),
    "MALLOC_ARENA_MAX": "2",
}

_HEARTBEAT_S = 0.5
_POLL_S = 0.25
_PARENT_POLL_S = 1.0
_EXIT_GRACE_S = 5.0
_MOST_STILLBORN = 4


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
    for a bug, its text; "crashed" and "timeout" mean that the worker is gone.
    """

    task: Any
    kind: Literal["done", "failed", "crashed", "timeout"]
    value: Any = None
    error: StageError | None = None
    reason: str = ""


class WorkerPool:
    """At most ``n_workers`` processes, started as tasks come and again where one has died.

    ``make_handler`` must be picklable; it runs in each worker. Use as a context manager.
    """

    def __init__(self, make_handler: HandlerFactory, n_workers: int) -> None:
        self._make_handler = make_handler
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

    def submit(self, task: Any, limits: Limits) -> None:
        """Give a task to an idle worker, or to a new one; ``n_idle`` must be above 0."""
        idle = [worker for worker in self._workers if worker.task is None]
        if not idle:
            idle = [_Worker(self._context, self._make_handler)]
            self._workers += idle
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
            reason = worker.overdue()
            if reason:
                task = worker.task
                self._discard(worker)
                yield Outcome(task=task, kind="timeout", reason=reason)

    def close(self) -> None:
        """Stop all workers, idle ones politely."""
        for worker in self._workers:
            worker.stop()

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

    def __init__(self, context: Any, make_handler: HandlerFactory) -> None:
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(theirs, make_handler), daemon=True
        )
        self.process.start()
        theirs.close()
        self.task: Any = None
        self.has_started = False
        self.n_done = 0
        self._limits = Limits(stall_s=0, deadline_s=0)
        self._began = self._heard = 0.0

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
            return Outcome(task=self.task, kind="crashed", reason=_exit_reason(self.process))
        self.has_started = True
        if kind == "alive":
            return None
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


def _exit_reason(process: BaseProcess) -> str:
    code = process.exitcode
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        if name == "SIGKILL":
            return "its process was killed (SIGKILL), perhaps for using too much memory"
        return f"its process crashed ({name})"
    return f"its process ended unexpectedly (exit status {code})"


def _work(pipe: Connection, make_handler: HandlerFactory) -> None:
    """The worker's side: handle tasks until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    heard = [time.monotonic()]

    def alive() -> None:
        now = time.monotonic()
        if now - heard[0] > _HEARTBEAT_S:
            heard[0] = now
            pipe.send(("alive", None))

    handler: Handler | None = None
    pipe.send(("alive", None))
    while True:
        try:
            task = pipe.recv()
        except EOFError:
            return
        try:
            if handler is None:
                handler = make_handler()
            message = ("done", handler(task, alive))
        except StageError as error:
            message = ("failed", error)
        except MemoryError:
            message = (
                "failed",
                StageError("decode", "out_of_memory", "There was not enough memory for it."),
            )
        except Exception as error:  # noqa: BLE001 - the boundary: a bug costs its task, not the run
            message = ("failed", f"{type(error).__name__}: {error}")
        try:
            pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)


def _end_with_parent(parent: int) -> None:
    """A worker in the midst of a task would go on for nobody when its parent is killed.

    Not by PR_SET_PDEATHSIG: that is sent when the thread ends which started the worker.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)
