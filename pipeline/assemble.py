"""From the parts of one input, in whatever order they come, to its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sightsound.stages.records import (
    Failure,
    MediaInfo,
    SliceResult,
    VideoPlan,
    VideoResult,
    VideoStatus,
    Window,
    WindowScores,
)
from sightsound.stages.segment import Segments


@dataclass
class Assembly:
    """One input on its way: what is known of it and what of its slices is done.

    ``plan`` comes without its slices. A slice that failed leaves its windows in the result,
    empty and marked.
    """

    uri: str
    info: MediaInfo | None = None
    plan: VideoPlan | None = None
    n_slices: int = 0
    done: dict[int, SliceResult] = field(default_factory=dict)
    lost: dict[int, tuple[Failure, tuple[Window, ...]]] = field(default_factory=dict)
    failure: Failure | None = None

    @property
    def is_complete(self) -> bool:
        """Whether nothing more is to come: it failed at the start, or every slice has ended."""
        if self.failure is not None:
            return True
        return self.plan is not None and len(self.done) + len(self.lost) == self.n_slices

    def result(self, segments: Segments) -> VideoResult:
        """Put the parts together."""
        if self.info is None or self.plan is None:
            assert self.failure is not None
            return VideoResult(uri=self.uri, status="failed", failure=self.failure)
        slices = [self.done[index] for index in sorted(self.done)]
        windows = self._windows()
        status, failure = self._verdict(windows)
        if status == "failed":
            windows = ()
        return VideoResult(
            uri=self.uri,
            status=status,
            failure=failure,
            info=self.info,
            plan=self.plan,
            windows=windows,
            segments=tuple(segments(windows)),
            rotation=next((piece.rotation for piece in slices if piece.rotation), 0),
            n_frames_decoded=sum(piece.n_frames_decoded for piece in slices),
            n_frames_corrupt=sum(piece.n_frames_corrupt for piece in slices),
            decoder_fallback=next(
                (piece.decoder_fallback for piece in slices if piece.decoder_fallback), ""
            ),
            processing_s=sum(sum(piece.stage_s.values()) for piece in slices),
        )

    def _windows(self) -> tuple[WindowScores, ...]:
        windows: list[WindowScores] = []
        for number in range(self.n_slices):
            if number in self.done:
                windows += self.done[number].windows
            else:
                windows += [_unlabelled(window) for window in self.lost[number][1]]
        return tuple(windows)

    def _verdict(self, windows: Sequence[WindowScores]) -> tuple[VideoStatus, Failure | None]:
        """Whether the video is ok, partial or failed, and why."""
        assert self.info is not None and self.plan is not None
        first_failure = self.lost[min(self.lost)][0] if self.lost else None
        if not any(scored.tasks for scored in windows):
            return "failed", first_failure or Failure(
                stage="decode",
                code="nothing_decoded",
                message=f"{self.uri} opens, but not one frame or sound of it can be decoded: it "
                "is damaged, encrypted or truncated; get another copy.",
            )
        if first_failure is not None:
            return "partial", first_failure
        n_corrupt = sum(scored.corrupt for scored in windows)
        if n_corrupt:
            return "partial", Failure(
                stage="decode",
                code="damaged",
                message=f"{self.uri} is damaged in {n_corrupt} of {len(windows)} windows, which "
                "are marked corrupt and labelled from what could be decoded.",
            )
        if self.plan.truncated:
            claimed_s = self.info.claimed_duration_s or 0.0
            return "partial", Failure(
                stage="plan",
                code="truncated",
                message=f"{self.uri} is truncated: {self.plan.duration_s:.1f} s of "
                f"{claimed_s:.1f} s are there and labelled; get a complete copy for the rest.",
            )
        return "ok", None


def _unlabelled(window: Window) -> WindowScores:
    return WindowScores(window=window, has_video=False, has_audio=False, corrupt=True, tasks={})
