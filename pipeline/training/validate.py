"""What networks say of samples they have not learnt from: folds, calibration, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.training.calibrate import fit_temperature, fit_threshold
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.fit import FittedModel, predict, window_logits
from sightsound.pipeline.training.records import Dataset
from sightsound.pipeline.training.splits import Fold
from sightsound.pipeline.training.tensors import make_windows

# What is masked: nothing, what is heard, what is seen.
_SENSES = {"fused": (True, True), "visual_only": (True, False), "audio_only": (False, True)}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """By task, the temperature and the threshold of the folds' held-out parts together."""

    temperatures: dict[str, float]
    thresholds: dict[str, float]


def calibrate(
    dataset: Dataset, features: Features, folds: Sequence[Fold], models: Sequence[FittedModel]
) -> Calibration:
    """Calibrate on what each fold's network says of the part it has not learnt from."""
    logits: dict[str, list[torch.Tensor]] = {task.name: [] for task in dataset.tasks}
    targets: dict[str, list[torch.Tensor]] = {task.name: [] for task in dataset.tasks}
    for fold, model in zip(folds, models, strict=True):
        windows = make_windows(dataset, features, fold.held)
        said = window_logits(model.network, dataset.tasks, windows)
        for task in dataset.tasks:
            known = windows.present[task.name]
            logits[task.name].append(said[task.name][known])
            targets[task.name].append(windows.targets[task.name][known, 0])
    temperatures = {}
    for task in dataset.tasks:
        every, true = torch.cat(logits[task.name]), torch.cat(targets[task.name])
        temperatures[task.name] = (
            fit_temperature(every, true, kind=task.kind) if len(every) else 1.0
        )
    found = held_predictions(dataset, features, folds, models, temperatures)["fused"]
    thresholds = {}
    for task in dataset.tasks:
        said_of = found[task.name]
        if task.kind == "single" and len(said_of.samples):
            best = said_of.probabilities.max(axis=1)
            thresholds[task.name] = fit_threshold(best, is_right(said_of))
    return Calibration(temperatures=temperatures, thresholds=thresholds)


def held_predictions(
    dataset: Dataset,
    features: Features,
    folds: Sequence[Fold],
    models: Sequence[FittedModel],
    temperatures: dict[str, float],
) -> dict[str, dict[str, TaskPredictions]]:
    """The folds' held-out predictions together, by what is masked and by task."""
    joined = {}
    for name, (with_visual, with_audio) in _SENSES.items():
        parts = [
            predict(
                model.network,
                dataset,
                features,
                samples=fold.held,
                temperatures=temperatures,
                with_visual=with_visual,
                with_audio=with_audio,
            )
            for fold, model in zip(folds, models, strict=True)
        ]
        joined[name] = {
            task.name: join([part[task.name] for part in parts]) for task in dataset.tasks
        }
    return joined


def predictions_by_sense(
    predicted: Callable[[bool, bool], dict[str, TaskPredictions]],
) -> dict[str, dict[str, TaskPredictions]]:
    """What ``predicted(with_visual, with_audio)`` says, by what is masked."""
    return {name: predicted(*masks) for name, masks in _SENSES.items()}


def join(parts: Sequence[TaskPredictions]) -> TaskPredictions:
    """Predictions of one task, of one part of the samples after the other."""
    first = parts[0]
    return TaskPredictions(
        task=first.task,
        kind=first.kind,
        labels=first.labels,
        probabilities=np.concatenate([part.probabilities for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        samples=tuple(name for part in parts for name in part.samples),
        groups=tuple(group for part in parts for group in part.groups),
        has_audio=np.concatenate([part.has_audio for part in parts]),
    )


def is_right(said: TaskPredictions) -> NDArray[np.bool_]:
    """(n,) whether the best label is a true one."""
    best = said.probabilities.argmax(axis=1)
    return np.asarray(said.truth[np.arange(len(best)), best])


def accuracy(said: TaskPredictions, rows: NDArray[np.bool_]) -> float | None:
    """Of some rows: the share of single-label answers that are right, or the mean average
    precision over the multi-label task's labels that are true of any; None of no rows."""
    if not rows.any():
        return None
    if said.kind == "single":
        return round(float(is_right(said)[rows].mean()), 4)
    from sklearn.metrics import average_precision_score

    truth, scores = said.truth[rows], said.probabilities[rows]
    occurring = truth.any(axis=0)
    if not occurring.any():
        return None
    found = average_precision_score(truth[:, occurring], scores[:, occurring], average="macro")
    return round(float(found), 4)


def summarise(by_sense: dict[str, dict[str, TaskPredictions]]) -> dict[str, dict[str, object]]:
    """By task, the accuracy with and without each sense: on all samples and on those with sound.

    What is heard alone is asked only of samples with sound.
    """
    summary: dict[str, dict[str, object]] = {}
    for task, fused in by_sense["fused"].items():
        everything = np.ones(len(fused.samples), dtype=bool)
        heard = fused.has_audio
        silent = ~heard
        summary[task] = {
            "measure": "accuracy" if fused.kind == "single" else "mean average precision",
            "samples": len(fused.samples),
            "fused": accuracy(fused, everything),
            "visual_only": accuracy(by_sense["visual_only"][task], everything),
            "samples_with_sound": int(heard.sum()),
            "with_sound_fused": accuracy(fused, heard),
            "with_sound_visual_only": accuracy(by_sense["visual_only"][task], heard),
            "with_sound_audio_only": accuracy(by_sense["audio_only"][task], heard),
            "without_sound_fused": accuracy(fused, silent),
        }
    return summary
