"""Sampled frames by decoding everything, where there is no plan or it did not hold."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator

import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView
from sightsound.stages.frames import DecodeReport, SampledFrames
from sightsound.stages.media import Packet, frame_interval
from sightsound.stages.records import NO_FRAME, DecodedFrame, Slice, VideoPlan, VideoStreamInfo


class AllFrames(SampledFrames):
    """Decodes every packet and takes, for each sample, the last frame that is not later.

    A frame without a timestamp is placed where the plan has one due after the one before, else
    one frame interval later. With ``guessed_times`` a frame is placed by its turn in the order of
    display, since its own timestamp is the demuxer's guess.
    """

    def __init__(
        self,
        context: VideoCodecContext,
        stream: VideoStreamInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        views: tuple[FrameView, ...],
        report: DecodeReport,
        most_pixels: int,
        guessed_times: bool,
    ) -> None:
        super().__init__(
            context, stream, plan, piece, views=views, report=report, most_pixels=most_pixels
        )
        self._guessed_times = guessed_times
        self._pending = deque(
            piece.first_sample + offset
            for offset, pts in enumerate(piece.sample_pts.tolist())
            if pts != NO_FRAME
        )
        self._held: VideoFrame | None = None
        self._held_tainted = False
        self._previous_pts: int | None = None
        self._first_pts: int | None = None
        if piece.packets is not None and piece.packets.seek_dts is not None:
            self._first_pts = int(piece.packets.pts[0])

    def feed(self, packet: Packet) -> Iterator[DecodedFrame]:
        """Decode a packet, from the slice's first key frame on; see the base class."""
        if self._first_pts is not None:
            if packet.pts != self._first_pts:
                return
            self._first_pts = None
        yield from self._sampled(self._decode(packet))

    def finish(self) -> Iterator[DecodedFrame]:
        """Flush, and give the remaining samples the last frame; see the base class."""
        yield from self._sampled(self._drain())
        yield from self._emit(list(self._pending))
        self._pending.clear()

    @property
    def done(self) -> bool:
        """Every sample has its frame."""
        return not self._pending

    def _sampled(self, frames: list[VideoFrame]) -> Iterator[DecodedFrame]:
        for frame in frames:
            pts = frame.pts
            tainted = self._group_damaged if pts is None else pts in self._tainted_pts
            tainted |= self._follows_corrupt(frame)
            if self._guessed_times:
                # Storage runs ahead of display by the frames that the decoder holds back.
                depth = self._context.reorder_depth
                frame.pts = None if frame.dts is None else frame.dts - depth
            if frame.pts is None:
                frame.pts = self._estimated_pts()
            self._previous_pts = frame.pts
            if frame.is_corrupt:
                self._failed_pts.append(frame.pts)
                continue
            yield from self._emit(self._due(frame.pts))
            self._held, self._held_tainted = frame, tainted

    def _due(self, pts: int) -> list[int]:
        """Take the samples that are over when a frame with this timestamp comes on screen.

        Sample 0 is not where this is a first frame soon enough to stand for it, as in the plan.
        """
        due = []
        while self._pending and self._threshold(self._pending[0]) < pts:
            if self._held is None and self._pending[0] == 0 and pts < self._threshold(1):
                break
            due.append(self._pending.popleft())
        return due

    def _emit(self, samples: list[int]) -> Iterator[DecodedFrame]:
        intact = [sample for sample in samples if self._is_intact(sample)]
        self._report.lost.update(set(samples) - set(intact))
        if intact and self._held is not None:
            yield self._decoded(self._held, intact, tainted=self._held_tainted)

    def _is_intact(self, sample: int) -> bool:
        """Whether the held frame is what belongs on screen, as far as anyone can tell."""
        if self._held is None or self._held.pts is None:
            return False
        if self._piece.packets is not None:
            expected = int(self._piece.sample_pts[sample - self._piece.first_sample])
            return self._held.pts == expected or not self._failed_pts
        depth = self._context.reorder_depth if self._guessed_times else 0
        limit = self._threshold(sample) + depth
        return not any(self._held.pts + depth < time <= limit for time in self._failed_pts)

    def _threshold(self, sample: int) -> int:
        time_s = sample / self._plan.fps + self._plan.origin_s
        return math.floor(time_s / self._stream.time_base)

    def _estimated_pts(self) -> int:
        due, previous = self._piece.frame_pts, self._previous_pts
        if due is not None:
            following = 0 if previous is None else _nearest(due, previous) + 1
            if following < len(due):
                return int(due[following])
        if previous is None:
            return math.ceil(self._plan.origin_s / self._stream.time_base)
        return previous + frame_interval(self._stream)


def _nearest(times: NDArray[np.int64], time: int) -> int:
    """The position of the nearest of some sorted times."""
    after = int(np.searchsorted(times, time))
    is_before = after == len(times) or (after > 0 and 2 * time < times[after - 1] + times[after])
    return after - is_before
