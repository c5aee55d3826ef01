"""Fuse: the tokens of one window to scores for every task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightsound.models.bundle import Bundle, Task
from sightsound.models.engines.base import Engine
from sightsound.models.pooling import linear_softmax_pool, mean_pool, sigmoid, softmax
from sightsound.stages.plan import Grid
from sightsound.stages.records import TaskScores, Tokens, Window, WindowScores
from sightsound.stages.tokens import join_tokens

# Labels kept of each task in each window: enough for the tables' top k and for segments.
KEPT_LABELS = 20


@dataclass(frozen=True, kw_only=True)
class _Fused:
    """The fusion's answer for one window: probabilities by task, embedding, attention by token."""

    probabilities: dict[str, NDArray[np.float32]]
    embedding: NDArray[np.float32]
    visual_attention: NDArray[np.float32]
    audio_attention: NDArray[np.float32]


class Fuse:
    """(Window, tokens by backbone) -> WindowScores.

    A task by fusion is scored by the trained network over the tokens of all visual backbones and
    of the first audio backbone, in the windows that have the senses that the task requires. Its
    shares are by leaving one sense out: how much the probability of the best label falls without
    it. A task by late fusion is the weighted mean of its backbones' own scores, pooled over the
    window.
    """

    def __init__(self, bundle: Bundle, engine: Engine, grid: Grid) -> None:
        self._bundle = bundle
        self._n_visual, self._n_audio = self.token_counts(bundle, grid)
        self._by_fusion = [task for task in bundle.tasks if task.by_fusion]
        self._network = None
        if self._by_fusion:
            spec = bundle.fusion_network(n_visual=self._n_visual, n_audio=self._n_audio)
            self._network = engine.load(spec)

    @staticmethod
    def token_counts(bundle: Bundle, grid: Grid) -> tuple[int, int]:
        """The most visual and audio tokens that a window can have, to which it is padded."""
        n_audio = 1
        if bundle.audio:
            log_mel = bundle.audio[0].log_mel
            n_audio += math.ceil(grid.length_s * log_mel.sample_rate_hz / log_mel.hop_samples)
        n_visual = len(bundle.visual) * (math.ceil(grid.length_s * grid.fps) + 1)
        return max(1, n_visual), n_audio

    def __call__(
        self, window: Window, tokens: Mapping[str, Tokens], *, corrupt: bool
    ) -> WindowScores:
        """Score one window.

        Args:
            window: the window.
            tokens: by backbone name, the tokens whose time lies in the window.
            corrupt: whether a part of the window was damaged.
        """
        has_video = any(backbone.name in tokens for backbone in self._bundle.visual)
        has_audio = any(backbone.name in tokens for backbone in self._bundle.audio)
        tasks: dict[str, TaskScores] = {}
        embedding = None
        visual, audio = fused_tokens(self._bundle, tokens)
        if self._network is not None and (visual is not None or audio is not None):
            fused = self._fuse(window, visual, audio)
            embedding = fused[0].embedding
            missing = {
                name for name, found in (("visual", visual), ("audio", audio)) if found is None
            }
            for task in self._by_fusion:
                if missing.isdisjoint(task.requires):
                    tasks[task.name] = _fused_scores(task, fused, visual, audio)
        for task in self._bundle.tasks:
            if not task.by_fusion:
                scores = self._late(task, tokens)
                if scores is not None:
                    tasks[task.name] = scores
        return WindowScores(
            window=window,
            has_video=has_video,
            has_audio=has_audio,
            corrupt=corrupt,
            tasks=tasks,
            embedding=embedding,
        )

    def _fuse(self, window: Window, visual: Tokens | None, audio: Tokens | None) -> list[_Fused]:
        """With both senses; and, where there are both, without sound and without picture."""
        pairs = [(visual, audio)]
        if visual is not None and audio is not None:
            pairs += [(visual, None), (None, audio)]
        assert self._network is not None
        columns: list[list[NDArray[np.generic]]] = [[] for _ in self._network.spec.inputs]
        for pair in pairs:
            arrays = (
                *padded(window, pair[0], self._n_visual, self._bundle.visual_dim),
                *padded(window, pair[1], self._n_audio, self._bundle.audio_dim),
            )
            for column, array in zip(columns, arrays, strict=True):
                column.append(array)
        outputs = self._network(*(np.stack(column) for column in columns))
        n_tasks = len(self._by_fusion)
        return [
            _Fused(
                probabilities={
                    task.name: probabilities(task, outputs[i][row])
                    for i, task in enumerate(self._by_fusion)
                },
                embedding=outputs[n_tasks][row],
                visual_attention=outputs[n_tasks + 1][row],
                audio_attention=outputs[n_tasks + 2][row],
            )
            for row in range(len(pairs))
        ]

    def _late(self, task: Task, tokens: Mapping[str, Tokens]) -> TaskScores | None:
        late = late_scores(task, tokens)
        if late is None:
            return None
        best = _best(late.pooled)
        first, each = next(iter(late.each.items()))
        visual = {backbone.name for backbone in self._bundle.visual}
        share = sum(task.sources[name] for name in late.each if name in visual) / sum(
            task.sources[name] for name in late.each
        )
        return TaskScores(
            indices=best,
            scores=late.pooled[best],
            peaks_s=tokens[first].times_s[each[:, best].argmax(axis=0)],
            visual_share=share,
            audio_share=1 - share,
        )


def fused_tokens(
    bundle: Bundle, tokens: Mapping[str, Tokens]
) -> tuple[Tokens | None, Tokens | None]:
    """What the fusion looks at and listens to; one of one sense is not shown the other."""
    if bundle.fusion is None:
        return None, None
    method = bundle.fusion["method"]
    visual = audio = None
    if method != "audio":
        visual = _joined(bundle, tokens)
    if bundle.audio and method != "visual":
        audio = tokens.get(bundle.audio[0].name)
    return visual, audio


def _joined(bundle: Bundle, tokens: Mapping[str, Tokens]) -> Tokens | None:
    """The tokens of all visual backbones, None where there is none."""
    found = [tokens.get(backbone.name) for backbone in bundle.visual]
    if all(each is None for each in found):
        return None
    times_s, embeddings = join_tokens(
        [np.zeros(0) if each is None else each.times_s for each in found],
        [
            np.zeros((0, backbone.embedding_dim), dtype=np.float32)
            if each is None
            else each.embeddings
            for backbone, each in zip(bundle.visual, found, strict=True)
        ],
    )
    return Tokens(times_s=times_s, embeddings=embeddings, logits=None)


@dataclass(frozen=True, kw_only=True)
class LateScores:
    """A task by late fusion in one window.

    ``pooled`` (n_labels,) is the weighted mean over backbones; ``each`` has their probabilities
    (n_tokens, n_labels), of those that were there.
    """

    pooled: NDArray[np.float32]
    each: Mapping[str, NDArray[np.float32]]


def late_scores(task: Task, tokens: Mapping[str, Tokens]) -> LateScores | None:
    """The backbones' own scores, pooled over the window, or None where none was there."""
    total = np.zeros(len(task.labels), dtype=np.float32)
    weight_sum = 0.0
    every: dict[str, NDArray[np.float32]] = {}
    for name, weight in task.sources.items():
        found = tokens.get(name)
        if found is None or found.logits is None:
            continue
        every[name] = each = probabilities(task, found.logits)
        pooled = mean_pool(each) if task.kind == "single" else linear_softmax_pool(each)
        total += np.float32(weight) * pooled
        weight_sum += weight
    if not every:
        return None
    total /= np.float32(weight_sum)
    return LateScores(pooled=total, each=every)


def padded(
    window: Window, tokens: Tokens | None, length: int, dim: int
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Embeddings (length, dim), times from the window's start (length,), mask (length,)."""
    embeddings = np.zeros((length, dim), dtype=np.float32)
    times = np.zeros(length, dtype=np.float32)
    mask = np.zeros(length, dtype=bool)
    if tokens is not None:
        n_tokens = min(length, len(tokens.times_s))
        embeddings[:n_tokens] = tokens.embeddings[:n_tokens]
        times[:n_tokens] = tokens.times_s[:n_tokens] - window.start_s
        mask[:n_tokens] = True
    return embeddings, times, mask


def _best(scores: NDArray[np.float32]) -> NDArray[np.int32]:
    """Indices of the best labels, best first; equal scores in the order of the labels."""
    order = np.argsort(-scores, kind="stable")[:KEPT_LABELS]
    return np.asarray(order, dtype=np.int32)


def probabilities(task: Task, logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits (..., n_labels) to probabilities: of one label, or of each by itself."""
    if task.kind == "single":
        return softmax(logits, temperature=task.temperature)
    return sigmoid(logits / np.float32(task.temperature))


def _fused_scores(
    task: Task, fused: list[_Fused], visual: Tokens | None, audio: Tokens | None
) -> TaskScores:
    whole = fused[0]
    scores = whole.probabilities[task.name]
    best = _best(scores)
    visual_share = 0.0 if visual is None else 1.0
    if visual is not None and audio is not None:
        top = best[0]
        without_sound, without_picture = (part.probabilities[task.name][top] for part in fused[1:])
        by_picture = max(0.0, float(scores[top] - without_picture))
        by_sound = max(0.0, float(scores[top] - without_sound))
        if by_picture + by_sound > 0:
            visual_share = by_picture / (by_picture + by_sound)
        else:
            visual_share = float(whole.visual_attention.sum())
    return TaskScores(
        indices=best,
        scores=scores[best],
        peaks_s=np.full(len(best), _peak_s(whole, visual, audio)),
        visual_share=visual_share,
        audio_share=1 - visual_share,
    )


def _peak_s(whole: _Fused, visual: Tokens | None, audio: Tokens | None) -> float:
    """The moment of the picture, or without one of the sound, that has the most attention."""
    tokens, attention = visual, whole.visual_attention
    if tokens is None:
        tokens, attention = audio, whole.audio_attention
    assert tokens is not None
    return float(tokens.times_s[int(attention[: len(tokens.times_s)].argmax())])
