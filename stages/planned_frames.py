"""Sampled frames by a packet plan: what no sampled frame needs is not decoded."""

from __future__ import annotations

from collections.abc import Iterator

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from sightsound.models.backbones.base import FrameView
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.frames import DecodeReport, SampledFrames
from sightsound.stages.media import Packet
from sightsound.stages.records import (
    NO_FRAME,
    DecodedFrame,
    PacketPlan,
    Slice,
    VideoPlan,
    VideoStreamInfo,
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
        most_pixels: int,
        packets: PacketPlan,
    ) -> None:
        super().__init__(
            context, stream, plan, piece, views=views, report=report, most_pixels=most_pixels
        )
        self._is_target = dict(zip(packets.pts.tolist(), packets.is_target.tolist(), strict=True))
        self._n_to_send = len(packets.pts)
        self._can_skip = not _references_may_be_non_reference(context)
        self._samples: dict[int, list[int]] = {}
        for offset, pts in enumerate(piece.sample_pts.tolist()):
            if pts != NO_FRAME:
                self._samples.setdefault(pts, []).append(piece.first_sample + offset)
        self._left_out = False

    def feed(self, packet: Packet) -> Iterator[DecodedFrame]:
        """Decode a packet if it is planned; see the base class."""
        is_target = self._is_target.get(packet.pts) if packet.pts is not None else None
        if is_target is None:
            self._left_out = True
            return
        if self._left_out and packet.is_keyframe:
            # To a decoder that expects what was left out, a key frame of an open group comes
            # after a gap: H.264's then holds back frames.
            yield from self._chosen(self._drain())
        self._left_out = False
        self._n_to_send -= 1
        skip = self._can_skip and not is_target
        self._context.skip_frame = "NONREF" if skip else "DEFAULT"
        yield from self._chosen(self._decode(packet))

    def finish(self) -> Iterator[DecodedFrame]:
        """Flush; see the base class.

        Raises:
            PlanMismatchError: a sampled frame never came out intact.
        """
        yield from self._chosen(self._drain())
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
            follows_corrupt = self._follows_corrupt(frame)
            if frame.pts is None or frame.is_corrupt or frame.pts not in self._samples:
                continue
            samples = self._samples.pop(frame.pts)
            tainted = follows_corrupt or frame.pts in self._tainted_pts
            yield self._decoded(frame, samples, tainted=tainted)


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
