"""The ``train`` command. Heavy imports happen inside it, so that --help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sightsound.pipeline.cli_exit import (
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
    EXIT_SOME_FAILED,
    EXIT_WRONG_USAGE,
    broken_run,
    stop,
)
from sightsound.pipeline.cli_options import DataArgument

if TYPE_CHECKING:
    from sightsound.pipeline.training.train import TrainReport


_MOST_SHOWN = 10


def add_commands(app: typer.Typer) -> None:
    """Register ``train``."""
    app.command()(train)


def train(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", help="Folder of the bundle.", metavar="BUNDLE")],
    config: Annotated[
        Path | None,
        typer.Option("--config", help="A recipe in YAML, as configs/train.yaml.", metavar="FILE"),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="One setting of the recipe, such as training.steps=200; may be repeated.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option("--task", help="A column with labels; may be repeated.", metavar="COLUMN"),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            help="Learn a backbone's own scores as well; DATA then needs only path.",
            metavar="BACKBONE",
        ),
    ] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Processes that share each batch (Ray Train)."),
    ] = 1,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where this training was interrupted.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option("--seed", help="The recipe's, if not given.", metavar="N")
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features",
            help="Folder where features are kept for the next time; else the user's cache.",
            metavar="DIR",
        ),
    ] = None,
) -> None:
    """Train a bundle on labelled files, for --model of analyze and batch.

    Exit status: 0 all samples used; 3 some left out; 2 wrong command line, recipe or data;
    1 the training itself failed; 130 interrupted.
    """
    from sightsound.models.cache import cache_folder
    from sightsound.models.errors import FusionError, ModelError, UnknownBackboneError
    from sightsound.pipeline.training.recipe import RecipeError, load_recipe
    from sightsound.pipeline.training.records import DataError

    overrides: dict[str, Any] = {}
    if task:
        overrides["tasks"] = task
    if seed is not None:
        overrides["seed"] = seed
    try:
        given = [*(settings or []), *([f"teacher.backbone={teacher}"] if teacher else [])]
        recipe = load_recipe(config, given, overrides=overrides)
    except RecipeError as error:
        stop(str(error), EXIT_WRONG_USAGE)
    from sightsound.pipeline.training.checkpoints import CheckpointError
    from sightsound.pipeline.training.loop import TrainingWorkersError
    from sightsound.pipeline.training.train import TrainOptions
    from sightsound.pipeline.training.train import train as run
    from sightsound.pipeline.workers import WorkersDieError

    options = TrainOptions(
        data=data,
        out=out,
        features=features or cache_folder() / "features",
        n_workers=workers,
        n_processes=len(os.sched_getaffinity(0)),
        resume=resume,
    )
    try:
        report = run(recipe, options, say=lambda text: typer.echo(text, err=True))
    except (DataError, CheckpointError, FusionError, UnknownBackboneError) as error:
        stop(str(error), EXIT_WRONG_USAGE)
    except (ModelError, WorkersDieError, TrainingWorkersError) as error:
        stop(str(error), EXIT_RUN_FAILED)
    except OSError as error:
        stop(broken_run(error, what="training"), EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        stop("Interrupted; run the same command with --resume to go on.", EXIT_INTERRUPTED)
    _show(report, out)
    raise typer.Exit(EXIT_SOME_FAILED if report.failed else 0)


def _show(report: TrainReport, out: Path) -> None:
    """What was measured on standard output, the account of samples on standard error."""
    for where, measured in (("held out", report.held_out), ("test", report.test or {})):
        for task, numbers in measured.items():
            parts = (
                f"{name.replace('_', ' ')} {value if value is not None else '-'}"
                for name, value in numbers.items()
                if name != "measure"
            )
            sys.stdout.write(f"{task} ({where}, {numbers['measure']}): {', '.join(parts)}\n")
    shown = list(report.failed.values())
    for sentence in shown[:_MOST_SHOWN]:
        typer.echo(f"left out: {sentence}", err=True)
    if len(shown) > _MOST_SHOWN:
        typer.echo(f"left out: {len(shown) - _MOST_SHOWN} more.", err=True)
    used = report.n_samples - len(report.failed)
    typer.echo(
        f"{report.n_samples} samples: {used} used, {len(report.failed)} left out. "
        f"Bundle: {out} ({report.seconds:.0f} s).",
        err=True,
    )
