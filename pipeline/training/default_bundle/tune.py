"""Training the looking network further: its last blocks, on pictures, with linear heads.

The heads are thrown away: the fusion is trained on what the network then sees.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import nn

from sightsound.models.backbones.efficientnet_network import FrameEmbedding
from sightsound.pipeline.training.default_bundle.fusion import cross_entropy
from sightsound.pipeline.training.default_bundle.split_network import Tail, new_network
from sightsound.pipeline.training.optimise import follow


class TuneSettings(BaseModel):
    """The numbers of this training. Rates are of AdamW, at their peak.

    ``n_fixed_blocks`` of the network's sixteen stay as they are. ``clip_fps`` is how many frames
    a second are taken of clips, ``n_views`` how many views of each picture are learnt from.
    ``mix_alpha`` is that of mixup, on feature maps. ``clip_weight`` is what a frame of a clip
    counts beside a still, ``places_weight`` what the second teacher of scenes counts beside a
    true label.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    clip_fps: float
    n_fixed_blocks: int
    n_views: int
    steps: int
    batch: int
    learning_rate: float
    head_learning_rate: float
    weight_decay: float
    average_decay: float
    dropout: float
    mix_alpha: float
    clip_weight: float
    places_weight: float


@dataclass(frozen=True, kw_only=True)
class Targets:
    """What n pictures should say: distributions float32 (n, n_labels), and how much each counts.

    ``action_weight`` and ``scene_weight`` (n,) are 0 where nothing is known.
    """

    action: torch.Tensor
    action_weight: torch.Tensor
    scene: torch.Tensor
    scene_weight: torch.Tensor


def tune(
    maps: NDArray[np.float16],
    rows: NDArray[np.int64],
    targets: Targets,
    *,
    settings: TuneSettings,
    seed: int,
    say: Callable[[str], None],
) -> tuple[FrameEmbedding, Tail]:
    """Train on the pictures ``rows`` (m,), each seen equally often.

    ``maps`` (n, n_views, channels, height, width) and ``targets`` are of all n pictures.

    Returns:
        The network with the running average of its weights, and its last part with the heads.
    """
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    whole = new_network()
    n_labels = (targets.action.shape[1], targets.scene.shape[1])
    average = Tail(
        whole, n_fixed=settings.n_fixed_blocks, n_labels=n_labels, dropout=settings.dropout
    )
    tail = copy.deepcopy(average)
    groups = [
        {"params": tail.body(), "lr": settings.learning_rate},
        {"params": list(tail.heads.parameters()), "lr": settings.head_learning_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[settings.learning_rate, settings.head_learning_rate],
        total_steps=settings.steps,
        pct_start=0.15,
    )
    order = np.empty(0, dtype=np.int64)
    losses: list[float] = []
    tail.train()
    for step in range(settings.steps):
        if len(order) < settings.batch:
            order = np.concatenate((order, random.permutation(rows)))
        chosen, order = order[: settings.batch], order[settings.batch :]
        views = random.integers(maps.shape[1], size=settings.batch)
        seen = torch.from_numpy(maps[chosen, views].astype(np.float32))
        partner = torch.from_numpy(random.permutation(settings.batch))
        share = float(random.beta(settings.mix_alpha, settings.mix_alpha))
        mixed = torch.lerp(seen[partner], seen, share).contiguous(memory_format=torch.channels_last)
        logits = tail(mixed)
        picked = torch.from_numpy(chosen)
        loss = share * _loss(logits, targets, picked)
        loss = loss + (1 - share) * _loss(logits, targets, picked[partner])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(tail.parameters(), 2.0)
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
        follow(average, tail, step=step, decay=settings.average_decay)
        if step % 100 == 99:
            say(f"step {step + 1} of {settings.steps}: loss {np.mean(losses[-100:]):.3f}")
    return whole.eval(), average.eval()


def _loss(logits: tuple[torch.Tensor, ...], targets: Targets, rows: torch.Tensor) -> torch.Tensor:
    """Cross entropy to both tasks' targets, weighted, over the samples that have one."""
    action = cross_entropy(logits[0], targets.action[rows], targets.action_weight[rows])
    scene = cross_entropy(logits[1], targets.scene[rows], targets.scene_weight[rows])
    return action + scene


@torch.inference_mode()
def look(tail: Tail, maps: NDArray[np.float16], rows: NDArray[np.int64]) -> list[torch.Tensor]:
    """Logits of both heads on the whole pictures ``rows``: [(m, n_actions), (m, n_scenes)]."""
    parts = []
    for start in range(0, len(rows), 64):
        seen = torch.from_numpy(maps[rows[start : start + 64], 0].astype(np.float32))
        parts.append(tail(seen.contiguous(memory_format=torch.channels_last)))
    return [torch.cat([part[task] for part in parts]) for task in (0, 1)]
