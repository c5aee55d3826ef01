"""The ``probe`` command's options. Heavy imports happen inside, so that --help is quick."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

from sightsound.pipeline.cli_exit import (
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
)


class ProbeFormat(StrEnum):
    """How findings are shown."""

    TABLE = "table"
    JSON = "json"


def add_commands(app: typer.Typer) -> None:
    """Register ``probe``."""
    app.command()(probe)


def probe(
    files: Annotated[list[str], typer.Argument(help="Video or sound files.", metavar="FILE...")],
    output: Annotated[
        ProbeFormat, typer.Option("--format", help="What to print.")
    ] = ProbeFormat.TABLE,
    deadline_s: Annotated[
        float,
        typer.Option("--deadline", help="Longest that a file is read.", metavar="SECONDS", min=1),
    ] = 120.0,
) -> None:
    """Show what files really hold beside what their headers claim, with warnings.

    Exit status: 0 all can be read; 3 some cannot; 2 wrong command line; 1 the run itself failed;
    130 interrupted.
    """
    from sightsound.pipeline.inspection.run import run_probe
    from sightsound.pipeline.workers import WorkersDieError

    try:
        status = run_probe(
            files,
            output="json" if output is ProbeFormat.JSON else "table",
            deadline_s=deadline_s,
            n_workers=len(os.sched_getaffinity(0)),
        )
    except WorkersDieError as error:
        typer.echo(f"sightsound: {error}", err=True)
        raise typer.Exit(EXIT_RUN_FAILED) from error
    except KeyboardInterrupt:
        typer.echo("sightsound: Interrupted.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    raise typer.Exit(status)
