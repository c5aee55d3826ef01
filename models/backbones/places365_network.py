"""SqueezeNet for Places365 in torch, its batch norms folded into the convolutions.

Iandola et al. 2016 (arXiv:1602.07360). Submodules are named as the tensors of the weight file:
``s`` squeezes, ``e1`` and ``e3`` expand by 1x1 and 3x3, ``c10`` is the paper's conv10.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

# (squeezed channels, channels of each expansion) of the eight Fire modules.
_FIRES = ((16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256))
_STEM_WIDTH = 64
_POOL_BEFORE = (0, 2, 4)
_SLOPE = 0.55
_CROP = 224
_MEAN_BGR = (104.05, 112.51, 116.68)


class _Convolution(nn.Module):
    """Convolution padded by half its kernel, then leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.c = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, inputs, height, width) to (batch, outputs, ...)."""
        return nn.functional.leaky_relu(self.c(features), _SLOPE)


class _Fire(nn.Module):
    """SqueezeNet's module: a narrow 1x1 convolution feeds a 1x1 and a 3x3 side by side."""

    def __init__(self, inputs: int, *, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.s = _Convolution(inputs, squeezed, kernel=1)
        self.e1 = _Convolution(squeezed, expanded, kernel=1)
        self.e3 = _Convolution(squeezed, expanded, kernel=3)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, inputs, height, width) to (batch, 2 * expanded, height, width)."""
        squeezed = self.s(features)
        return torch.cat((self.e1(squeezed), self.e3(squeezed)), dim=1)


class SqueezeNetPlaces365(nn.Module):
    """SqueezeNet with the head for Places365.

    forward: uint8 RGB (batch, 1, 256, 256, 3), of which the centre 224 x 224 is looked at, to
    embedding (batch, 512) and logits (batch, 365) before the softmax.
    """

    mean: torch.Tensor

    def __init__(self, *, n_labels: int = 365) -> None:
        """Make the layers, with random weights."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(_MEAN_BGR)[:, None, None], persistent=False)
        self.c1 = _Convolution(3, _STEM_WIDTH, kernel=3, stride=2)
        fires: list[nn.Module] = []
        channels = _STEM_WIDTH
        for squeezed, expanded in _FIRES:
            fires.append(_Fire(channels, squeezed=squeezed, expanded=expanded))
            channels = 2 * expanded
        self.f = nn.ModuleList(fires)
        self.c10 = _Convolution(channels, n_labels, kernel=1)

    def preprocess(self, frames: torch.Tensor) -> torch.Tensor:
        """Uint8 RGB (batch, 1, height, width, 3) to normalised float32 BGR (batch, 3, 224, 224)."""
        top = (frames.shape[2] - _CROP) // 2
        left = (frames.shape[3] - _CROP) // 2
        crop = frames[:, 0, top : top + _CROP, left : left + _CROP]
        pixels = crop.flip(3).permute(0, 3, 1, 2).to(torch.float32)
        return (pixels - self.mean) / 255.0

    def forward_normalised(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Float32 BGR (batch, 3, height, width) to embedding and logits; see the class."""
        features = self.c1(pictures)
        for index, fire in enumerate(self.f):
            if index in _POOL_BEFORE:
                features = nn.functional.max_pool2d(features, 3, stride=2)
            features = fire(features)
        # An activation follows conv10 too, as in SqueezeNet's published code: without it the
        # negative logits come out at twice those of the published network. Being linear no
        # more, the classifier has to run at every position before the average.
        logits = self.c10(features).mean(dim=(2, 3))
        return features.mean(dim=(2, 3)), logits

    def forward(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embedding and logits; see the class."""
        return self.forward_normalised(self.preprocess(frames))


def load_places365(path: Path) -> SqueezeNetPlaces365:
    """The network in evaluation mode with the weights of a safetensors file, as float32."""
    network = SqueezeNetPlaces365()
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()
