"""Fitting a fusion to some samples of a dataset, and asking it about others."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightsound.models.bundle import TaskKind
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.training.answers import known_answers, temperatures_of, window_logits
from sightsound.pipeline.training.checkpoints import CheckpointFile
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.loop import (
    Plan,
    Progress,
    Trained,
    new_network,
    run_loop,
)
from sightsound.pipeline.training.recipe import Recipe
from sightsound.pipeline.training.records import DataError, Dataset
from sightsound.pipeline.training.tensors import make_windows


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """A trained network in evaluation mode, and the temperature of each task.

    ``history`` is how it stood at each evaluation; ``best_step`` is whose weights it has.
    """

    network: nn.Module
    temperatures: dict[str, float]
    history: tuple[Progress, ...]
    best_step: int


def fit(
    recipe: Recipe,
    dataset: Dataset,
    features: Features,
    *,
    train: Sequence[int],
    held: Sequence[int],
    seed: int,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    n_workers: int = 1,
    stop_at: int | None = None,
    checkpoint: CheckpointFile | None = None,
    resume: bool = False,
) -> FittedModel:
    """Train on some samples, stop by others and calibrate on these.

    Args:
        recipe: what to train and how.
        dataset: the samples, with the teacher's task if the recipe has one.
        features: of their files, as the recipe says.
        train: numbers of the samples to learn from.
        held: numbers of the samples to stop and calibrate by; none trains all the steps and
            leaves the temperatures at 1.
        seed: makes the run repeatable.
        on_progress: called at each evaluation.
        n_workers: processes that share each batch; above 1 they are Ray's.
        stop_at: make only so many of the steps.
        checkpoint: where to keep the state, every ``training.checkpoint_every`` steps.
        resume: go on from what is there.

    Raises:
        DataError: the samples to learn from have no features.
        CheckpointError: the checkpoint is of another training.
        TrainingWorkersError: the processes of Ray failed.
    """
    settings = recipe.training
    learnt = make_windows(dataset, features, train, class_balance=settings.class_balance)
    if not len(learnt):
        raise DataError("None of the samples to learn from has features: nothing can be trained.")
    asked = make_windows(dataset, features, held)
    n_steps = settings.steps
    if n_steps is None:
        n_steps = max(1, math.ceil(settings.epochs * len(learnt) / settings.batch_size))
    plan = Plan(
        recipe=recipe,
        tasks=dataset.tasks,
        visual_dim=features.visual_dim,
        audio_dim=features.audio_dim,
        train=learnt,
        held=asked,
        seed=seed,
        n_steps=n_steps,
        stop_at=min(n_steps, stop_at or n_steps),
        checkpoint=checkpoint,
        resume=resume,
    )
    trained = _run(plan, n_workers, on_progress)
    network = new_network(plan)
    network.load_state_dict(trained.weights)
    network.eval()
    return FittedModel(
        network=network,
        temperatures=temperatures_of(dataset.tasks, known_answers(network, dataset.tasks, asked)),
        history=trained.history,
        best_step=trained.best_step,
    )


def typical_steps(models: Sequence[FittedModel]) -> int:
    """The median of the steps after which models of one training were best, at least 1."""
    return max(1, round(statistics.median(model.best_step for model in models)))


def _run(plan: Plan, n_workers: int, on_progress: Callable[[Progress], None]) -> Trained:
    if plan.checkpoint is not None and not plan.resume:
        plan.checkpoint.path.unlink(missing_ok=True)
    if n_workers == 1:
        return run_loop(plan, on_progress=on_progress)
    from sightsound.pipeline.training.distributed import run_on_ray

    return run_on_ray(plan, n_workers, on_progress=on_progress)


def predict(
    network: nn.Module,
    dataset: Dataset,
    features: Features,
    *,
    samples: Sequence[int],
    temperatures: Mapping[str, float],
    with_visual: bool = True,
    with_audio: bool = True,
) -> dict[str, TaskPredictions]:
    """What a network says of samples: the mean over a sample's windows of the probabilities.

    A task that no sample has a label of has no rows. Samples whose file gave no features are
    left out (``Features.failed`` names them). The truth of a teacher's task is the teacher's best
    label, or of a multi-label one those it gives half or more.

    Args:
        network: a trained fusion.
        dataset: the samples and tasks, as it was trained for.
        features: of their files.
        samples: numbers in ``dataset.samples``.
        temperatures: by task, what logits are divided by; 1 for tasks not named.
        with_visual: False masks what is seen. A sample that is left with nothing gets what the
            network says of nothing.
        with_audio: False masks what is heard.
    """
    windows = make_windows(dataset, features, samples)
    logits = window_logits(
        network, dataset.tasks, windows, with_visual=with_visual, with_audio=with_audio
    )
    numbers = windows.sample.numpy()
    has_visual = (windows.visual.count[:, 0] > 0).numpy()
    has_audio = (windows.audio.count[:, 0] > 0).numpy()
    predictions = {}
    for task in dataset.tasks:
        scaled = logits[task.name].double() / temperatures.get(task.name, 1.0)
        scores = torch.softmax(scaled, dim=1) if task.kind == "single" else torch.sigmoid(scaled)
        known = windows.present[task.name].numpy()
        rows = [n for n in dict.fromkeys(numbers.tolist()) if known[numbers == n].any()]
        targets = windows.targets[task.name][:, 0].double().numpy()
        mean_target = _means(targets, numbers, rows)
        predictions[task.name] = TaskPredictions(
            task=task.name,
            kind=task.kind,
            labels=task.labels,
            probabilities=_means(scores.numpy(), numbers, rows),
            truth=_truth(mean_target, task.kind),
            samples=tuple(dataset.samples[n].name for n in rows),
            groups=tuple(dataset.samples[n].group for n in rows),
            has_audio=np.array([has_audio[numbers == n].any() for n in rows], dtype=bool),
            has_visual=np.array([has_visual[numbers == n].any() for n in rows], dtype=bool),
        )
    return predictions


def _means(
    values: NDArray[np.float64], numbers: NDArray[np.int64], rows: Sequence[int]
) -> NDArray[np.float64]:
    """The mean of the windows' values by sample, (len(rows), n_labels)."""
    if not rows:
        return np.zeros((0, values.shape[1]))
    return np.stack([values[numbers == n].mean(axis=0) for n in rows])


def _truth(target: NDArray[np.float64], kind: TaskKind) -> NDArray[np.bool_]:
    if kind == "multi":
        return np.asarray(target >= 0.5)
    truth = np.zeros(target.shape, dtype=bool)
    truth[np.arange(len(target)), target.argmax(axis=1)] = True
    return truth
