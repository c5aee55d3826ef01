"""What training and evaluation are about: labelled spans of files, and the tasks they label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sightsound.models.bundle import TaskKind


class DataError(Exception):
    """The labelled data cannot be used; the message says where, what and the remedy."""


@dataclass(frozen=True, kw_only=True)
class TaskLabels:
    """One question that the data answers, with all labels that occur, sorted."""

    name: str
    kind: TaskKind
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class LabelledSample:
    """One row of the data: a file, or its span [start_s, end_s), with what is true of it.

    ``end_s`` None is the end of the file. ``labels`` holds, for each task that the row answers,
    the labels that are true: one for a single-label task, any number for a multi-label one.
    Samples of one ``group`` never stand on both sides of a split.
    """

    path: str
    start_s: float
    end_s: float | None
    split: str | None
    group: str
    labels: Mapping[str, tuple[str, ...]]

    @property
    def name(self) -> str:
        """Names the sample in reports: its path, and its span where it is not the whole file."""
        if self.start_s == 0 and self.end_s is None:
            return self.path
        end = "" if self.end_s is None else f"{self.end_s:g}"
        return f"{self.path}#{self.start_s:g}-{end}"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Labelled samples in the order of the data, and their tasks."""

    tasks: tuple[TaskLabels, ...]
    samples: tuple[LabelledSample, ...]
