"""Plan: measure a file (``stages.measure``), lay the grid of windows, cut it into slices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sightsound.stages.errors import StageError
from sightsound.stages.measure import Measured, measure
from sightsound.stages.packets import PacketIndex, frames_on_screen, plan_packets
from sightsound.stages.records import (
    NO_FRAME,
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
            StageError: the file holds no packets of its streams, or it lasts longer or has more
                packets than the limits allow.
        """
        measured = measure(info)
        span_ends = [span[1] for span in (measured.video_span, measured.audio_span) if span]
        if not span_ends:
            raise StageError(
                "plan",
                "no_packets",
                f"{info.path} has headers but no picture or sound data behind them: it is "
                "truncated or was never finished; get a complete copy.",
            )
        duration_s = float(max(span_ends))
        if duration_s > info.limits.duration_s:
            raise StageError(
                "plan",
                "too_large",
                f"{info.path} lasts {duration_s:.0f} s by its timestamps, more than "
                f"{info.limits.duration_s:.0f}: they are damaged, so copy the streams into a new "
                "file, or raise limits.duration_s.",
            )
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
            hides_packets=not bool(measured.index.shown.all()),
            has_leading_frames=_has_leading_frames(measured.index),
        )

    def _n_slices(self, n_windows: int) -> int:
        by_length = math.ceil(n_windows * self.grid.hop_s / self.slice_s)
        by_workers = min(self.min_slices, int(n_windows * self.grid.hop_s / self.min_slice_s))
        n_slices = max(by_length, by_workers)
        if n_slices > self.min_slices:
            # All who share a video get as much of it.
            n_slices = math.ceil(n_slices / self.min_slices) * self.min_slices
        return max(1, min(n_windows, n_slices))

    def _slice(
        self,
        index: int,
        windows: Sequence[Window],
        first: int,
        stop: int,
        info: MediaInfo,
        measured: Measured,
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
        packets = frame_pts = None
        if info.video is not None and measured.plannable:
            packets = plan_packets(measured.index, np.unique(sample_pts[sample_pts != NO_FRAME]))
        elif info.video is not None and not measured.index.is_timed:
            frame_pts = measured.index.shown_pts
        return Slice(
            index=index,
            windows=own,
            first_sample=first_sample,
            sample_pts=sample_pts,
            owned_from=math.ceil(Fraction(own[0].start_s) * fps),
            owned_to=owned_to,
            packets=packets,
            frame_pts=frame_pts,
        )


def lay_windows(duration_s: float, *, length_s: float, hop_s: float) -> tuple[Window, ...]:
    """The windows of a video: k * hop_s while the one before has not reached the end."""
    count = 1
    if duration_s > length_s:
        count += math.ceil((duration_s - length_s) / hop_s - 1e-9)
    ends = [min(k * hop_s + length_s, duration_s) for k in range(count - 1)]
    return tuple(
        Window(index=k, start_s=k * hop_s, end_s=end_s)
        for k, end_s in enumerate((*ends, duration_s))
    )


def _has_leading_frames(index: PacketIndex) -> bool:
    """Whether some frames are shown before the key frame that they follow in decode order."""
    key_numbers = np.flatnonzero(index.is_key)
    if not len(key_numbers):
        return False
    followed = index.pts[key_numbers[np.cumsum(index.is_key)[key_numbers[0] :] - 1]]
    return bool((index.pts[key_numbers[0] :] < followed).any())


def _floats(span: tuple[Fraction, Fraction] | None) -> tuple[float, float] | None:
    return None if span is None else (float(span[0]), float(span[1]))


def _sample_pts(
    samples: range, *, fps: Fraction, stream: VideoStreamInfo | None, measured: Measured
) -> NDArray[np.int64]:
    if stream is None or measured.video_span is None:
        return np.full(len(samples), NO_FRAME, dtype=np.int64)
    base, origin = stream.time_base, measured.origin_s

    def threshold(sample: int) -> int:
        return math.floor((sample / fps + origin) / base)

    thresholds = np.array([threshold(sample) for sample in samples], dtype=np.int64)
    chosen = frames_on_screen(measured.index.shown_pts, thresholds, first_until=threshold(1))
    ended = np.array([sample / fps >= measured.video_span[1] for sample in samples], dtype=bool)
    return np.where(ended, NO_FRAME, chosen)
