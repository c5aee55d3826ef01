"""Labelled data from CSV or Parquet, checked before any long work.

Rows are numbered as a spreadsheet shows them: in CSV the header is row 1; in Parquet, which has
none, the first row of data is.
"""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightsound.models.bundle import TaskKind
from sightsound.pipeline.training.data_columns import (
    complain,
    groups_of,
    paths_of,
    rows_of,
    some_of,
    spans_of,
    splits_of,
)
from sightsound.pipeline.training.data_table import Table, read_table
from sightsound.pipeline.training.records import DataError, Dataset, LabelledSample, TaskLabels

_NAMED_TASKS: dict[str, TaskKind] = {"action": "single", "scene": "single", "sound": "multi"}
_LABEL = "label"
_SEPARATOR = "|"


def read_dataset(
    path: Path, *, tasks: Sequence[str] | None = None, may_lack_labels: bool = False
) -> Dataset:
    """Read and check labelled data.

    Columns: ``path``, relative to the data's folder; ``label``, or one of ``action``, ``scene``
    and ``sound`` for each task, or the ``tasks`` named; optionally ``split`` (train, val, test),
    ``group`` (the path, if not given), ``start_s`` and ``end_s``. Several labels of a multi-label
    task are a list in Parquet and separated by ``|`` in CSV; an empty field says nothing of its
    task, an empty list that none is true.

    Args:
        path: the CSV or Parquet file.
        tasks: columns that hold labels, if others than the usual.
        may_lack_labels: whether rows, or the whole of the data, may be without labels, since
            a teacher labels them.

    Raises:
        DataError: the data cannot be used; the message says where, what and the remedy.
    """
    table = read_table(path)
    if not table.rows:
        raise DataError(f"{path} has no rows: list one file a row.")
    _need_column(table, "path")
    columns = _task_columns(table, tasks, may_lack_labels=may_lack_labels)
    spans = spans_of(table)
    splits = splits_of(table)
    paths = paths_of(table)
    groups = groups_of(table, paths, splits)
    answers = {name: _answers(table, name) for name in columns}
    samples = tuple(
        LabelledSample(
            path=paths[i],
            start_s=spans[i][0],
            end_s=spans[i][1],
            split=splits[i],
            group=groups[i],
            labels={
                name: found for name, task in answers.items() if (found := task.rows[i]) is not None
            },
        )
        for i in range(len(table.rows))
    )
    if not may_lack_labels:
        complain(
            table,
            [i for i, sample in enumerate(samples) if not sample.labels],
            lambda n, rows: f"{n} {rows_of(n)} without any label ({rows}): fill in or remove them.",
        )
    return Dataset(
        tasks=tuple(
            TaskLabels(name=name, kind=task.kind, labels=_distinct(task.rows))
            for name, task in answers.items()
        ),
        samples=samples,
    )


def check_trainable(dataset: Dataset, samples: Sequence[int]) -> None:
    """Check what training on samples (by number) needs beyond what evaluation does.

    Raises:
        DataError: a class has a single sample or none to learn from, or there is one class.
    """
    for task in dataset.tasks:
        learnt: Counter[str] = Counter()
        for number in samples:
            learnt.update(dataset.samples[number].labels.get(task.name, ()))
        lonely = [label for label in task.labels if learnt[label] < 2]
        if lonely:
            plural = "label" if len(lonely) == 1 else "labels"
            raise DataError(
                f"The task {task.name} has {len(lonely)} {plural} with fewer than two samples to "
                f"learn from ({some_of(map(repr, lonely))}): add samples or remove the rows."
            )
        if task.kind == "single" and len(task.labels) < 2:
            raise DataError(
                f"The task {task.name} has one label, {task.labels[0]!r}: there is nothing to "
                "tell it from; add samples of another."
            )


def _need_column(table: Table, name: str) -> None:
    if name not in table.columns:
        raise DataError(f"{table.path} has no column {name!r}{_hint(table, [name])}.")


def _hint(table: Table, wanted: Sequence[str]) -> str:
    """What the column may have been called instead."""
    lowered = {column.strip().lower(): column for column in table.columns}
    for name in wanted:
        near = difflib.get_close_matches(name, lowered, n=1, cutoff=0.6)
        if near:
            return f": rename {lowered[near[0]]!r} to {name!r}"
    return f" (it has {', '.join(table.columns)}): add one"


def _task_columns(
    table: Table, tasks: Sequence[str] | None, *, may_lack_labels: bool
) -> tuple[str, ...]:
    if tasks is not None:
        for name in tasks:
            _need_column(table, name)
        return tuple(tasks)
    if _LABEL in table.columns:
        return (_LABEL,)
    named = tuple(name for name in _NAMED_TASKS if name in table.columns)
    if not named and not may_lack_labels:
        hint = _hint(table, [_LABEL, "labels", "class", *_NAMED_TASKS])
        if hint.startswith(": rename"):
            column = hint.split("'")[1]
            hint = f": rename {column!r} to {_LABEL!r}, or name it with --task {column}"
        raise DataError(
            f"{table.path} has no column {_LABEL!r}, nor {', '.join(_NAMED_TASKS)}{hint}."
        )
    return named


@dataclass(frozen=True, kw_only=True)
class _Answers:
    """A task's labels by row; None where a row says nothing of it."""

    kind: TaskKind
    rows: list[tuple[str, ...] | None]


def _answers(table: Table, name: str) -> _Answers:
    rows: list[tuple[str, ...] | None] = []
    several = []
    for i, row in enumerate(table.rows):
        value = row[name]
        is_list = isinstance(value, list)
        parts = value if isinstance(value, list) else _texts(value, split=table.is_text)
        texts = tuple(dict.fromkeys(text for part in parts if (text := str(part).strip())))
        if is_list or len(texts) > 1:
            several.append(i)
        rows.append(texts if texts or is_list else None)
    kind: TaskKind = "multi" if several else "single"
    if name in _NAMED_TASKS or name == _LABEL:
        kind = _NAMED_TASKS.get(name, "single")
    if kind == "single":
        complain(
            table,
            several,
            lambda n, found: (
                f"{n} {rows_of(n)} of the single-label column {name!r} with a list "
                f"({found}): keep one label in each row, or call the column 'sound'."
            ),
        )
    _one_spelling(table, name, rows)
    return _Answers(kind=kind, rows=rows)


def _texts(value: Any, *, split: bool) -> list[str]:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return []
    return str(value).split(_SEPARATOR) if split else [str(value)]


def _one_spelling(table: Table, name: str, rows: Sequence[tuple[str, ...] | None]) -> None:
    first: dict[str, tuple[str, int]] = {}
    for i, labels in enumerate(rows):
        for label in labels or ():
            spelling, where = first.setdefault(" ".join(label.casefold().split()), (label, i))
            if spelling != label:
                raise DataError(
                    f"{table.path} spells a label of {name!r} in two ways: {spelling!r} in row "
                    f"{table.number(where)} and {label!r} in row {table.number(i)}; use one."
                )


def _distinct(rows: Iterable[tuple[str, ...] | None]) -> tuple[str, ...]:
    return tuple(sorted({label for labels in rows for label in labels or ()}))
