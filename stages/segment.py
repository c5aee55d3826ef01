"""Segment: windows to spans of time with one label, with hysteresis against flicker.

Windows overlap, so each speaks for its middle: window k for [k * hop + (length - hop) / 2, that
plus hop), the first from its start and the last to its end. Segments of a single-label task
therefore never overlap, and together with the spans left out they tile the video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sightsound.models.bundle import Task
from sightsound.stages.plan import Grid
from sightsound.stages.records import Segment, WindowScores

UNKNOWN = "unknown"


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


@dataclass(frozen=True)
class _Run:
    """Windows in a row with one label, the first at ``position``; None: the label is unknown."""

    label: int | None
    position: int
    hits: list[_Hit]

    @property
    def score(self) -> float:
        return sum(hit.score for hit in self.hits) / len(self.hits)

    def follows(self, other: _Run) -> bool:
        return self.position == other.position + len(other.hits)


class Segments:
    """All windows of a video, in order -> its segments, by task and then by start.

    A single-label run whose mean score is below the task's threshold is told as "unknown" with
    that score, whatever the rule's least score; neighbouring ones become one.

    ``rules`` are by task, and by kind ("single", "multi") for tasks that have none of their own.
    """

    def __init__(self, tasks: Sequence[Task], rules: Mapping[str, SegmentRule], grid: Grid) -> None:
        self._tasks = tasks
        self._rules = rules
        self._grid = grid

    def __call__(self, windows: Sequence[WindowScores]) -> list[Segment]:
        """Make the segments of one video."""
        segments: list[Segment] = []
        for task in self._tasks:
            rule = self._rules.get(task.name) or self._rules[task.kind]
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
        runs: list[_Run] = []
        current: int | None = None
        for position, labels in enumerate(self._hits(task, windows)):
            if labels is None:
                current = None
                continue
            best = next(iter(labels))
            kept = labels.get(current) if current is not None else None
            if kept is not None and labels[best].score <= kept.score + rule.switch_margin:
                runs[-1].hits.append(kept)
            else:
                current = best
                runs.append(_Run(best, position, [labels[best]]))
        return [
            _segment(task, run.label, run.hits)
            for run in _with_unknown(runs, task.threshold)
            if run.label is None or run.score >= rule.min_score
        ]

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


def _with_unknown(runs: Sequence[_Run], threshold: float) -> list[_Run]:
    """The runs, those below the threshold without a label and joined with their like."""
    found: list[_Run] = []
    for run in runs:
        if run.score >= threshold:
            found.append(run)
        elif found and found[-1].label is None and run.follows(found[-1]):
            found[-1].hits.extend(run.hits)
        else:
            found.append(_Run(None, run.position, list(run.hits)))
    return found


def _segment(task: Task, label: int | None, hits: list[_Hit]) -> Segment:
    peak = max(hits, key=lambda hit: hit.score)
    count = len(hits)
    visual = sum(hit.visual_share for hit in hits) / count
    return Segment(
        task=task.name,
        label=UNKNOWN if label is None else task.labels[label],
        start_s=hits[0].start_s,
        end_s=hits[-1].end_s,
        score=sum(hit.score for hit in hits) / count,
        peak_score=peak.score,
        peak_s=peak.peak_s,
        visual_share=visual,
        audio_share=1 - visual,
    )
