"""Cross-validation of a recipe: each fold is answered by a model that has not seen its groups."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sightsound.pipeline.evaluation.records import Senses, TaskPredictions
from sightsound.pipeline.evaluation.resampled import score_names
from sightsound.pipeline.evaluation.results import FoldReport, FoldScores, Spread
from sightsound.pipeline.evaluation.senses import score_of
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.fit import FittedModel, fit, predict, typical_steps
from sightsound.pipeline.training.left_out import choose_left_out
from sightsound.pipeline.training.recipe import Recipe, senses_of
from sightsound.pipeline.training.records import DataError, Dataset
from sightsound.pipeline.training.splits import Fold, deal_folds, validation_folds
from sightsound.pipeline.training.validate import calibrate, join

_WAYS: dict[Senses, tuple[bool, bool]] = {
    "both": (True, True),
    "visual": (True, False),
    "audio": (False, True),
}


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """The folds, and their answers together: by the senses used, then by task."""

    report: FoldReport
    by_senses: Mapping[Senses, Mapping[str, TaskPredictions]]


def make_folds(
    dataset: Dataset, samples: Sequence[int], *, n_folds: int, seed: int
) -> tuple[tuple[Fold, ...], bool]:
    """The folds, and whether the groups of the data were taken as the folds that are given.

    They are where there are as many groups as folds are wanted; otherwise whole groups are
    dealt, with the labels spread evenly.

    Raises:
        DataError: there are fewer groups than folds.
    """
    groups = sorted({dataset.samples[n].group for n in samples})
    if len(groups) < n_folds:
        raise DataError(
            f"--folds {n_folds}: the data has {len(groups)} groups, and a group is never divided: "
            f"ask for at most {len(groups)} folds."
        )
    if len(groups) > n_folds:
        return deal_folds(dataset, samples, n_folds=n_folds, seed=seed), False
    given = []
    for group in groups:
        held = tuple(n for n in samples if dataset.samples[n].group == group)
        given.append(Fold(train=tuple(n for n in samples if n not in set(held)), held=held))
    return tuple(given), True


def cross_validate(
    recipe: Recipe,
    dataset: Dataset,
    features: Features,
    *,
    samples: Sequence[int],
    n_folds: int,
    seed: int,
    on_progress: Callable[[str], None] = lambda text: None,
) -> CrossValidated:
    """Train a model a fold, and ask it about the fold with all senses and with each alone.

    Raises:
        DataError: the folds cannot be made, or a fold has nothing to learn from.
    """
    folds, given = make_folds(dataset, samples, n_folds=n_folds, seed=seed)
    pooled: dict[Senses, dict[str, list[TaskPredictions]]] = {}
    reports = []
    for number, fold in enumerate(folds):
        began = time.perf_counter()
        fitted = fit_honestly(recipe, dataset, features, train=fold.train, seed=seed + number)
        train_s = time.perf_counter() - began
        found = ask(fitted, dataset, features, samples=fold.held)
        for senses, tasks in found.items():
            for name, predictions in tasks.items():
                pooled.setdefault(senses, {}).setdefault(name, []).append(predictions)
        reports.append(
            FoldScores(
                fold=number,
                n_train=len(fold.train),
                n_test=len(fold.held),
                train_s=train_s,
                scores={name: _scores(each) for name, each in found["both"].items()},
            )
        )
        on_progress(f"fold {number + 1} of {len(folds)}: {_told(reports[-1])}, {train_s:.0f} s")
    return CrossValidated(
        report=FoldReport(
            n_folds=len(folds),
            given=given,
            seed=seed,
            folds=tuple(reports),
            spread=_spread(reports),
        ),
        by_senses={
            senses: {name: join(parts) for name, parts in tasks.items()}
            for senses, tasks in pooled.items()
        },
    )


def fit_honestly(
    recipe: Recipe, dataset: Dataset, features: Features, *, train: Sequence[int], seed: int
) -> FittedModel:
    """Train as the ``train`` command does, without a look at what will be asked.

    When to stop, how to calibrate and whether a sense is left out is settled on parts of ``train``
    itself: on one of them, or on all where there are two senses to choose from. Then, if the
    recipe says so, the network is trained on all of it for as long.
    """
    if len({dataset.samples[n].group for n in train}) < 2:
        return fit(recipe, dataset, features, train=train, held=(), seed=seed)
    parts = validation_folds(dataset, train, recipe.validation, seed=seed)
    if len(senses_of(recipe)) == 1:
        parts = parts[:1]
    models = [
        fit(recipe, dataset, features, train=part.train, held=part.held, seed=seed)
        for part in parts
    ]
    left_out = choose_left_out(recipe, dataset, features, parts, models)
    models = [left_out.apply(model) for model in models]
    if not recipe.validation.refit:
        return models[0]
    n_steps = typical_steps(models)
    whole = fit(recipe, dataset, features, train=train, held=(), seed=seed, stop_at=n_steps)
    temperatures = calibrate(dataset, features, parts, models).temperatures
    return replace(left_out.apply(whole), temperatures=temperatures, history=models[0].history)


def ask(
    fitted: FittedModel, dataset: Dataset, features: Features, *, samples: Sequence[int]
) -> dict[Senses, dict[str, TaskPredictions]]:
    """What a model says of samples, with both senses and with each alone, by task."""
    answers: dict[Senses, dict[str, TaskPredictions]] = {}
    for senses, (with_visual, with_audio) in _WAYS.items():
        found = predict(
            fitted.network,
            dataset,
            features,
            samples=samples,
            temperatures=fitted.temperatures,
            with_visual=with_visual,
            with_audio=with_audio,
        )
        answers[senses] = {name: each for name, each in found.items() if each.samples}
    return answers


def _scores(predictions: TaskPredictions) -> dict[str, float]:
    found = {name: score_of(predictions, name) for name in score_names(predictions)}
    return {name: value for name, value in found.items() if value is not None}


def _spread(folds: Sequence[FoldScores]) -> dict[str, dict[str, Spread]]:
    spread: dict[str, dict[str, Spread]] = {}
    for task in dict.fromkeys(task for fold in folds for task in fold.scores):
        rows = [fold.scores[task] for fold in folds if task in fold.scores]
        for name in dict.fromkeys(name for row in rows for name in row):
            values = np.array([row[name] for row in rows if name in row])
            deviation = float(values.std(ddof=1)) if len(values) > 1 else 0.0
            spread.setdefault(task, {})[name] = Spread(
                mean=float(values.mean()), deviation=deviation
            )
    return spread


def _told(fold: FoldScores) -> str:
    return ", ".join(
        f"{task} accuracy {scores['accuracy']:.3f}"
        for task, scores in fold.scores.items()
        if "accuracy" in scores
    )
