"""What a worker process is asked to do, and what its failures mean for a video."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.answerable import check_answerable
from sightsound.pipeline.config import Config, WorkerConfig
from sightsound.pipeline.decoding import DecodedSlice, decode_slice, make_decode, make_grid
from sightsound.pipeline.slices import SliceRunner
from sightsound.pipeline.workers import Handler, Limits, Outcome
from sightsound.stages.errors import ErrorCode, StageError, StageName
from sightsound.stages.media import file_error
from sightsound.stages.plan import Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import Failure, MediaInfo, Slice, VideoPlan

# A single file that is longer than this is shared between the workers.
_MIN_SLICE_S = 30.0


@dataclass(frozen=True)
class InspectTask:
    """Probe and plan one input."""

    job: int
    path: str
    min_slices: int = 1


@dataclass(frozen=True)
class SliceTask:
    """Label one slice. ``plan`` comes without its slices, which may be many."""

    job: int
    info: MediaInfo
    plan: VideoPlan
    piece: Slice


@dataclass(frozen=True)
class DecodeTask(SliceTask):
    """Decode one slice, for another process to label."""


@dataclass(frozen=True)
class LabelTask(SliceTask):
    """Label a slice that is decoded."""

    decoded: DecodedSlice


Task = InspectTask | SliceTask | DecodeTask | LabelTask


class TaskHandler:
    """The worker's side: does any kind of task; loads the models when first needed.

    An inspection gives (MediaInfo, VideoPlan), a slice gives a SliceResult, as does one that is
    decoded; decoding alone gives a DecodedSlice.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._bundle = load_bundle(config.model)
        self._runner: SliceRunner | None = None

    def __call__(self, task: Task, alive: Callable[[], None]) -> Any:
        """Do one task.

        Raises:
            StageError: the file cannot be opened, planned or read.
            MemoryError: there is not enough memory for it.
        """
        try:
            if isinstance(task, InspectTask):
                return self._inspect(task)
            if isinstance(task, DecodeTask):
                decode = make_decode(self._config, self._bundle)
                return decode_slice(decode, task.info, task.plan, task.piece, on_progress=alive)
            if self._runner is None:
                self._runner = SliceRunner(self._config)
            if isinstance(task, LabelTask):
                return self._runner.label(task.plan, task.piece, task.decoded, on_progress=alive)
            return self._runner(task.info, task.plan, task.piece, on_progress=alive)
        except OSError as error:
            # Storage that fails while a file is read; what FFmpeg says of it is dealt with before.
            path = task.path if isinstance(task, InspectTask) else task.info.path
            raise file_error(path, stage_of(task), error) from error

    def _inspect(self, task: InspectTask) -> tuple[MediaInfo, VideoPlan]:
        make_plan = Plan(
            make_grid(self._config, self._bundle),
            slice_s=self._config.workers.slice_s,
            min_slices=task.min_slices,
            min_slice_s=_MIN_SLICE_S,
        )
        limits = self._config.limits.media_limits()
        info = Probe(limits=limits, audio_track=self._config.streams.audio_track)(task.path)
        plan = make_plan(info)
        check_answerable(self._bundle, plan, task.path)
        return info, plan


def make_handler(config: Config) -> Handler:
    """Make a worker's handler (runs in the worker)."""
    return TaskHandler(config)


def stage_of(task: Task) -> StageName:
    """The stage that a task is held to be in when nothing else is known."""
    if isinstance(task, InspectTask):
        return "probe"
    return "features" if isinstance(task, LabelTask) else "decode"


def limits(task: Task, workers: WorkerConfig, *, spent_s: float = 0.0) -> Limits:
    """How long a task may take, of whose file ``spent_s`` have been spent already."""
    length_s = 0.0
    if isinstance(task, SliceTask):
        length_s = task.piece.windows[-1].end_s - task.piece.windows[0].start_s
    deadline_s = workers.deadline_base_s + workers.deadline_per_second * length_s
    deadline_s = min(deadline_s, max(0.0, workers.deadline_file_s - spent_s))
    # Probing and planning send no sign of life; they only read the file once.
    stall_s = workers.stall_timeout_s if isinstance(task, SliceTask) else deadline_s
    return Limits(stall_s=stall_s, deadline_s=deadline_s)


def failure_of(task: Task, outcome: Outcome) -> Failure:
    """Why a video fails, or a part of it, in the words of its row."""
    uri = task.path if isinstance(task, InspectTask) else task.info.path
    if isinstance(outcome.error, StageError):
        error = outcome.error
        return Failure(stage=error.stage, code=error.code, message=error.message)
    stage = stage_of(task)
    if outcome.kind == "failed":
        return Failure(
            stage=stage,
            code="internal",
            message=f"{uri} met an error in sightsound itself ({outcome.reason}): report it, "
            "with the file if you may.",
        )
    where = ""
    if isinstance(task, SliceTask):
        windows = task.piece.windows
        where = f" between {windows[0].start_s:.0f} and {windows[-1].end_s:.0f} s"
    if outcome.out_of_memory:
        return Failure(
            stage=stage,
            code="out_of_memory",
            message=f"Decoding {uri}{where} was given up ({outcome.reason}): if the file can be "
            "trusted, raise limits.memory_bytes or lower workers.count.",
        )
    code: ErrorCode = "timeout" if outcome.kind == "timeout" else "crashed"
    return Failure(
        stage=stage,
        code=code,
        message=f"Decoding {uri}{where} was given up ({outcome.reason}): the file is probably "
        "damaged there; re-encode it, or raise workers.stall_timeout_s if it is only slow.",
    )
