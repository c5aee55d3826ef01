"""Timestamps of packets -> how a picture or a sound lies in time."""

from __future__ import annotations

from array import array
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.inspection.records import FrameTimes, Stretch
from sightsound.stages.media import Packet
from sightsound.stages.packets import PacketIndex

_UNEVEN_SHARE, _UNEVEN_PART = 0.01, 0.1
# A time base rounds each of two neighbours, by up to half a tick.
_ROUNDING_TICKS = 1.5
_GAP_S, _GAP_MEDIANS = 1.0, 10
_SOUND_GAP_S = 0.1
_RESTART_S = 1.0
# Of a file that is in tatters, the first gaps say enough.
_MOST_GAPS = 100


class Track:
    """The packets of one stream, of any kind, as they are read: up to 16 bytes each."""

    def __init__(self, time_base: Fraction | None, *, keep_gaps: bool = False) -> None:
        self._time_base = time_base or Fraction(1, 1_000_000)
        self._keep_gaps = keep_gaps
        self._times = array("q")
        self._ends = array("q")
        self.n_packets = 0
        self.first: int | None = None
        self.end: int | None = None
        self.n_corrupt = 0
        self.n_restarts = 0
        self._latest_dts: int | None = None

    def add(self, packet: Packet) -> None:
        """Count one packet."""
        self.n_packets += 1
        self.n_corrupt += packet.is_corrupt
        if packet.dts is not None and not packet.is_discard:
            if self._latest_dts is not None:
                back_s = (self._latest_dts - packet.dts) * self._time_base
                self.n_restarts += back_s > _RESTART_S
            self._latest_dts = packet.dts
        time = packet.pts if packet.pts is not None else packet.dts
        if time is None or packet.is_discard:
            return
        duration = packet.duration or 0
        end = time + (duration if 0 <= duration < 1 << 31 else 0)
        self.first = time if self.first is None else min(self.first, time)
        self.end = end if self.end is None else max(self.end, end)
        if self._keep_gaps:
            self._times.append(time)
            self._ends.append(end)

    def start_s(self, origin_s: Fraction) -> float | None:
        """The first time in the presentation."""
        return None if self.first is None else float(self.first * self._time_base - origin_s)

    def end_s(self, origin_s: Fraction) -> float | None:
        """The end of the last packet in the presentation."""
        return None if self.end is None else float(self.end * self._time_base - origin_s)

    def gaps(self, origin_s: Fraction) -> tuple[Stretch, ...]:
        """Where a packet starts more than 0.1 s after all before it have ended."""
        times = np.array(self._times, dtype=np.int64)
        if len(times) < 2:
            return ()
        order = np.argsort(times, kind="stable")
        begins = times[order][1:]
        ends = np.maximum.accumulate(np.array(self._ends, dtype=np.int64)[order])[:-1]
        wide = np.flatnonzero(begins - ends > float(_SOUND_GAP_S / self._time_base))
        return _stretches(ends[wide], begins[wide], self._time_base, origin_s)


def frame_times(
    index: PacketIndex,
    *,
    time_base: Fraction,
    origin_s: Fraction,
    are_stated: bool,
    n_restarts: int,
) -> FrameTimes:
    """Describe the times of the frames that are shown."""
    shown = index.shown_pts
    steps = shown[1:] - shown[:-1]
    n_frames = int(np.count_nonzero(index.shown))
    n_hidden = len(index.shown) - n_frames - len(index.second_fields)
    if not len(steps):
        return FrameTimes(
            n_frames=n_frames,
            n_hidden=n_hidden,
            rate_hz=None,
            shortest_s=None,
            median_s=None,
            longest_s=None,
            is_variable=False,
            are_stated=are_stated,
            n_restarts=n_restarts,
            gaps=(),
        )
    median = float(np.median(steps))
    allowed = max(_ROUNDING_TICKS, _UNEVEN_PART * median)
    uneven_share = float(np.mean(np.abs(steps - median) > allowed))
    wide = np.flatnonzero(steps > max(float(_GAP_S / time_base), _GAP_MEDIANS * median))
    seconds = float(time_base)
    return FrameTimes(
        n_frames=n_frames,
        n_hidden=n_hidden,
        rate_hz=len(steps) / (int(shown[-1] - shown[0]) * seconds),
        shortest_s=int(steps.min()) * seconds,
        median_s=median * seconds,
        longest_s=int(steps.max()) * seconds,
        is_variable=uneven_share > _UNEVEN_SHARE,
        are_stated=are_stated,
        n_restarts=n_restarts,
        gaps=_stretches(shown[wide], shown[wide + 1], time_base, origin_s),
    )


def intervals_s(times: NDArray[np.int64], time_base: Fraction) -> NDArray[np.float64]:
    """The steps between sorted, distinct times, in seconds: float64 (n - 1,)."""
    distinct = np.unique(times)
    return (distinct[1:] - distinct[:-1]).astype(np.float64) * float(time_base)


def _stretches(
    starts: NDArray[np.int64], ends: NDArray[np.int64], time_base: Fraction, origin_s: Fraction
) -> tuple[Stretch, ...]:
    return tuple(
        Stretch(
            start_s=float(int(start) * time_base - origin_s),
            end_s=float(int(end) * time_base - origin_s),
        )
        for start, end in zip(starts[:_MOST_GAPS], ends[:_MOST_GAPS], strict=True)
    )
