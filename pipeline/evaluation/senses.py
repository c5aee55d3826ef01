"""What each sense is worth: samples with one left out, and those with and without sound apart."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.evaluation.compare import common_samples, paired_differences, take
from sightsound.pipeline.evaluation.intervals import bootstrap_intervals, interval_of
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.evaluation.resampled import (
    ACCURACY,
    MACRO_F1,
    MEAN_AVERAGE_PRECISION,
    TOP5,
    score_names,
    weighted_scores,
)
from sightsound.pipeline.evaluation.results import PartScores, SenseLoss

PICTURE, SOUND = "picture", "sound"


def sense_losses(
    complete: TaskPredictions,
    *,
    without_sound: TaskPredictions | None,
    without_picture: TaskPredictions | None,
    n_resamples: int,
    seed: int,
) -> tuple[SenseLoss, ...]:
    """How much goes with sound and with picture, over the samples that have both.

    A sample that lacks the other sense cannot lose this one and be labelled. None stands for a
    model that answers nothing without the sense.
    """
    rows = take(complete, np.flatnonzero(_has_both(complete)))
    if not rows.samples:
        return ()
    return tuple(
        _loss(rows, reduced, left_out=name, n_resamples=n_resamples, seed=seed)
        for name, reduced in ((SOUND, without_sound), (PICTURE, without_picture))
    )


def _loss(
    complete: TaskPredictions,
    reduced: TaskPredictions | None,
    *,
    left_out: str,
    n_resamples: int,
    seed: int,
) -> SenseLoss:
    measure = ACCURACY if complete.kind == "single" else MEAN_AVERAGE_PRECISION
    n_samples = len(complete.samples)
    whole, part = complete, None
    if reduced is not None:
        whole, part = common_samples(complete, reduced)
    if part is None or not part.samples:
        return SenseLoss(
            left_out=left_out,
            n_samples=n_samples,
            measure=measure,
            complete=score_of(complete, measure),
            reduced=None,
            loss=None,
            interval=None,
            note=f"nothing is answered without {left_out}",
        )
    n_unanswered = n_samples - len(part.samples)
    scores = score_of(whole, measure), score_of(part, measure)
    drawn = paired_differences(part, whole, measure=measure, n_resamples=n_resamples, seed=seed)
    return SenseLoss(
        left_out=left_out,
        n_samples=len(part.samples),
        measure=measure,
        complete=scores[0],
        reduced=scores[1],
        loss=None if scores[0] is None or scores[1] is None else scores[0] - scores[1],
        interval=interval_of(drawn),
        note=f"{n_unanswered} more are not answered without {left_out}" if n_unanswered else "",
    )


def part_scores(
    complete: TaskPredictions,
    *,
    without_sound: TaskPredictions | None,
    without_picture: TaskPredictions | None,
    n_resamples: int,
    seed: int,
) -> tuple[PartScores, ...]:
    """Samples with and without sound apart, and those with it from one sense alone."""
    has_both = _has_both(complete)
    parts = []
    for part, predictions, rows in (
        ("with sound", complete, complete.has_audio),
        ("with sound, picture alone", without_sound, has_both),
        ("with sound, sound alone", without_picture, has_both),
        ("without sound", complete, ~complete.has_audio),
    ):
        if predictions is None:
            continue
        _, chosen = common_samples(take(complete, np.flatnonzero(rows)), predictions)
        if chosen.samples:
            parts.append(_part(part, chosen, n_resamples=n_resamples, seed=seed))
    return tuple(parts)


def _part(name: str, predictions: TaskPredictions, *, n_resamples: int, seed: int) -> PartScores:
    scores = {score: score_of(predictions, score) for score in score_names(predictions)}
    return PartScores(
        part=name,
        n_samples=len(predictions.samples),
        accuracy=scores[ACCURACY],
        top5=scores.get(TOP5),
        macro_f1=scores[MACRO_F1],
        mean_average_precision=scores[MEAN_AVERAGE_PRECISION],
        intervals=bootstrap_intervals(predictions, n_resamples=n_resamples, seed=seed),
    )


def _has_both(predictions: TaskPredictions) -> NDArray[np.bool_]:
    if predictions.has_visual is None:
        return predictions.has_audio
    return predictions.has_audio & predictions.has_visual


def score_of(predictions: TaskPredictions, measure: str) -> float | None:
    """One headline score, None where it cannot be said."""
    one: NDArray[np.float64] = np.ones((1, len(predictions.samples)))
    value = float(weighted_scores(predictions, one, names=(measure,))[measure][0])
    return None if np.isnan(value) else value
