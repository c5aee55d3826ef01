"""The command line. Heavy imports happen inside the commands, so that --help is quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sightsound.pipeline import cli_evaluate, cli_explain, cli_probe, cli_train
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

if TYPE_CHECKING:
    from sightsound.pipeline.config import Config


app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Label what happens in a video, where, and what is heard, with times and confidences.",
)
config_app = typer.Typer(no_args_is_help=True, help="The configuration.")
app.add_typer(config_app, name="config")


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"sightsound {version('sightsound')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    pass


AudioTrackOption = Annotated[
    str | None,
    typer.Option(
        "--audio-track",
        help="Track of sound: its number from 0, or its language, such as eng.",
        metavar="TRACK",
    ),
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
    audio_track: AudioTrackOption = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Label files and show the labels as a timeline.

    Exit status: 0 all inputs ok; 3 some partial or failed; 2 wrong command line or configuration;
    1 the run itself failed; 130 interrupted.
    """
    from sightsound.models.errors import BundleError, ModelError
    from sightsound.pipeline.analyze import analyze as run
    from sightsound.pipeline.config import ConfigError
    from sightsound.pipeline.output import OutputError
    from sightsound.pipeline.workers import WorkersDieError

    loaded = _load_config(config, settings, model, audio_track=audio_track)
    try:
        status = run(inputs, loaded, out=out, output="json" if output is Format.JSON else "table")
    except (BundleError, ConfigError) as error:
        stop(str(error), EXIT_WRONG_USAGE)
    except (ModelError, OutputError, WorkersDieError) as error:
        stop(str(error), EXIT_RUN_FAILED)
    except OSError as error:
        stop(broken_run(error), EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        stop("Interrupted.", EXIT_INTERRUPTED)
    raise typer.Exit(status)


@app.command()
def batch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders, globs, manifests (.csv, .tsv, .parquet, .txt) or URIs.",
            metavar="SOURCE...",
        ),
    ],
    out: Annotated[
        str, typer.Option("--out", help="Folder or URI for the result tables.", metavar="DIR")
    ],
    model: ModelOption = None,
    config: ConfigOption = None,
    settings: SetOption = None,
    audio_track: AudioTrackOption = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="A running Ray cluster, such as auto.", metavar="ADDRESS"),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try inputs again that failed before.")
    ] = False,
    max_failed: Annotated[
        str | None,
        typer.Option(
            "--max-failed",
            help="Stop when more than so many fail in this run: 20, or 5%.",
            metavar="N",
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option("--metrics", help="Append progress as JSON lines.", metavar="FILE"),
    ] = None,
) -> None:
    """Label everything under the sources with Ray; go on where an earlier run stopped.

    Exit status: 0 all inputs ok; 3 some partial or failed; 2 wrong command line or configuration;
    1 the run itself failed, or --max-failed stopped it; 130 interrupted.
    """
    from sightsound.models.errors import BundleError, ModelError
    from sightsound.pipeline.accounts import AccountingError
    from sightsound.pipeline.batch import batch as run
    from sightsound.pipeline.config import ConfigError
    from sightsound.pipeline.failure_limit import FailureLimit, TooManyFailedError
    from sightsound.pipeline.manifests import SourceError
    from sightsound.pipeline.output import OutputError
    from sightsound.pipeline.ray_engine import RayError

    loaded = _load_config(config, settings, model, audio_track=audio_track)
    try:
        limit = None if max_failed is None else FailureLimit.parse(max_failed)
    except ValueError:
        stop(f"--max-failed {max_failed}: give a number such as 20, or 5%.", EXIT_WRONG_USAGE)
    try:
        status = run(
            sources,
            loaded,
            out=out,
            address=address,
            retry_failed=retry_failed,
            max_failed=limit,
            metrics=metrics,
        )
    except (BundleError, ConfigError, SourceError) as error:
        stop(str(error), EXIT_WRONG_USAGE)
    except (ModelError, OutputError, RayError, TooManyFailedError, AccountingError) as error:
        stop(str(error), EXIT_RUN_FAILED)
    except OSError as error:
        stop(broken_run(error), EXIT_RUN_FAILED)
    except KeyboardInterrupt:
        stop(
            "Interrupted; run the same command again to go on.",
            EXIT_INTERRUPTED,
        )
    raise typer.Exit(status)


for module in (cli_probe, cli_explain, cli_train, cli_evaluate):
    module.add_commands(app)


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


def _load_config(
    path: Path | None,
    settings: list[str] | None,
    model: str | None,
    *,
    audio_track: str | None = None,
) -> Config:
    from sightsound.pipeline.config import ConfigError, load_config
    from sightsound.pipeline.media_config import audio_track_setting

    given = list(settings or ())
    if audio_track is not None:
        given.append(audio_track_setting(audio_track))
    try:
        return load_config(path, tuple(given), model=model)
    except ConfigError as error:
        stop(str(error), EXIT_WRONG_USAGE)


def main() -> None:
    """Entry point of the ``sightsound`` command."""
    app()
