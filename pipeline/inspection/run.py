"""The ``probe`` command: files are read in worker processes, so that none can harm the run."""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from typing import Literal

from rich.console import Console

from sightsound.pipeline.inspection.media import inspect_media
from sightsound.pipeline.inspection.records import Inspection
from sightsound.pipeline.inspection.show import inspection_json, show_inspections
from sightsound.pipeline.manifests import absolute_uri
from sightsound.pipeline.workers import WORKER_ENVIRONMENT, Handler, Limits, Outcome, WorkerPool
from sightsound.stages.errors import ErrorCode
from sightsound.stages.media import file_error
from sightsound.stages.records import Failure

EXIT_OK = 0
EXIT_SOME_FAILED = 3
# A header that claims a billion frames would have as many index entries made.
WORKER_MEMORY_BYTES = 3 << 30
_PIPED_WIDTH = 110


def run_probe(
    inputs: list[str], *, output: Literal["table", "json"], deadline_s: float, n_workers: int
) -> int:
    """Inspect files and print what they hold, in the order in which they were named.

    Returns:
        The exit status: 0 all can be read, 3 some cannot.

    Raises:
        WorkersDieError: worker processes die while they start.
    """
    paths = [absolute_uri(item) for item in inputs]
    found = list(inspect_all(paths, deadline_s=deadline_s, n_workers=n_workers))
    if output == "json":
        rows = ",\n".join(json.dumps(inspection_json(one)) for one in found)
        sys.stdout.write(f'{{"files": [\n{rows}\n]}}\n')
    else:
        is_known = sys.stdout.isatty() or "COLUMNS" in os.environ
        width = None if is_known else _PIPED_WIDTH
        show_inspections(Console(width=width, highlight=False), found)
    n_failed = sum(not one.is_readable for one in found)
    notes = Console(stderr=True, highlight=False)
    plural = "file" if len(found) == 1 else "files"
    notes.print(f"{len(found)} {plural}: {len(found) - n_failed} readable, {n_failed} not.")
    return EXIT_SOME_FAILED if n_failed else EXIT_OK


def inspect_all(
    paths: list[str],
    *,
    deadline_s: float,
    n_workers: int,
    make_handler: Callable[[], Handler] | None = None,
) -> Iterator[Inspection]:
    """Yield what is found of each file, in order; a file that ends its worker is a failure."""
    os.environ.update(WORKER_ENVIRONMENT)
    limits = Limits(stall_s=deadline_s, deadline_s=deadline_s)
    waiting = deque(enumerate(paths))
    done: dict[int, Inspection] = {}
    following = 0
    with WorkerPool(
        make_handler or make_inspector,
        min(n_workers, len(paths) or 1),
        memory_bytes=WORKER_MEMORY_BYTES,
    ) as pool:
        while following < len(paths):
            while pool.n_idle and waiting:
                pool.submit(waiting.popleft(), limits)
            for outcome in pool.wait():
                done[outcome.task[0]] = _inspection(outcome)
            while following in done:
                yield done.pop(following)
                following += 1


def make_inspector() -> Handler:
    """Make a worker's handler (runs in the worker)."""

    def handle(task: tuple[int, str], alive: Callable[[], None]) -> Inspection:
        path = task[1]
        try:
            return inspect_media(path, alive)
        except MemoryError:
            raise
        except OSError as error:
            raise file_error(path, "probe", error) from error

    return handle


def _inspection(outcome: Outcome) -> Inspection:
    path = outcome.task[1]
    if outcome.kind == "done":
        assert isinstance(outcome.value, Inspection)
        return outcome.value
    if outcome.error is not None:
        error = outcome.error
        failure = Failure(stage=error.stage, code=error.code, message=error.message)
    elif outcome.kind == "failed":
        message = f"{path} met an error in sightsound itself ({outcome.reason}): report it."
        failure = Failure(stage="probe", code="internal", message=message)
    elif outcome.out_of_memory:
        message = f"Reading {path} was given up ({outcome.reason}): its header is probably false."
        failure = Failure(stage="probe", code="out_of_memory", message=message)
    else:
        code: ErrorCode = "timeout" if outcome.kind == "timeout" else "crashed"
        message = (
            f"Reading {path} was given up ({outcome.reason}): the file is probably damaged; "
            "give it longer with --deadline if it is only large."
        )
        failure = Failure(stage="probe", code=code, message=message)
    return Inspection(path=path, facts=None, failure=failure)
