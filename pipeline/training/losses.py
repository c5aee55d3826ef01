"""Losses of several tasks at once, over the windows that say something of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from sightsound.pipeline.training.batches import Batch, with_each_alone
from sightsound.pipeline.training.recipe import TrainingRecipe
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


def batch_losses(
    logits_of: Callable[[Batch], Mapping[str, torch.Tensor]],
    batch: Batch,
    tasks: Sequence[TaskLabels],
    settings: TrainingRecipe,
    *,
    has_two_senses: bool,
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The losses of a batch by task, and the sum that training makes less.

    To the losses of windows that have both senses those of each sense alone are added: left to
    itself, a fusion learns from the sense that is learnt by heart soonest, and neglects the other
    (Wang et al. 2020, "What makes training multi-modal classification networks hard?",
    arXiv:1905.12681).
    """
    has_alone = settings.alone_weight > 0 and has_two_senses
    # In one pass, since processes that share the gradient can make only one a step.
    shown, n = with_each_alone(batch) if has_alone else batch, len(batch)
    logits = logits_of(shown)

    of_batch = task_losses(
        {task: each[:n] for task, each in logits.items()},
        batch,
        tasks,
        label_smoothing=settings.label_smoothing,
    )
    total = weighted(of_batch, settings.task_weights)
    alone = torch.arange(n, len(shown))
    if len(alone):
        of_alone = task_losses(
            {task: each[n:] for task, each in logits.items()},
            shown.take(alone),
            tasks,
            label_smoothing=settings.label_smoothing,
        )
        share = settings.alone_weight * len(alone) / n
        total = total + share * weighted(of_alone, settings.task_weights)
    return of_batch, total
