"""Which task of a bundle answers which task of the data, told before any long work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sightsound.models.bundle import Bundle, Task, TaskKind
from sightsound.pipeline.training.records import DataError, Dataset, LabelledSample, TaskLabels

_MOST_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Match:
    """A task of the data and the bundle's task that answers it.

    ``unknown_labels`` are those of the data that the bundle has not.
    """

    data_task: str
    data_kind: TaskKind
    task: Task
    unknown_labels: tuple[str, ...]

    @property
    def kind(self) -> TaskKind:
        """How answers are judged: one label of a sample only where both sides have just one."""
        return "single" if self.data_kind == self.task.kind == "single" else "multi"

    def asks(self, sample: LabelledSample) -> bool:
        """Whether the sample has an answer to the task."""
        return self.data_task in sample.labels

    def knows(self, sample: LabelledSample) -> bool:
        """Whether the bundle has a label that is true of the sample, or none is true of it."""
        labels = sample.labels[self.data_task]
        return not labels or any(label not in self.unknown_labels for label in labels)


def match_tasks(
    dataset: Dataset, bundle: Bundle, given: Mapping[str, str] | None = None
) -> tuple[Match, ...]:
    """Find the bundle's task for each task of the data that is asked.

    That is the one ``given`` for it, the one of its name, or the one that knows most of its
    labels.

    Raises:
        DataError: there is none, or it is not clear which.
    """
    given = given or {}
    tasks = {task.name: task for task in bundle.tasks}
    for name, wanted in given.items():
        if name not in {task.name for task in dataset.tasks}:
            known = ", ".join(task.name for task in dataset.tasks)
            raise DataError(f"--task {name}={wanted}: the data has no task {name}, but {known}.")
        if wanted not in tasks:
            raise DataError(
                f"--task {name}={wanted}: the bundle {bundle.name} has no task {wanted}, but "
                f"{', '.join(tasks)}."
            )
    return tuple(_match(task, bundle, given.get(task.name)) for task in dataset.tasks)


def describe(match: Match, dataset: Dataset, *, model: str) -> str:
    """Which task answers which, and how many rows are left out for their labels."""
    text = f"{model}: {match.data_task} is answered by its task {match.task.name}."
    if not match.unknown_labels:
        return text
    asked = [sample for sample in dataset.samples if match.asks(sample)]
    n_left_out = sum(not match.knows(sample) for sample in asked)
    n_unknown = len(match.unknown_labels)
    return (
        f"{text} {n_unknown} of the labels are unknown to it ({_some(match.unknown_labels)}); "
        f"{n_left_out} of {len(asked)} rows are left out for that."
    )


def _match(asked: TaskLabels, bundle: Bundle, wanted: str | None) -> Match:
    overlaps = {task.name: len(set(asked.labels) & set(task.labels)) for task in bundle.tasks}
    if wanted is None and asked.name in overlaps:
        wanted = asked.name
    if wanted is None:
        best = max(overlaps.values(), default=0)
        candidates = [name for name, overlap in overlaps.items() if overlap == best]
        if best and len(candidates) > 1:
            choices = " or ".join(f"--task {asked.name}={name}" for name in candidates)
            raise DataError(
                f"The tasks {', '.join(candidates)} of the bundle {bundle.name} know as many "
                f"of the labels of {asked.name}: say which is meant with {choices}."
            )
        wanted = candidates[0] if best else None
    if wanted is None or not overlaps[wanted]:
        raise DataError(_another_label_set(asked, bundle, wanted))
    (task,) = (task for task in bundle.tasks if task.name == wanted)
    known = set(task.labels)
    return Match(
        data_task=asked.name,
        data_kind=asked.kind,
        task=task,
        unknown_labels=tuple(label for label in asked.labels if label not in known),
    )


def _another_label_set(asked: TaskLabels, bundle: Bundle, wanted: str | None) -> str:
    shown = [task for task in bundle.tasks if wanted in (None, task.name)]
    has = "; ".join(f"{task.name}: {_some(task.labels)}" for task in shown)
    return (
        f"{bundle.name} is a bundle of another label set: it knows none of the {len(asked.labels)} "
        f"labels of {asked.name} ({_some(asked.labels)}), but {has}. Evaluate a bundle that was "
        "trained on these labels, or name the task that is meant with --task."
    )


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:_MOST_SHOWN])
    more = len(labels) - _MOST_SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
