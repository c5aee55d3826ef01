"""The local engine: worker processes on this machine, each decoding and inferring.

A video is inspected (probe and plan) by a worker, its slices go to whichever workers are idle,
and its result is put together when the last slice is back. At most as many videos are open as
there are workers, so memory does not grow with the number of inputs.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sightsound.models.bundle import Bundle, load_bundle
from sightsound.pipeline.config import Config
from sightsound.pipeline.slices import SliceRunner, make_grid
from sightsound.pipeline.workers import WORKER_ENVIRONMENT, Handler, Limits, Outcome, WorkerPool
from sightsound.stages.errors import ErrorCode, StageName
from sightsound.stages.plan import Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import (
    Failure,
    MediaInfo,
    Slice,
    SliceResult,
    VideoPlan,
    VideoResult,
    VideoStatus,
    Window,
    WindowScores,
)
from sightsound.stages.segment import Segments

# A single file that is longer than this is shared between the workers.
_MIN_SLICE_S = 30.0


@dataclass(frozen=True)
class InspectTask:
    """Probe and plan one input."""

    job: int
    path: str
    min_slices: int


@dataclass(frozen=True)
class SliceTask:
    """Label one slice. ``plan`` comes without its slices, which may be many."""

    job: int
    info: MediaInfo
    plan: VideoPlan
    piece: Slice


class _TaskHandler:
    """The worker's side: does either kind of task; loads the models at the first slice."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._bundle = load_bundle(config.model)
        self._runner: SliceRunner | None = None

    def __call__(self, task: InspectTask | SliceTask, alive: Callable[[], None]) -> Any:
        if isinstance(task, InspectTask):
            plan = Plan(
                make_grid(self._config, self._bundle),
                slice_s=self._config.workers.slice_s,
                min_slices=task.min_slices,
                min_slice_s=_MIN_SLICE_S,
            )
            info = Probe()(task.path)
            return info, plan(info)
        if self._runner is None:
            self._runner = SliceRunner(self._config)
        return self._runner(task.info, task.plan, task.piece, on_progress=alive)


def make_handler(config: Config) -> Handler:
    """Make a worker's handler (runs in the worker)."""
    return _TaskHandler(config)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far a run is: inputs done of how many, and seconds of video done in them."""

    n_done: int
    n_inputs: int
    video_s: float
    of_video_s: float
    current: str


@dataclass
class _Job:
    """One input on its way."""

    uri: str
    info: MediaInfo | None = None
    plan: VideoPlan | None = None
    pieces: dict[int, tuple[Window, ...]] = field(default_factory=dict)
    slices: dict[int, SliceResult] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)


_INSPECT = -1


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
        self._bundle = bundle
        self._grid = make_grid(config, bundle)
        self._segments = Segments(bundle.tasks, config.rules(), self._grid)

    def run(
        self,
        uris: list[str],
        *,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Iterator[VideoResult]:
        """Analyse local files and yield one result for each, in the order they finish."""
        n_workers = self._config.worker_count()
        if not uris:
            return
        min_slices = max(1, n_workers // len(uris))
        run = _Run(self, uris, min_slices)
        os.environ.update(WORKER_ENVIRONMENT)
        with WorkerPool(self._make_handler, n_workers) as pool:
            while not run.finished:
                while pool.n_idle and (task := run.next_task(pool.n_busy)) is not None:
                    pool.submit(task, self._limits(task))
                for outcome in pool.wait():
                    yield from run.take(outcome)
                on_progress(run.progress())

    def _limits(self, task: InspectTask | SliceTask) -> Limits:
        workers = self._config.workers
        length_s = 0.0
        if isinstance(task, SliceTask):
            length_s = task.piece.windows[-1].end_s - task.piece.windows[0].start_s
        deadline_s = workers.deadline_base_s + workers.deadline_per_second * length_s
        # Probing and planning send no sign of life; they only read the file once.
        stall_s = workers.stall_timeout_s if isinstance(task, SliceTask) else deadline_s
        return Limits(stall_s=stall_s, deadline_s=deadline_s)

    def result(self, job: _Job) -> VideoResult:
        """Put the slices of a finished job together."""
        if job.info is None or job.plan is None:
            return VideoResult(uri=job.uri, status="failed", failure=job.failures[_INSPECT])
        slices = [job.slices[i] for i in sorted(job.slices)]
        windows = _all_windows(job)
        status, failure = _verdict(job, windows)
        if status == "failed":
            windows = ()
        return VideoResult(
            uri=job.uri,
            status=status,
            failure=failure,
            info=job.info,
            plan=job.plan,
            windows=windows,
            segments=tuple(self._segments(windows)),
            rotation=next((piece.rotation for piece in slices if piece.rotation), 0),
            n_frames_decoded=sum(piece.n_frames_decoded for piece in slices),
            n_frames_corrupt=sum(piece.n_frames_corrupt for piece in slices),
            processing_s=sum(sum(piece.stage_s.values()) for piece in slices),
        )

    @property
    def attempts(self) -> int:
        """How often a task is tried when its worker dies."""
        return self._config.workers.attempts


class _Run:
    """The bookkeeping of one run: which task comes next, and when a video is finished."""

    def __init__(self, engine: LocalEngine, uris: list[str], min_slices: int) -> None:
        self._engine = engine
        self._n_inputs = len(uris)
        self._inputs: Iterator[tuple[int, str]] = iter(enumerate(uris))
        self._min_slices = min_slices
        self._jobs: dict[int, _Job] = {}
        self._ready: deque[InspectTask | SliceTask] = deque()
        self._n_done = 0
        self._video_s = self._of_video_s = 0.0
        self._current = uris[0]

    @property
    def finished(self) -> bool:
        return self._n_done == self._n_inputs

    def next_task(self, n_busy: int) -> InspectTask | SliceTask | None:
        if not self._ready:
            following = next(self._inputs, None)
            if following is None:
                return None
            number, uri = following
            self._jobs[number] = _Job(uri=uri)
            self._ready.append(InspectTask(number, uri, self._min_slices))
        task = self._ready.popleft()
        self._current = self._jobs[task.job].uri
        return task

    def take(self, outcome: Outcome) -> Iterable[VideoResult]:
        """Note an outcome; return the result that it completes, if any."""
        task: InspectTask | SliceTask = outcome.task
        job = self._jobs[task.job]
        part = task.piece.index if isinstance(task, SliceTask) else _INSPECT
        if outcome.kind == "done" and isinstance(task, InspectTask):
            job.info, plan = outcome.value
            job.plan = replace(plan, slices=())
            self._of_video_s += plan.duration_s
            # Ahead of other inputs: a video once opened is finished before the next is begun.
            self._ready.extendleft(
                SliceTask(task.job, outcome.value[0], job.plan, piece)
                for piece in reversed(plan.slices)
            )
            job.pieces = {piece.index: piece.windows for piece in plan.slices}
            return []
        if outcome.kind == "done":
            assert isinstance(task, SliceTask)
            job.slices[part] = outcome.value
            self._video_s += (
                len(task.piece.windows) / max(1, task.plan.n_windows) * (task.plan.duration_s)
            )
        elif not self._retry(task, job, part, outcome):
            job.failures[part] = _failure(job.uri, task, outcome)
        else:
            return []
        if part == _INSPECT or len(job.slices) + len(job.failures) == len(job.pieces):
            del self._jobs[task.job]
            self._n_done += 1
            return [self._engine.result(job)]
        return []

    def progress(self) -> Progress:
        return Progress(
            n_done=self._n_done,
            n_inputs=self._n_inputs,
            video_s=self._video_s,
            of_video_s=self._of_video_s,
            current=self._current,
        )

    def _retry(self, task: InspectTask | SliceTask, job: _Job, part: int, outcome: Outcome) -> bool:
        if outcome.kind == "failed":
            return False  # The stage itself said why; trying again would say the same.
        job.attempts[part] = job.attempts.get(part, 0) + 1
        if job.attempts[part] >= self._engine.attempts:
            return False
        self._ready.append(task)
        return True


def _failure(uri: str, task: InspectTask | SliceTask, outcome: Outcome) -> Failure:
    if outcome.error is not None:
        return Failure(
            stage=outcome.error.stage, code=outcome.error.code, message=outcome.error.message
        )
    stage: StageName = "probe" if isinstance(task, InspectTask) else "decode"
    if outcome.kind == "failed":
        return Failure(
            stage=stage,
            code="internal",
            message=f"{uri} met an error in sightsound itself ({outcome.reason}): report it, "
            "with the file if you may.",
        )
    code: ErrorCode = "timeout" if outcome.kind == "timeout" else "crashed"
    where = ""
    if isinstance(task, SliceTask):
        windows = task.piece.windows
        where = f" between {windows[0].start_s:.0f} and {windows[-1].end_s:.0f} s"
    return Failure(
        stage=stage,
        code=code,
        message=f"Decoding {uri}{where} was given up ({outcome.reason}): the file is probably "
        "damaged there; re-encode it, or raise workers.stall_timeout_s if it is only slow.",
    )


def _lost(window: Window) -> WindowScores:
    return WindowScores(window=window, has_video=False, has_audio=False, corrupt=True, tasks={})


def _all_windows(job: _Job) -> tuple[WindowScores, ...]:
    """Every window of the video; those of a slice that failed are there, empty and marked."""
    assert job.plan is not None
    windows: list[WindowScores] = []
    for number, planned in sorted(job.pieces.items()):
        if number in job.slices:
            windows += job.slices[number].windows
        else:
            windows += [_lost(window) for window in planned]
    return tuple(windows)


def _verdict(job: _Job, windows: tuple[WindowScores, ...]) -> tuple[VideoStatus, Failure | None]:
    """Whether a video is ok, partial or failed, and why."""
    assert job.info is not None and job.plan is not None
    first_failure = next(iter(job.failures.values()), None)
    if not any(scored.tasks for scored in windows):
        return "failed", first_failure or Failure(
            stage="decode",
            code="nothing_decoded",
            message=f"{job.uri} opens, but not one frame or sound of it can be decoded: it is "
            "damaged, encrypted or truncated; get another copy.",
        )
    if first_failure is not None:
        return "partial", first_failure
    n_corrupt = sum(scored.corrupt for scored in windows)
    if n_corrupt:
        return "partial", Failure(
            stage="decode",
            code="damaged",
            message=f"{job.uri} is damaged in {n_corrupt} of {len(windows)} windows, which are "
            "marked corrupt; the rest is labelled.",
        )
    if job.plan.truncated:
        claimed_s = job.info.claimed_duration_s or 0.0
        return "partial", Failure(
            stage="plan",
            code="truncated",
            message=f"{job.uri} is truncated: {job.plan.duration_s:.1f} s of {claimed_s:.1f} s "
            "are there and labelled; get a complete copy for the rest.",
        )
    return "ok", None
