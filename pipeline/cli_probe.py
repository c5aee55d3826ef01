"""The ``probe`` command's options. Heavy imports happen inside, so that --help is quick."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from sightsound.pipeline.cli_exit import EXIT_INTERRUPTED, EXIT_RUN_FAILED, stop
from sightsound.pipeline.cli_options import Format, FormatOption


def add_commands(app: typer.Typer) -> None:
    """Register ``probe``."""
    app.command()(probe)


def probe(
    files: Annotated[list[str], typer.Argument(help="Video or sound files.", metavar="FILE...")],
    output: FormatOption = Format.TABLE,
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
            output="json" if output is Format.JSON else "table",
            deadline_s=deadline_s,
            n_workers=len(os.sched_getaffinity(0)),
        )
    except WorkersDieError as error:
        stop(str(error), EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        stop("Interrupted.", EXIT_INTERRUPTED)
    raise typer.Exit(status)
