"""Options that several commands have."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Format(StrEnum):
    """How results are shown."""

    TABLE = "table"
    JSON = "json"


FormatOption = Annotated[Format, typer.Option("--format", help="What to print.")]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="A YAML file with settings.", metavar="FILE")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="One setting, such as window.length_s=10; may be repeated.",
        metavar="KEY=VALUE",
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option("--model", help="default, full, or the folder of a bundle.", metavar="NAME"),
]
DataArgument = Annotated[
    Path,
    typer.Argument(
        help="CSV or Parquet with path and label, or action, scene and sound; optionally "
        "split, group, start_s, end_s.",
        metavar="DATA",
    ),
]
