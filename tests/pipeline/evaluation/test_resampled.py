"""Scores under weights must be what scikit-learn says of weighted samples."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score

from sightsound.pipeline.evaluation.compare import take
from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.resampled import (
    draw_group_weights,
    score_names,
    weighted_scores,
)


@pytest.mark.parametrize("kind", ["single", "multi"])
@pytest.mark.parametrize("decimals", [1, 12], ids=["ties", "no ties"])
def test_weighted_scores_are_those_of_scikit_learn(make_predictions, kind, decimals):
    made = make_predictions(kind=kind, knowledge=1.0)
    made = replace(made, probabilities=made.probabilities.round(decimals))
    (weights,) = draw_group_weights(made.groups, 5, seed=3)
    found = weighted_scores(made, weights, names=score_names(made))
    for row, weight in enumerate(weights):
        present = [i for i in range(7) if weight @ made.truth[:, i] > 0]
        precisions = [
            average_precision_score(
                made.truth[:, i], made.probabilities[:, i], sample_weight=weight
            )
            for i in present
        ]
        assert found["mean_average_precision"][row] == pytest.approx(np.mean(precisions))
        if kind == "single":
            true, said = made.truth.argmax(axis=1), made.probabilities.argmax(axis=1)
        else:
            true, said = made.truth, made.probabilities >= 0.5
        f1 = f1_score(
            true, said, labels=present, average="macro", sample_weight=weight, zero_division=0
        )
        assert found["macro_f1"][row] == pytest.approx(f1)
        if kind == "single":
            right = accuracy_score(true, said, sample_weight=weight)
            assert found["accuracy"][row] == pytest.approx(right)


@settings(max_examples=20)
@given(st.lists(st.integers(0, 3), min_size=12, max_size=12).filter(any))
def test_a_weight_of_n_is_n_copies_of_the_sample(make_predictions, counts):
    made = make_predictions(n_samples=12)
    copies = take(made, np.repeat(np.arange(12), counts))
    found = weighted_scores(made, np.array([counts], dtype=float), names=score_names(made))
    whole = measure(copies)
    for name, values in found.items():
        assert values[0] == pytest.approx(getattr(whole, name))


def test_groups_are_drawn_whole(make_predictions):
    made = make_predictions(n_samples=30, group_size=5)
    (weights,) = draw_group_weights(made.groups, 50, seed=1)
    by_group = weights.reshape(50, 6, 5)
    assert (by_group == by_group[:, :, :1]).all()
    assert (weights.sum(axis=1) == 30).all()


def test_blocks_of_weights_have_all_resamples_in_all():
    groups = [str(i) for i in range(5000)]
    blocks = list(draw_group_weights(groups, 1000, seed=0))
    assert len(blocks) > 1
    assert sum(len(block) for block in blocks) == 1000
