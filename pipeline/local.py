"""The local engine: worker processes on this machine, each decoding and inferring.

A video is inspected (probe and plan) by a worker, its slices go to whichever workers are idle,
and its result is put together when the last slice is back. At most as many videos are open as
there are workers, so memory does not grow with the number of inputs.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from urllib.parse import quote

from sightsound.models.bundle import Bundle
from sightsound.pipeline.assemble import Assembly
from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import make_grid
from sightsound.pipeline.tasks import (
    InspectTask,
    SliceTask,
    Task,
    failure_of,
    limits,
    make_handler,
)
from sightsound.pipeline.workers import WORKER_ENVIRONMENT, Handler, Outcome, WorkerPool
from sightsound.stages.records import VideoResult
from sightsound.stages.segment import Segments


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: inputs done of how many, and seconds of video done in them."""

    n_done: int
    n_inputs: int
    video_s: float
    of_video_s: float
    current: str


class LocalEngine:
    """Inputs -> VideoResult, as each is finished, whatever happens to the workers."""

    def __init__(
        self,
        config: Config,
        bundle: Bundle,
        *,
        make_handler: Callable[[Config], Handler] = make_handler,
    ) -> None:
        """Prepare an engine; ``make_handler`` makes what each worker runs its tasks with."""
        self._make_handler = partial(make_handler, config)
        self._config = config
        self._segments = Segments(bundle.tasks, config.rules(), make_grid(config, bundle))

    def run(
        self,
        uris: list[str],
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Iterator[VideoResult]:
        """Analyse files and yield one result for each, in the order they finish.

        A name that is not UTF-8 is in its result as a ``file://`` URI, as no table can hold it.
        """
        n_workers = self._config.worker_count()
        if not uris:
            return
        uris = [_storable(uri) for uri in uris]
        workers = self._config.workers
        run = _Run(uris, min_slices=max(1, n_workers // len(uris)), most_attempts=workers.attempts)
        os.environ.update(WORKER_ENVIRONMENT)
        memory_bytes = self._config.worker_memory_bytes()
        with WorkerPool(self._make_handler, n_workers, memory_bytes=memory_bytes) as pool:
            while not run.finished:
                while pool.n_idle and (task := run.next_task()) is not None:
                    spent_s = run.spent_s(task)
                    if spent_s < workers.deadline_file_s:
                        pool.submit(task, limits(task, workers, spent_s=spent_s))
                        continue
                    reason = f"its file had all of its {workers.deadline_file_s:.0f} s"
                    for assembly in run.take(Outcome(task=task, kind="timeout", reason=reason)):
                        yield assembly.result(self._segments)
                for outcome in pool.wait():
                    for assembly in run.take(outcome):
                        yield assembly.result(self._segments)
                on_progress(run.progress())


def _storable(uri: str) -> str:
    try:
        uri.encode()
    except UnicodeEncodeError:
        return "file://" + quote(os.fsencode(os.path.abspath(uri)))
    return uri


class _Run:
    """The bookkeeping of one run: which task comes next, and when a video is finished."""

    def __init__(self, uris: list[str], *, min_slices: int, most_attempts: int) -> None:
        self._n_inputs = len(uris)
        self._inputs: Iterator[tuple[int, str]] = iter(enumerate(uris))
        self._min_slices = min_slices
        self._most_attempts = most_attempts
        self._open: dict[int, Assembly] = {}
        self._attempts: dict[tuple[int, int], int] = {}
        self._began: dict[int, float] = {}
        self._ready: deque[Task] = deque()
        self._n_done = 0
        self._video_s = self._of_video_s = 0.0
        self._current = uris[0]

    @property
    def finished(self) -> bool:
        return self._n_done == self._n_inputs

    def next_task(self) -> Task | None:
        if not self._ready:
            following = next(self._inputs, None)
            if following is None:
                return None
            number, uri = following
            self._open[number] = Assembly(uri=uri)
            self._ready.append(InspectTask(number, uri, self._min_slices))
        task = self._ready.popleft()
        self._current = self._open[task.job].uri
        self._began.setdefault(task.job, time.monotonic())
        return task

    def spent_s(self, task: Task) -> float:
        """How long ago the first task of the same input was handed out."""
        return time.monotonic() - self._began[task.job]

    def take(self, outcome: Outcome) -> Iterable[Assembly]:
        """Note an outcome; return the input that it completes, if any."""
        task: Task = outcome.task
        assembly = self._open[task.job]
        if outcome.kind == "done":
            self._add(assembly, task, outcome)
        elif self._may_retry(task, outcome):
            self._ready.append(task)
        elif isinstance(task, InspectTask):
            assembly.failure = failure_of(task, outcome)
        else:
            assembly.lost[task.piece.index] = failure_of(task, outcome), task.piece.windows
        if not assembly.is_complete:
            return []
        del self._open[task.job], self._began[task.job]
        self._n_done += 1
        return [assembly]

    def progress(self) -> Progress:
        return Progress(
            n_done=self._n_done,
            n_inputs=self._n_inputs,
            video_s=self._video_s,
            of_video_s=self._of_video_s,
            current=self._current,
        )

    def _add(self, assembly: Assembly, task: Task, outcome: Outcome) -> None:
        if isinstance(task, SliceTask):
            assembly.done[task.piece.index] = outcome.value
            part = len(task.piece.windows) / max(1, task.plan.n_windows)
            self._video_s += part * task.plan.duration_s
            return
        info, plan = outcome.value
        self._of_video_s += plan.duration_s
        assembly.info, assembly.plan = info, replace(plan, slices=())
        assembly.n_slices = len(plan.slices)
        # Ahead of other inputs: a video once opened is finished before the next is begun.
        self._ready.extendleft(
            SliceTask(task.job, info, assembly.plan, piece) for piece in reversed(plan.slices)
        )

    def _may_retry(self, task: Task, outcome: Outcome) -> bool:
        if outcome.kind == "failed":
            return False  # The stage itself said why; trying again would say the same.
        part = (task.job, task.piece.index if isinstance(task, SliceTask) else -1)
        self._attempts[part] = self._attempts.get(part, 0) + 1
        return self._attempts[part] < self._most_attempts
