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


class Spectrogram:
    """DecodedSound, block after block -> (times_s (n,), log-mel (n, n_frames, n_mels) float32).

    ``times_s`` is the middle of each patch. One object serves one slice: it yields the patches
    whose middle lies in [start_s, end_s) and within the sound, padding the last with silence.
    Sound shorter than half a patch still gives one.
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
        rate = log_mel.sample_rate_hz
        self._middle_s = log_mel.patch_samples / 2 / rate
        self._hop_s = log_mel.hop_samples / rate
        low = max(start_s, sound_span_s[0])
        high = min(end_s, sound_span_s[1])
        first = max(0, math.ceil((low - self._middle_s) / self._hop_s - 1e-9))
        stop = math.ceil((high - self._middle_s) / self._hop_s - 1e-9)
        if stop <= first and sound_span_s[1] - sound_span_s[0] < self._hop_s:
            first = int(sound_span_s[0] // self._hop_s)
            stop = first + 1
        self._next, self._stop = first, max(first, stop)
        self._first_sample = 0
        self._samples = np.zeros(0, dtype=np.float32)

    @property
    def settled_s(self) -> float:
        """The patches whose middle is before this time have all been given."""
        if self._next >= self._stop:
            return math.inf
        return self._time_s(self._next)

    def __call__(self, sound: DecodedSound) -> Iterator[tuple[NDArray[np.float64], NDArray]]:
        """Take the next block and yield the patches that it completes."""
        if not len(self._samples):
            self._first_sample = sound.first_sample
        gap = sound.first_sample - self._first_sample - len(self._samples)
        parts = (self._samples, np.zeros(max(0, gap), dtype=np.float32), sound.samples)
        self._samples = np.concatenate(parts)
        yield from self._complete(self._first_sample + len(self._samples))

    def finish(self) -> Iterator[tuple[NDArray[np.float64], NDArray]]:
        """No more sound will come: yield the patches at the end, padded with silence."""
        if self._next >= self._stop or not len(self._samples):
            return
        end = (self._stop - 1) * self._format.hop_samples + self._format.patch_samples
        missing = max(0, end - self._first_sample - len(self._samples))
        self._samples = np.concatenate((self._samples, np.zeros(missing, dtype=np.float32)))
        yield from self._complete(self._first_sample + len(self._samples))

    def _complete(self, end_sample: int) -> Iterator[tuple[NDArray[np.float64], NDArray]]:
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
        yield np.array([self._time_s(number) for number in numbers]), log_mel

    def _time_s(self, patch: int) -> float:
        return float(patch * self._hop_s + self._middle_s)
