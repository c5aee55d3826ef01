"""EfficientNet-lite0 in two: blocks that stay as they are, and those that are trained."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.efficientnet_network import FrameEmbedding


def new_network() -> FrameEmbedding:
    """The network as published."""
    return cast(FrameEmbedding, EFFICIENTNET_LITE0.build())


def _blocks(whole: FrameEmbedding) -> list[nn.Module]:
    stages = cast(Any, whole.network).blocks
    return [block for stage in stages for block in stage]


class Trunk(nn.Module):
    """The blocks that stay: uint8 RGB (n, height, width, 3) to feature maps."""

    def __init__(self, whole: FrameEmbedding, *, n_fixed: int) -> None:
        super().__init__()
        parts = cast(Any, whole.network)
        self.conv_stem, self.bn1 = parts.conv_stem, parts.bn1
        self.blocks = nn.Sequential(*_blocks(whole)[:n_fixed])

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the maps; see the class."""
        scaled = pixels.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0
        return cast(torch.Tensor, self.blocks(self.bn1(self.conv_stem(scaled))))


class Tail(nn.Module):
    """The blocks that are trained, which stay parts of ``whole``, and linear heads.

    Batch norms keep their statistics in training: batches are small.
    """

    def __init__(
        self, whole: FrameEmbedding, *, n_fixed: int, n_labels: tuple[int, ...], dropout: float
    ) -> None:
        super().__init__()
        parts = cast(Any, whole.network)
        self.blocks = nn.Sequential(*_blocks(whole)[n_fixed:])
        self.conv_head, self.bn2, self.pool = parts.conv_head, parts.bn2, parts.global_pool
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleList(nn.Linear(parts.num_features, n) for n in n_labels)
        self.to(memory_format=torch.channels_last)

    def forward(self, maps: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Logits (n, n_labels) of each head from the trunk's maps."""
        embedding = self.pool(self.bn2(self.conv_head(self.blocks(maps))))
        state = self.dropout(embedding)
        return tuple(head(state) for head in self.heads)

    def train(self, mode: bool = True) -> Tail:
        """See the class."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def body(self) -> list[nn.Parameter]:
        """The parameters but for the heads'."""
        heads = {id(parameter) for parameter in self.heads.parameters()}
        return [parameter for parameter in self.parameters() if id(parameter) not in heads]
