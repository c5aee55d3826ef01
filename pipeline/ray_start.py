"""How Ray is started for a run: quietly, and with no more than a run needs."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


def set_environment() -> None:
    """What Ray reads when it is imported or started."""
    # Its workers run at the lowest priority unless told otherwise.
    os.environ.setdefault("RAY_worker_niceness", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Actors have processes of their own; those that wait for tasks would never get one.
    os.environ.setdefault("RAY_enable_worker_prestart", "0")
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # A thread that outlives an interrupted run must not start another Ray.
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")


def quieten() -> None:
    """Ray Data tells of every lost block at length; a run accounts for them itself."""
    # Of fewer inputs than workers, which is no trouble.
    warnings.filterwarnings("ignore", message="The minimum number of concurrent actors")
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Keep what native code writes to the file descriptor of standard error from the terminal."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
