"""Video packets to sampled frames: what the two ways of doing it share.

By a packet plan (``stages.planned_frames``) only what the samples need is decoded; in full
(``stages.all_frames``) everything is, and what is on screen at each sample is read off the
frames themselves. Both give the same frames on an intact file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

import av
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from sightsound.models.backbones.base import FrameView
from sightsound.stages.bitstream import opens_h264_group
from sightsound.stages.media import Packet
from sightsound.stages.picture import Renderer, quarter_turns
from sightsound.stages.records import DecodedFrame, Slice, VideoPlan, VideoStreamInfo


@dataclass
class DecodeReport:
    """What happened while a slice was decoded.

    ``lost`` and ``tainted`` are sample numbers: no intact frame for it, or one that follows
    damage in its group of pictures. ``sound_errors_s`` are times of undecodable sound.
    ``rotation`` is what turns the stored picture upright: degrees counter-clockwise, 0 to 270.
    ``fallback`` says why PyAV stood in for the decoder asked for, and is empty where it did not.
    """

    lost: set[int] = field(default_factory=set)
    tainted: set[int] = field(default_factory=set)
    sound_errors_s: list[float] = field(default_factory=list)
    rotation: int = 0
    fallback: str = ""


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
        most_pixels: int,
    ) -> None:
        self._context = context
        self._context.thread_count = 1
        # Some decoders (AV1's) read skip_frame when they are opened and never again.
        self._context.skip_frame = "DEFAULT"
        # Else most damage is painted over without a word. A larger picture than is allowed fails
        # before memory is set aside for it.
        self._context.options = {"err_detect": "explode", "max_pixels": str(most_pixels)}
        self._open()
        self._stream = stream
        self._plan = plan
        self._piece = piece
        self._views = views
        self._report = report
        self._render = Renderer()
        self._group_damaged = False
        self._key_pts: int | None = None
        self._tainted_before: int | None = None
        self._entering = False
        self._at_open_key = False
        self._tainted_pts: set[int] = set()
        self._failed_pts: list[int] = []
        self._after_corrupt = False

    def _open(self) -> None:
        try:
            self._context.open(strict=False)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            pass  # Its headers are damaged: each packet meets the same, and is counted there.

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

    def prime(self, packet: Packet) -> None:
        """Show the decoder the first packet of the file, then begin elsewhere.

        x264 says its version there alone, and FFmpeg decodes that of old ones differently.
        """
        try:
            self._context.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            pass  # It is decoded again, if it is wanted.
        self._drain()

    def _drain(self) -> list[VideoFrame]:
        """The frames that the decoder still holds. What follows is entered at a key frame."""
        frames: list[VideoFrame] = []
        try:
            frames = self._context.decode(None)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            pass  # What was held back is lost, which the samples that lack it show.
        self._context.flush_buffers()
        self._entering = True
        return frames

    def _decode(self, packet: Packet) -> list[VideoFrame]:
        """The frames that a packet brings out. Damage taints what follows until a key frame,
        and of the group that this begins what is shown before it; frames shown after the key
        frame never refer to those before."""
        time = packet.pts if packet.pts is not None else packet.dts
        forgiven = False
        if packet.is_keyframe:
            self._begin_group(packet)
        elif not _before(time, self._key_pts):
            forgiven, self._at_open_key = self._at_open_key, False
        frames: list[VideoFrame] = []
        try:
            frames = self._context.decode(packet)
        except MemoryError:
            raise
        except av.error.FFmpegError:
            if not forgiven:
                self._failed_pts.append(time if time is not None else 0)
                self._taint(time)
        if packet.is_corrupt:
            self._taint(time)
        if time is not None and (self._group_damaged or _before(time, self._tainted_before)):
            self._tainted_pts.add(time)
        return frames

    def _begin_group(self, packet: Packet) -> None:
        self._key_pts = packet.pts
        self._tainted_before = packet.pts if self._group_damaged else None
        # The first packet shown after an open key frame may unmark references from before it.
        # Where those are not there it is an error to FFmpeg, but no loss.
        may_lack = self._entering or self._group_damaged
        self._at_open_key = may_lack and opens_h264_group(packet, self._context)
        self._group_damaged = self._entering = False

    def _taint(self, time: int | None) -> None:
        if _before(time, self._key_pts):
            self._tainted_before = self._key_pts
        else:
            self._group_damaged = True

    def _follows_corrupt(self, frame: VideoFrame) -> bool:
        """Whether a frame is one that the decoder calls corrupt, or comes after one on screen, up
        to the next key frame. To be asked of every frame that comes out, in order."""
        if frame.is_corrupt:
            self._after_corrupt = True
        elif frame.key_frame:
            self._after_corrupt = False
        return self._after_corrupt

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


def _before(time: int | None, limit: int | None) -> bool:
    return time is not None and limit is not None and time < limit
