"""Handlers for worker processes that misbehave as native code does. Importable in a worker."""

import os
import random
import signal
import time
from collections.abc import Callable
from typing import Any

from sightsound.pipeline.config import Config
from sightsound.pipeline.tasks import SliceTask, make_handler
from sightsound.pipeline.workers import Handler
from sightsound.stages.errors import StageError


def segfault() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def make_obedient() -> Handler:
    """A handler whose tasks say what it shall do."""

    def handle(task: Any, alive: Callable[[], None]) -> Any:
        match task:
            case ("add", left, right):
                return left + right
            case ("segfault",):
                segfault()
            case ("exit",):
                os._exit(7)
            case ("hang",):
                time.sleep(3600)
            case ("busy", seconds):
                stop = time.monotonic() + seconds
                while time.monotonic() < stop:
                    time.sleep(0.05)
                    alive()
                return "finished"
            case ("bug",):
                raise ValueError("a bug")
            case ("stage error",):
                raise StageError("decode", "damaged", "It is damaged.")
            case ("pid",):
                return os.getpid()
        return None

    return handle


class Stillborn:
    """A handler's factory that ends the worker which unpickles it."""

    def __reduce__(self) -> Any:
        return os._exit, (5,)

    def __call__(self) -> Handler:
        raise AssertionError("no worker lives to call this")


def make_dying() -> Handler:
    """A handler that cannot even be made."""
    os._exit(3)


def make_sabotaged(config: Config) -> Handler:
    """The real handler, but files with these words in their names crash or hang it."""
    real = make_handler(config)

    def handle(task: Any, alive: Callable[[], None]) -> Any:
        if isinstance(task, SliceTask):
            name = os.path.basename(task.info.path)
            if "crash" in name:
                segfault()
            if "hang" in name:
                time.sleep(3600)
            if "actor" in name:
                os.kill(os.getppid(), signal.SIGKILL)
                time.sleep(3600)
            if "once" in name and not os.path.exists(task.info.path + ".seen"):
                with open(task.info.path + ".seen", "w", encoding="utf-8"):
                    pass
                segfault()
        return real(task, alive)

    return handle


def make_shuffled(config: Config) -> Handler:
    """The real handler, but tasks take longer than they need, by chance."""
    real = make_handler(config)
    chance = random.Random(os.getpid())

    def handle(task: Any, alive: Callable[[], None]) -> Any:
        time.sleep(chance.uniform(0, 0.5))
        return real(task, alive)

    return handle
