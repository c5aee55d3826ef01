"""The ``evaluate`` command: labelled data and models in, a report out."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.config import Config
from sightsound.pipeline.evaluation.bundle_run import answers, model_size, score_samples
from sightsound.pipeline.evaluation.compare import compare_all
from sightsound.pipeline.evaluation.evaluation import Evaluation
from sightsound.pipeline.evaluation.intervals import bootstrap_intervals
from sightsound.pipeline.evaluation.matching import describe, match_tasks
from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.records import Senses, TaskPredictions
from sightsound.pipeline.evaluation.report import check_folder, write_report
from sightsound.pipeline.evaluation.results import LeftOut, ModelReport, TaskReport
from sightsound.pipeline.evaluation.selection import (
    choose_samples,
    model_names,
    part_of,
    recipe_names,
    short_names,
)
from sightsound.pipeline.evaluation.senses import part_scores, sense_losses
from sightsound.pipeline.prepare import prepare
from sightsound.pipeline.training.dataset import read_dataset
from sightsound.pipeline.training.recipe import load_recipe
from sightsound.pipeline.training.records import Dataset

_PROGRESS_EVERY_S = 5.0
_VERSIONED = ("sightsound", "torch", "openvino", "av", "scikit-learn", "torchmetrics", "numpy")

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is evaluated, on what, and where the report goes.

    ``tasks`` maps columns of the data to tasks of the bundles, or to nothing where the name or
    the labels decide; empty takes the usual columns. ``split`` None is the split test where the
    data has one, else every row. With ``n_folds`` it is ``recipes`` that are evaluated (none: the
    default one), on the same folds, and every row counts unless a split is given.
    """

    data: Path
    out: Path
    models: tuple[str, ...] = ("default",)
    tasks: Mapping[str, str | None] = field(default_factory=dict)
    split: str | None = None
    n_resamples: int = 1000
    seed: int = 0
    n_folds: int | None = None
    recipes: tuple[Path, ...] = ()
    features: Path | None = None


def evaluate(options: EvaluateOptions, config: Config, *, say: Say) -> Evaluation:
    """Evaluate, write the report and return it.

    Raises:
        DataError: the data cannot be used, or is of another label set than a model.
        ModelError: a model cannot be had.
        RecipeError: the recipe is wrong.
        OSError: the report cannot be written.
    """
    check_folder(options.out)
    dataset = read_dataset(options.data, tasks=tuple(options.tasks) or None)
    samples, split = choose_samples(
        dataset, split=options.split, takes_all=options.n_folds is not None
    )
    names = short_names(dataset, options.data.parent)
    if options.n_folds is None:
        chosen = part_of(dataset, samples)
        reports, predictions = _evaluate_models(
            chosen, [names[n] for n in samples], options, config, say
        )
    else:
        reports, predictions = _evaluate_recipes(dataset, names, samples, options, say)
    say("Scoring ...")
    evaluation = Evaluation(
        data=str(options.data),
        split=split,
        seed=options.seed,
        n_resamples=options.n_resamples,
        models=tuple(reports),
        comparisons=tuple(
            pair
            for by_model in predictions.values()
            for pair in compare_all(by_model, n_resamples=options.n_resamples, seed=options.seed)
        ),
        conditions=_conditions(options, config, split, len(samples)),
    )
    write_report(options.out, evaluation)
    return evaluation


def _evaluate_models(
    dataset: Dataset, names: Sequence[str], options: EvaluateOptions, config: Config, say: Say
) -> tuple[list[ModelReport], dict[str, dict[str, TaskPredictions]]]:
    """Every model's report, and the predictions by data task and model."""
    given = {column: task for column, task in options.tasks.items() if task is not None}
    called = model_names(options.models)
    prepared = []
    for name, model in called.items():
        bundle = load_bundle(model)
        matches = match_tasks(dataset, bundle, given)
        for match in matches:
            say(describe(match, dataset, model=name))
        prepared.append((name, config.model_copy(update={"model": model}), bundle, matches))
    reports = []
    predictions: dict[str, dict[str, TaskPredictions]] = {t.name: {} for t in dataset.tasks}
    for name, own_config, bundle, matches in prepared:
        prepare(own_config, bundle, say=say)
        scored = score_samples(
            dataset.samples, own_config, on_progress=_progress(f"{name}: files", say)
        )
        tasks = {}
        for match in matches:
            found = answers(dataset.samples, names, scored, match)
            tasks[match.data_task] = _task_report(
                found.by_senses, match.task.name, found.left_out, options
            )
            predictions[match.data_task][name] = found.by_senses["both"]
        reports.append(
            ModelReport(
                name=name,
                model_id=bundle.model_id,
                tasks=tasks,
                size=model_size(bundle),
                cost=scored.cost,
            )
        )
    return reports, predictions


def _evaluate_recipes(
    dataset: Dataset,
    names: Sequence[str],
    samples: Sequence[int],
    options: EvaluateOptions,
    say: Say,
) -> tuple[list[ModelReport], dict[str, dict[str, TaskPredictions]]]:
    """Every recipe's report, as that of a model, on the same folds; the predictions likewise."""
    from sightsound.models.cache import cache_folder
    from sightsound.pipeline.evaluation.recipe_run import check_recipes, run_recipe

    assert options.n_folds is not None
    recipes = {"default recipe": load_recipe()}
    if options.recipes:
        recipes = {name: load_recipe(path) for name, path in recipe_names(options.recipes).items()}
    check_recipes(recipes, dataset, samples, n_folds=options.n_folds, seed=options.seed)
    reports = []
    predictions: dict[str, dict[str, TaskPredictions]] = {t.name: {} for t in dataset.tasks}
    for name, recipe in recipes.items():
        made = run_recipe(
            recipe,
            dataset,
            names,
            samples,
            n_folds=options.n_folds,
            seed=options.seed,
            cache=options.features or cache_folder() / "features",
            say=_named(name, say),
        )
        tasks = {}
        for task, by_senses in made.by_task.items():
            tasks[task] = _task_report(by_senses, task, made.left_out, options)
            predictions[task][name] = by_senses["both"]
        reports.append(ModelReport(name=name, model_id="", tasks=tasks, folds=made.folds))
    return reports, predictions


def _named(name: str, say: Say) -> Say:
    return lambda text: say(f"{name}: {text}")


def _task_report(
    by_senses: Mapping[Senses, TaskPredictions],
    model_task: str,
    left_out: tuple[LeftOut, ...],
    options: EvaluateOptions,
) -> TaskReport:
    complete = by_senses["both"]
    resampling = {"n_resamples": options.n_resamples, "seed": options.seed}
    alone = {
        "without_sound": by_senses.get("visual"),
        "without_picture": by_senses.get("audio"),
    }
    return TaskReport(
        data_task=complete.task,
        model_task=model_task,
        metrics=measure(complete),
        intervals=bootstrap_intervals(complete, **resampling),
        parts=part_scores(complete, **alone, **resampling),  # type: ignore[arg-type]
        senses=sense_losses(complete, **alone, **resampling),  # type: ignore[arg-type]
        left_out=left_out,
    )


def _progress(what: str, say: Say) -> Callable[[int, int], None]:
    last = [time.monotonic()]

    def tell(done: int, total: int) -> None:
        if time.monotonic() - last[0] >= _PROGRESS_EVERY_S or done == total:
            last[0] = time.monotonic()
            say(f"{what}: {done} of {total}")

    return tell


def _conditions(
    options: EvaluateOptions, config: Config, split: str | None, n_samples: int
) -> dict[str, Any]:
    what: dict[str, Any] = {"models": ", ".join(options.models)}
    if options.n_folds is not None:
        recipes = [str(path) for path in options.recipes] or ["default"]
        what = {"recipes": ", ".join(recipes), "folds": options.n_folds}
    else:
        what["windows"] = f"{config.window.length_s:g} s every {config.window.hop_s:g} s"
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "data": str(options.data),
        "split": split or "all rows",
        "rows": n_samples,
        **what,
        "intervals": f"bootstrap over groups, {options.n_resamples} resamples, seed {options.seed}",
        "machine": f"{platform.machine()}, {platform.system()}",
        "versions": ", ".join(
            [f"Python {platform.python_version()}", *(f"{n} {version(n)}" for n in _VERSIONED)]
        ),
    }
