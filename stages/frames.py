"""Video packets to sampled frames, by a packet plan or in full.

Both give the same frames on an intact file. By plan, only what the samples need is decoded;
in full, everything is, and what is on screen at each sample is read off the frames themselves.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from sightsound.models.backbones.base import FrameView
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.media import Packet
from sightsound.stages.picture import Renderer, quarter_turns
from sightsound.stages.records import (
    NO_FRAME,
    DecodedFrame,
    PacketPlan,
    Slice,
    VideoPlan,
    VideoStreamInfo,
)


@dataclass
class DecodeReport:
    """What happened while a slice was decoded.

    ``lost`` and ``tainted`` are sample numbers: no intact frame for it, or one that follows
    damage in its group of pictures. ``sound_errors_s`` are times of undecodable sound.
    ``rotation`` is what turns the stored picture upright: degrees counter-clockwise, 0 to 270.
    """

    lost: set[int] = field(default_factory=set)
    tainted: set[int] = field(default_factory=set)
    sound_errors_s: list[float] = field(default_factory=list)
    rotation: int = 0


class SampledFrames(ABC):
    """Feed it a slice's video packets in order; it yields the sampled frames in order."""

    def __init__(
        self,
        context: VideoCodecContext,
        stream: VideoStreamInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        views: tuple[FrameView, ...],
        report: DecodeReport,
    ) -> None:
        self._context = context
        self._context.thread_count = 1
        self._stream = stream
        self._plan = plan
        self._piece = piece
        self._views = views
        self._report = report
        self._render = Renderer()
        self._tainted = False

    @abstractmethod
    def feed(self, packet: Packet) -> Iterator[DecodedFrame]:
        """Decode one packet and yield the sampled frames that come out."""

    @abstractmethod
    def finish(self) -> Iterator[DecodedFrame]:
        """Flush the decoder and yield the remaining sampled frames."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether no later packet can matter."""

    def _decode(self, packet: Packet | None) -> list[VideoFrame]:
        """The frames that a packet brings out. Damage taints what follows until a key frame."""
        if packet is not None and packet.is_keyframe:
            self._tainted = False
        try:
            frames = self._context.decode(packet)
        except av.error.FFmpegError:
            self._tainted = True
            return []
        if packet is not None and packet.is_corrupt:
            self._tainted = True
        return [frame for frame in frames if isinstance(frame, VideoFrame)]

    def _decoded(self, frame: VideoFrame, samples: list[int], *, tainted: bool) -> DecodedFrame:
        self._report.rotation = quarter_turns(frame.rotation) * 90
        if tainted:
            self._report.tainted.update(samples)
        assert frame.pts is not None
        return DecodedFrame(
            samples=tuple(samples),
            pts_s=float(frame.pts * self._stream.time_base - self._plan.origin_s),
            pictures={
                view: self._render(frame, view, self._stream.pixel_aspect) for view in self._views
            },
            tainted=tainted,
        )


class PlannedFrames(SampledFrames):
    """Decodes what the packet plan says and nothing else."""

    def __init__(
        self,
        context: VideoCodecContext,
        stream: VideoStreamInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        views: tuple[FrameView, ...],
        report: DecodeReport,
        packets: PacketPlan,
    ) -> None:
        super().__init__(context, stream, plan, piece, views=views, report=report)
        self._is_target = dict(zip(packets.pts.tolist(), packets.is_target.tolist(), strict=True))
        self._n_to_send = len(packets.pts)
        self._can_skip = not _references_may_be_non_reference(context)
        self._samples: dict[int, list[int]] = {}
        for offset, pts in enumerate(piece.sample_pts.tolist()):
            if pts != NO_FRAME:
                self._samples.setdefault(pts, []).append(piece.first_sample + offset)
        self._sent_tainted: set[int] = set()

    def feed(self, packet: Packet) -> Iterator[DecodedFrame]:
        """Decode a packet if it is planned; see the base class."""
        is_target = self._is_target.get(packet.pts) if packet.pts is not None else None
        if is_target is None:
            return
        self._n_to_send -= 1
        skip = self._can_skip and not is_target
        self._context.skip_frame = "NONREF" if skip else "DEFAULT"
        frames = self._decode(packet)
        if self._tainted and packet.pts is not None:
            self._sent_tainted.add(packet.pts)
        yield from self._chosen(frames)

    def finish(self) -> Iterator[DecodedFrame]:
        """Flush; see the base class.

        Raises:
            PlanMismatchError: a sampled frame never came out intact.
        """
        yield from self._chosen(self._decode(None))
        if self._samples:
            raise PlanMismatchError(
                f"{len(self._samples)} of the planned frames did not come out of the decoder"
            )

    @property
    def done(self) -> bool:
        """All planned packets have been sent."""
        return self._n_to_send <= 0

    def _chosen(self, frames: list[VideoFrame]) -> Iterator[DecodedFrame]:
        for frame in frames:
            if frame.pts is None or frame.is_corrupt or frame.pts not in self._samples:
                continue
            samples = self._samples.pop(frame.pts)
            yield self._decoded(frame, samples, tainted=frame.pts in self._sent_tainted)


class AllFrames(SampledFrames):
    """Decodes every packet and takes, for each sample, the last frame that is not later.

    A frame without a timestamp is placed one frame interval after the one before.
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
    ) -> None:
        super().__init__(context, stream, plan, piece, views=views, report=report)
        self._context.skip_frame = "DEFAULT"
        self._pending = [
            piece.first_sample + offset
            for offset, pts in enumerate(piece.sample_pts.tolist())
            if pts != NO_FRAME
        ]
        self._held: VideoFrame | None = None
        self._held_tainted = False
        self._previous_pts: int | None = None
        self._damaged_pts: list[int] = []
        self._first_pts: int | None = None
        if piece.packets is not None and piece.packets.seek_dts is not None:
            self._first_pts = int(piece.packets.pts[0])

    def feed(self, packet: Packet) -> Iterator[DecodedFrame]:
        """Decode a packet, from the slice's first key frame on; see the base class."""
        if self._first_pts is not None:
            if packet.pts != self._first_pts:
                return
            self._first_pts = None
        n_errors_before = self._tainted
        frames = self._decode(packet)
        if self._tainted and not n_errors_before:
            time = packet.pts if packet.pts is not None else packet.dts
            self._damaged_pts.append(time if time is not None else self._last_time())
        yield from self._sampled(frames)

    def finish(self) -> Iterator[DecodedFrame]:
        """Flush, and give the remaining samples the last frame; see the base class."""
        yield from self._sampled(self._decode(None))
        yield from self._emit(self._pending)
        self._pending = []

    @property
    def done(self) -> bool:
        """Every sample has its frame."""
        return not self._pending

    def _last_time(self) -> int:
        return self._previous_pts if self._previous_pts is not None else 0

    def _sampled(self, frames: list[VideoFrame]) -> Iterator[DecodedFrame]:
        for frame in frames:
            if frame.pts is None:
                frame.pts = self._estimated_pts()
            self._previous_pts = frame.pts
            if frame.is_corrupt:
                self._damaged_pts.append(frame.pts)
                continue
            due = [s for s in self._pending if self._threshold(s) < frame.pts]
            if self._held is None:
                due = [s for s in due if self._threshold(s + 1) <= frame.pts]
            self._pending = self._pending[len(due) :]
            yield from self._emit(due)
            self._held, self._held_tainted = frame, self._tainted

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
            return self._held.pts == expected or not self._damaged_pts
        limit = self._threshold(sample)
        return not any(self._held.pts < time <= limit for time in self._damaged_pts)

    def _threshold(self, sample: int) -> int:
        time_s = sample / self._plan.fps + self._plan.origin_s
        return math.floor(time_s / self._stream.time_base)

    def _estimated_pts(self) -> int:
        if self._previous_pts is None:
            return math.ceil(self._plan.origin_s / self._stream.time_base)
        rate = self._stream.average_rate or 25
        return self._previous_pts + max(1, round(1 / (rate * self._stream.time_base)))


def _references_may_be_non_reference(context: VideoCodecContext) -> bool:
    """HEVC with temporal layers: a frame that its own layer does not refer to, which FFmpeg
    skips as non-reference, may still be referred to by a higher layer (H.265, 7.4.2.2).

    numTemporalLayers lies in bits 5 to 3 of byte 21 of hvcC (ISO/IEC 14496-15, 8.3.3.1).
    """
    extradata = context.extradata
    if context.codec.canonical_name != "hevc":
        return False
    if not extradata or len(extradata) < 22 or extradata[0] != 1:
        return True
    return (extradata[21] >> 3) & 0b111 > 1
