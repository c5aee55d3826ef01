"""Ctrl-C and SIGTERM while a run works."""

from __future__ import annotations

import signal
from typing import Any

from rich.console import Console

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Ctrl-C or SIGTERM once: stop in good order. Twice: at once; the ledger stays whole."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> None:
        self._before = {number: signal.signal(number, self._stop) for number in _STOP_SIGNALS}

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, *_: object) -> None:
        for number in _STOP_SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        self._console.print(
            "Stopping: what is finished is being committed (Ctrl-C again to stop at once) ..."
        )
        raise KeyboardInterrupt
