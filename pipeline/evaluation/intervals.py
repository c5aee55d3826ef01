"""Bootstrap intervals: how much a score would vary over other samples of the same kind."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.evaluation.resampled import (
    draw_group_weights,
    score_names,
    weighted_scores,
)
from sightsound.pipeline.evaluation.results import Interval, Intervals

LEVEL = 0.95


def bootstrap_intervals(
    predictions: TaskPredictions, *, n_resamples: int, seed: int, level: float = LEVEL
) -> Intervals:
    """Percentile intervals of the headline scores, from resamples of whole groups.

    Efron and Tibshirani 1993, "An introduction to the bootstrap", chapter 13. Empty with a
    single group or without resamples: then nothing can be said.
    """
    names = score_names(predictions)
    values: dict[str, list[NDArray[np.float64]]] = {name: [] for name in names}
    if len(set(predictions.groups)) > 1:
        for weights in draw_group_weights(predictions.groups, n_resamples, seed=seed):
            for name, drawn in weighted_scores(predictions, weights, names=names).items():
                values[name].append(drawn)
    made = {}
    for name, parts in values.items():
        interval = interval_of(np.concatenate(parts), level=level) if parts else None
        if interval is not None:
            made[name] = interval
    return made


def interval_of(values: NDArray[np.float64], *, level: float = LEVEL) -> Interval | None:
    """The middle ``level`` of resampled values; None where fewer than two are numbers."""
    known = values[~np.isnan(values)]
    if len(known) < 2:
        return None
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return Interval(
        low=float(low),
        high=float(high),
        level=level,
        spread=float(known.std(ddof=1)),
        n_resamples=len(known),
    )
