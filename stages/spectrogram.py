"""Spectrogram: mono sound to log-mel patches on a grid that starts at 0 for every video.

Each patch is computed from its own samples alone, at a fixed shape, so that its values do not
depend on where a slice began.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import LogMelFormat
from sightsound.models.engines.base import LoadedNetwork
from sightsound.stages.records import DecodedSound

# Times (n,) in seconds and log-mel (n, n_frames, n_mels), some patches at a time.
Patches = Iterator[tuple[NDArray[np.float64], NDArray[np.float32]]]


class Spectrogram:
    """DecodedSound, block after block -> (times_s (n,), log-mel (n, n_frames, n_mels) float32).

    A patch counts if sound fills at least half of it; the rest is padded with silence. Sound
    that fills half of no patch still gives one. ``times_s`` is the middle of a patch's sound.
    One object serves one slice: it yields the patches whose time lies in [start_s, end_s).
    """

    def __init__(
        self,
        front_end: LoadedNetwork,
        log_mel: LogMelFormat,
        *,
        start_s: float,
        end_s: float,
        sound_span_s: tuple[float, float],
    ) -> None:
        self._front_end = front_end
        self._format = log_mel
        self._sound_span_s = sound_span_s
        numbers = _patches_of(log_mel, sound_span_s)
        chosen = [
            p for p in _near(numbers, log_mel, start_s, end_s) if start_s <= self._time_s(p) < end_s
        ]
        self._next = chosen[0] if chosen else 0
        self._stop = chosen[-1] + 1 if chosen else 0
        self._first_sample = 0
        self._samples = np.zeros(0, dtype=np.float32)

    @property
    def settled_s(self) -> float:
        """The patches whose middle is before this time have all been given."""
        if self._next >= self._stop:
            return math.inf
        return self._time_s(self._next)

    def __call__(self, sound: DecodedSound) -> Patches:
        """Take the next block and yield the patches that it completes."""
        if self._next >= self._stop:
            return
        if not len(self._samples):
            # A patch may begin before the sound does, and before the block that it begins in.
            self._first_sample = min(sound.first_sample, self._next * self._format.hop_samples)
        gap = sound.first_sample - self._first_sample - len(self._samples)
        parts = (self._samples, np.zeros(max(0, gap), dtype=np.float32), sound.samples)
        self._samples = np.concatenate(parts)
        yield from self._complete(self._first_sample + len(self._samples))

    def finish(self) -> Patches:
        """No more sound will come: yield the patches at the end, padded with silence."""
        if self._next >= self._stop or not len(self._samples):
            return
        end = (self._stop - 1) * self._format.hop_samples + self._format.patch_samples
        missing = max(0, end - self._first_sample - len(self._samples))
        self._samples = np.concatenate((self._samples, np.zeros(missing, dtype=np.float32)))
        yield from self._complete(self._first_sample + len(self._samples))

    def _complete(self, end_sample: int) -> Patches:
        last = (end_sample - self._format.patch_samples) // self._format.hop_samples
        numbers = np.arange(self._next, min(last + 1, self._stop))
        if not len(numbers):
            return
        starts = numbers * self._format.hop_samples - self._first_sample
        patches = np.stack(
            [self._samples[start : start + self._format.patch_samples] for start in starts]
        )
        (log_mel,) = self._front_end(patches)
        self._next = int(numbers[-1]) + 1
        used = max(0, self._next * self._format.hop_samples - self._first_sample)
        self._samples = self._samples[used:]
        self._first_sample += used
        yield np.array([self._time_s(int(number)) for number in numbers]), log_mel

    def _time_s(self, patch: int) -> float:
        begin, end = _extent_s(self._format, patch)
        return (max(begin, self._sound_span_s[0]) + min(end, self._sound_span_s[1])) / 2


def _extent_s(log_mel: LogMelFormat, patch: int) -> tuple[float, float]:
    begin = patch * log_mel.hop_samples
    rate = log_mel.sample_rate_hz
    return begin / rate, (begin + log_mel.patch_samples) / rate


def _patches_of(log_mel: LogMelFormat, sound_span_s: tuple[float, float]) -> range:
    """The patches of the grid that sound fills by half or more, or the one it fills most."""
    hop_s = log_mel.hop_samples / log_mel.sample_rate_hz
    half_s = log_mel.patch_samples / 2 / log_mel.sample_rate_hz
    first = max(0, math.ceil((sound_span_s[0] - half_s) / hop_s - 1e-9))
    last = math.floor((sound_span_s[1] - half_s) / hop_s + 1e-9)
    if last < first:
        first = last = int(sum(sound_span_s) / 2 // hop_s)
    return range(first, last + 1)


def _near(numbers: range, log_mel: LogMelFormat, start_s: float, end_s: float) -> range:
    """Those of ``numbers`` that can lie between the times, so that hours need not be searched."""
    hop_s = log_mel.hop_samples / log_mel.sample_rate_hz
    length_s = log_mel.patch_samples / log_mel.sample_rate_hz
    low = max(numbers.start, math.floor((start_s - length_s) / hop_s) - 1)
    high = min(numbers.stop, math.ceil(end_s / hop_s) + 1)
    return range(low, max(low, high))
