"""X3D-XS in torch, its batch norms folded into the convolutions.

Feichtenhofer 2020 (arXiv:2004.04730). Submodules are named as the tensors of the weight file,
which follow the paper: ``a``, ``b`` and ``c`` are the three convolutions of a block.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from sightsound.models.errors import WeightsCorruptError

# (blocks, width, inner width, width of squeeze-excitation) of the four stages.
_STAGES = ((3, 24, 54, 8), (5, 48, 108, 8), (11, 96, 216, 16), (7, 192, 432, 32))
_STEM_WIDTH = 24
_MEAN = 0.45
_DEVIATION = 0.225
_BATCH_NORM_EPSILON = 1e-5


class _SqueezeExcitation(nn.Module):
    """Scales channels by a gate computed from their mean over time and space."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, channels, time, height, width) to the same shape."""
        gate = torch.relu(self.fc1(features.mean(dim=(2, 3, 4))))
        return features * torch.sigmoid(self.fc2(gate))[:, :, None, None, None]


class _Block(nn.Module):
    """Inverted residual block: widen, depthwise convolution, narrow, add.

    ``squeezed`` is 0 for a block without squeeze-excitation. A stage's first block halves
    height and width and is the only one that projects what it adds (``sc``).
    """

    def __init__(
        self, inputs: int, outputs: int, *, inner: int, squeezed: int, is_first: bool
    ) -> None:
        super().__init__()
        stride = 2 if is_first else 1
        self.a = nn.Conv3d(inputs, inner, 1)
        self.b = nn.Conv3d(inner, inner, 3, stride=(1, stride, stride), padding=1, groups=inner)
        self.se = _SqueezeExcitation(inner, squeezed) if squeezed else nn.Identity()
        self.c = nn.Conv3d(inner, outputs, 1)
        self.sc = (
            nn.Conv3d(inputs, outputs, 1, stride=(1, stride, stride)) if is_first else nn.Identity()
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, inputs, time, height, width) to (batch, outputs, time, ...)."""
        inner = self.se(self.b(torch.relu(self.a(features))))
        return torch.relu(self.c(nn.functional.silu(inner)) + self.sc(features))


class X3D(nn.Module):
    """X3D-XS with the head for Kinetics-400.

    forward: uint8 RGB (batch, 4, 160, 160, 3) to embedding (batch, 2048), not negative, and
    logits (batch, 400) before the softmax.
    """

    def __init__(self, *, embedding_dim: int = 2048, n_labels: int = 400) -> None:
        """Make the layers, with random weights."""
        super().__init__()
        self.xy = nn.Conv3d(
            3, _STEM_WIDTH, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False
        )
        self.t = nn.Conv3d(
            _STEM_WIDTH, _STEM_WIDTH, (5, 1, 1), padding=(2, 0, 0), groups=_STEM_WIDTH
        )
        blocks: list[nn.Module] = []
        channels = _STEM_WIDTH
        for n_blocks, width, inner, squeezed in _STAGES:
            for index in range(n_blocks):
                blocks.append(
                    _Block(
                        channels,
                        width,
                        inner=inner,
                        squeezed=squeezed if index % 2 == 0 else 0,
                        is_first=index == 0,
                    )
                )
                channels = width
        self.blocks = nn.Sequential(*blocks)
        head_width = _STAGES[-1][2]
        self.c5 = nn.Conv3d(channels, head_width, 1)
        self.l5 = nn.Conv3d(head_width, embedding_dim, 1, bias=False)
        self.fc = nn.Linear(embedding_dim, n_labels)

    def preprocess(self, frames: torch.Tensor) -> torch.Tensor:
        """Uint8 RGB (batch, time, height, width, 3) to normalised float32 (batch, 3, time, ...)."""
        pixels = frames.permute(0, 4, 1, 2, 3).to(torch.float32)
        return (pixels / 255.0 - _MEAN) / _DEVIATION

    def forward_normalised(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 (batch, 3, time, height, width) to embedding and logits; see the class."""
        features = torch.relu(self.t(self.xy(clips)))
        features = torch.relu(self.c5(self.blocks(features)))
        pooled = features.mean(dim=(2, 3, 4), keepdim=True)
        embedding = torch.relu(self.l5(pooled)).flatten(1)
        return embedding, self.fc(embedding)

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embedding and logits; see the class."""
        return self.forward_normalised(self.preprocess(frames))


def load_x3d(path: Path) -> X3D:
    """X3D-XS in evaluation mode with the weights of a file, as float32.

    The file is safetensors under this module's names, or a checkpoint of PyTorchVideo
    (``X3D_XS.pyth``), of which nothing but tensors is unpickled.

    Raises:
        WeightsCorruptError: the file does not hold this network.
    """
    network = X3D()
    try:
        if path.suffix == ".safetensors":
            tensors = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
            tensors = from_pytorchvideo(stored.get("model_state", stored))
        network.load_state_dict(tensors, strict=True)
    except (RuntimeError, KeyError, pickle.UnpicklingError) as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0][:160]
        raise WeightsCorruptError(
            f"{path} does not hold the tensors of X3D-XS ({reason}): replace it by the published "
            "file."
        ) from error
    return network.eval()


def from_pytorchvideo(stored: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """PyTorchVideo's tensors of X3D-XS under this module's names, batch norms folded in.

    A batch norm y = (x - mean) / sqrt(variance + eps) * gain + shift after a convolution is that
    convolution with its weights scaled by gain / sqrt(variance + eps), and a bias.

    Raises:
        KeyError: a tensor is missing.
    """
    made: dict[str, torch.Tensor] = {}

    def fold(name: str, convolution: str, norm: str) -> None:
        scale = stored[f"{norm}.weight"] / torch.sqrt(
            stored[f"{norm}.running_var"] + _BATCH_NORM_EPSILON
        )
        weight = stored[f"{convolution}.weight"]
        made[f"{name}.weight"] = weight * scale.reshape(-1, *[1] * (weight.dim() - 1))
        made[f"{name}.bias"] = stored[f"{norm}.bias"] - stored[f"{norm}.running_mean"] * scale

    # PyTorchVideo calls the stem's spatial convolution conv_t and its temporal one conv_xy.
    made["xy.weight"] = stored["blocks.0.conv.conv_t.weight"]
    fold("t", "blocks.0.conv.conv_xy", "blocks.0.norm")
    number = 0
    for stage, (n_blocks, *_) in enumerate(_STAGES, start=1):
        for index in range(n_blocks):
            theirs, ours = f"blocks.{stage}.res_blocks.{index}", f"blocks.{number}"
            number += 1
            for letter in "abc":
                norm = f"{theirs}.branch2.norm_{letter}" + (".0" if letter == "b" else "")
                fold(f"{ours}.{letter}", f"{theirs}.branch2.conv_{letter}", norm)
            if index % 2 == 0:
                for layer, position in (("fc1", 0), ("fc2", 2)):
                    squeeze = f"{theirs}.branch2.norm_b.1.block.{position}"
                    made[f"{ours}.se.{layer}.weight"] = stored[f"{squeeze}.weight"].flatten(1)
                    made[f"{ours}.se.{layer}.bias"] = stored[f"{squeeze}.bias"]
            if index == 0 and f"{theirs}.branch1_norm.weight" in stored:
                fold(f"{ours}.sc", f"{theirs}.branch1_conv", f"{theirs}.branch1_norm")
            elif index == 0:
                # Where the width stays as it is, the projection has no batch norm.
                weight = stored[f"{theirs}.branch1_conv.weight"]
                made[f"{ours}.sc.weight"] = weight
                made[f"{ours}.sc.bias"] = torch.zeros(len(weight))
    head = f"blocks.{len(_STAGES) + 1}"
    fold("c5", f"{head}.pool.pre_conv", f"{head}.pool.pre_norm")
    made["l5.weight"] = stored[f"{head}.pool.post_conv.weight"]
    made["fc.weight"] = stored[f"{head}.proj.weight"]
    made["fc.bias"] = stored[f"{head}.proj.bias"]
    return made
