"""Log-mel spectrograms as a torch module that every inference engine can run.

The short-time Fourier transform is written as a convolution with a windowed cosine and sine
basis instead of ``torch.stft``: the same arithmetic, but exportable, and for patches of a
second the matrix product is as fast as a transform. The mel bands come from torchaudio.
"""

from __future__ import annotations

import math

import torch
import torchaudio
from torch import nn


class DftMagnitude(nn.Module):
    """Magnitudes of a short-time Fourier transform, without padding at the edges.

    forward: float32 samples (batch, n) to float32 (batch, n_frames, n_fft // 2 + 1), frame i
    covering samples [i * hop, i * hop + len(window)), zero-padded at its end to ``n_fft`` as
    TensorFlow's ``tf.signal.stft`` does.
    """

    def __init__(self, *, window: torch.Tensor, n_fft: int, hop: int) -> None:
        super().__init__()
        self.basis: torch.Tensor
        self.hop = hop
        sample = torch.arange(len(window), dtype=torch.float64)
        bin_ = torch.arange(n_fft // 2 + 1, dtype=torch.float64)
        angle = 2 * math.pi * bin_[:, None] * sample[None, :] / n_fft
        basis = torch.cat((torch.cos(angle), -torch.sin(angle))) * window.double()
        self.register_buffer("basis", basis.float()[:, None, :])

    def forward(self, samples: torch.Tensor) -> torch.Tensor:
        """Return magnitudes; see the class."""
        parts = nn.functional.conv1d(samples[:, None, :], self.basis, stride=self.hop)
        real, imaginary = parts.chunk(2, dim=1)
        return torch.sqrt(real * real + imaginary * imaginary).transpose(1, 2)


class YamnetLogMel(nn.Module):
    """YAMNet's front end: log(mel + 0.001) of 25 ms windows every 10 ms.

    forward: float32 mono samples at 16 kHz (batch, 15600) to float32 (batch, 96, 64).
    64 mel bands from 125 to 7,500 Hz on the HTK scale without slope normalisation, periodic
    Hann window of 400 samples, 512-point transform. Source: YAMNet's features.py and params.py
    in the TensorFlow model garden (research/audioset/yamnet).
    """

    def __init__(self) -> None:
        super().__init__()
        self.magnitude = DftMagnitude(
            window=torch.hann_window(400, periodic=True, dtype=torch.float64), n_fft=512, hop=160
        )
        bands = torchaudio.functional.melscale_fbanks(
            n_freqs=257,
            f_min=125.0,
            f_max=7500.0,
            n_mels=64,
            sample_rate=16000,
            norm=None,
            mel_scale="htk",
        )
        self.register_buffer("bands", bands)

    def forward(self, samples: torch.Tensor) -> tuple[torch.Tensor]:
        """Return the log-mel patch; see the class."""
        return (torch.log(self.magnitude(samples) @ self.bands + 0.001),)
