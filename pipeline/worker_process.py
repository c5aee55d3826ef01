"""The worker's side of ``pipeline.workers``: what runs in each process."""

from __future__ import annotations

import os
import re
import resource
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

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
_PARENT_POLL_S = 1.0
# C++ code says so in words, by way of other exceptions.
_NO_MEMORY = re.compile(r"bad_alloc|cannot allocate memory", re.IGNORECASE)


def work(pipe: Connection, make_handler: HandlerFactory, memory_bytes: int | None) -> None:
    """The worker's side: handle tasks until the parent closes the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle.
    if memory_bytes is not None:
        _limit_memory(memory_bytes)
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
            message = ("memory", _memory_reason(memory_bytes))
        except Exception as error:  # noqa: BLE001 - the boundary: a bug costs its task, not the run
            message = ("failed", f"{type(error).__name__}: {error}")
            if _NO_MEMORY.search(str(error)):
                message = ("memory", _memory_reason(memory_bytes))
        try:
            pipe.send(message)
        except (BrokenPipeError, ConnectionResetError):
            os._exit(1)


def _memory_reason(memory_bytes: int | None) -> str:
    if memory_bytes is None:
        return "there was not enough memory for it"
    return f"it needed more than the {memory_bytes / (1 << 30):.3g} GiB that a worker may use"


def _end_with_parent(parent: int) -> None:
    """A worker in the midst of a task would go on for nobody when its parent is killed.

    Not by PR_SET_PDEATHSIG: that is sent when the thread ends which started the worker.
    """
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _limit_memory(memory_bytes: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        memory_bytes = min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, hard))
