"""EfficientAT mn04 in torch, and its log-mel front end.

Schmid et al. 2022 (arXiv:2211.04772), after MobileNetV3 (Howard et al. 2019,
arXiv:1905.02244). Submodules are named as the tensors of the weight file.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torchaudio.compliance.kaldi import get_mel_banks

_SAMPLE_RATE_HZ = 32000
_PRE_EMPHASIS = 0.97
_N_FFT = 1024
_WINDOW = 800
_HOP = 320
_N_MELS = 128
_HIGHEST_HZ = 15000.0

# MobileNetV3-Large at its full width: (kernel, inner channels, outputs, has squeeze-excitation,
# has Hardswish instead of ReLU, stride).
_BLOCKS = (
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
)
_WIDTH = 0.4
_STEM_CHANNELS = 16
_CLASSIFIER_CHANNELS = 1280


def _multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, at least 8 and never more than a tenth below ``channels``."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


class EfficientATMel(nn.Module):
    """EfficientAT's front end: 128 log-mel bands every 10 ms.

    forward: float32 mono samples at 32 kHz (batch, n) to float32
    (batch, (n - 1) // 320 + 1, 128): pre-emphasis, power spectrum of symmetric Hann windows of
    25 ms in a centred 1024-point transform, Kaldi mel bands from 0 to 15,000 Hz,
    (log(mel + 1e-5) + 4.5) / 5.
    """

    cosine: torch.Tensor
    sine: torch.Tensor
    bands: torch.Tensor

    def __init__(self) -> None:
        """Compute the mel bands and the basis of the transform."""
        super().__init__()
        bands, _ = get_mel_banks(
            _N_MELS, _N_FFT, float(_SAMPLE_RATE_HZ), 0.0, _HIGHEST_HZ, 100.0, -500.0, 1.0
        )
        # Bins from 15 kHz on lie in no band: leaving them out saves their part of the transform.
        n_bins = int(_HIGHEST_HZ * _N_FFT / _SAMPLE_RATE_HZ)
        self.register_buffer("bands", bands[:, :n_bins].T.contiguous())
        # With the phase counted from the middle of the window, a windowed cosine is even and a
        # windowed sine odd about it, so that half of each basis serves both halves of a frame.
        # Power does not depend on where the phase is counted from.
        sample = torch.arange(_WINDOW // 2, dtype=torch.float64) - (_WINDOW - 1) / 2
        bin_ = torch.arange(n_bins, dtype=torch.float64)
        angle = 2 * math.pi * sample[:, None] * bin_[None, :] / _N_FFT
        window = torch.hann_window(_WINDOW, periodic=False, dtype=torch.float64)
        window = window[: _WINDOW // 2, None]
        self.register_buffer("cosine", (torch.cos(angle) * window).float())
        self.register_buffer("sine", (torch.sin(angle) * window).float())

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the log-mel patch; see the class."""
        emphasised = samples[:, 1:] - _PRE_EMPHASIS * samples[:, :-1]
        # A centred transform pads by half its length, but the window is zero in all but its
        # middle 800 samples: padding by half of those gives the same frames.
        half = _WINDOW // 2
        padded = nn.functional.pad(emphasised[:, None], (half, half), mode="reflect")[:, 0]
        frames = padded.unfold(1, _WINDOW, _HOP)
        first, second = frames[:, :, :half], frames[:, :, half:].flip(2)
        real, imaginary = (first + second) @ self.cosine, (first - second) @ self.sine
        mel = (real * real + imaginary * imaginary) @ self.bands
        return ((torch.log(mel + 1e-5) + 4.5) / 5.0,)


class _Convolution(nn.Sequential):
    """Convolution, batch norm and activation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        activation: Callable[[], nn.Module],
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ) -> None:
        super().__init__(
            nn.Conv2d(
                inputs,
                outputs,
                kernel,
                stride=stride,
                padding=kernel // 2,
                groups=groups,
                bias=False,
            ),
            nn.BatchNorm2d(outputs, eps=1e-3),
            activation(),
        )


class _Gate(nn.Module):
    """Scales channels by a gate computed from their mean over bands and time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = _multiple_of_8(channels // 4)
        self.fc1 = nn.Linear(channels, squeezed)
        self.fc2 = nn.Linear(squeezed, channels)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, channels, bands, time) to the same shape."""
        gate = torch.relu(self.fc1(features.mean(dim=(2, 3))))
        return features * torch.sigmoid(self.fc2(gate))[:, :, None, None]


class _SqueezeExcitation(nn.Module):
    """The published code runs several gates side by side; this network has the one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([_Gate(channels)])

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, channels, bands, time) to the same shape."""
        gated: torch.Tensor = self.conc_se_layers[0](features)
        return gated


class _Block(nn.Module):
    """MobileNetV3's block: widen, depthwise convolution, squeeze-excitation, narrow, add."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        inner: int,
        kernel: int,
        stride: int,
        has_gate: bool,
        activation: Callable[[], nn.Module],
    ) -> None:
        super().__init__()
        self.adds_input = stride == 1 and inputs == outputs
        layers: list[nn.Module] = []
        if inner != inputs:
            layers.append(_Convolution(inputs, inner, activation=activation))
        layers.append(
            _Convolution(
                inner, inner, activation=activation, kernel=kernel, stride=stride, groups=inner
            )
        )
        if has_gate:
            layers.append(_SqueezeExcitation(inner))
        layers.append(_Convolution(inner, outputs, activation=nn.Identity))
        self.block = nn.Sequential(*layers)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float32 (batch, inputs, bands, time) to (batch, outputs, ...)."""
        result: torch.Tensor = self.block(features)
        return result + features if self.adds_input else result


class EfficientAT(nn.Module):
    """EfficientAT mn04 with the head for AudioSet.

    forward: float32 log-mel (batch, n_frames, 128), any number of frames, to embedding
    (batch, 384) and logits (batch, 527) before the sigmoid.
    """

    def __init__(self, *, n_labels: int = 527) -> None:
        """Make the layers, with random weights."""
        super().__init__()
        channels = _multiple_of_8(_WIDTH * _STEM_CHANNELS)
        layers: list[nn.Module] = [
            _Convolution(1, channels, activation=nn.Hardswish, kernel=3, stride=2)
        ]
        for kernel, inner, outputs, has_gate, has_hardswish, stride in _BLOCKS:
            block = _Block(
                channels,
                _multiple_of_8(_WIDTH * outputs),
                inner=_multiple_of_8(_WIDTH * inner),
                kernel=kernel,
                stride=stride,
                has_gate=has_gate,
                activation=nn.Hardswish if has_hardswish else nn.ReLU,
            )
            layers.append(block)
            channels = _multiple_of_8(_WIDTH * outputs)
        layers.append(_Convolution(channels, 6 * channels, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        hidden = int(_WIDTH * _CLASSIFIER_CHANNELS)
        # Identities keep the places of the published pooling, flattening and dropout, by which
        # the weight file numbers its tensors.
        self.classifier = nn.Sequential(
            nn.Identity(),
            nn.Identity(),
            nn.Linear(6 * channels, hidden),
            nn.Hardswish(),
            nn.Identity(),
            nn.Linear(hidden, n_labels),
        )

    def forward(self, log_mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embedding and logits; see the class."""
        embedding = self.features(log_mel.transpose(1, 2)[:, None]).mean(dim=(2, 3))
        return embedding, self.classifier(embedding)


def load_efficientat(path: Path) -> EfficientAT:
    """The network in evaluation mode with the weights of a safetensors file, as float32."""
    network = EfficientAT()
    network.load_state_dict(load_file(path), strict=True)
    return network.eval()
