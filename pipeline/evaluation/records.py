"""What a model said of labelled samples, beside what is true of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sightsound.models.bundle import TaskKind

# What an answer is made from: all that is there, or one sense alone.
Senses = Literal["both", "visual", "audio"]
SENSES: tuple[Senses, ...] = ("both", "visual", "audio")


@dataclass(frozen=True, kw_only=True)
class TaskPredictions:
    """One task over the n samples that have a label of it, in the order of the data.

    ``probabilities`` (n, n_labels) float64: of a single-label task each row adds up to 1.
    ``truth`` (n, n_labels) bool: of a single-label task exactly one label is true in each row.
    ``samples`` and ``groups`` (n) name each row and its group; ``has_audio`` (n,) bool says
    where there was something to hear, ``has_visual`` where there was something to see (None:
    everywhere).
    """

    task: str
    kind: TaskKind
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    truth: NDArray[np.bool_]
    samples: tuple[str, ...]
    groups: tuple[str, ...]
    has_audio: NDArray[np.bool_]
    has_visual: NDArray[np.bool_] | None = None
