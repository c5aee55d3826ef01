"""Bootstrap intervals."""

import numpy as np
import pytest

from sightsound.pipeline.evaluation.compare import take
from sightsound.pipeline.evaluation.intervals import bootstrap_intervals, interval_of
from sightsound.pipeline.evaluation.metrics import measure


def test_interval_holds_the_score(make_predictions):
    made = make_predictions(n_samples=200)
    found = bootstrap_intervals(made, n_resamples=200, seed=0)
    scores = measure(made)
    assert set(found) == {"accuracy", "top5", "macro_f1", "mean_average_precision"}
    for name, interval in found.items():
        assert interval.low < getattr(scores, name) < interval.high, name


def test_same_seed_gives_the_same_interval(make_predictions):
    made = make_predictions()
    first = bootstrap_intervals(made, n_resamples=50, seed=7)
    assert first == bootstrap_intervals(made, n_resamples=50, seed=7)
    assert first != bootstrap_intervals(made, n_resamples=50, seed=8)


def test_interval_is_wider_where_samples_share_groups(make_predictions):
    """Ten copies of each sample in one group tell no more than one."""
    alone = make_predictions(n_samples=40, group_size=1)
    rows = np.repeat(np.arange(40), 10)
    copies = take(alone, rows)
    spread = {
        name: bootstrap_intervals(made, n_resamples=300, seed=0)["accuracy"].spread
        for name, made in (("alone", alone), ("copies", copies))
    }
    assert spread["copies"] == pytest.approx(spread["alone"], rel=0.25)


def test_single_group_has_no_interval(make_predictions):
    made = make_predictions(group_size=1000)
    assert bootstrap_intervals(made, n_resamples=50, seed=0) == {}


def test_no_resamples_give_no_interval(make_predictions):
    assert bootstrap_intervals(make_predictions(), n_resamples=0, seed=0) == {}


def test_interval_is_the_middle_of_the_values():
    found = interval_of(np.arange(101.0), level=0.9)
    assert (found.low, found.high) == (pytest.approx(5), pytest.approx(95))


def test_values_that_are_no_numbers_are_left_aside():
    assert interval_of(np.array([np.nan, 1.0, 3.0, np.nan])).n_resamples == 2
