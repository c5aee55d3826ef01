"""Decode: one demux pass over a slice gives its sampled frames and its sound.

Frames come in order of time, upright, with square pixels, as RGB at the sizes asked for, each
with its true presentation time. Sound comes as mono blocks (``stages.sound``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext

from sightsound.models.backbones.base import FrameView
from sightsound.stages.all_frames import AllFrames
from sightsound.stages.frames import DecodeReport, SampledFrames
from sightsound.stages.media import has_guessed_times, open_media
from sightsound.stages.planned_frames import PlannedFrames
from sightsound.stages.records import (
    NO_FRAME,
    DecodedFrame,
    DecodedSound,
    MediaInfo,
    Slice,
    VideoPlan,
)
from sightsound.stages.seek import SlicePackets
from sightsound.stages.sound import SoundBlocks


class Decode:
    """(MediaInfo, VideoPlan, Slice) -> frames and sound, in order of time for each sense.

    ``views`` are the sizes that pictures are wanted in, ``sample_rate_hz`` the rate of sound
    (None: no sound wanted), ``sound_margin_s`` how far beyond its edges a slice needs sound.
    One thread: slices run in parallel, not frames.
    """

    def __init__(
        self,
        views: tuple[FrameView, ...],
        *,
        sample_rate_hz: int | None,
        sound_margin_s: float = 0.0,
    ) -> None:
        self.views = views
        self.sample_rate_hz = sample_rate_hz
        self.sound_margin_s = sound_margin_s

    def __call__(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        in_full: bool = False,
        report: DecodeReport,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Iterator[DecodedFrame | DecodedSound]:
        """Decode one slice.

        Args:
            info: the file.
            plan: its plan.
            piece: the slice of the plan to decode.
            in_full: read from the start of the file and decode every packet from the slice's
                first key frame on. Slices without a packet plan are always decoded so.
            report: filled in while iterating.
            on_progress: called for every packet read.

        Raises:
            PlanMismatchError: a planned frame did not appear; call again with ``in_full``.
            StageError: the file cannot be opened any more.
        """
        sound = self._sound(info, plan, piece)
        with open_media(info.path, stage="decode") as container:
            picture = self._picture(container, info, plan, piece, report, in_full=in_full)
            if sound is None and picture is None:
                return
            packets = SlicePackets(container, info, plan, piece, sound=sound, picture=picture)
            for packet in packets.read(may_seek=not in_full):
                on_progress()
                if picture is not None and info.video and packet.stream_index == info.video.index:
                    yield from picture.feed(packet)
                elif sound is not None:
                    yield from sound.feed(packet)
            if picture is not None:
                yield from picture.finish()
        if sound is not None:
            yield from sound.finish()
            report.sound_errors_s.extend(sound.error_times_s)

    def _sound(self, info: MediaInfo, plan: VideoPlan, piece: Slice) -> SoundBlocks | None:
        if info.audio is None or plan.audio_span_s is None or self.sample_rate_hz is None:
            return None
        start_s = piece.windows[0].start_s - self.sound_margin_s
        end_s = piece.windows[-1].end_s + self.sound_margin_s
        if start_s >= plan.audio_span_s[1] or end_s <= plan.audio_span_s[0]:
            return None
        return SoundBlocks(
            info.path,
            info.audio,
            origin_s=plan.origin_s,
            span_s=plan.audio_span_s,
            start_s=start_s,
            end_s=end_s,
            sample_rate_hz=self.sample_rate_hz,
        )

    def _picture(
        self,
        container: InputContainer,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        report: DecodeReport,
        *,
        in_full: bool,
    ) -> SampledFrames | None:
        if info.video is None or (piece.sample_pts == NO_FRAME).all() or not self.views:
            return None
        context = container.streams[info.video.index].codec_context
        assert isinstance(context, VideoCodecContext)
        if piece.packets is None or in_full:
            return AllFrames(
                context,
                info.video,
                plan,
                piece,
                views=self.views,
                report=report,
                most_pixels=info.limits.picture_pixels,
                guessed_times=has_guessed_times(info),
            )
        return PlannedFrames(
            context,
            info.video,
            plan,
            piece,
            views=self.views,
            report=report,
            most_pixels=info.limits.picture_pixels,
            packets=piece.packets,
        )
