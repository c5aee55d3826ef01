"""Optimisers, schedules of the learning rate, and the running average of weights."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from sightsound.pipeline.training.recipe import OptimiserRecipe

_WARM_UP_SHARE = 0.1
_LEAST_SHARE = 1e-3


def make_optimiser(network: nn.Module, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    """The optimiser of a recipe over all parameters of a network."""
    parameters = network.parameters()
    rate, decay = recipe.learning_rate, recipe.weight_decay
    if recipe.name == "adamw":
        return torch.optim.AdamW(parameters, lr=rate, weight_decay=decay)
    if recipe.name == "adam":
        return torch.optim.Adam(parameters, lr=rate, weight_decay=decay)
    if recipe.name == "rmsprop":
        return torch.optim.RMSprop(
            parameters, lr=rate, weight_decay=decay, momentum=recipe.momentum
        )
    return torch.optim.SGD(
        parameters, lr=rate, weight_decay=decay, momentum=recipe.momentum, nesterov=True
    )


def rate_at(schedule: str, n_steps: int) -> Callable[[int], float]:
    """The learning rate at a step, as a share of the recipe's.

    ``one_cycle`` rises from a tenth by a half cosine over the first tenth of the steps and then
    falls to a thousandth (Smith and Topin 2019, arXiv:1708.07120); ``cosine`` only falls
    (Loshchilov and Hutter 2017, arXiv:1608.03983); ``constant`` stays.
    """

    def fall(progress: float, high: float, low: float) -> float:
        return low + (high - low) * (1 + math.cos(math.pi * min(1.0, progress))) / 2

    warm_up = max(1, round(_WARM_UP_SHARE * n_steps))

    def share(step: int) -> float:
        if schedule == "constant":
            return 1.0
        if schedule == "cosine":
            return fall(step / n_steps, 1.0, _LEAST_SHARE)
        if step < warm_up:
            return fall(step / warm_up, 0.1, 1.0)
        return fall((step - warm_up) / max(1, n_steps - warm_up), 1.0, _LEAST_SHARE)

    return share


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = rate


@torch.no_grad()
def follow(average: nn.Module, network: nn.Module, *, step: int, decay: float) -> None:
    """Move the running average of weights towards the present ones.

    Polyak and Juditsky 1992, exponential; it forgets faster in the first steps, when the
    weights are still those that were drawn.
    """
    kept = min(decay, step / (step + 10))
    for old, new in zip(average.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - kept)
    for kept_buffer, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept_buffer.copy_(buffer)
