"""What networks say of samples they have not learnt from: folds, calibration, accuracy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sightsound.models.bundle import Sense
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.training.answers import joined_answers, known_answers, temperatures_of
from sightsound.pipeline.training.calibrate import fit_threshold
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.fit import FittedModel, predict
from sightsound.pipeline.training.records import Dataset
from sightsound.pipeline.training.splits import Fold
from sightsound.pipeline.training.tensors import make_windows

BySense = Mapping[str, Mapping[str, TaskPredictions]]
# What the network is shown and played: the first time all there is.
_BOTH = {"fused": (True, True), "visual_only": (True, False), "audio_only": (False, True)}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """By task, the temperature and the threshold of the folds' held-out parts together."""

    temperatures: dict[str, float]
    thresholds: dict[str, float]


def ways_of(senses: Sequence[Sense]) -> dict[str, tuple[bool, bool]]:
    """The ways of asking a network that answers from these senses, and whether each then has
    picture and sound. The first way leaves nothing out."""
    return _BOTH if len(senses) > 1 else {f"{senses[0]}_only": (True, True)}


def calibrate(
    dataset: Dataset, features: Features, folds: Sequence[Fold], models: Sequence[FittedModel]
) -> Calibration:
    """Calibrate on what each fold's network says of the part it has not learnt from."""
    answers = joined_answers(
        [
            known_answers(model.network, dataset.tasks, make_windows(dataset, features, fold.held))
            for fold, model in zip(folds, models, strict=True)
        ]
    )
    temperatures = temperatures_of(dataset.tasks, answers)
    found = _held(dataset, features, folds, models, temperatures)
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
    *,
    senses: Sequence[Sense],
) -> BySense:
    """The folds' held-out predictions together, by way of asking (``ways_of``) and by task."""
    return predictions_by_sense(
        lambda with_visual, with_audio: _held(
            dataset,
            features,
            folds,
            models,
            temperatures,
            with_visual=with_visual,
            with_audio=with_audio,
        ),
        senses=senses,
    )


def _held(
    dataset: Dataset,
    features: Features,
    folds: Sequence[Fold],
    models: Sequence[FittedModel],
    temperatures: dict[str, float],
    *,
    with_visual: bool = True,
    with_audio: bool = True,
) -> dict[str, TaskPredictions]:
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
    return {task.name: join([part[task.name] for part in parts]) for task in dataset.tasks}


def predictions_by_sense(
    predicted: Callable[[bool, bool], dict[str, TaskPredictions]], *, senses: Sequence[Sense]
) -> BySense:
    """What ``predicted(with_visual, with_audio)`` says, by way of asking (``ways_of``)."""
    return {name: predicted(*masks) for name, masks in ways_of(senses).items()}


def join(parts: Sequence[TaskPredictions]) -> TaskPredictions:
    """Predictions of one task, of one part of the samples after the other."""
    return replace(
        parts[0],
        probabilities=np.concatenate([part.probabilities for part in parts]),
        truth=np.concatenate([part.truth for part in parts]),
        samples=tuple(name for part in parts for name in part.samples),
        groups=tuple(group for part in parts for group in part.groups),
        has_audio=np.concatenate([part.has_audio for part in parts]),
        has_visual=np.concatenate([is_seen(part) for part in parts]),
    )


def is_seen(said: TaskPredictions) -> NDArray[np.bool_]:
    """(n,) whether there was something to see."""
    if said.has_visual is None:
        return np.ones(len(said.samples), dtype=bool)
    return said.has_visual


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


def summarise(by_sense: BySense, *, taught: str | None = None) -> dict[str, dict[str, object]]:
    """By task, the accuracy of each way of asking: on all samples and on those with sound.

    A sense alone is asked only of samples that have it; what no sample can tell is left out. Of
    the task ``taught`` the truth is what the teacher says.
    """
    complete = next(iter(by_sense.values()))
    return {
        task: {
            "measure": _measure(said, is_taught=task == taught),
            **_summary(said, {way: found[task] for way, found in by_sense.items()}),
        }
        for task, said in complete.items()
    }


def _measure(said: TaskPredictions, *, is_taught: bool) -> str:
    measure = "accuracy" if said.kind == "single" else "mean average precision"
    return f"{measure}, the teacher taken as true" if is_taught else measure


def _summary(complete: TaskPredictions, ways: Mapping[str, TaskPredictions]) -> dict[str, object]:
    everything = np.ones(len(complete.samples), dtype=bool)
    seen, heard = is_seen(complete), complete.has_audio
    asked: dict[str, tuple[str, NDArray[np.bool_]]] = {way: (way, everything) for way in ways}
    if len(ways) > 1:
        asked = {
            "fused": ("fused", everything),
            "visual_only": ("visual_only", seen),
            "with_sound_fused": ("fused", heard),
            "with_sound_visual_only": ("visual_only", heard & seen),
            "with_sound_audio_only": ("audio_only", heard),
            "without_sound_fused": ("fused", ~heard),
        }
    numbers: dict[str, object] = {
        "samples": len(everything),
        "samples_with_sound": int(heard.sum()),
    }
    for name, (way, rows) in asked.items():
        found = accuracy(ways[way], rows)
        if found is not None:
            numbers[name] = found
    return numbers
