"""Fitting the folds of one training side by side, in processes of one thread each."""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue

import torch

from sightsound.pipeline.training.checkpoints import CheckpointError, CheckpointFile
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.fit import FittedModel, fit
from sightsound.pipeline.training.loop import Progress, TrainingWorkersError
from sightsound.pipeline.training.recipe import Recipe
from sightsound.pipeline.training.records import DataError, Dataset
from sightsound.pipeline.workers import (
    WORKER_ENVIRONMENT,
    Handler,
    Limits,
    Outcome,
    WorkerPool,
)

# A step takes as long as its batch is large: a process is given up when it ends, not when it waits.
_UNLIMITED = Limits(stall_s=math.inf, deadline_s=math.inf)

OnProgress = Callable[[str, Progress], None]


@dataclass(frozen=True, kw_only=True)
class FitJob:
    """One network to be fitted: to which samples, and where its state is kept.

    ``name`` says which in progress; ``stop_at`` as in :func:`fit`.
    """

    name: str
    train: tuple[int, ...]
    held: tuple[int, ...]
    checkpoint: CheckpointFile
    resume: bool
    stop_at: int | None = None


class Fitter:
    """FitJob -> FittedModel.

    A network is fitted on one thread: its weights then do not depend on the number of cores.
    """

    def __init__(
        self, recipe: Recipe, dataset: Dataset, features: Features, *, n_workers: int = 1
    ) -> None:
        self._recipe, self._dataset, self._features = recipe, dataset, features
        self._n_workers = n_workers

    def __call__(self, job: FitJob, on_progress: OnProgress) -> FittedModel:
        """Fit one network.

        Raises:
            DataError: the samples to learn from have no features.
            CheckpointError: the checkpoint is of another training.
            TrainingWorkersError: the processes of Ray failed.
        """
        n_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return fit(
                self._recipe,
                self._dataset,
                self._features,
                train=job.train,
                held=job.held,
                seed=self._recipe.seed,
                n_workers=self._n_workers,
                stop_at=job.stop_at,
                checkpoint=job.checkpoint,
                resume=job.resume,
                on_progress=lambda progress: on_progress(job.name, progress),
            )
        finally:
            torch.set_num_threads(n_threads)


def fit_side_by_side(
    fitter: Fitter, jobs: Sequence[FitJob], *, n_processes: int, on_progress: OnProgress
) -> list[FittedModel]:
    """Fit networks, as many at once as there are processes; the models in the order of the jobs.

    An interruption ends the processes; so does the end of this one, however it comes.

    Raises:
        DataError, CheckpointError: as a fitter does.
        TrainingWorkersError: a process died.
    """
    told: SimpleQueue[tuple[str, Progress]] = multiprocessing.get_context("spawn").SimpleQueue()
    found: dict[int, FittedModel] = {}
    waiting = list(reversed(range(len(jobs))))
    environment = dict(os.environ)
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        with WorkerPool(partial(_make_handler, fitter, told), n_processes) as pool:
            while len(found) < len(jobs):
                while waiting and pool.n_idle:
                    number = waiting.pop()
                    pool.submit((number, jobs[number]), _UNLIMITED)
                for outcome in pool.wait():
                    found[outcome.task[0]] = _model(outcome)
                while not told.empty():
                    on_progress(*told.get())
    finally:
        os.environ.clear()
        os.environ.update(environment)
    return [found[number] for number in range(len(jobs))]


def _make_handler(fitter: Fitter, told: SimpleQueue[tuple[str, Progress]]) -> Handler:
    def handle(
        task: tuple[int, FitJob], alive: Callable[[], None]
    ) -> FittedModel | DataError | CheckpointError:
        try:
            return fitter(task[1], lambda name, progress: told.put((name, progress)))
        except (DataError, CheckpointError) as error:
            return error

    return handle


def _model(outcome: Outcome) -> FittedModel:
    if isinstance(outcome.value, FittedModel):
        return outcome.value
    if isinstance(outcome.value, Exception):
        raise outcome.value
    raise TrainingWorkersError(
        f"Training of {outcome.task[1].name} was given up ({outcome.reason}): try again with "
        "--resume."
    )
