"""Folds: whole groups, every sample once, labels spread, and the data's own split where given."""

from dataclasses import replace

import pytest
from helpers.training import make_data
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.training.recipe import ValidationRecipe
from sightsound.pipeline.training.records import DataError, Dataset
from sightsound.pipeline.training.splits import deal_folds, validation_folds

DATASET, _ = make_data(60)


def with_samples(change) -> Dataset:
    samples = tuple(change(n, sample) for n, sample in enumerate(DATASET.samples))
    return Dataset(tasks=DATASET.tasks, samples=samples)


@given(st.lists(st.integers(0, 9), min_size=10, max_size=60), st.integers(2, 8), st.integers(0, 9))
def test_every_sample_is_held_once_and_no_group_is_on_both_sides(groups, n_folds, seed):
    dataset = Dataset(
        tasks=DATASET.tasks,
        samples=tuple(
            replace(DATASET.samples[n], group=str(group)) for n, group in enumerate(groups)
        ),
    )
    numbers = range(len(groups))
    if len(set(groups)) < 2:
        with pytest.raises(DataError, match="of one group"):
            deal_folds(dataset, numbers, n_folds=n_folds, seed=seed)
        return
    folds = deal_folds(dataset, numbers, n_folds=n_folds, seed=seed)
    assert sorted(n for fold in folds for n in fold.held) == list(numbers)
    for fold in folds:
        assert sorted((*fold.train, *fold.held)) == list(numbers)
        sides = [{groups[n] for n in side} for side in (fold.train, fold.held)]
        assert not sides[0] & sides[1]


def test_labels_are_spread_over_the_folds():
    for fold in deal_folds(DATASET, range(60), n_folds=5, seed=0):
        held = [DATASET.samples[n].labels["label"][0] for n in fold.held]
        assert max(held.count(label) for label in set(held)) <= 6


def test_the_split_val_is_what_is_held_out():
    dataset = with_samples(lambda n, s: replace(s, split="val" if n >= 50 else "train"))
    (fold,) = validation_folds(dataset, range(60), ValidationRecipe(), seed=0)
    assert fold.held == tuple(range(50, 60))
    assert fold.train == tuple(range(50))


def test_nothing_but_val_is_refused():
    dataset = with_samples(lambda n, s: replace(s, split="val"))
    with pytest.raises(DataError, match="leave some of them to train on"):
        validation_folds(dataset, range(60), ValidationRecipe(), seed=0)


def test_one_fold_holds_out_the_share_asked():
    (fold,) = validation_folds(
        DATASET, range(60), ValidationRecipe(folds=1, held_share=0.25), seed=0
    )
    assert 12 <= len(fold.held) <= 18
