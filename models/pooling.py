"""From the scores of moments to the score of a window, in numpy."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def softmax(logits: NDArray[np.float32], *, temperature: float = 1.0) -> NDArray[np.float32]:
    """Softmax over the last axis of logits / temperature."""
    scaled = logits / np.float32(temperature)
    scaled = scaled - scaled.max(axis=-1, keepdims=True)
    exponential = np.exp(scaled)
    return np.asarray(exponential / exponential.sum(axis=-1, keepdims=True), dtype=np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logistic function, without overflow for large negative logits."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))), dtype=np.float32)


def mean_pool(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean over the first axis, (n, n_labels) to (n_labels,): for one label a window."""
    return np.asarray(probabilities.mean(axis=0), dtype=np.float32)


def linear_softmax_pool(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """sum(p^2) / sum(p) over the first axis: for events that fill only a part of a window.

    Wang, Li and Metze 2019 (arXiv:1810.09050) found it best of five for weakly labelled sound:
    a short bark is not averaged away, and one noisy moment does not decide as with a maximum.
    """
    total = probabilities.sum(axis=0)
    squares = (probabilities * probabilities).sum(axis=0)
    return np.asarray(squares / np.maximum(total, 1e-12), dtype=np.float32)
