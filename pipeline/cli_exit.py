"""How commands end: exit statuses, and one sentence on standard error."""

from __future__ import annotations

from typing import NoReturn

import typer

EXIT_RUN_FAILED = 1
EXIT_WRONG_USAGE = 2
EXIT_SOME_FAILED = 3
EXIT_INTERRUPTED = 130


def stop(message: str, status: int) -> NoReturn:
    """Say why and end the command with a status."""
    from sightsound.stages.errors import printable

    typer.echo(f"sightsound: {printable(message)}", err=True)
    raise typer.Exit(status)


def broken_run(error: OSError, *, what: str = "run") -> str:
    """What an error of the file system means for a whole run."""
    where = f" at {error.filename}" if error.filename else ""
    return f"The {what} failed{where} ({error.strerror or error})."
