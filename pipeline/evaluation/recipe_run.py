"""Asking what a recipe makes, by cross-validation, about labelled samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sightsound.pipeline.config import Config
from sightsound.pipeline.evaluation.folds import cross_validate, make_folds
from sightsound.pipeline.evaluation.records import Senses, TaskPredictions
from sightsound.pipeline.evaluation.results import FoldReport, LeftOut
from sightsound.pipeline.evaluation.selection import part_of
from sightsound.pipeline.training.dataset import check_trainable
from sightsound.pipeline.training.extract import extract_features
from sightsound.pipeline.training.loop import check_network
from sightsound.pipeline.training.recipe import Recipe, senses_of
from sightsound.pipeline.training.records import DataError, Dataset

_MOST_NAMED = 20


@dataclass(frozen=True, kw_only=True)
class RecipeAnswers:
    """What the folds' models said, by task and by the senses used, and what was left out."""

    by_task: Mapping[str, Mapping[Senses, TaskPredictions]]
    left_out: tuple[LeftOut, ...]
    folds: FoldReport


def check_recipes(
    recipes: Mapping[str, Recipe],
    dataset: Dataset,
    samples: Sequence[int],
    *,
    n_folds: int,
    seed: int,
) -> None:
    """See that recipes, by name, can be cross-validated, before any long work.

    Raises:
        DataError: a recipe learns from a teacher, or the samples are too few for it or the folds.
        FusionError: a fusion cannot be built so, or not for a task of that name.
    """
    for name, recipe in recipes.items():
        if recipe.teacher is not None:
            raise DataError(
                f"The recipe {name} learns from a teacher, whose answers are not known to be "
                "true: take teacher out of it to cross-validate it."
            )
        check_network(recipe, dataset.tasks)
    check_trainable(part_of(dataset, samples), range(len(samples)))
    make_folds(dataset, samples, n_folds=n_folds, seed=seed)


def run_recipe(
    recipe: Recipe,
    dataset: Dataset,
    names: Sequence[str],
    samples: Sequence[int],
    *,
    n_folds: int,
    seed: int,
    cache: Path,
    say: Callable[[str], None],
) -> RecipeAnswers:
    """Cross-validate a recipe.

    Args:
        recipe: what is trained in each fold.
        dataset: the data.
        names: what each of its samples is called in the report.
        samples: numbers of those that are asked about, and learnt from.
        n_folds: how many folds.
        seed: of the folds and of each training.
        cache: the folder where features are kept.
        say: told how far it is.

    Raises:
        DataError: the folds cannot be made, or there is nothing to learn from.
        ModelError: a backbone is unknown, or its weights are missing.
    """
    features = extract_features(
        dataset, recipe, cache=cache, n_processes=Config().worker_count(), on_progress=say
    )
    made = cross_validate(
        recipe, dataset, features, samples=samples, n_folds=n_folds, seed=seed, on_progress=say
    )
    called = {sample.name: names[n] for n, sample in enumerate(dataset.samples)}
    used = ("both", *senses_of(recipe))
    return RecipeAnswers(
        by_task={
            task: {
                senses: replace(found[task], samples=tuple(called[s] for s in found[task].samples))
                for senses, found in made.by_senses.items()
                if task in found and senses in used
            }
            for task in made.by_senses["both"]
        },
        left_out=_left_out(dataset, names, samples, features.failed),
        folds=made.report,
    )


def _left_out(
    dataset: Dataset, names: Sequence[str], samples: Sequence[int], failed: Mapping[str, str]
) -> tuple[LeftOut, ...]:
    lost = [n for n in samples if dataset.samples[n].name in failed]
    if not lost:
        return ()
    first = failed[dataset.samples[lost[0]].name].removesuffix(".")
    return (
        LeftOut(
            reason=f"they gave no features: {first}",
            n_samples=len(lost),
            samples=tuple(names[n] for n in lost[:_MOST_NAMED]),
        ),
    )
