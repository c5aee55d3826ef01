"""Comparisons of models on the same samples."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.evaluation.compare import (
    bootstrap_p_value,
    common_samples,
    compare,
    compare_all,
    discordant,
    holm,
    mcnemar,
    take,
)


def test_mcnemar_by_hand():
    # Of 10 discordant samples 1 is the first's: 2 * (1 + 10) / 2**10.
    assert mcnemar(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar(5, 5) == pytest.approx(1.0)


def test_models_that_never_differ_are_not_told_apart(make_predictions):
    made = make_predictions()
    pair = compare(made, made, names=("a", "b"), n_resamples=50, seed=0)
    assert (pair.difference, pair.p_value, pair.interval.spread) == (0.0, 1.0, 0.0)


def test_a_model_that_knows_more_is_found_better(make_predictions):
    poor = make_predictions(n_samples=200, knowledge=0.5)
    good = make_predictions(n_samples=200, knowledge=3.0, seed=1)
    pair = compare(poor, good, names=("poor", "good"), n_resamples=200, seed=0)
    assert pair.test == "exact McNemar"
    assert pair.p_value < 0.001
    assert 0 < pair.interval.low < pair.difference < pair.interval.high
    assert pair.n_second_only - pair.n_first_only == round(pair.difference * 200)


def test_multi_label_models_are_compared_in_average_precision(make_predictions):
    poor = make_predictions(n_samples=150, kind="multi", knowledge=0.5)
    good = make_predictions(n_samples=150, kind="multi", knowledge=3.0, seed=1)
    pair = compare(poor, good, names=("poor", "good"), n_resamples=200, seed=0)
    assert pair.measure == "mean_average_precision"
    assert pair.test == "paired bootstrap over groups"
    assert pair.p_value == pytest.approx(2 / 201)
    assert pair.n_first_only is None


def test_only_samples_of_both_are_compared(make_predictions):
    made = make_predictions(n_samples=10)
    first, second = take(made, np.arange(0, 8)), take(made, np.arange(9, 3, -1))
    ours, theirs = common_samples(first, second)
    assert ours.samples == theirs.samples == ("4.mp4", "5.mp4", "6.mp4", "7.mp4")
    assert (ours.probabilities == theirs.probabilities).all()


def test_models_without_a_sample_in_common_are_no_pair(make_predictions):
    made = make_predictions(n_samples=10)
    other = replace(made, samples=tuple(f"other {name}" for name in made.samples))
    assert compare(made, other, names=("a", "b"), n_resamples=10, seed=0) is None


def test_label_sets_may_differ(make_predictions):
    made = make_predictions(n_labels=4)
    wider = replace(
        made,
        labels=("more", *made.labels),
        probabilities=np.column_stack((np.zeros(60), made.probabilities)),
        truth=np.column_stack((np.zeros(60, dtype=bool), made.truth)),
    )
    pair = compare(made, wider, names=("a", "b"), n_resamples=20, seed=0)
    assert (pair.difference, discordant(made, wider)) == (0.0, (0, 0))


def test_three_models_are_three_pairs_corrected_together(make_predictions):
    by_model = {str(k): make_predictions(n_samples=100, seed=k, knowledge=k) for k in (1, 2, 3)}
    pairs = compare_all(by_model, n_resamples=20, seed=0)
    assert [(pair.first, pair.second) for pair in pairs] == [("1", "2"), ("1", "3"), ("2", "3")]
    assert [pair.p_adjusted for pair in pairs] == holm([pair.p_value for pair in pairs])
    assert any(pair.p_adjusted > pair.p_value for pair in pairs)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_raises_p_values_and_keeps_their_order(p_values):
    adjusted = holm(p_values)
    assert all(p <= a <= 1 for p, a in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert all(adjusted[i] <= adjusted[j] for i, j in pairwise(order))


def test_bootstrap_p_value_is_never_zero():
    assert bootstrap_p_value(np.ones(99)) == pytest.approx(0.02)
    assert bootstrap_p_value(np.array([-1.0, 1.0])) == 1.0
