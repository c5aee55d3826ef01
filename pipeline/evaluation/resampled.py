"""The headline scores under many weightings of the samples at once, for resampling.

A bootstrap resample gives each sample a weight: how often it was drawn. What scikit-learn would
say of the weighted samples is said here for all resamples together, some hundred times as fast
as one by one; the tests hold it to scikit-learn's own values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.evaluation.metrics import decisions, hits
from sightsound.pipeline.evaluation.records import TaskPredictions

ACCURACY = "accuracy"
TOP5 = "top5"
MACRO_F1 = "macro_f1"
MEAN_AVERAGE_PRECISION = "mean_average_precision"

_TOP = 5
# Weights, and what is summed up along with them, stay within some tens of megabytes.
_MOST_WEIGHTS_AT_ONCE = 1 << 20

Scores = Mapping[str, NDArray[np.float64]]


def draw_group_weights(
    groups: Sequence[str], n_resamples: int, *, seed: int
) -> Iterator[NDArray[np.float64]]:
    """Draw whole groups with replacement, as many as there are; the cluster bootstrap.

    Davison and Hinkley 1997, "Bootstrap methods and their application", section 3.8: samples of
    one group are not independent, so the group is what is drawn.

    Yields:
        (rows, n_samples) float64, how often each sample counts, in blocks of bounded size that
        have ``n_resamples`` rows in all.
    """
    _, group_of_sample = np.unique(np.asarray(groups), return_inverse=True)
    n_groups = int(group_of_sample.max()) + 1 if len(group_of_sample) else 0
    if not n_groups:
        return
    random = np.random.default_rng(seed)
    block = max(1, _MOST_WEIGHTS_AT_ONCE // len(group_of_sample))
    for start in range(0, n_resamples, block):
        rows = min(block, n_resamples - start)
        counts = random.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=rows)
        yield counts[:, group_of_sample].astype(np.float64)


def weighted_scores(
    predictions: TaskPredictions, weights: NDArray[np.float64], *, names: Sequence[str]
) -> Scores:
    """The scores of ``names`` under each row of ``weights`` (rows, n), as arrays (rows,).

    Means over labels are over those that have weight. A value is NaN where nothing has.
    """
    made: dict[str, NDArray[np.float64]] = {}
    for name in names:
        if name in (ACCURACY, TOP5):
            made[name] = _weighted_hits(predictions, weights, k=1 if name == ACCURACY else _TOP)
        elif name == MACRO_F1:
            made[name] = _weighted_macro_f1(predictions, weights)
        else:
            made[name] = _weighted_mean_average_precision(predictions, weights)
    return made


def score_names(predictions: TaskPredictions) -> tuple[str, ...]:
    """The headline scores that the task has."""
    top5 = (TOP5,) if len(predictions.labels) > _TOP else ()
    return (ACCURACY, *top5, MACRO_F1, MEAN_AVERAGE_PRECISION)


def _weighted_hits(
    predictions: TaskPredictions, weights: NDArray[np.float64], *, k: int
) -> NDArray[np.float64]:
    found = hits(predictions, k)
    asked = ~np.isnan(found)
    return _ratio(weights[:, asked] @ found[asked], weights[:, asked].sum(axis=1))


def _weighted_macro_f1(
    predictions: TaskPredictions, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """F1 = 2 TP / (true + predicted), van Rijsbergen 1979, of each label, and its mean."""
    truth, said = predictions.truth, decisions(predictions)
    true = weights @ truth.astype(np.float64)
    right = weights @ (truth & said).astype(np.float64)
    predicted = weights @ said.astype(np.float64)
    f1 = np.where(true > 0, _ratio(2 * right, true + predicted), np.nan)
    return _mean_over_labels(f1)


def _weighted_mean_average_precision(
    predictions: TaskPredictions, weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The mean over labels of AP = sum of (R_k - R_k-1) P_k over falling thresholds."""
    columns = []
    for index in np.flatnonzero(predictions.truth.any(axis=0)):
        scores = predictions.probabilities[:, index]
        order = np.argsort(-scores, kind="stable")
        # Samples of one score fall under the same threshold: only its last one is a point.
        ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
        ordered = weights[:, order]
        found = np.cumsum(ordered * predictions.truth[order, index], axis=1)[:, ends]
        taken = np.cumsum(ordered, axis=1)[:, ends]
        precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
        steps = np.diff(found, axis=1, prepend=0.0)
        columns.append(_ratio((steps * precision).sum(axis=1), found[:, -1]))
    if not columns:
        return np.full(len(weights), np.nan)
    return _mean_over_labels(np.stack(columns, axis=1))


def _mean_over_labels(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = ~np.isnan(values)
    return _ratio(np.where(known, values, 0.0).sum(axis=1), known.sum(axis=1).astype(np.float64))


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    ratio: NDArray[np.float64] = np.full(np.shape(above), np.nan)
    return np.divide(above, below, out=ratio, where=below > 0)
