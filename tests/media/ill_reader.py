"""A reader that some names crash or hang, as files do. Importable in a worker."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

from sightsound.pipeline.inspection.records import Inspection
from sightsound.pipeline.inspection.run import make_inspector
from sightsound.pipeline.workers import Handler


def make_ill() -> Handler:
    """The real handler, but for names with "crash", "hang" and "bug" in them."""
    real = make_inspector()

    def handle(task: Any, alive: Callable[[], None]) -> Inspection:
        path = task[1]
        if "crash" in path:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "hang" in path:
            time.sleep(3600)
        if "bug" in path:
            raise ValueError("a bug")
        inspection: Inspection = real(task, alive)
        return inspection

    return handle
