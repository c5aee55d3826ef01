"""CSV and Parquet as rows of plain values, with the numbers that people know rows by."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sightsound.pipeline.training.records import DataError

_FIRST_ROW_CSV = 2  # After the header.


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows by column name; of text (CSV) all values are str or None."""

    path: Path
    columns: tuple[str, ...]
    rows: list[dict[str, Any]]
    is_text: bool

    def number(self, index: int) -> int:
        """The number that a spreadsheet, or a viewer of Parquet, shows beside a row."""
        return index + (_FIRST_ROW_CSV if self.is_text else 1)


def read_table(path: Path) -> Table:
    """Read a CSV or Parquet file.

    Raises:
        DataError: it cannot be read, or is neither.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".parquet"):
        raise DataError(f"{path} is neither .csv nor .parquet: save the labels as one of them.")
    try:
        return _read_csv(path) if suffix == ".csv" else _read_parquet(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(f"{path} cannot be read ({reason}): check the path.") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text: save it as CSV in UTF-8.") from error
    except (csv.Error, pa.ArrowInvalid) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{path} is not valid {suffix[1:].upper()} ({first}).") from error


def _read_csv(path: Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = list(csv.reader(file))
    if not lines or not any(field.strip() for field in lines[0]):
        raise DataError(f"{path} is empty: it needs a header with path and label, then rows.")
    columns = tuple(name.strip() for name in lines[0])
    twice = [name for name, count in Counter(columns).items() if name and count > 1]
    if twice:
        raise DataError(f"{path} has two columns {twice[0]!r}: rename or remove one.")
    rows = []
    for number, fields in enumerate(lines[1:], start=_FIRST_ROW_CSV):
        if len(fields) > len(columns):
            raise DataError(
                f"{path} has {len(fields)} fields in row {number} and {len(columns)} columns: put "
                "fields that hold a comma into double quotes."
            )
        padded = [*fields, *[""] * (len(columns) - len(fields))]
        rows.append({name: text or None for name, text in zip(columns, padded, strict=True)})
    while rows and not any(rows[-1].values()):
        rows.pop()
    return Table(path=path, columns=columns, rows=rows, is_text=True)


def _read_parquet(path: Path) -> Table:
    table = pq.read_table(path)
    return Table(
        path=path, columns=tuple(table.column_names), rows=table.to_pylist(), is_text=False
    )
