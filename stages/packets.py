"""Which packets must be decoded so that given frames come out exactly.

A decoder that is fed from a key frame on needs, for a frame in that group of pictures, the
reference frames before it and nothing else. So non-reference frames that are not wanted, the
tail of a group after its last wanted frame, and groups with no wanted frame need not be decoded.

Times are compared in units of the stream's time base, as integers: no rounding.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightsound.stages.records import NO_FRAME, PacketPlan

# A step this many times shorter or longer than the median is none between neighbours.
_ODD_STEP = 4


@dataclass(frozen=True, kw_only=True)
class PacketIndex:
    """The video packets of a file in decode order: 18 bytes a packet (1.9 MB an hour at 30 fps).

    ``shown`` is False for packets whose frames an edit list discards or that only others refer
    to, and for second fields, whose positions are ``second_fields`` and which are no key frames.
    ``is_timed`` is False where not every frame states its time: then the k-th of ``pts`` is when
    the k-th frame on screen is due, of whatever packet that is. ``plannable`` is False where
    timestamps are missing or come again, so that frames cannot be told apart by them. (Neighbours
    may share one: AV1's hidden frames with the next shown, and the two fields of a frame.)
    """

    pts: NDArray[np.int64]
    dts: NDArray[np.int64]
    is_key: NDArray[np.bool_]
    shown: NDArray[np.bool_]
    second_fields: NDArray[np.int64]
    is_timed: bool
    plannable: bool

    @property
    def shown_pts(self) -> NDArray[np.int64]:
        """When a new frame comes on screen: int64, sorted, each once."""
        return np.unique(self.pts[self.shown])


class PacketIndexBuilder:
    """Collects packets during a demux-only pass into compact arrays."""

    def __init__(self) -> None:
        self._pts = array("q")
        self._dts = array("q")
        self._is_key = array("b")
        self._shown = array("b")
        self._second_fields = array("q")

    def add(
        self,
        *,
        pts: int | None,
        dts: int | None,
        is_key: bool,
        is_shown: bool,
        is_second_field: bool = False,
    ) -> None:
        """Add the next packet in decode order; times None where the file does not say them."""
        if is_second_field:
            self._second_fields.append(len(self._pts))
        self._pts.append(pts if pts is not None else NO_FRAME)
        self._dts.append(dts if dts is not None else NO_FRAME)
        self._is_key.append(is_key and not is_second_field)
        self._shown.append(is_shown and not is_second_field)

    def build(self, *, interval: int = 1) -> PacketIndex:
        """The index. A stream without any key frame is taken to start with one.

        ``interval`` is how far apart frames are where no two times are stated.
        """
        is_key = np.array(self._is_key, dtype=bool)
        if len(is_key) and not is_key.any():
            is_key[0] = True
        pts, dts = np.array(self._pts, dtype=np.int64), np.array(self._dts, dtype=np.int64)
        is_second = np.zeros(len(pts), dtype=bool)
        is_second[self._second_fields] = True
        turns = np.cumsum(~is_second) - 1
        is_stated = (pts != NO_FRAME) | is_second
        if is_stated.all():
            pts = np.where(is_second, _of_first_fields(pts, is_second), pts)
            dts = np.where(dts != NO_FRAME, dts, pts)
        else:
            delay = _display_delay(pts, dts, is_key)
            decoded = dts if (dts != NO_FRAME).any() else pts
            dts = _spread_evenly(np.where(is_second, NO_FRAME, decoded), turns, interval)
            pts = dts + delay
        n_repeated = len(pts) - len(np.unique(pts))
        come_again = n_repeated > np.count_nonzero(pts[1:] == pts[:-1])
        return PacketIndex(
            pts=pts,
            dts=dts,
            is_key=is_key,
            shown=np.array(self._shown, dtype=bool),
            second_fields=np.array(self._second_fields, dtype=np.int64),
            is_timed=bool(is_stated.all()),
            plannable=bool(len(pts) and is_stated.all() and not come_again),
        )


def _of_first_fields(pts: NDArray[np.int64], is_second: NDArray[np.bool_]) -> NDArray[np.int64]:
    """For each packet the time of the frame that it belongs to."""
    first: NDArray[np.int64] = np.maximum.accumulate(np.where(is_second, 0, np.arange(len(pts))))
    return pts[first]


def _display_delay(
    pts: NDArray[np.int64], dts: NDArray[np.int64], is_key: NDArray[np.bool_]
) -> int:
    """How long after the k-th decoding time the k-th frame on screen is due.

    Of a key frame that nothing decoded later precedes on screen it is the two times' difference,
    which is greater for every other key frame.
    """
    says_both = (pts != NO_FRAME) & (dts != NO_FRAME)
    if (says_both & is_key).any():
        return int((pts - dts)[says_both & is_key].min())
    return int(np.median((pts - dts)[says_both])) if says_both.any() else 0


def _spread_evenly(
    times: NDArray[np.int64], turns: NDArray[np.int64], interval: int
) -> NDArray[np.int64]:
    """Times in decode order; what lies between two stated ones divides the gap between these.

    Not where that makes a step of another length than most have: there something is lost, or a
    time is damaged, and frames go on as they usually come.

    Args:
        times: int64 (n,), ``NO_FRAME`` where none is stated.
        turns: int64 (n,), which frame each belongs to, counted from 0.
        interval: the step where no two times are stated.
    """
    known = np.flatnonzero(times != NO_FRAME)
    if not len(known):
        return turns * interval
    steps = np.diff(times[known]) / np.diff(turns[known])
    usual = float(np.median(steps[steps > 0])) if (steps > 0).any() else float(interval)
    likely = (steps > usual / _ODD_STEP) & (steps < usual * _ODD_STEP)
    steps = np.append(np.where(likely, steps, usual), usual)
    before = np.searchsorted(known, np.arange(len(times)), side="right") - 1
    step = np.where(before < 0, usual, steps[np.maximum(before, 0)])
    anchor = known[np.maximum(before, 0)]
    spread: NDArray[np.int64] = times[anchor] + np.rint((turns - turns[anchor]) * step).astype("q")
    return spread


def frames_on_screen(
    shown_pts: NDArray[np.int64], thresholds: NDArray[np.int64], *, first_until: int
) -> NDArray[np.int64]:
    """The timestamp of the frame on screen at each threshold: the last that is not later.

    Args:
        shown_pts: sorted timestamps of the frames that are shown.
        thresholds: sample times in the same unit, ascending.
        first_until: a threshold before the first frame takes the first frame if that starts
            before this time; elsewhere there is no frame yet (``NO_FRAME``).
    """
    if not len(shown_pts):
        return np.full(len(thresholds), NO_FRAME, dtype=np.int64)
    position = np.searchsorted(shown_pts, thresholds, side="right") - 1
    chosen = shown_pts[np.maximum(position, 0)]
    early = position < 0
    return np.where(early & (shown_pts[0] >= first_until), NO_FRAME, chosen)


def plan_packets(index: PacketIndex, wanted_pts: NDArray[np.int64]) -> PacketPlan:
    """The packets to decode so that the frames with ``wanted_pts`` come out as in a full decode.

    A group of pictures may be entered at its key frame. Frames that follow the key frame in
    the file but precede it on screen (an open group) refer to the group before: wanted, they
    pull that group in whole; unwanted, they are left out unless that group was decoded whole.
    What lies before the first key frame cannot be decoded and is never in the plan.
    """
    n_packets = len(index.pts)
    wanted = np.isin(index.pts, wanted_pts) & index.shown
    key_positions = np.flatnonzero(index.is_key)
    starts = key_positions
    ends = np.append(key_positions[1:], n_packets)
    keep = np.zeros(n_packets, dtype=bool)
    last_needed = np.full(len(starts), -1, dtype=np.int64)
    leading = np.zeros(n_packets, dtype=bool)
    for group, (start, end) in enumerate(zip(starts, ends, strict=True)):
        leading[start:end] = index.pts[start:end] < index.pts[start]
        positions = np.flatnonzero(wanted[start:end])
        if len(positions):
            last_needed[group] = max(last_needed[group], start + positions[-1])
        if group and np.any(wanted[start:end] & leading[start:end]):
            last_needed[group - 1] = end_of_previous = start - 1
            assert end_of_previous >= starts[group - 1]
    previous_whole = False
    for group, (start, end) in enumerate(zip(starts, ends, strict=True)):
        last = last_needed[group]
        if last >= 0:
            keep[start : last + 1] = True
            if not previous_whole and group > 0:
                keep[start : last + 1] &= ~leading[start : last + 1] | wanted[start : last + 1]
        previous_whole = last == end - 1
    kept = np.flatnonzero(keep)
    first = int(kept[0]) if len(kept) else 0
    return PacketPlan(
        pts=index.pts[kept],
        is_target=wanted[kept],
        seek_dts=int(index.dts[first]) if first > 0 else None,
    )
