"""The ``explain`` command's options. Heavy imports happen inside, so that --help is quick."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sightsound.pipeline.cli_exit import (
    EXIT_INTERRUPTED,
    EXIT_RUN_FAILED,
    EXIT_WRONG_USAGE,
    broken_run,
    stop,
)
from sightsound.pipeline.cli_options import (
    ConfigOption,
    Format,
    FormatOption,
    ModelOption,
    SetOption,
)


def add_commands(app: typer.Typer) -> None:
    """Register ``explain``."""
    app.command()(explain)


def explain(
    inputs: Annotated[list[str], typer.Argument(help="Video or sound files.", metavar="VIDEO...")],
    at_s: Annotated[
        float | None,
        typer.Option("--at", help="The moment to explain, from the start.", metavar="SECONDS"),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(
            "--task", help="action, scene, sound: the first that has an answer, unless given."
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="The label to explain; the best, unless given."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Draw it, as a PNG.", metavar="FILE")
    ] = None,
    rules: Annotated[
        bool,
        typer.Option(
            "--rules",
            help="Fit a small tree of rules to the model's labels of all windows of the videos.",
        ),
    ] = False,
    model: ModelOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Show why a moment has its label: which sense, which frames, which regions and sounds.

    Exit status: 0 explained; 2 the command line is wrong, or there is no such moment, task or
    label; 1 nothing can be explained, or the run itself failed; 130 interrupted.
    """
    from sightsound.models.errors import BundleError, ModelError
    from sightsound.pipeline.config import ConfigError, load_config
    from sightsound.pipeline.explain.command import explain as run
    from sightsound.pipeline.explain.errors import ExplainError, ExplainUsageError
    from sightsound.stages.errors import StageError

    try:
        run(
            inputs,
            load_config(config, tuple(settings or ()), model=model),
            at_s=at_s,
            task=task,
            label=label,
            out=out,
            rules=rules,
            output="json" if output is Format.JSON else "table",
        )
    except (ConfigError, BundleError, ExplainUsageError) as error:
        stop(str(error), EXIT_WRONG_USAGE)
    except (ModelError, ExplainError, StageError) as error:
        stop(str(error), EXIT_RUN_FAILED)
    except OSError as error:
        stop(broken_run(error), EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        stop("Interrupted.", EXIT_INTERRUPTED)
