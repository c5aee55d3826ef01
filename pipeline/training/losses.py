"""Losses of several tasks at once, over the windows that say something of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from sightsound.pipeline.training.batches import Batch
from sightsound.pipeline.training.records import TaskLabels


def task_losses(
    logits: Mapping[str, torch.Tensor],
    batch: Batch,
    tasks: Sequence[TaskLabels],
    *,
    label_smoothing: float = 0.0,
) -> dict[str, torch.Tensor]:
    """The mean loss of each task over the windows that have its label; 0 where none has.

    A single-label task has cross entropy to its target, smoothed as by Szegedy et al. 2016
    (arXiv:1512.00567): (1 - s) * target + s / n_labels. A multi-label one has binary cross
    entropy, the mean over its labels.
    """
    losses = {}
    for task in tasks:
        target, present = batch.targets[task.name], batch.present[task.name].float()
        if task.kind == "single":
            smoothed = (1 - label_smoothing) * target + label_smoothing / len(task.labels)
            each = -(smoothed * torch.log_softmax(logits[task.name], dim=1)).sum(dim=1)
        else:
            each = nn.functional.binary_cross_entropy_with_logits(
                logits[task.name], target, reduction="none"
            ).mean(dim=1)
        losses[task.name] = (each * present).sum() / present.sum().clamp(min=1)
    return losses


def weighted(losses: Mapping[str, torch.Tensor], task_weights: Mapping[str, float]) -> torch.Tensor:
    """The sum of the losses, each with its weight (1 where none is given)."""
    return torch.stack([loss * task_weights.get(task, 1.0) for task, loss in losses.items()]).sum()
