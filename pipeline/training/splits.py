"""Which samples are learnt from and which are held out: whole groups, labels spread evenly."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sightsound.pipeline.training.recipe import ValidationRecipe
from sightsound.pipeline.training.records import DataError, Dataset


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Numbers of samples to learn from and to hold out; no group is on both sides."""

    train: tuple[int, ...]
    held: tuple[int, ...]


def deal_folds(
    dataset: Dataset, samples: Sequence[int], *, n_folds: int, seed: int
) -> tuple[Fold, ...]:
    """Deal samples to folds of about the same size and mixture of labels.

    With fewer groups than folds there is a fold for each group.

    Raises:
        DataError: all samples are of one group, so that nothing can be held out.
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    groups = [dataset.samples[n].group for n in samples]
    n_groups = len(set(groups))
    if n_groups < 2:
        raise DataError(
            "All samples to learn from are of one group: nothing can be held out; add groups, or "
            "give some samples the split val."
        )
    n_folds = min(n_folds, n_groups)
    labels = [_first_label(dataset, n) for n in samples]
    # Where every label is rarer than there are folds, there is nothing to spread.
    can_spread = max(Counter(labels).values()) >= n_folds
    dealer = (StratifiedGroupKFold if can_spread else GroupKFold)(
        n_folds, shuffle=True, random_state=seed
    )
    numbers = np.asarray(samples)
    return tuple(
        Fold(train=tuple(numbers[train].tolist()), held=tuple(numbers[held].tolist()))
        for train, held in _quietly(dealer, numbers, labels, groups)
        if len(held) and len(train)
    )


def _quietly(
    dealer: object, numbers: np.ndarray, labels: Sequence[str], groups: Sequence[str]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Deal, without a warning where a label is rarer than there are folds."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return list(dealer.split(numbers, labels, groups))  # type: ignore[attr-defined]


def _first_label(dataset: Dataset, number: int) -> str:
    """What the mixture is judged by: the label of the first task that the sample has one of."""
    labels = dataset.samples[number].labels
    for task in dataset.tasks:
        if labels.get(task.name):
            return f"{task.name} {labels[task.name][0]}"
    return ""


def validation_folds(
    dataset: Dataset, samples: Sequence[int], recipe: ValidationRecipe, *, seed: int
) -> tuple[Fold, ...]:
    """What is held out, once or in turn: the split val where the data has it.

    ``samples`` are those that may be learnt from or stopped by, so none of the split test.

    Raises:
        DataError: nothing can be held out, or all is.
    """
    val = tuple(n for n in samples if dataset.samples[n].split == "val")
    if val:
        rest = tuple(n for n in samples if dataset.samples[n].split != "val")
        if not rest:
            raise DataError("All samples have the split val: leave some of them to train on.")
        return (Fold(train=rest, held=val),)
    if recipe.folds > 1:
        return deal_folds(dataset, samples, n_folds=recipe.folds, seed=seed)
    n_parts = max(2, round(1 / recipe.held_share))
    return deal_folds(dataset, samples, n_folds=n_parts, seed=seed)[:1]
