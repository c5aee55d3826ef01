"""Which samples are asked about, and what samples and models are called in a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sightsound.pipeline.training.records import DataError, Dataset


def choose_samples(
    dataset: Dataset, *, split: str | None, takes_all: bool
) -> tuple[list[int], str | None]:
    """Numbers of the samples that are asked about, and their split if it is one.

    Without ``split`` that is the split test where there is one, unless all are to be taken.

    Raises:
        DataError: no sample is of the split.
    """
    counts = Counter(sample.split for sample in dataset.samples)
    if split is None and not takes_all and counts["test"]:
        split = "test"
    if split is None:
        return list(range(len(dataset.samples))), None
    if not counts[split]:
        there = ", ".join(sorted(name for name in counts if name)) or "none"
        raise DataError(
            f"The data has no row of the split {split}; it has {there}: choose another --split."
        )
    return [n for n, sample in enumerate(dataset.samples) if sample.split == split], split


def part_of(dataset: Dataset, samples: Sequence[int]) -> Dataset:
    """Some of the samples, with the tasks that they answer and the labels that they have.

    Raises:
        DataError: none of them has a label.
    """
    tasks = []
    for task in dataset.tasks:
        labels = {label for n in samples for label in dataset.samples[n].labels.get(task.name, ())}
        if labels:
            tasks.append(replace(task, labels=tuple(sorted(labels))))
    if not tasks:
        raise DataError("Not one of the rows asked about has a label: nothing can be evaluated.")
    return Dataset(tasks=tuple(tasks), samples=tuple(dataset.samples[n] for n in samples))


def short_names(dataset: Dataset, folder: Path) -> list[str]:
    """What samples are called: from the data's folder on, and each differently."""
    names: list[str] = []
    count: Counter[str] = Counter()
    prefix = f"{folder}/"
    for sample in dataset.samples:
        name = sample.name.removeprefix(prefix)
        count[name] += 1
        names.append(name if count[name] == 1 else f"{name} ({count[name]})")
    return names


def model_names(models: Sequence[str]) -> dict[str, str]:
    """Short names of models that differ: the folder's own name, or as much of it as it takes.

    Raises:
        DataError: two are the same.
    """
    return _distinct([Path(model).name or model for model in models], models, option="--model")


def recipe_names(recipes: Sequence[Path]) -> dict[str, Path]:
    """Short names of recipes that differ: the file's, or as much of its path as it takes.

    Raises:
        DataError: two are the same.
    """
    names = _distinct(
        [recipe.stem for recipe in recipes], [str(recipe) for recipe in recipes], option="--recipe"
    )
    return {name: Path(text) for name, text in names.items()}


def _distinct(short: Sequence[str], given: Sequence[str], *, option: str) -> dict[str, str]:
    names = [s if short.count(s) == 1 else whole for s, whole in zip(short, given, strict=True)]
    if len(set(names)) < len(names):
        raise DataError(f"A {option.removeprefix('--')} is named twice: give each {option} once.")
    return dict(zip(names, given, strict=True))
