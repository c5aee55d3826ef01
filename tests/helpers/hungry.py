"""Handlers for worker processes that want more memory than they may have."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from sightsound.pipeline.config import Config
from sightsound.pipeline.tasks import SliceTask, make_handler
from sightsound.pipeline.workers import Handler


def make_hungry() -> Handler:
    """A handler whose tasks say how many bytes they take."""
    kept = []

    def handle(task: Any, alive: Callable[[], None]) -> Any:
        alive()
        match task:
            case ("take", n_bytes):
                return int(np.ones(n_bytes, dtype=np.uint8)[-1])
            case ("keep", n_bytes):
                kept.append(np.ones(n_bytes, dtype=np.uint8))
            case ("native",):
                raise RuntimeError("Exception from src/allocator.cpp:44: std::bad_alloc")
            case ("killed",):
                os.kill(os.getpid(), signal.SIGKILL)
        return os.getpid()

    return handle


def make_hungry_for_slices(config: Config) -> Handler:
    """The real handler, but files with these words in their names take memory without end."""
    real = make_handler(config)

    def handle(task: Any, alive: Callable[[], None]) -> Any:
        if isinstance(task, SliceTask) and "hungry" in Path(task.info.path).name:
            taken = []
            while True:
                taken.append(np.ones(64 << 20, dtype=np.uint8))
                alive()
        return real(task, alive)

    return handle
