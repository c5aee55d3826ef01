"""Training the fusion on kept features: losses and the loop, in plain torch."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import nn

from sightsound.pipeline.training.default_bundle.batches import Batch, TrainSettings, draw_batch
from sightsound.pipeline.training.default_bundle.samples import Samples
from sightsound.pipeline.training.optimise import follow

ACTION, SCENE = "action", "scene"
Network = TypeVar("Network", bound=nn.Module)


def task_losses(
    logits: Mapping[str, torch.Tensor], batch: Batch
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross entropy to the targets of action and scene, over the samples that have them."""
    return (
        cross_entropy(logits[ACTION], batch.action, batch.has_action),
        cross_entropy(logits[SCENE], batch.scene, batch.has_scene),
    )


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Of logits to distributions, both (n, n_labels), the mean by ``weight`` (n,), a scalar."""
    each = -(target * torch.log_softmax(logits, dim=1)).sum(dim=1)
    return (each * weight).sum() / weight.sum().clamp(min=1)


def _logits(network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Logits by task; windows without sound go through the network without any sound tokens."""
    has_sound = batch.audio_mask.any(dim=1)
    order, parts = [], []
    for chosen, is_heard in ((has_sound, True), (~has_sound, False)):
        rows = torch.nonzero(chosen)[:, 0]
        if len(rows):
            inputs = [tensor[rows] for tensor in batch.inputs()]
            if not is_heard:
                inputs[3:] = [tensor[:, :0] for tensor in inputs[3:]]
            order.append(rows)
            parts.append(network(*inputs))
    back = torch.cat(order).argsort()
    return {
        task: torch.cat([part[position] for part in parts])[back]
        for position, task in enumerate((ACTION, SCENE))
    }


def train(
    network: Network,
    stills: Samples,
    windows: Samples,
    *,
    settings: TrainSettings,
    seed: int,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Network:
    """Train a network with the interface of ``BottleneckFusion``; return its running average.

    Each step draws stills at random and windows by weight.
    """
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=settings.learning_rate, total_steps=settings.steps, pct_start=0.1
    )
    average = copy.deepcopy(network).eval()
    spread = stills.visual[:, 0, 0].float().std(dim=0)
    network.train()
    for step in range(settings.steps):
        total = torch.zeros(())
        for samples, size in (
            (stills, settings.stills_a_step),
            (windows, settings.windows_a_step),
        ):
            rows = torch.multinomial(samples.weight, size, replacement=True, generator=generator)
            batch = draw_batch(
                samples,
                rows,
                settings=settings,
                spread=spread,
                generator=generator,
            )
            action, scene = task_losses(_logits(network, batch), batch)
            total = total + action + settings.scene_weight * scene
        optimizer.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        follow(average, network, step=step, decay=settings.average_decay)
        if step % 100 == 99:
            on_progress(f"step {step + 1} of {settings.steps}: loss {total.item():.3f}")
    return average
