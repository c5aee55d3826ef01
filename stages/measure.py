"""Measuring a file by one demux-only pass.

What the header says of duration and rate is not used: the packets' own timestamps are.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext

from sightsound.stages.bitstream import is_hidden, refreshes_gradually
from sightsound.stages.errors import StageError
from sightsound.stages.fields import FieldPairs
from sightsound.stages.media import (
    Demuxer,
    Packet,
    frame_interval,
    has_guessed_times,
    open_media,
)
from sightsound.stages.packets import PacketIndex, PacketIndexBuilder
from sightsound.stages.records import AudioStreamInfo, MediaInfo, VideoStreamInfo

# Containers whose duration was written when they were finished and is no estimate.
_STATES_DURATION = ("matroska,webm", "flac", "flv", "mov,mp4,m4a,3gp,3g2,mj2")
_MUCH_LONGER, _SLACK_S = 1.1, 1.0
# What makes a stated duration nonsense: nothing watchable has so few bits a second.
_LEAST_BITS_PER_S = 1000
# A timestamp that is farther than this from those before and behind it is damaged.
_JUMP_S = 60
# What a packet of the picture takes in the index.
_INDEX_ENTRY_BYTES = 18


_Span = tuple[Fraction, Fraction]


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What the packets of a file say. Spans are from ``origin_s``, the presentation's start."""

    index: PacketIndex
    plannable: bool
    origin_s: Fraction
    video_span: _Span | None
    audio_span: _Span | None
    truncated: bool


@dataclass
class _Extent:
    """First and last timestamp of a stream, in its time base, over the packets that are shown.

    ``is_open`` says that the last of them has no duration.
    """

    first: int | None = None
    end: int | None = None
    is_open: bool = False
    n_packets: int = 0

    def add(self, time: int, duration: int) -> None:
        self.first = time if self.first is None else min(self.first, time)
        if self.end is None or time + duration >= self.end:
            self.end = time + duration
            self.is_open = duration == 0


def measure(info: MediaInfo) -> Measured:
    """Read all packets of the chosen streams, decoding nothing.

    Raises:
        StageError: the picture has more packets than the limits have room for.
    """
    most_packets = info.limits.index_bytes // _INDEX_ENTRY_BYTES
    builder = PacketIndexBuilder()
    extents = {stream.index: _Extent() for stream in (info.video, info.audio) if stream}
    corrupt_packet = gradual_refresh = False
    guessed = has_guessed_times(info)
    with open_media(info.path, stage="plan") as container:
        demuxer = Demuxer(container, tuple(extents))
        fields = FieldPairs()
        for packet in demuxer:
            extent = extents[packet.stream_index]
            extent.n_packets += 1
            is_picture = info.video is not None and packet.stream_index == info.video.index
            pts = packet.dts if is_picture and guessed else packet.pts
            time = pts if pts is not None else packet.dts
            if time is not None and not packet.is_discard:
                extent.add(time, _known_duration(packet))
            corrupt_packet |= packet.is_corrupt
            if is_picture:
                if extent.n_packets > most_packets:
                    raise _too_many_packets(info, most_packets)
                context = container.streams[packet.stream_index].codec_context
                assert isinstance(context, VideoCodecContext)
                builder.add(
                    pts=pts,
                    dts=packet.dts,
                    is_key=packet.is_keyframe,
                    is_shown=not packet.is_discard and not is_hidden(packet, context),
                    is_second_field=fields.is_second(packet, context),
                )
                if packet.is_keyframe:
                    gradual_refresh |= refreshes_gradually(packet, context)
        corrupt_packet |= demuxer.n_errors > 0
        has_others = _has_others(container, tuple(extents))
    index = builder.build(interval=frame_interval(info.video) if info.video else 1)
    has_field_pairs = len(index.second_fields) > 0
    if info.video is not None and (has_field_pairs or not index.is_timed):
        extents[info.video.index] = _extent_of_frames(index)
    video, audio, origin, end = _spans(info, extents, index)
    if info.size_bytes * 8 < _LEAST_BITS_PER_S * (end - origin):
        extents, n_outliers = _without_outliers(info, extents)
        corrupt_packet |= n_outliers > 0
        video, audio, origin, end = _spans(info, extents, index)
    missing = info.video is not None and (
        info.video.claimed_frames > 2 * extents[info.video.index].n_packets + 2
    )
    if not has_others:
        # Some containers count from their own zero, some from the first frame.
        missing |= _promises_more(info, float(max(end, end - origin)))
    return Measured(
        index=index,
        plannable=index.plannable and not (guessed or gradual_refresh or has_field_pairs),
        origin_s=origin,
        video_span=_shifted(video, origin),
        audio_span=_shifted(audio, origin),
        truncated=corrupt_packet or missing,
    )


def _extent_of_frames(index: PacketIndex) -> _Extent:
    """First and last time of frames whose packets do not say how long each stays."""
    shown = index.pts[index.shown]
    extent = _Extent(n_packets=len(index.pts), is_open=True)
    if len(shown):
        extent.first, extent.end = int(shown.min()), int(shown.max())
    return extent


def _spans(
    info: MediaInfo, extents: dict[int, _Extent], index: PacketIndex
) -> tuple[_Span | None, _Span | None, Fraction, Fraction]:
    """When picture and sound begin and end, and when both together do."""
    video = _span(info.video, extents, _frame_duration(info.video, index))
    audio = _span(info.audio, extents, Fraction(0))
    spans = [span for span in (video, audio) if span]
    origin = min((span[0] for span in spans), default=Fraction(0))
    return video, audio, origin, max((span[1] for span in spans), default=origin)


def _without_outliers(
    info: MediaInfo, extents: dict[int, _Extent]
) -> tuple[dict[int, _Extent], int]:
    """The extents but for timestamps that stand alone, and how many of these there are.

    For files of an absurd duration, which a single turned bit can make: they are read again.
    """
    guessed = has_guessed_times(info)
    times: dict[int, list[tuple[int, int]]] = {index: [] for index in extents}
    with open_media(info.path, stage="plan") as container:
        for packet in Demuxer(container, tuple(extents)):
            is_picture = info.video is not None and packet.stream_index == info.video.index
            pts = packet.dts if is_picture and guessed else packet.pts
            time = pts if pts is not None else packet.dts
            if time is not None and not packet.is_discard:
                times[packet.stream_index].append((time, _known_duration(packet)))
    found, n_outliers = dict(extents), 0
    for stream in (info.video, info.audio):
        if stream is None or len(times[stream.index]) < 3:
            continue
        at = np.array([time for time, _ in times[stream.index]], dtype=np.float64)
        away = np.abs(np.diff(at)) > float(_JUMP_S / stream.time_base)
        is_outlier = np.append(True, away) & np.append(away, True)
        # One at either end jumps once only.
        is_outlier[0], is_outlier[-1] = away[0] and not away[1], away[-1] and not away[-2]
        extent = found[stream.index] = _Extent(n_packets=extents[stream.index].n_packets)
        for (time, duration), alone in zip(times[stream.index], is_outlier, strict=True):
            if not alone:
                extent.add(time, duration)
        n_outliers += int(is_outlier.sum())
    return found, n_outliers


def _too_many_packets(info: MediaInfo, most: int) -> StageError:
    return StageError(
        "plan",
        "too_large",
        f"{info.path} has more than {most} packets of picture, which is more than fits into "
        f"{info.limits.index_bytes} bytes: split the file, or raise limits.index_bytes.",
    )


def _known_duration(packet: Packet) -> int:
    """A packet's duration, 0 where unknown. Ogg's last may be below zero, shown wrapped around."""
    duration = packet.duration or 0
    return duration if duration < 1 << 31 else 0


def _span(
    stream: VideoStreamInfo | AudioStreamInfo | None,
    extents: dict[int, _Extent],
    last: Fraction,
) -> _Span | None:
    """Start and end in seconds. ``last`` is how long a last packet stays that does not say so."""
    if stream is None:
        return None
    extent = extents[stream.index]
    if extent.first is None or extent.end is None:
        return None
    # The first packets of sound may be priming, before the stream's own start; and a stream that
    # begins late is said by some containers to start at 0, as others do.
    start = max(extent.first, stream.start_pts if stream.start_pts is not None else extent.first)
    if start >= extent.end:
        start = extent.first
    end = extent.end * stream.time_base
    return start * stream.time_base, end + last if extent.is_open else end


def _frame_duration(stream: VideoStreamInfo | None, index: PacketIndex) -> Fraction:
    """How long a last frame of unknown duration stays: the median interval, else 1 / rate."""
    if stream is None:
        return Fraction(0)
    steps = np.diff(index.shown_pts)
    if len(steps):
        return int(np.median(steps)) * stream.time_base
    return 1 / stream.average_rate if stream.average_rate else Fraction(1, 25)


def _shifted(span: _Span | None, origin: Fraction) -> _Span | None:
    return None if span is None else (span[0] - origin, span[1] - origin)


def _has_others(container: InputContainer, chosen: tuple[int, ...]) -> bool:
    """Whether streams that were not chosen may be what lasts as long as the container says."""
    return any(
        stream.type in ("video", "audio", "subtitle")
        and stream.index not in chosen
        and Disposition.attached_pic not in stream.disposition
        for stream in container.streams
    )


def _promises_more(info: MediaInfo, duration_s: float) -> bool:
    """Whether the header states a much longer duration, one that its bytes could fill."""
    claimed_s = info.claimed_duration_s
    if info.container not in _STATES_DURATION or claimed_s is None:
        return False
    if info.size_bytes * 8 < _LEAST_BITS_PER_S * claimed_s:
        return False
    return claimed_s > _MUCH_LONGER * duration_s + _SLACK_S
