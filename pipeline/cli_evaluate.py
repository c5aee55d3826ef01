"""The ``evaluate`` command. Heavy imports happen inside it, so that --help is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightsound.pipeline.cli_exit import (
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
    EXIT_SOME_FAILED,
    EXIT_WRONG_USAGE,
    broken_run,
    stop,
)
from sightsound.pipeline.cli_options import ConfigOption, DataArgument, SetOption

if TYPE_CHECKING:
    from sightsound.pipeline.evaluation.evaluation import Evaluation


def add_commands(app: typer.Typer) -> None:
    """Register ``evaluate``."""
    app.command()(evaluate)


def evaluate(
    data: DataArgument,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder of the report (JSON, Markdown, HTML).", metavar="REPORT"
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="default, full, or the folder of a bundle; several are compared.",
            metavar="NAME",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task",
            help="A column of the data and the model's task that answers it, such as "
            "label=action; may be repeated.",
            metavar="COLUMN[=TASK]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Rows to ask about; test, if there are such.", metavar="NAME"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", min=2, help="Cross-validate recipes instead of models.", metavar="K"
        ),
    ] = None,
    recipe: Annotated[
        list[Path] | None,
        typer.Option(
            "--recipe",
            help="What --folds trains, as train --config; several are compared.",
            metavar="FILE",
        ),
    ] = None,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, help="Resamples for intervals.", metavar="N")
    ] = 1000,
    seed: Annotated[
        int, typer.Option("--seed", min=0, help="Of resampling and of folds.", metavar="N")
    ] = 0,
    config: ConfigOption = None,
    settings: SetOption = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            help="Folder where --folds keeps features; else the user's cache.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Measure how good models are on labelled files, and compare them.

    Exit status: 0 all samples asked about; 3 some left out; 2 wrong command line, configuration
    or data; 1 the evaluation itself failed; 130 interrupted.
    """
    if folds is not None and model:
        stop("--folds trains models of its own: leave out --model.", EXIT_WRONG_USAGE)
    if folds is None and (recipe or features is not None):
        stop("--recipe and --features belong to --folds: give it, too.", EXIT_WRONG_USAGE)
    columns: dict[str, str | None] = {}
    for entry in task or []:
        column, _, answer = entry.partition("=")
        columns[column.strip()] = answer.strip() or None
    from sightsound.models.errors import (
        BundleError,
        FusionError,
        ModelError,
        UnknownBackboneError,
    )
    from sightsound.pipeline.config import ConfigError, load_config

    try:
        loaded = load_config(config, tuple(settings or ()))
    except ConfigError as error:
        stop(str(error), EXIT_WRONG_USAGE)
    from sightsound.pipeline.evaluation.evaluate import EvaluateOptions
    from sightsound.pipeline.evaluation.evaluate import evaluate as run
    from sightsound.pipeline.training.recipe import RecipeError
    from sightsound.pipeline.training.records import DataError
    from sightsound.pipeline.workers import WorkersDieError

    options = EvaluateOptions(
        data=data,
        out=out,
        models=tuple(model or (loaded.model,)),
        tasks=columns,
        split=split,
        n_resamples=bootstrap,
        seed=seed,
        n_folds=folds,
        recipes=tuple(recipe or ()),
        features=features,
    )
    try:
        evaluation = run(options, loaded, say=lambda text: typer.echo(text, err=True))
    except (
        ConfigError,
        DataError,
        RecipeError,
        BundleError,
        FusionError,
        UnknownBackboneError,
    ) as error:
        stop(str(error), EXIT_WRONG_USAGE)
    except (ModelError, WorkersDieError) as error:
        stop(str(error), EXIT_RUN_FAILED)
    except OSError as error:
        stop(broken_run(error, what="evaluation"), EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        stop("Interrupted.", EXIT_INTERRUPTED)
    n_left_out = _show(evaluation, out)
    raise typer.Exit(EXIT_SOME_FAILED if n_left_out else 0)


def _show(evaluation: Evaluation, out: Path) -> int:
    """The headline scores on standard output; how many samples were left out."""
    from sightsound.pipeline.evaluation.cells import plain_text
    from sightsound.pipeline.evaluation.tables import all_senses, comparisons, overview

    tables = (overview(evaluation), all_senses(evaluation), comparisons(evaluation.comparisons))
    sys.stdout.write("\n".join(plain_text(table) for table in tables if table.rows))
    n_left_out = 0
    for model in evaluation.models:
        for name, report in model.tasks.items():
            for entry in report.left_out:
                n_left_out += entry.n_samples
                typer.echo(
                    f"{model.name}, {name}: left out {entry.n_samples}: {entry.reason}.",
                    err=True,
                )
    typer.echo(f"Report: {out}/report.html, report.md and report.json.", err=True)
    return n_left_out
