"""Models side by side on the same samples, with a paired test and Holm's correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.evaluation.intervals import interval_of
from sightsound.pipeline.evaluation.metrics import hits
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.evaluation.resampled import (
    ACCURACY,
    MEAN_AVERAGE_PRECISION,
    draw_group_weights,
    weighted_scores,
)
from sightsound.pipeline.evaluation.results import Interval, PairComparison

MCNEMAR = "exact McNemar"
BOOTSTRAP = "paired bootstrap over groups"


def compare_all(
    by_model: Mapping[str, TaskPredictions], *, n_resamples: int, seed: int
) -> tuple[PairComparison, ...]:
    """Every pair of models on the samples that both answered, p-values corrected together.

    Args:
        by_model: the predictions of one data task, by the model's name.
        n_resamples: of the paired bootstrap.
        seed: of the same.
    """
    pairs = []
    for first, second in combinations(by_model, 2):
        pair = compare(
            by_model[first],
            by_model[second],
            names=(first, second),
            n_resamples=n_resamples,
            seed=seed,
        )
        if pair is not None:
            pairs.append(pair)
    adjusted = holm([pair.p_value for pair in pairs])
    return tuple(
        replace(pair, p_adjusted=value) for pair, value in zip(pairs, adjusted, strict=True)
    )


def compare(
    first: TaskPredictions,
    second: TaskPredictions,
    *,
    names: tuple[str, str],
    n_resamples: int,
    seed: int,
) -> PairComparison | None:
    """One pair; None where they share no sample.

    Single-label tasks are compared in accuracy by the exact test of McNemar 1947
    (doi:10.1007/BF02295996): of the samples that just one model got right, as many should be
    the first's as the second's. It takes samples to be independent; the interval does not.
    Multi-label tasks are compared in mean average precision by the paired bootstrap.
    """
    ours, theirs = common_samples(first, second)
    if not len(ours.samples):
        return None
    measure = ACCURACY if ours.kind == "single" else MEAN_AVERAGE_PRECISION
    one = np.ones((1, len(ours.samples)))
    scores = [
        float(weighted_scores(side, one, names=(measure,))[measure][0]) for side in (ours, theirs)
    ]
    drawn = paired_differences(ours, theirs, measure=measure, n_resamples=n_resamples, seed=seed)
    difference = scores[1] - scores[0]
    n_first_only = n_second_only = None
    if ours.kind == "single":
        n_first_only, n_second_only = discordant(ours, theirs)
        p_value = mcnemar(n_first_only, n_second_only)
    else:
        p_value = bootstrap_p_value(drawn)
    interval = interval_of(drawn) or _no_interval(difference)
    return PairComparison(
        data_task=ours.task,
        first=names[0],
        second=names[1],
        n_samples=len(ours.samples),
        measure=measure,
        score_first=scores[0],
        score_second=scores[1],
        difference=difference,
        interval=interval,
        test=MCNEMAR if ours.kind == "single" else BOOTSTRAP,
        p_value=p_value,
        p_adjusted=p_value,
        n_first_only=n_first_only,
        n_second_only=n_second_only,
    )


def common_samples(
    first: TaskPredictions, second: TaskPredictions
) -> tuple[TaskPredictions, TaskPredictions]:
    """Both cut to the samples that are in both, in the order of the first."""
    place = {name: index for index, name in enumerate(second.samples)}
    shared = [index for index, name in enumerate(first.samples) if name in place]
    return (
        take(first, np.array(shared, dtype=np.int64)),
        take(second, np.array([place[first.samples[i]] for i in shared], dtype=np.int64)),
    )


def take(predictions: TaskPredictions, rows: NDArray[np.int64]) -> TaskPredictions:
    """The predictions of some rows, by index."""
    return replace(
        predictions,
        probabilities=predictions.probabilities[rows],
        truth=predictions.truth[rows],
        samples=tuple(predictions.samples[row] for row in rows),
        groups=tuple(predictions.groups[row] for row in rows),
        has_audio=predictions.has_audio[rows],
        has_visual=None if predictions.has_visual is None else predictions.has_visual[rows],
    )


def paired_differences(
    first: TaskPredictions,
    second: TaskPredictions,
    *,
    measure: str,
    n_resamples: int,
    seed: int,
) -> NDArray[np.float64]:
    """Second minus first under the same resamples of whole groups, (n_resamples,)."""
    if len(set(first.groups)) < 2 or not n_resamples:
        return np.zeros(0)
    parts = []
    for weights in draw_group_weights(first.groups, n_resamples, seed=seed):
        ours = weighted_scores(first, weights, names=(measure,))[measure]
        theirs = weighted_scores(second, weights, names=(measure,))[measure]
        parts.append(theirs - ours)
    return np.concatenate(parts)


def discordant(first: TaskPredictions, second: TaskPredictions) -> tuple[int, int]:
    """How many samples only the first, and only the second, got right."""
    ours, theirs = hits(first, 1) == 1, hits(second, 1) == 1
    return int((ours & ~theirs).sum()), int((theirs & ~ours).sum())


def mcnemar(n_first_only: int, n_second_only: int) -> float:
    """The two-sided exact p-value; 1 where the models never differ."""
    from scipy.stats import binomtest

    n_different = n_first_only + n_second_only
    if not n_different:
        return 1.0
    return float(binomtest(n_first_only, n_different, 0.5).pvalue)


def bootstrap_p_value(differences: NDArray[np.float64]) -> float:
    """Twice the share of resampled differences on the far side of 0, at most 1.

    With one added to either side (Davison and Hinkley 1997, section 4.4), so that it is never 0.
    """
    known = differences[~np.isnan(differences)]
    least = min((known <= 0).sum(), (known >= 0).sum())
    return float(min(1.0, 2 * (least + 1) / (len(known) + 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values corrected for how many there are, in the order given.

    Holm 1979, "A simple sequentially rejective multiple test procedure": the smallest of m is
    multiplied by m, the next by m - 1, and none becomes smaller than the one before.
    """
    adjusted = [1.0] * len(p_values)
    reached = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        reached = max(reached, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = reached
    return adjusted


def _no_interval(difference: float) -> Interval:
    return Interval(low=difference, high=difference, level=0.0, spread=0.0, n_resamples=0)
