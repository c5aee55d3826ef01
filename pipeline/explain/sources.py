"""What the backbones made of a window, as torch tensors that gradients can flow through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.bundle import Bundle, Sense, Task
from sightsound.models.networks import NetworkSpec
from sightsound.pipeline.explain.window import Seen, WindowInput

# Pixels of the baseline picture: a uniform middle grey.
GREY = 127.5
_ROWS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class Source:
    """One backbone over one window: its n tokens, and what they would be of nothing.

    ``inputs`` float32 (n, *shape): pixels from 0 to 255 or log-mel. ``outputs`` float32 (n, d)
    is what the task is scored from: embeddings or, for late fusion, logits. ``blank_input``
    (1, *shape) is a grey picture or the log-mel of silence, and ``blank_output`` (1, d) what the
    network makes of it. ``times_s`` (n,) are seconds from the start of the video.
    """

    backbone: VisualBackbone | AudioBackbone
    sense: Sense
    times_s: NDArray[np.float64]
    module: nn.Module
    output: int
    inputs: torch.Tensor
    outputs: torch.Tensor
    blank_input: torch.Tensor
    blank_output: torch.Tensor

    @property
    def n_tokens(self) -> int:
        """How many tokens the window has of it."""
        return len(self.times_s)

    def run(self, inputs: torch.Tensor) -> torch.Tensor:
        """Float32 (n, *shape) to (n, d), with gradients."""
        result: torch.Tensor = self.module(inputs)[self.output]
        return result


def make_source(
    backbone: VisualBackbone | AudioBackbone, seen: Seen, *, uses_logits: bool, device: str
) -> Source:
    """Run a backbone over what it saw in a window, and over nothing.

    Raises:
        WeightsNotFoundError: its weights are nowhere.
    """
    module = _frozen(backbone.network(), device)
    inputs = torch.from_numpy(seen.values.astype(np.float32)).to(device)
    if isinstance(backbone, AudioBackbone):
        silence = torch.zeros((1, backbone.log_mel.patch_samples), device=device)
        with torch.no_grad():
            (blank,) = _frozen(backbone.front_end(), device)(silence)
    else:
        blank = torch.full_like(inputs[:1], GREY)
    output = 1 if uses_logits else 0
    with torch.no_grad():
        starts = range(0, len(inputs), _ROWS_AT_ONCE)
        parts = [module(inputs[start : start + _ROWS_AT_ONCE])[output] for start in starts]
        blank_output = module(blank)[output]
    return Source(
        backbone=backbone,
        sense="audio" if isinstance(backbone, AudioBackbone) else "visual",
        times_s=seen.times_s,
        module=module,
        output=output,
        inputs=inputs,
        outputs=torch.cat(parts),
        blank_input=blank,
        blank_output=blank_output,
    )


def task_sources(
    bundle: Bundle, task: Task, found: WindowInput, *, device: str
) -> tuple[Source, ...]:
    """What a task is scored from in a window: what is seen before what is heard.

    Raises:
        WeightsNotFoundError: the weights of a backbone are nowhere.
    """
    backbones: list[VisualBackbone | AudioBackbone]
    if task.by_fusion:
        backbones = [*bundle.visual, *bundle.audio[:1]]
    else:
        backbones = [backbone for backbone in bundle.visual if backbone.name in task.sources]
        backbones += [backbone for backbone in bundle.audio if backbone.name in task.sources]
    seen = {**found.pictures, **found.log_mels}
    return tuple(
        make_source(backbone, seen[backbone.name], uses_logits=not task.by_fusion, device=device)
        for backbone in backbones
        if backbone.name in seen
    )


def _frozen(spec: NetworkSpec, device: str) -> nn.Module:
    """A network of which nothing but its input has a gradient."""
    module = spec.build().eval().requires_grad_(False).to(device)
    # Channels-last is defined for four dimensions; video networks have five.
    if all(parameter.dim() != 5 for parameter in module.parameters()):
        module = module.to(memory_format=torch.channels_last)
    return module
