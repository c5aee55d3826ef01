"""The score of a task in one window as a function that has gradients.

Both kinds of score here compute what ``stages.fuse`` computes, in torch, from the tokens of one
window: by the trained fusion, or by late fusion of the backbones' own scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightsound.models.bundle import Bundle, Sense, Task
from sightsound.pipeline.explain.sources import Source
from sightsound.stages.records import Window
from sightsound.stages.tokens import order_in_time

_LEAST_PROBABILITY = 1e-12


class TaskScore(Protocol):
    """A task over the sources of one window.

    ``quantity`` says in words what ``logits`` are.
    """

    task: Task
    sources: tuple[Source, ...]
    quantity: str

    def logits(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Outputs of each source, (batch, n, d), to (batch, n_labels), with gradients."""

    def probabilities(self, *, without: Sense | None = None) -> NDArray[np.float64] | None:
        """What is told of the window, (n_labels,); None where nothing is left to score from."""

    def attention(self) -> Mapping[str, NDArray[np.float64]] | None:
        """By backbone, how much of the window's pooling attention each token has, (n,)."""


class FusedScore:
    """A task that the trained fusion scores: its logits are those of the task's head."""

    quantity = "logit of the label"

    def __init__(
        self, bundle: Bundle, task: Task, sources: tuple[Source, ...], window: Window
    ) -> None:
        """Build the fusion of a bundle for the tokens of one window.

        At most one source is heard; a sense without tokens is masked.
        """
        self.task = task
        self.sources = sources
        self._window = window
        names = [each.name for each in bundle.tasks if each.by_fusion]
        self._position = names.index(task.name)
        self._n_tasks = len(names)
        device = sources[0].outputs.device
        n_tokens = {
            sense: sum(source.n_tokens for source in sources if source.sense == sense)
            for sense in get_args(Sense)
        }
        spec = bundle.fusion_network(
            n_visual=max(1, n_tokens["visual"]), n_audio=max(1, n_tokens["audio"])
        )
        self._columns = _columns(bundle)
        self._shapes: dict[Sense, tuple[int, ...]] = {
            "visual": spec.inputs[0].shape,
            "audio": spec.inputs[3].shape,
        }
        self._network = spec.build().eval().requires_grad_(False).to(device)

    def logits(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Embeddings of each source, (batch, n, d), to the head's logits (batch, n_labels)."""
        return self._run(outputs)[self._position]

    def probabilities(self, *, without: Sense | None = None) -> NDArray[np.float64] | None:
        """Softmax or sigmoid of the logits over the task's temperature, (n_labels,)."""
        if all(source.sense == without for source in self.sources):
            return None
        with torch.no_grad():
            outputs = [source.outputs[None] for source in self.sources]
            logits = self._run(outputs, without=without)[self._position][0].double()
        return np.asarray(_activated(logits, self.task).cpu(), dtype=np.float64)

    def attention(self) -> Mapping[str, NDArray[np.float64]] | None:
        """By backbone, the fusion's pooling attention over its tokens, (n,)."""
        with torch.no_grad():
            results = self._run([source.outputs[None] for source in self.sources])
        by_sense = {
            "visual": results[self._n_tasks + 1][0],
            "audio": results[self._n_tasks + 2][0],
        }
        found: dict[str, NDArray[np.float64]] = {}
        for sense, weights in by_sense.items():
            of_sense = [source for source in self.sources if source.sense == sense]
            if of_sense:
                back = order_in_time([source.times_s for source in of_sense]).argsort()
                ends = np.cumsum([source.n_tokens for source in of_sense])[:-1]
                parts = np.split(np.asarray(weights.cpu(), dtype=np.float64)[back], ends)
                names = [source.backbone.name for source in of_sense]
                found |= dict(zip(names, parts, strict=True))
        return found

    def _run(
        self, outputs: Sequence[torch.Tensor], *, without: Sense | None = None
    ) -> tuple[torch.Tensor, ...]:
        n_rows, device = len(outputs[0]), outputs[0].device
        given = [
            (source, values)
            for source, values in zip(self.sources, outputs, strict=True)
            if source.sense != without
        ]
        arguments: list[torch.Tensor] = []
        for sense, shape in self._shapes.items():
            of_sense = [(source, values) for source, values in given if source.sense == sense]
            if of_sense:
                tokens, times_s = self._joined(of_sense)
                from_start_s = torch.from_numpy(times_s - self._window.start_s)
                times = from_start_s.float().to(device).expand(n_rows, -1)
            else:
                tokens = torch.zeros((n_rows, *shape), device=device)
                times = torch.zeros((n_rows, shape[0]), device=device)
            mask = torch.full(times.shape, bool(of_sense), device=device)
            arguments += [tokens, times, mask]
        results: tuple[torch.Tensor, ...] = self._network(*arguments)
        return results

    def _joined(
        self, given: Sequence[tuple[Source, torch.Tensor]]
    ) -> tuple[torch.Tensor, NDArray[np.float64]]:
        """Tokens of one sense's sources as ``stages.tokens`` joins them, with gradients."""
        order = order_in_time([source.times_s for source, _ in given])
        wide = [
            nn.functional.pad(values, self._columns[source.backbone.name])
            for source, values in given
        ]
        times_s = np.concatenate([source.times_s for source, _ in given])
        return torch.cat(wide, dim=1)[:, torch.from_numpy(order)], times_s[order]


def _columns(bundle: Bundle) -> dict[str, tuple[int, int]]:
    """By backbone, how many columns of the fusion's tokens lie before its own and after."""
    found = {backbone.name: (0, 0) for backbone in bundle.audio}
    before = 0
    for backbone in bundle.visual:
        after = bundle.visual_dim - before - backbone.embedding_dim
        found[backbone.name] = (before, after)
        before += backbone.embedding_dim
    return found


class LateScore:
    """A task by late fusion: the weighted mean of the backbones' own scores, pooled.

    Its logit is log(p / (1 - p)) of the pooled probability p, since the mean of several
    networks' probabilities has no logit of its own.
    """

    quantity = "log-odds of the label's probability, pooled over the window"

    def __init__(self, task: Task, sources: tuple[Source, ...]) -> None:
        self.task = task
        self.sources = sources

    def logits(self, outputs: Sequence[torch.Tensor]) -> torch.Tensor:
        """Logits of each source, (batch, n, n_labels), to log-odds (batch, n_labels)."""
        pooled = self._pool(outputs, self.sources)
        inside = pooled.clamp(_LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
        return (torch.log(inside) - torch.log1p(-inside)).float()

    def probabilities(self, *, without: Sense | None = None) -> NDArray[np.float64] | None:
        """The pooled probabilities, (n_labels,)."""
        left = tuple(source for source in self.sources if source.sense != without)
        if not left:
            return None
        with torch.no_grad():
            pooled = self._pool([source.outputs[None] for source in left], left)[0]
        return np.asarray(pooled.cpu(), dtype=np.float64)

    def attention(self) -> Mapping[str, NDArray[np.float64]] | None:
        """None: nothing attends to anything here."""
        return None

    def _pool(self, outputs: Sequence[torch.Tensor], sources: Sequence[Source]) -> torch.Tensor:
        """As ``models.pooling`` does: (batch, n, n_labels) each to (batch, n_labels) float64."""
        total = torch.zeros((), dtype=torch.float64)
        weight_sum = 0.0
        for values, source in zip(outputs, sources, strict=True):
            # In float64, since 1 - p is wanted where p is next to 1.
            each = _activated(values.double(), self.task)
            if self.task.kind == "single":
                pooled = each.mean(dim=1)
            else:
                pooled = (each * each).sum(dim=1) / each.sum(dim=1).clamp(min=1e-12)
            weight = self.task.sources[source.backbone.name]
            total = total.to(pooled.device) + weight * pooled
            weight_sum += weight
        return total / weight_sum


def make_score(
    bundle: Bundle, task: Task, sources: tuple[Source, ...], window: Window
) -> TaskScore:
    """The score of a task, by the trained fusion or by late fusion."""
    if task.by_fusion:
        return FusedScore(bundle, task, sources, window)
    return LateScore(task, sources)


def _activated(logits: torch.Tensor, task: Task) -> torch.Tensor:
    scaled = logits / task.temperature
    return torch.softmax(scaled, dim=-1) if task.kind == "single" else torch.sigmoid(scaled)
