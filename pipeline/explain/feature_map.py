"""The last feature map of a network: what it has left of the picture before it forgets where."""

from __future__ import annotations

import torch
from torch import nn

_LEAST_DIMENSIONS = 4


class FeatureMap:
    """Splits a network at the last module that gives a map, (n, channels, ..., rows, columns).

    Class activation maps (Zhou et al. 2016) read the same place. The layers behind it pool and
    are next to linear, so that a line to a baseline needs few steps there; from the pixels on,
    hundreds do not add up.
    """

    def __init__(self, module: nn.Module, example: torch.Tensor) -> None:
        """Find the place by running ``example`` (1, *shape).

        Raises:
            LookupError: the network has no map anywhere.
        """
        self._module = module
        self._example = example
        found: list[nn.Module] = []

        def note(part: nn.Module, _: object, output: object) -> None:
            if _is_map(output):
                found.append(part)

        hooks = [part.register_forward_hook(note) for part in module.modules()]
        try:
            with torch.no_grad():
                module(example)
        finally:
            for hook in hooks:
                hook.remove()
        if not found:
            raise LookupError("the network has no feature map")
        self._place = found[-1]

    def of(self, inputs: torch.Tensor) -> torch.Tensor:
        """The map (n, channels, ..., rows, columns) of inputs (n, *shape), without gradients."""
        kept: list[torch.Tensor] = []
        hook = self._place.register_forward_hook(lambda part, given, output: kept.append(output))
        try:
            with torch.no_grad():
                self._module(inputs)
        finally:
            hook.remove()
        return kept[-1]

    def finish(self, features: torch.Tensor, *, output: int) -> torch.Tensor:
        """What the network makes of a map (n, channels, ...): one of its outputs, (n, d).

        Gradients flow to ``features``. The layers before run too, over one row, for nothing.
        """
        hook = self._place.register_forward_hook(lambda part, given, made: features)
        try:
            result: torch.Tensor = self._module(self._example)[output]
        finally:
            hook.remove()
        return result


def _is_map(output: object) -> bool:
    return (
        isinstance(output, torch.Tensor)
        and output.dim() >= _LEAST_DIMENSIONS
        and output.is_floating_point()
        and min(output.shape[-2:]) > 1
        # Pixels as they come are no features of anything.
        and output.shape[1] > 3
    )
