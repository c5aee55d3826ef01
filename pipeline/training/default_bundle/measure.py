"""Measuring a fusion: folds that keep sources apart, agreement with a teacher, temperatures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightsound.pipeline.training.default_bundle.fusion import ACTION, SCENE
from sightsound.pipeline.training.default_bundle.samples import Samples

_ROWS_AT_ONCE = 256


class LinearStudent(nn.Module):
    """The simple student that the fusion is compared with: linear heads on the mean frame.

    It has the interface of ``BottleneckFusion`` and leaves sound aside.
    """

    def __init__(self, *, visual_dim: int, tasks: Mapping[str, int], dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(visual_dim)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({task: nn.Linear(visual_dim, n) for task, n in tasks.items()})

    def forward(
        self,
        visual: torch.Tensor,
        visual_times: torch.Tensor,
        visual_mask: torch.Tensor,
        *audio: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return logits by task."""
        weights = visual_mask[:, :, None].to(visual.dtype)
        mean = (visual * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        state = self.dropout(self.norm(mean))
        return tuple(head(state) for head in self.heads.values())


@torch.inference_mode()
def predict(
    network: nn.Module, samples: Samples, *, with_audio: bool = True
) -> dict[str, torch.Tensor]:
    """Logits of action and scene, (n, n_labels) float32, on the first variant of each window."""
    network.eval()
    parts: dict[str, list[torch.Tensor]] = {ACTION: [], SCENE: []}
    for start in range(0, max(1, len(samples)), _ROWS_AT_ONCE):
        part = samples.take(torch.arange(start, min(start + _ROWS_AT_ONCE, len(samples))))
        audio_mask = part.audio_mask if with_audio else torch.zeros_like(part.audio_mask)
        outputs = network(
            part.visual[:, 0].float(),
            part.visual_times,
            part.visual_mask,
            part.audio.float(),
            part.audio_times,
            audio_mask,
        )
        parts[ACTION].append(outputs[0])
        parts[SCENE].append(outputs[1])
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def teacher_means(samples: Samples) -> torch.Tensor:
    """The teacher's mean probabilities in each window, on the first variant, (n, n_actions)."""
    mask = samples.teacher_mask[:, :, None].float()
    return (samples.teacher[:, 0].float() * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How often a teacher's first name of a file is the student's first, or among its five."""

    top1: float
    top5: float
    n_files: int


def agreement(logits: torch.Tensor, samples: Samples) -> Agreement:
    """Compare over files: the mean over a file's windows of each side's probabilities."""
    taught = _by_file(teacher_means(samples), samples.file)
    named = _by_file(torch.softmax(logits, dim=1), samples.file)
    first = taught.argmax(dim=1, keepdim=True)
    best = named.topk(5, dim=1).indices
    return Agreement(
        top1=float((best[:, :1] == first).any(dim=1).float().mean()),
        top5=float((best == first).any(dim=1).float().mean()),
        n_files=len(first),
    )


def _by_file(values: torch.Tensor, file: torch.Tensor) -> torch.Tensor:
    _, place = torch.unique(file, return_inverse=True)
    sums = torch.zeros((int(place.max()) + 1, values.shape[1]))
    sums.index_add_(0, place, values)
    return sums / torch.bincount(place)[:, None]


def accuracy(logits: torch.Tensor, truth: torch.Tensor) -> tuple[float, float]:
    """Top-1 and top-5 share of rows where one of the true labels is named.

    ``truth`` is (n,) int64, or (n, n_labels) bool where several labels may be true.
    """
    if truth.dim() == 1:
        truth = nn.functional.one_hot(truth, logits.shape[1]).bool()
    hits = truth.gather(1, logits.topk(5, dim=1).indices)
    return float(hits[:, 0].float().mean()), float(hits.any(dim=1).float().mean())


def calibration_error(probabilities: torch.Tensor, is_right: torch.Tensor) -> float:
    """Expected calibration error over ten equal bins of the best label's probability."""
    confidence = probabilities.max(dim=1).values
    bins = (confidence * 10).long().clamp(max=9)
    error = 0.0
    for number in range(10):
        inside = bins == number
        if inside.any():
            gap = confidence[inside].mean() - is_right[inside].float().mean()
            error += float(inside.float().mean() * gap.abs())
    return error


def merge_look_alikes(
    groups: Sequence[str], descriptions: NDArray[np.float32], *, least_cosine: float
) -> list[int]:
    """Number the groups, one number for groups that share two files that look the same.

    The same clip is found in several sources; it must not be learnt from one and asked in the
    other. ``descriptions`` (n, dim) are mean embeddings of the files.
    """
    parent: dict[str, str] = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            group = parent[group]
        return group

    centred = descriptions - descriptions.mean(axis=0)
    centred = centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-9)
    for first, second in zip(*np.nonzero(centred @ centred.T > least_cosine), strict=True):
        one, other = root(groups[first]), root(groups[second])
        if one != other:
            parent[max(one, other)] = min(one, other)
    numbers = {name: number for number, name in enumerate(sorted({root(g) for g in groups}))}
    return [numbers[root(group)] for group in groups]


def deal_folds(
    groups: Sequence[int], is_asked: Sequence[bool], *, n_folds: int, seed: int
) -> NDArray[np.int64]:
    """The fold of each file: whole groups, large ones first, each to the smallest fold.

    Sizes count the files that are asked about; a group without any is in no fold (-1).
    """
    random = np.random.default_rng(seed)
    sizes = np.bincount(np.asarray(groups), weights=np.asarray(is_asked)).astype(np.int64)
    order = random.permutation(len(sizes))
    order = order[np.argsort(-sizes[order], kind="stable")]
    totals = np.zeros(n_folds, dtype=np.int64)
    fold_of_group = np.full(len(sizes), -1, dtype=np.int64)
    for group in order[sizes[order] > 0]:
        fold = int(totals.argmin())
        fold_of_group[group] = fold
        totals[fold] += sizes[group]
    return np.asarray(fold_of_group[np.asarray(groups)])
