"""Sounds: such whose every moment differs from every other, so that a shift cannot hide; tones."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def sweep(duration_s: float, rate_hz: int, *, channels: int = 1) -> NDArray[np.float32]:
    """A tone that rises and falls under steps of loudness, with noise: (n, channels) in [-1, 1].

    The channels differ, so that mixing them wrongly shows.
    """
    time = np.arange(round(duration_s * rate_hz)) / rate_hz
    frequency = 440 + 300 * np.sin(2 * np.pi * time / 7)
    tone = 0.3 * np.sin(2 * np.pi * np.cumsum(frequency) / rate_hz)
    tone *= 0.4 + 0.6 * (np.floor(time * 2.5) % 3) / 2
    noise = np.random.default_rng(0).standard_normal((len(time), channels))
    gains = 1 / (1 + np.arange(channels))
    return np.asarray(tone[:, None] * gains + 0.02 * noise, dtype=np.float32)


def click(duration_s: float, rate_hz: int, *, at_s: float) -> NDArray[np.float32]:
    """Silence with a burst of 4 ms that begins at ``at_s``, on both channels: (n, 2)."""
    samples = np.zeros((round(duration_s * rate_hz), 2), dtype=np.float32)
    begin = round(at_s * rate_hz)
    length = round(0.004 * rate_hz)
    samples[begin : begin + length] = 0.9 * np.sin(np.pi * np.arange(length) / 4)[:, None]
    return samples


def tone(duration_s: float, rate_hz: int, *, frequency_hz: float) -> NDArray[np.float32]:
    """A steady sine of half the full loudness: (n, 1)."""
    time = np.arange(round(duration_s * rate_hz)) / rate_hz
    return np.asarray(0.5 * np.sin(2 * np.pi * frequency_hz * time), dtype=np.float32)[:, None]


def wave_file(path: Path, samples: NDArray[np.float32], rate_hz: int, *, mask: int = 0) -> Path:
    """16-bit PCM as WAVE_FORMAT_EXTENSIBLE, whose mask says which channels they are (0: none)."""
    n_channels = samples.shape[1]
    data = (samples * 32767).round().astype("<i2").tobytes()
    pcm = bytes.fromhex("0100000000001000800000aa00389b71")
    head = struct.pack(
        "<HHIIHHHHI16s",
        *(0xFFFE, n_channels, rate_hz, rate_hz * n_channels * 2, n_channels * 2, 16),
        *(22, 16, mask, pcm),
    )
    body = b"WAVEfmt " + struct.pack("<I", len(head)) + head
    body += b"data" + struct.pack("<I", len(data)) + data
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)
    return path
