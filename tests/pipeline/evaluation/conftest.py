"""Predictions drawn at random, with some knowledge of the truth."""

from collections.abc import Callable

import numpy as np
import pytest

from sightsound.pipeline.evaluation.records import TaskPredictions

MakePredictions = Callable[..., TaskPredictions]


@pytest.fixture(scope="session")
def make_predictions() -> MakePredictions:
    return _make


def _make(
    n_samples=60, n_labels=7, *, kind="single", seed=0, truth_seed=0, group_size=3, knowledge=2.0
) -> TaskPredictions:
    """``truth_seed`` alone decides the truth, so that two models can be asked the same."""
    random = np.random.default_rng(truth_seed)
    if kind == "single":
        true = random.integers(0, n_labels, n_samples)
        truth = np.arange(n_labels) == true[:, None]
    else:
        truth = random.random((n_samples, n_labels)) < 0.3
    noise = np.random.default_rng((seed, 1)).normal(size=(n_samples, n_labels))
    logits = noise + knowledge * truth
    if kind == "single":
        exponential = np.exp(logits)
        probabilities = exponential / exponential.sum(axis=1, keepdims=True)
    else:
        probabilities = 1 / (1 + np.exp(1 - logits))
    return TaskPredictions(
        task="label",
        kind=kind,
        labels=tuple(f"label {i}" for i in range(n_labels)),
        probabilities=probabilities,
        truth=truth,
        samples=tuple(f"{i}.mp4" for i in range(n_samples)),
        groups=tuple(f"group {i // group_size}" for i in range(n_samples)),
        has_audio=np.arange(n_samples) % 2 == 0,
    )
