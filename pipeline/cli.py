"""The command line. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from sightsound.pipeline.config import Config

EXIT_RUN_FAILED = 1
EXIT_WRONG_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Label what happens in a video, where, and what is heard, with times and confidences.",
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration.")
app.add_typer(config_app, name="config")


class Format(StrEnum):
    """How results are shown."""

    TABLE = "table"
    JSON = "json"


ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A YAML file with settings.", metavar="FILE")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="One setting, such as window.length_s=10.", metavar="KEY=VALUE"),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="default, full, or the folder of a bundle.", metavar="NAME"),
]


@app.command()
def analyze(
    inputs: Annotated[list[str], typer.Argument(help="Video or sound files.", metavar="INPUT...")],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder for the result tables (Parquet).", metavar="DIR"),
    ] = None,
    model: ModelOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    output: Annotated[Format, typer.Option("--format", help="What to print.")] = Format.TABLE,
) -> None:
    """Label files and show the labels as a timeline.

    Exit status: 0 all inputs ok; 3 some partial or failed; 2 wrong command line or
    configuration; 1 the run itself failed.
    """
    from sightsound.models.errors import BundleError, ModelError
    from sightsound.pipeline.analyze import analyze as run
    from sightsound.pipeline.workers import WorkersDieError

    loaded = _load_config(config, settings, model)
    try:
        status = run(inputs, loaded, out=out, output="json" if output is Format.JSON else "table")
    except BundleError as error:
        _stop(str(error), EXIT_WRONG_USAGE)
    except (ModelError, WorkersDieError) as error:
        _stop(str(error), EXIT_RUN_FAILED)
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        _stop(f"The run failed at{where} ({error.strerror or error}).", EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        _stop("Interrupted.", EXIT_INTERRUPTED)
    raise typer.Exit(status)


@app.command()
def models() -> None:
    """List the bundles and backbones, and whether their weights are here."""
    from sightsound.pipeline.inventory import show_models

    show_models()


@app.command()
def doctor(
    config: ConfigOption = None, settings: SetOption = None, model: ModelOption = None
) -> None:
    """Check dependencies, decoders, devices and weights, and say how to mend what is missing."""
    from sightsound.pipeline.doctor import run_doctor

    raise typer.Exit(EXIT_RUN_FAILED if run_doctor(_load_config(config, settings, model)) else 0)


@config_app.command("show")
def config_show(
    config: ConfigOption = None, settings: SetOption = None, model: ModelOption = None
) -> None:
    """Print the whole configuration as YAML, with the settings given."""
    sys.stdout.write(_load_config(config, settings, model).to_yaml())


def _load_config(path: Path | None, settings: list[str] | None, model: str | None) -> Config:
    from sightsound.pipeline.config import ConfigError, load_config

    try:
        return load_config(path, tuple(settings or ()), model=model)
    except ConfigError as error:
        _stop(str(error), EXIT_WRONG_USAGE)


def _stop(message: str, status: int) -> NoReturn:
    typer.echo(f"sightsound: {message}", err=True)
    raise typer.Exit(status)


def main() -> None:
    """Entry point of the ``sightsound`` command."""
    app()
