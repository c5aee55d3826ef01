"""Plan: measure a file by one demux-only pass, lay the grid of windows, cut it into slices.

What the header says of duration and rate is not used: the packets' own timestamps are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sightsound.stages.errors import StageError
from sightsound.stages.media import Demuxer, open_media
from sightsound.stages.packets import (
    PacketIndex,
    PacketIndexBuilder,
    frames_on_screen,
    plan_packets,
)
from sightsound.stages.records import (
    NO_FRAME,
    AudioStreamInfo,
    MediaInfo,
    Slice,
    VideoPlan,
    VideoStreamInfo,
    Window,
)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The grids of samples and windows, the same for every video.

    Sample k is at k / fps seconds; window k is [k * hop_s, k * hop_s + length_s).
    ``sample_margin_s`` is how far beyond its edges a slice samples frames, for tokens that
    span several samples.
    """

    fps: Fraction
    length_s: float
    hop_s: float
    sample_margin_s: float = 0.0


class Plan:
    """MediaInfo -> VideoPlan.

    A slice is about ``slice_s`` long, and a video that is longer than ``min_slice_s`` is cut
    into at least ``min_slices`` slices of that length or more, so that several workers can
    share it. How a video is cut does not change its results.
    """

    def __init__(
        self, grid: Grid, *, slice_s: float, min_slices: int = 1, min_slice_s: float = 60.0
    ) -> None:
        self.grid = grid
        self.slice_s = slice_s
        self.min_slices = min_slices
        self.min_slice_s = min_slice_s

    def __call__(self, info: MediaInfo) -> VideoPlan:
        """Plan one video.

        Raises:
            StageError: the file holds no packets of its streams.
        """
        measured = _measure(info)
        span_ends = [span[1] for span in (measured.video_span, measured.audio_span) if span]
        if not span_ends:
            raise StageError(
                "plan",
                "no_packets",
                f"{info.path} has headers but no picture or sound data behind them: it is "
                "truncated or was never finished; get a complete copy.",
            )
        duration_s = float(max(span_ends))
        windows = lay_windows(duration_s, length_s=self.grid.length_s, hop_s=self.grid.hop_s)
        plannable = measured.plannable or info.video is None
        n_slices = self._n_slices(len(windows)) if plannable else 1
        bounds = [round(i * len(windows) / n_slices) for i in range(n_slices + 1)]
        slices = tuple(
            self._slice(i, windows, bounds[i], bounds[i + 1], info, measured)
            for i in range(n_slices)
        )
        return VideoPlan(
            origin_s=measured.origin_s,
            duration_s=duration_s,
            fps=self.grid.fps,
            video_span_s=_floats(measured.video_span),
            audio_span_s=_floats(measured.audio_span),
            n_windows=len(windows),
            slices=slices,
            truncated=measured.truncated,
        )

    def _n_slices(self, n_windows: int) -> int:
        by_length = math.ceil(n_windows * self.grid.hop_s / self.slice_s)
        by_workers = min(self.min_slices, int(n_windows * self.grid.hop_s / self.min_slice_s))
        return max(1, min(n_windows, max(by_length, by_workers)))

    def _slice(
        self,
        index: int,
        windows: Sequence[Window],
        first: int,
        stop: int,
        info: MediaInfo,
        measured: _Measured,
    ) -> Slice:
        own = tuple(windows[first:stop])
        fps = self.grid.fps
        margin = Fraction(self.grid.sample_margin_s)
        first_sample = max(0, math.ceil((Fraction(own[0].start_s) - margin) * fps))
        stop_sample = math.ceil((Fraction(own[-1].end_s) + margin) * fps)
        owned_to = math.ceil(Fraction(windows[stop].start_s) * fps) if stop < len(windows) else None
        owned_to = stop_sample if owned_to is None else owned_to
        samples = range(first_sample, stop_sample)
        sample_pts = _sample_pts(samples, fps=fps, stream=info.video, measured=measured)
        packets = None
        if info.video is not None and measured.plannable:
            packets = plan_packets(measured.index, np.unique(sample_pts[sample_pts != NO_FRAME]))
        return Slice(
            index=index,
            windows=own,
            first_sample=first_sample,
            sample_pts=sample_pts,
            owned_from=math.ceil(Fraction(own[0].start_s) * fps),
            owned_to=owned_to,
            packets=packets,
        )


def lay_windows(duration_s: float, *, length_s: float, hop_s: float) -> tuple[Window, ...]:
    """The windows of a video: k * hop_s while the one before has not reached the end."""
    count = 1
    if duration_s > length_s:
        count += math.ceil((duration_s - length_s) / hop_s - 1e-9)
    return tuple(
        Window(index=k, start_s=k * hop_s, end_s=min(k * hop_s + length_s, duration_s))
        for k in range(count)
    )


@dataclass(frozen=True, kw_only=True)
class _Measured:
    index: PacketIndex
    plannable: bool
    origin_s: Fraction
    video_span: tuple[Fraction, Fraction] | None
    audio_span: tuple[Fraction, Fraction] | None
    truncated: bool


@dataclass
class _Extent:
    """First and last timestamp of a stream, in its time base, over the packets that are shown."""

    first: int | None = None
    end: int | None = None
    n_packets: int = 0

    def add(self, time: int, duration: int) -> None:
        self.first = time if self.first is None else min(self.first, time)
        self.end = time + duration if self.end is None else max(self.end, time + duration)


def _measure(info: MediaInfo) -> _Measured:
    builder = PacketIndexBuilder()
    extents = {stream.index: _Extent() for stream in (info.video, info.audio) if stream}
    corrupt_packet = False
    with open_media(info.path, stage="plan") as container:
        demuxer = Demuxer(container, tuple(extents))
        for packet in demuxer:
            extent = extents[packet.stream_index]
            extent.n_packets += 1
            time = packet.pts if packet.pts is not None else packet.dts
            if time is not None and not packet.is_discard:
                extent.add(time, packet.duration or 0)
            corrupt_packet |= packet.is_corrupt
            if info.video is not None and packet.stream_index == info.video.index:
                builder.add(
                    pts=packet.pts,
                    dts=packet.dts,
                    is_key=packet.is_keyframe,
                    is_discard=packet.is_discard,
                )
        corrupt_packet |= demuxer.n_errors > 0
    index = builder.build()
    video = _span(info.video, extents, _frame_duration(info.video, index))
    audio = _span(info.audio, extents, Fraction(0))
    spans = [span for span in (video, audio) if span]
    origin = min((span[0] for span in spans), default=Fraction(0))
    missing = info.video is not None and (
        info.video.claimed_frames > 2 * extents[info.video.index].n_packets + 2
    )
    # AVI stores no presentation times; with reordered frames they are guessed, and wrong.
    guessed = info.container == "avi" and info.video is not None and info.video.reorders
    return _Measured(
        index=index,
        plannable=index.plannable and not guessed,
        origin_s=origin,
        video_span=_shifted(video, origin),
        audio_span=_shifted(audio, origin),
        truncated=corrupt_packet or missing,
    )


def _span(
    stream: VideoStreamInfo | AudioStreamInfo | None,
    extents: dict[int, _Extent],
    least: Fraction,
) -> tuple[Fraction, Fraction] | None:
    """Start and end in seconds. The start is the stream's own where it has one, since the
    first packets of sound may be priming; ``least`` is the shortest that a span can be."""
    if stream is None:
        return None
    extent = extents[stream.index]
    if extent.first is None or extent.end is None:
        return None
    start = stream.start_pts if stream.start_pts is not None else extent.first
    if start >= extent.end:
        start = extent.first
    begin, end = start * stream.time_base, extent.end * stream.time_base
    return begin, max(end, begin + least)


def _frame_duration(stream: VideoStreamInfo | None, index: PacketIndex) -> Fraction:
    """How long a last frame of unknown duration stays: the median interval, else 1 / rate."""
    if stream is None:
        return Fraction(0)
    steps = np.diff(np.unique(index.pts[index.shown])) if len(index.pts) else np.zeros(0)
    if len(steps):
        return int(np.median(steps)) * stream.time_base
    return 1 / stream.average_rate if stream.average_rate else Fraction(1, 25)


def _shifted(
    span: tuple[Fraction, Fraction] | None, origin: Fraction
) -> tuple[Fraction, Fraction] | None:
    return None if span is None else (span[0] - origin, span[1] - origin)


def _floats(span: tuple[Fraction, Fraction] | None) -> tuple[float, float] | None:
    return None if span is None else (float(span[0]), float(span[1]))


def _sample_pts(
    samples: range, *, fps: Fraction, stream: VideoStreamInfo | None, measured: _Measured
) -> NDArray[np.int64]:
    if stream is None or measured.video_span is None:
        return np.full(len(samples), NO_FRAME, dtype=np.int64)
    base, origin = stream.time_base, measured.origin_s

    def threshold(sample: int) -> int:
        return math.floor((sample / fps + origin) / base)

    thresholds = np.array([threshold(sample) for sample in samples], dtype=np.int64)
    shown = np.unique(measured.index.pts[measured.index.shown])
    chosen = frames_on_screen(shown, thresholds, first_until=threshold(1))
    ended = np.array([sample / fps >= measured.video_span[1] for sample in samples], dtype=bool)
    return np.where(ended, NO_FRAME, chosen)
