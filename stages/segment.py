"""Segment: windows to spans of time with one label, with hysteresis against flicker.

Windows overlap, so each speaks for its middle: window k for [k * hop + (length - hop) / 2, that
plus hop), the first from its start and the last to its end. Segments of a single-label task
therefore never overlap, and together with the spans left out they tile the video.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sightsound.models.bundle import Task
from sightsound.stages.plan import Grid
from sightsound.stages.records import Segment, WindowScores


@dataclass(frozen=True, kw_only=True)
class SegmentRule:
    """When a label begins, goes on and is worth telling, for one task.

    A single-label task changes label only where another is better by ``switch_margin``; its
    segments need a mean score of ``min_score``. A multi-label task begins a label at
    ``min_score`` and goes on while it scores ``keep_score``.
    """

    min_score: float
    keep_score: float
    switch_margin: float


@dataclass(frozen=True)
class _Hit:
    """One window's word on one label, with the span that the window speaks for."""

    start_s: float
    end_s: float
    score: float
    peak_s: float
    visual_share: float
    audio_share: float


class Segments:
    """All windows of a video, in order -> its segments, by task and then by start."""

    def __init__(self, tasks: Sequence[Task], rules: dict[str, SegmentRule], grid: Grid) -> None:
        self._tasks = tasks
        self._rules = rules
        self._grid = grid

    def __call__(self, windows: Sequence[WindowScores]) -> list[Segment]:
        """Make the segments of one video."""
        segments: list[Segment] = []
        for task in self._tasks:
            rule = self._rules[task.name]
            found = self._single(task, rule, windows) if task.kind == "single" else []
            if task.kind == "multi":
                found = self._multi(task, rule, windows)
            segments += sorted(found, key=lambda segment: (segment.start_s, -segment.score))
        return segments

    def _span(self, windows: Sequence[WindowScores], position: int) -> tuple[float, float]:
        window = windows[position].window
        edge = (self._grid.length_s - self._grid.hop_s) / 2
        start = window.start_s + (edge if position > 0 else 0.0)
        end = window.end_s
        if position + 1 < len(windows):
            end = windows[position + 1].window.start_s + edge
        return start, min(end, window.end_s)

    def _hits(self, task: Task, windows: Sequence[WindowScores]) -> list[dict[int, _Hit] | None]:
        hits: list[dict[int, _Hit] | None] = []
        for position, scored in enumerate(windows):
            scores = scored.tasks.get(task.name)
            if scores is None:
                hits.append(None)
                continue
            start_s, end_s = self._span(windows, position)
            hits.append(
                {
                    int(index): _Hit(
                        start_s,
                        end_s,
                        float(score),
                        float(peak_s),
                        scores.visual_share,
                        scores.audio_share,
                    )
                    for index, score, peak_s in zip(
                        scores.indices, scores.scores, scores.peaks_s, strict=True
                    )
                }
            )
        return hits

    def _single(
        self, task: Task, rule: SegmentRule, windows: Sequence[WindowScores]
    ) -> list[Segment]:
        runs: list[tuple[int, list[_Hit]]] = []
        current: int | None = None
        for labels in self._hits(task, windows):
            if labels is None:
                current = None
                continue
            best = next(iter(labels))
            kept = labels.get(current) if current is not None else None
            if kept is not None and labels[best].score <= kept.score + rule.switch_margin:
                runs[-1][1].append(kept)
            else:
                current = best
                runs.append((best, [labels[best]]))
        segments = [_segment(task, label, run) for label, run in runs]
        return [segment for segment in segments if segment.score >= rule.min_score]

    def _multi(
        self, task: Task, rule: SegmentRule, windows: Sequence[WindowScores]
    ) -> list[Segment]:
        running: dict[int, list[_Hit]] = {}
        finished: list[Segment] = []
        for labels in [*self._hits(task, windows), None]:
            present = labels or {}
            for label in list(running):
                if label not in present or present[label].score < rule.keep_score:
                    finished.append(_segment(task, label, running.pop(label)))
            for label, hit in present.items():
                if label in running:
                    running[label].append(hit)
                elif hit.score >= rule.min_score:
                    running[label] = [hit]
        return finished


def _segment(task: Task, label: int, hits: list[_Hit]) -> Segment:
    peak = max(hits, key=lambda hit: hit.score)
    count = len(hits)
    visual = sum(hit.visual_share for hit in hits) / count
    return Segment(
        task=task.name,
        label=task.labels[label],
        start_s=hits[0].start_s,
        end_s=hits[-1].end_s,
        score=sum(hit.score for hit in hits) / count,
        peak_score=peak.score,
        peak_s=peak.peak_s,
        visual_share=visual,
        audio_share=1 - visual,
    )
