"""Scores of one task, against values worked out by hand and against the libraries."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.records import TaskPredictions


def predictions(probabilities, truth, *, kind="single", labels=None):
    probabilities, truth = np.array(probabilities, dtype=float), np.array(truth, dtype=bool)
    n_samples, n_labels = truth.shape
    return TaskPredictions(
        task="label",
        kind=kind,
        labels=labels or tuple("abcdefghij"[:n_labels]),
        probabilities=probabilities,
        truth=truth,
        samples=tuple(str(i) for i in range(n_samples)),
        groups=tuple(str(i) for i in range(n_samples)),
        has_audio=np.ones(n_samples, dtype=bool),
    )


def test_scores_by_hand():
    found = measure(
        predictions(
            [[0.8, 0.2], [0.6, 0.4], [0.3, 0.7], [0.1, 0.9]], [[1, 0], [0, 1], [0, 1], [0, 1]]
        )
    )
    assert found.accuracy == 0.75
    assert found.confusion.counts == ((1, 0), (1, 2))
    a, b = found.classes
    assert (a.support, a.predicted, a.precision, a.recall) == (1, 2, 0.5, 1.0)
    assert (b.support, b.predicted, b.precision, b.recall) == (3, 2, 1.0, pytest.approx(2 / 3))
    assert found.macro_f1 == pytest.approx((2 / 3 + 0.8) / 2)
    assert found.macro_auc == 1.0


def test_scores_are_those_of_scikit_learn(make_predictions):
    given = make_predictions(n_samples=80, n_labels=6)
    found = measure(given)
    true, said = given.truth.argmax(axis=1), given.probabilities.argmax(axis=1)
    assert found.accuracy == pytest.approx(accuracy_score(true, said))
    assert found.macro_f1 == pytest.approx(f1_score(true, said, average="macro"))
    assert found.mean_average_precision == pytest.approx(
        average_precision_score(given.truth, given.probabilities, average="macro")
    )
    assert found.macro_auc == pytest.approx(
        roc_auc_score(true, given.probabilities, multi_class="ovr")
    )


def test_multi_label_scores_are_those_of_scikit_learn(make_predictions):
    given = make_predictions(n_samples=80, n_labels=6, kind="multi")
    found = measure(given)
    assert found.macro_f1 == pytest.approx(
        f1_score(given.truth, given.probabilities >= 0.5, average="macro")
    )
    assert found.mean_average_precision == pytest.approx(
        average_precision_score(given.truth, given.probabilities, average="macro")
    )
    assert found.confusion is None


def test_top5_counts_a_true_label_among_the_best_five():
    probabilities = np.tile(np.array([0.25, 0.2, 0.2, 0.15, 0.12, 0.08]), (2, 1))
    truth = np.zeros((2, 6), dtype=bool)
    truth[0, 4] = truth[1, 5] = True
    found = measure(predictions(probabilities, truth))
    assert (found.accuracy, found.top5) == (0.0, 0.5)


def test_top5_says_nothing_of_five_labels(make_predictions):
    assert measure(make_predictions(n_labels=5)).top5 is None


def test_label_never_true_is_named_and_in_no_mean(make_predictions):
    given = make_predictions(n_labels=4)
    never = replace(
        given,
        labels=(*given.labels, "never"),
        truth=np.column_stack((given.truth, np.zeros(60, dtype=bool))),
        probabilities=np.column_stack((given.probabilities, np.zeros(60))),
    )
    found, without = measure(never), measure(given)
    assert found.absent_labels == ("never",)
    entry = found.classes[-1]
    assert (entry.recall, entry.f1, entry.average_precision, entry.auc) == (None,) * 4
    assert found.macro_f1 == pytest.approx(without.macro_f1)
    assert found.mean_average_precision == pytest.approx(without.mean_average_precision)


def test_json_holds_no_nan(make_predictions):
    given = make_predictions(n_samples=4, n_labels=30, kind="multi")
    json.dumps(asdict(measure(given)), allow_nan=False)


def test_no_samples_give_no_scores(make_predictions):
    given = make_predictions(n_samples=3)
    empty = replace(
        given,
        probabilities=given.probabilities[:0],
        truth=given.truth[:0],
        samples=(),
        groups=(),
        has_audio=given.has_audio[:0],
    )
    found = measure(empty)
    assert (found.accuracy, found.macro_f1, found.calibration) == (None, None, None)


def test_one_yes_or_no_label_is_scored_as_such():
    found = measure(predictions([[0.9], [0.8], [0.2], [0.6]], [[1], [1], [0], [0]], kind="multi"))
    entry = found.classes[0]
    assert (entry.precision, entry.recall) == (pytest.approx(2 / 3), 1.0)


def test_samples_without_any_true_label_have_no_part_in_accuracy():
    found = measure(predictions([[0.9, 0.1], [0.9, 0.1]], [[1, 0], [0, 0]], kind="multi"))
    assert found.accuracy == 1.0


def test_calibration_error_is_that_of_its_bins(make_predictions):
    found = measure(make_predictions(n_samples=200)).calibration
    filled = [entry for entry in found.bins if entry.count]
    assert sum(entry.count for entry in filled) == 200
    by_bins = sum(abs(e.confidence - e.accuracy) * e.count for e in filled) / 200
    assert found.error == pytest.approx(by_bins, abs=1e-6)


def test_confidence_of_exactly_one_falls_into_the_last_bin():
    found = measure(predictions([[1.0, 0.0]], [[0, 1]])).calibration
    assert found.bins[-1].count == 1
    assert found.error == pytest.approx(1.0)


def test_roc_curves_are_thinned_and_keep_their_ends(make_predictions):
    found = measure(make_predictions(n_samples=3000, n_labels=3, knowledge=0.3))
    for curve in found.roc:
        assert len(curve.false_positive_rate) <= 103
        assert (curve.false_positive_rate[0], curve.true_positive_rate[0]) == (0, 0)
        assert (curve.false_positive_rate[-1], curve.true_positive_rate[-1]) == (1, 1)
        area = np.trapezoid(curve.true_positive_rate, curve.false_positive_rate)
        assert area == pytest.approx(curve.auc, abs=0.01)
