"""The tokens of one window to the probability of every label, with all senses and with each alone.

Inference (``stages.fuse``) keeps the best labels only; means over windows and average precision
need them all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from sightsound.models.bundle import Bundle
from sightsound.models.engines.base import Engine, LoadedNetwork
from sightsound.pipeline.evaluation.records import Senses
from sightsound.stages.fuse import Fuse, fused_tokens, late_scores, padded, probabilities
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
                    late = late_scores(task, known)
                    if late is not None:
                        answers[senses][task.name] = late.pooled
        return answers

    def _fuse(self, window: Window, tokens: Mapping[str, Tokens]) -> dict[str, NDArray[np.float32]]:
        if self._network is None:
            return {}
        visual, audio = fused_tokens(self._bundle, tokens)
        if visual is None and audio is None:
            return {}
        arrays = (
            *padded(window, visual, self._n_visual, self._bundle.visual_dim),
            *padded(window, audio, self._n_audio, self._bundle.audio_dim),
        )
        outputs = self._network(*(array[None] for array in arrays))
        missing = {name for name, found in (("visual", visual), ("audio", audio)) if found is None}
        return {
            task.name: probabilities(task, outputs[i][0])
            for i, task in enumerate(self._fused)
            if missing.isdisjoint(task.requires)
        }
