"""Measuring a fusion: agreement with its teachers, accuracy, calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
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
    return _agreement(torch.softmax(logits, dim=1), teacher_means(samples), samples.file)


def scene_agreement(logits: torch.Tensor, samples: Samples) -> Agreement:
    """The same for scenes, over files; the teacher chooses among those that it knows."""
    return _agreement(torch.softmax(logits, dim=1), samples.places.float(), samples.file)


def _agreement(named: torch.Tensor, taught: torch.Tensor, file: torch.Tensor) -> Agreement:
    first = by_file(taught, file).argmax(dim=1, keepdim=True)
    best = by_file(named, file).topk(5, dim=1).indices
    return Agreement(
        top1=float((best[:, :1] == first).any(dim=1).float().mean()),
        top5=float((best == first).any(dim=1).float().mean()),
        n_files=len(first),
    )


def by_file(values: torch.Tensor, file: torch.Tensor) -> torch.Tensor:
    """The mean of windows' values (n, m) by the number of their file (n,), in its order."""
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
