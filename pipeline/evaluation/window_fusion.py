"""The tokens of one window to the probability of every label, with all senses and with each alone.

Inference (``stages.fuse``) keeps the best labels only; means over windows and average precision
need them all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sightsound.models.bundle import Bundle, Task
from sightsound.models.engines.base import Engine, LoadedNetwork
from sightsound.models.pooling import linear_softmax_pool, mean_pool, sigmoid, softmax
from sightsound.pipeline.evaluation.records import Senses
from sightsound.stages.fuse import Fuse
from sightsound.stages.plan import Grid
from sightsound.stages.records import Tokens, Window


class WindowFusion:
    """(Window, tokens by backbone) -> the probability of every label, as ``stages.fuse`` has it.

    Answers are by the senses used: both (or the one that is there), picture alone, sound alone.
    """

    def __init__(self, bundle: Bundle, engine: Engine, grid: Grid) -> None:
        self._bundle = bundle
        self._n_visual, self._n_audio = Fuse.token_counts(bundle, grid)
        self._fused = [task for task in bundle.tasks if task.by_fusion]
        self._network: LoadedNetwork | None = None
        if self._fused:
            spec = bundle.fusion_network(n_visual=self._n_visual, n_audio=self._n_audio)
            self._network = engine.load(spec)

    def __call__(
        self, window: Window, tokens: Mapping[str, Tokens]
    ) -> dict[Senses, dict[str, NDArray[np.float32]]]:
        """Score one window from all it has and from each sense alone."""
        seen = {each.name: tokens[each.name] for each in self._bundle.visual if each.name in tokens}
        heard = {each.name: tokens[each.name] for each in self._bundle.audio if each.name in tokens}
        ways: dict[Senses, dict[str, Tokens]] = {
            "both": {**seen, **heard},
            "visual": seen,
            "audio": heard,
        }
        answers: dict[Senses, dict[str, NDArray[np.float32]]] = {}
        for senses, known in ways.items():
            if senses != "both" and known.keys() == tokens.keys():
                answers[senses] = answers["both"]
                continue
            answers[senses] = self._fuse(window, known)
            for task in self._bundle.tasks:
                if not task.by_fusion:
                    late = _late(task, known)
                    if late is not None:
                        answers[senses][task.name] = late
        return answers

    def _fuse(self, window: Window, tokens: Mapping[str, Tokens]) -> dict[str, NDArray[np.float32]]:
        if self._network is None:
            return {}
        assert self._bundle.fusion is not None
        method = self._bundle.fusion["method"]
        visual = audio = None
        if self._bundle.visual and method != "audio":
            visual = tokens.get(self._bundle.visual[0].name)
        if self._bundle.audio and method != "visual":
            audio = tokens.get(self._bundle.audio[0].name)
        if visual is None and audio is None:
            return {}
        arrays = (
            *_padded(window, visual, self._n_visual, self._bundle.visual_dim),
            *_padded(window, audio, self._n_audio, self._bundle.audio_dim),
        )
        outputs = self._network(*(array[None] for array in arrays))
        missing = {name for name, found in (("visual", visual), ("audio", audio)) if found is None}
        return {
            task.name: _probabilities(task, outputs[i][0])
            for i, task in enumerate(self._fused)
            if missing.isdisjoint(task.requires)
        }


def _late(task: Task, tokens: Mapping[str, Tokens]) -> NDArray[np.float32] | None:
    """The weighted mean of the backbones' own scores over those that are there."""
    total, weight_sum = np.zeros(len(task.labels), dtype=np.float32), 0.0
    for name, weight in task.sources.items():
        found = tokens.get(name)
        if found is None or found.logits is None:
            continue
        each = _probabilities(task, found.logits)
        pooled = mean_pool(each) if task.kind == "single" else linear_softmax_pool(each)
        total += np.float32(weight) * pooled
        weight_sum += weight
    return total / np.float32(weight_sum) if weight_sum else None


def _probabilities(task: Task, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    if task.kind == "single":
        return softmax(logits, temperature=task.temperature)
    return sigmoid(logits / np.float32(task.temperature))


def _padded(
    window: Window, tokens: Tokens | None, length: int, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    embeddings = np.zeros((length, dim), dtype=np.float32)
    times, mask = np.zeros(length, dtype=np.float32), np.zeros(length, dtype=bool)
    if tokens is not None:
        n_tokens = min(length, len(tokens.times_s))
        embeddings[:n_tokens] = tokens.embeddings[:n_tokens]
        times[:n_tokens] = tokens.times_s[:n_tokens] - window.start_s
        mask[:n_tokens] = True
    return embeddings, times, mask
