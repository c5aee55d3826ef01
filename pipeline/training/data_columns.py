"""The columns of labelled data that are not labels, checked: path, span, split and group.

Each error is one sentence with up to three examples.
"""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from sightsound.pipeline.training.data_table import Table
from sightsound.pipeline.training.records import DataError

SPLITS = ("train", "val", "test")
_MOST_EXAMPLES = 3


def spans_of(table: Table) -> list[tuple[float, float | None]]:
    """Each row's span in seconds; an end of None is that of the file."""
    starts, ends = _times(table, "start_s"), _times(table, "end_s")
    spans = [(start or 0.0, end) for start, end in zip(starts, ends, strict=True)]
    complain(
        table,
        [i for i, (start, end) in enumerate(spans) if start < 0 or (end or 1.0) < 0],
        lambda n, rows: (
            f"{n} {rows_of(n)} with a time before 0 ({rows}): times are seconds from the "
            "start of the file."
        ),
    )
    complain(
        table,
        [i for i, (start, end) in enumerate(spans) if end is not None and end <= start],
        lambda n, rows: (
            f"{n} {rows_of(n)} whose end_s is not after start_s ({rows}): correct them."
        ),
    )
    return spans


def _times(table: Table, name: str) -> list[float | None]:
    if name not in table.columns:
        return [None] * len(table.rows)
    times: list[float | None] = []
    wrong = []
    for i, row in enumerate(table.rows):
        value = row[name]
        if value is None or str(value).strip() in ("", "nan"):
            times.append(None)
            continue
        try:
            times.append(float(value))
        except (TypeError, ValueError):
            times.append(None)
            wrong.append(i)
            continue
        if not math.isfinite(float(value)):
            wrong.append(i)
    complain(
        table,
        wrong,
        lambda n, rows: (
            f"{n} {rows_of(n)} whose {name} is no number of seconds ({rows}): write it like 12.5."
        ),
        show=lambda i: repr(table.rows[i][name]),
    )
    return times


def splits_of(table: Table) -> list[str | None]:
    """Each row's split, None where it has none."""
    if "split" not in table.columns:
        return [None] * len(table.rows)
    splits = [str(row["split"] or "").strip() or None for row in table.rows]
    complain(
        table,
        [i for i, split in enumerate(splits) if split is not None and split not in SPLITS],
        lambda n, rows: (
            f"{n} {rows_of(n)} with an unknown split ({rows}): use "
            f"{', '.join(SPLITS)} or leave it empty."
        ),
        show=lambda i: repr(splits[i]),
    )
    return splits


def paths_of(table: Table) -> list[str]:
    """Each row's file, which is there."""
    given = [str(row["path"] or "").strip() for row in table.rows]
    complain(
        table,
        [i for i, text in enumerate(given) if not text],
        lambda n, rows: f"{n} {rows_of(n)} without a path ({rows}): fill in or remove them.",
    )
    paths = [str(table.path.parent / text) for text in given]
    # Not Path.is_file, which raises where a name is too long.
    is_file = {path: os.path.isfile(path) for path in set(paths)}
    remedy = f"paths are relative to {table.path.parent.absolute()}"
    if not any(is_file.values()):
        others = [name for name in table.columns if name != "path"]
        remedy = next(
            (
                f"the files are in the column {name!r}, so rename that to 'path'"
                for name in others
                if os.path.isfile(table.path.parent / str(table.rows[0][name] or ""))
            ),
            remedy,
        )
    complain(
        table,
        [i for i, path in enumerate(paths) if not is_file[path]],
        lambda n, rows: f"{n} {rows_of(n)} whose file is missing ({rows}): {remedy}.",
        show=lambda i: given[i],
    )
    return paths


def groups_of(table: Table, paths: Sequence[str], splits: Sequence[str | None]) -> list[str]:
    """Each row's group, its path where it has none; no group lies on two sides of a split."""
    groups = list(paths)
    if "group" in table.columns:
        given = [row["group"] for row in table.rows]
        groups = [
            str(group).strip() if group is not None and str(group).strip() else path
            for group, path in zip(given, paths, strict=True)
        ]
    sides: dict[str, dict[str, int]] = defaultdict(dict)
    for i, (group, split) in enumerate(zip(groups, splits, strict=True)):
        sides[group].setdefault(split or "train", i)
    torn = {group: found for group, found in sides.items() if len(found) > 1}
    if torn:
        shown = some_of(f"{group!r} {_sides(table, found)}" for group, found in torn.items())
        plural = "group lies" if len(torn) == 1 else "groups lie"
        raise DataError(
            f"{table.path}: {len(torn)} {plural} on both sides of a split ({shown}): give all rows "
            "of a group the same split, or what is learnt is asked again."
        )
    return groups


def _sides(table: Table, found: Mapping[str, int]) -> str:
    return " and ".join(f"in {split} (row {table.number(i)})" for split, i in found.items())


def complain(
    table: Table,
    wrong: Sequence[int],
    sentence: Callable[[int, str], str],
    *,
    show: Callable[[int], str] | None = None,
) -> None:
    """Raise a DataError with up to three examples if any row is wrong."""
    if wrong:
        examples = (
            f"row {table.number(i)}" + (f": {show(i)}" if show is not None else "") for i in wrong
        )
        raise DataError(f"{table.path} has {sentence(len(wrong), some_of(examples))}")


def some_of(items: Iterable[str]) -> str:
    """Up to three examples in a row, and how many more there are."""
    listed = list(items)
    more = f" and {len(listed) - _MOST_EXAMPLES} more" if len(listed) > _MOST_EXAMPLES else ""
    return ", ".join(listed[:_MOST_EXAMPLES]) + more


def rows_of(count: int) -> str:
    """Row, or rows."""
    return "row" if count == 1 else "rows"
