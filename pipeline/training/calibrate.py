"""Calibration on held-out data: temperatures that make confidences true, thresholds to doubt by."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from sightsound.models.bundle import TaskKind

_LEAST_ANSWERS = 10
_MOST_THRESHOLD = 0.5
_MOST_TEMPERATURE = 10.0


def fit_temperature(
    logits: torch.Tensor, target: torch.Tensor, *, kind: TaskKind = "single"
) -> float:
    """The divisor of the logits, from 0.1 to 10, under which cross entropy to ``target`` is least.

    ``logits`` (n, n_labels); ``target`` (n, n_labels) is a distribution, or of a multi-label task
    the probability of each label, whose binary cross entropy is taken. Guo et al. 2017
    (arXiv:1706.04599).
    """
    return _fit(logits, target, kind)[0]


def calibrated_loss(
    logits: torch.Tensor, target: torch.Tensor, *, kind: TaskKind = "single"
) -> float:
    """Cross entropy to ``target`` under the temperature that makes it least.

    It tells how well a network knows what it answers, not how sure of it it is: the confidence is
    mended after training (Berta et al. 2025, "Rethinking early stopping: refine, then calibrate",
    arXiv:2501.19195). Arguments as of ``fit_temperature``.
    """
    return _fit(logits, target, kind)[1]


def _fit(logits: torch.Tensor, target: torch.Tensor, kind: TaskKind) -> tuple[float, float]:
    """The temperature and the loss under it. The loss is convex in the temperature's inverse, so
    that it has one minimum."""

    def loss(logarithm: float) -> float:
        scaled = logits / math.exp(logarithm)
        if kind == "multi":
            return float(nn.functional.binary_cross_entropy_with_logits(scaled, target))
        return float(-(target * torch.log_softmax(scaled, dim=1)).sum(dim=1).mean())

    limit = math.log(_MOST_TEMPERATURE)
    found = minimize_scalar(loss, bounds=(-limit, limit), options={"xatol": 1e-3})
    return round(math.exp(found.x), 3), float(found.fun)


def fit_threshold(scores: NDArray[np.float64], is_right: NDArray[np.bool_]) -> float:
    """The score below which an answer is better called unknown.

    It is the largest score below which held-out answers, taken together, are right at most half
    the time; 0 where there is none or fewer than ten lie below it. It never exceeds 0.5: a
    calibrated score above that is right more often than not.

    Args:
        scores: (n,) calibrated score of each answer's best label.
        is_right: (n,) whether that label is the true one.
    """
    order = np.argsort(scores, kind="stable")
    ranked, right = scores[order], is_right[order]
    # Answers below each score: those before the first that equals it.
    below = np.searchsorted(ranked, ranked, side="left")
    right_below = np.concatenate(([0], np.cumsum(right)))[below]
    fits = (below >= _LEAST_ANSWERS) & (right_below * 2 <= below)
    if not fits.any():
        return 0.0
    # Rounded down, so that the answer that sets the threshold is itself told.
    return float(min(_MOST_THRESHOLD, np.floor(ranked[fits].max() * 10_000) / 10_000))
