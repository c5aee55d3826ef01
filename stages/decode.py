"""Decode: one demux pass over a slice gives its sampled frames and its sound.

Frames come in order of time, upright, with square pixels, as RGB at the sizes asked for, each
with its true presentation time. Sound comes as mono blocks (``stages.sound``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain, islice

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext

from sightsound.models.backbones.base import FrameView
from sightsound.stages.frames import AllFrames, DecodeReport, PlannedFrames, SampledFrames
from sightsound.stages.media import Demuxer, Packet, open_media
from sightsound.stages.records import (
    NO_FRAME,
    DecodedFrame,
    DecodedSound,
    MediaInfo,
    Slice,
    VideoPlan,
)
from sightsound.stages.sound import SoundBlocks

# Packets looked at after a seek, before anything is decoded, to see whether it went far enough.
_PEEKED_PACKETS = 512


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
            in_full: decode every packet from the slice's first key frame on. Slices whose
                packets could not be planned are always decoded in full, from the start.
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
            for packet in _packets(container, info, plan, piece, sound=sound, picture=picture):
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
            return AllFrames(context, info.video, plan, piece, views=self.views, report=report)
        return PlannedFrames(
            context,
            info.video,
            plan,
            piece,
            views=self.views,
            report=report,
            packets=piece.packets,
        )


def _packets(
    container: InputContainer,
    info: MediaInfo,
    plan: VideoPlan,
    piece: Slice,
    *,
    sound: SoundBlocks | None,
    picture: SampledFrames | None,
) -> Iterator[Packet]:
    """The slice's packets in the order of the file, until neither sense needs more."""
    indices = []
    if picture is not None and info.video is not None:
        indices.append(info.video.index)
    if sound is not None and info.audio is not None:
        indices.append(info.audio.index)
    demuxer = Demuxer(container, tuple(indices))
    stream: Iterator[Packet]
    if _seek(container, info, plan, piece, sound=sound, picture=picture):
        packets = iter(demuxer)
        peeked = list(islice(packets, _PEEKED_PACKETS))
        if _came_early_enough(peeked, info, piece, sound=sound, picture=picture):
            stream = chain(peeked, packets)
        else:
            container.seek(0)
            stream = iter(demuxer)
    else:
        stream = iter(demuxer)
    sound_over = sound is None
    for packet in stream:
        is_sound = info.audio is not None and packet.stream_index == info.audio.index
        if sound is not None and is_sound and not sound_over:
            time_s = sound.time_s(packet)
            sound_over = time_s is not None and time_s > sound.last_needed_s
        yield packet
        if sound_over and (picture is None or picture.done):
            return


def _seek(
    container: InputContainer,
    info: MediaInfo,
    plan: VideoPlan,
    piece: Slice,
    *,
    sound: SoundBlocks | None,
    picture: SampledFrames | None,
) -> bool:
    """Move to before the first packet needed. False where the start of the file is it."""
    targets = []
    if picture is not None and info.video is not None:
        if piece.packets is None or piece.packets.seek_dts is None:
            return False
        targets.append(piece.packets.seek_dts * info.video.time_base)
    if sound is not None:
        if sound.first_needed_s <= 0:
            return False
        targets.append(plan.origin_s + int(sound.first_needed_s))
    stream = info.video if picture is not None else info.audio
    assert stream is not None
    offset = int(min(targets) / stream.time_base)
    try:
        container.seek(offset, stream=container.streams[stream.index], backward=True)
    except av.error.FFmpegError:
        container.seek(0)
        return False
    return True


def _came_early_enough(
    peeked: list[Packet],
    info: MediaInfo,
    piece: Slice,
    *,
    sound: SoundBlocks | None,
    picture: SampledFrames | None,
) -> bool:
    """Whether a seek landed before everything that is needed."""
    if picture is not None and info.video is not None:
        first = next((p for p in peeked if p.stream_index == info.video.index), None)
        if first is None or first.dts is None or piece.packets is None:
            return False
        if piece.packets.seek_dts is None or first.dts > piece.packets.seek_dts:
            return False
    if sound is not None and info.audio is not None:
        first = next((p for p in peeked if p.stream_index == info.audio.index), None)
        time_s = sound.time_s(first) if first is not None else None
        return time_s is not None and time_s <= sound.first_needed_s
    return True
