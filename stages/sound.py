"""Sound to mono at a fixed rate, in blocks whose samples do not depend on where decoding began.

Sound decoders carry state (overlap, noise generators, bit reservoirs), so sound decoded from
the middle of a file differs slightly from sound decoded from its start. Here every block of
60 s on a fixed grid is decoded by a fresh decoder from the same packet on, one second early,
whoever asks for it and however a video is cut: a sample's value depends on the file alone.

A block takes at most 62 s of sound at the source's rate in memory (48 MB at 192 kHz).
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

import av
import numpy as np
import soxr
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from numpy.typing import NDArray

from sightsound.stages.media import Packet, open_media
from sightsound.stages.records import AudioStreamInfo, DecodedSound

BLOCK_S = 60
PREROLL_S = 1
# Kept beyond the end of a block, so that the resampler's filter has both its sides.
_POSTROLL_S = 1
# Timestamps that differ from the running count by less are rounding, not a gap.
_JITTER_S = 0.03
_TAIL_S = 0.1


class SoundBlocks:
    """Turns audio packets, in the order of the file, into blocks of mono sound.

    Feed packets from ``first_needed_s`` on to :meth:`feed`, then call :meth:`finish`.
    ``error_times_s`` collects the times of packets that could not be decoded.
    """

    def __init__(
        self,
        path: str,
        stream: AudioStreamInfo,
        *,
        origin_s: Fraction,
        span_s: tuple[float, float],
        start_s: float,
        end_s: float,
        sample_rate_hz: int,
    ) -> None:
        """Prepare the blocks that cover [start_s, end_s).

        ``span_s`` is where sound begins and ends in the presentation.
        """
        self._path = path
        self._stream = stream
        self._origin_s = origin_s
        self._span_s = span_s
        self._rate = sample_rate_hz
        first = max(0, int(max(start_s, span_s[0]) // BLOCK_S))
        last = max(first, math.ceil(min(end_s, span_s[1]) / BLOCK_S) - 1)
        self._waiting = list(range(first, last + 1))
        self._open: list[_Block] = []
        self.first_needed_s = first * BLOCK_S - PREROLL_S
        self.last_needed_s = (last + 1) * BLOCK_S + _POSTROLL_S
        self.error_times_s: list[float] = []

    def time_s(self, packet: Packet) -> float | None:
        """A packet's time in the presentation."""
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None:
            return None
        return float(time * self._stream.time_base - self._origin_s)

    def feed(self, packet: Packet) -> list[DecodedSound]:
        """Decode one packet into the blocks that it belongs to; return finished blocks."""
        time_s = self.time_s(packet)
        if time_s is None:
            time_s = self._open[-1].reached_s if self._open else 0.0
        while self._waiting and time_s >= self._waiting[0] * BLOCK_S - PREROLL_S:
            self._open.append(self._start(self._waiting.pop(0)))
        finished = []
        for block in list(self._open):
            if time_s >= block.stop_s:
                self._open.remove(block)
                finished.append(self._close(block))
            elif not block.feed(packet) and time_s >= block.start_s:
                self.error_times_s.append(time_s)
        return finished

    def finish(self) -> list[DecodedSound]:
        """No more packets will come: return what is left."""
        finished = [self._close(block) for block in self._open]
        finished += [self._close(self._start(number)) for number in self._waiting]
        self._open, self._waiting = [], []
        # Tags behind the last frame of sound look like a damaged packet, and are none.
        tail_s = self._span_s[1] - _TAIL_S
        self.error_times_s = [time for time in self.error_times_s if time < tail_s]
        return finished

    def _start(self, number: int) -> _Block:
        return _Block(self._path, self._stream, number=number, origin_s=self._origin_s)

    def _close(self, block: _Block) -> DecodedSound:
        samples = block.samples(self._rate, sound_end_s=self._span_s[1])
        return DecodedSound(
            first_sample=block.number * BLOCK_S * self._rate,
            sample_rate_hz=self._rate,
            samples=samples,
        )


_BS775 = {
    **dict.fromkeys(("FL", "FR"), 0.5),
    "FC": 0.5**0.5,
    **dict.fromkeys(("BL", "BR", "SL", "SR"), 0.5**1.5),
    "BC": 0.5,
    "LFE": 0.0,
}


class _Block:
    """One block, its own decoder, and the buffer that it fills at the source's rate."""

    def __init__(
        self, path: str, stream: AudioStreamInfo, *, number: int, origin_s: Fraction
    ) -> None:
        self.number = number
        self.start_s = number * BLOCK_S
        self.stop_s = self.start_s + BLOCK_S + _POSTROLL_S
        self.reached_s = float(self.start_s)
        self._lead_s = PREROLL_S if number else 0
        self._origin_s = origin_s
        self._rate = stream.sample_rate_hz
        self._time_base = stream.time_base
        # Opened for its decoder alone: only a decoder that has seen nothing is in a known state.
        self._container: InputContainer = open_media(path, stage="decode")
        decoder = self._container.streams[stream.index].codec_context
        assert isinstance(decoder, AudioCodecContext)
        self._decoder = decoder
        # Packed, since PyAV reads past the planes of planar frames with over 8 channels.
        self._to_float = AudioResampler(format="flt", rate=self._rate)
        length = int((self._lead_s + BLOCK_S + _POSTROLL_S) * self._rate)
        self._buffer = np.zeros(length, dtype=np.float32)
        self._position: int | None = None
        self._end = 0

    def feed(self, packet: Packet) -> bool:
        """Decode a packet; False where it is damaged."""
        try:
            frames = self._decoder.decode(packet)
            for frame in frames:
                self._place(frame)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            return False
        return not packet.is_corrupt

    def samples(self, rate_hz: int, *, sound_end_s: float) -> NDArray[np.float32]:
        """The block's samples at ``rate_hz``, up to the end of the block or of the sound."""
        try:
            for frame in self._decoder.decode(None):
                self._place(frame)
        except MemoryError:
            raise
        except (av.error.FFmpegError, ValueError):
            pass  # What the decoder held back is lost; it is at most a few milliseconds.
        self._container.close()
        n_source = min(len(self._buffer), round((sound_end_s - self._begin_s) * self._rate) + 1)
        source = self._buffer[: max(0, n_source)]
        if self._rate != rate_hz and len(source):
            source = soxr.resample(source, self._rate, rate_hz, quality="HQ")
        start = self._lead_s * rate_hz
        wanted = min(BLOCK_S, max(0.0, sound_end_s - self.start_s))
        result = source[start : start + round(wanted * rate_hz)]
        self._buffer = np.zeros(0, dtype=np.float32)
        return np.ascontiguousarray(result, dtype=np.float32)

    @property
    def _begin_s(self) -> int:
        return self.start_s - self._lead_s

    def _place(self, frame: AudioFrame) -> None:
        if frame.pts is not None:
            base = frame.time_base or self._time_base
            offset_s = frame.pts * base - self._origin_s - self._begin_s
            position = round(offset_s * self._rate)
            jitter = _JITTER_S * self._rate
            if self._position is None or abs(position - self._position) > jitter:
                self._position = position
        if self._position is None:
            self._position = 0
        for part in self._to_float.resample(frame):
            weights = _mono_weights(tuple(channel.name for channel in part.layout.channels))
            samples = part.to_ndarray().astype(np.float32, copy=False)
            self._write(samples.reshape(-1, len(weights)) @ weights)

    def _write(self, mono: NDArray[np.float32]) -> None:
        assert self._position is not None
        start, stop = self._position, self._position + len(mono)
        self._position = stop
        low, high = max(0, start), min(len(self._buffer), stop)
        if low < high:
            self._buffer[low:high] = mono[low - start : high - start]
        self.reached_s = self._begin_s + stop / self._rate


@lru_cache
def _mono_weights(channels: tuple[str, ...]) -> NDArray[np.float32]:
    """What each channel counts for in mono, float32 (n_channels,).

    Up to two count alike. More are mixed to stereo as ITU-R BS.775 has it (centre and surround
    at -3 dB, no low-frequency effects), and the two sides then to their mean. Layouts with
    channels that it does not know are mixed to the plain mean.
    """
    if len(channels) <= 2 or not set(channels) <= set(_BS775):
        return np.full(len(channels), 1 / len(channels), dtype=np.float32)
    return np.array([_BS775[name] for name in channels], dtype=np.float32)
