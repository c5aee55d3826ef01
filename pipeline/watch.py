"""Watching a batch run: a bar or lines on the terminal, metrics as JSON lines, the summary."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from sightsound.pipeline.timeline import clock_time
from sightsound.stages.records import SliceResult

_LINES_EVERY_S = 10.0
_METRICS_EVERY_S = 5.0
_BAR_EVERY_S = 0.25
# The rate is over the latest work, so that the estimate follows it.
_RATE_OVER_S = 300.0
_MOST_REASONS = 10


@dataclass
class RunCounts:
    """How far a run is. Times are seconds; ``stage_s`` is CPU time by stage over all workers."""

    n_inputs: int = 0
    n_before: int = 0
    n_workers: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    n_duplicates: int = 0
    n_again: int = 0
    video_s: float = 0.0
    stage_s: Counter[str] = field(default_factory=Counter)

    @property
    def n_done(self) -> int:
        """Inputs that this run has finished."""
        return sum(self.statuses.values())

    def add_slice(self, result: SliceResult) -> None:
        """Count the work of a slice."""
        windows = result.windows
        self.video_s += windows[-1].window.end_s - windows[0].window.start_s if windows else 0.0
        self.stage_s.update(result.stage_s)


@dataclass(frozen=True)
class _Moment:
    """How far a run was at a time, to take rates from."""

    time_s: float
    n_done: int
    video_s: float
    stage_s: Counter[str]


@dataclass(frozen=True)
class Rates:
    """Derived numbers, over the last five minutes: what a person wants to know.

    ``utilisation`` is CPU seconds of each stage in those that all workers together had.
    """

    elapsed_s: float
    times_real_time: float
    remaining_s: float | None
    utilisation: dict[str, float]


class Watch:
    """Shows a run as it goes. ``metrics`` gets a JSON object a line."""

    def __init__(self, console: Console, counts: RunCounts, *, metrics: Path | None) -> None:
        self.counts = counts
        self._console = console
        self._began = time.monotonic()
        self._history: list[_Moment] = []
        self._metrics: TextIO | None = metrics.open("a", encoding="utf-8") if metrics else None
        self._shown_at = self._written_at = self._began
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> Watch:
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("labelling"),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                # The one that gives way where the terminal is narrow.
                TextColumn(
                    "{task.fields[text]}",
                    table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
                ),
                expand=True,
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task("labelling", total=None, text="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._metrics is not None:
            self._write_metrics()
            self._metrics.close()

    def tick(self) -> None:
        """Show and write what is due."""
        now = time.monotonic()
        every = _BAR_EVERY_S if self._bar is not None else _LINES_EVERY_S
        if now - self._shown_at >= every:
            self._shown_at = now
            self._show()
        if self._metrics is not None and now - self._written_at >= _METRICS_EVERY_S:
            self._written_at = now
            self._write_metrics()

    def rates(self) -> Rates:
        """Rate, estimated end and utilisation."""
        now = time.monotonic()
        counts = self.counts
        moment = _Moment(now, counts.n_done, counts.video_s, Counter(counts.stage_s))
        history = self._history
        history.append(moment)
        # Start-up, until something is done, says nothing of the rate.
        while len(history) > 2 and (
            now - history[1].time_s > _RATE_OVER_S or not history[1].n_done
        ):
            history.pop(0)
        then = history[0]
        span_s = max(now - then.time_s, 1e-9)
        per_s = (counts.n_done - then.n_done) / span_s
        left = counts.n_inputs - counts.n_before - counts.n_done
        available_s = span_s * max(1, counts.n_workers)
        return Rates(
            elapsed_s=now - self._began,
            times_real_time=(counts.video_s - then.video_s) / span_s if span_s > 1 else 0.0,
            remaining_s=left / per_s if per_s > 0 else None,
            utilisation={
                stage: round((seconds - then.stage_s[stage]) / available_s, 4)
                for stage, seconds in sorted(counts.stage_s.items())
            },
        )

    def _show(self) -> None:
        counts, rates = self.counts, self.rates()
        parts = [f"{counts.video_s / 3600:.2f} h of video"]
        if rates.times_real_time:
            parts.append(f"{rates.times_real_time:.0f}x real time")
        if counts.statuses["failed"]:
            parts.append(f"{counts.statuses['failed']} failed")
        if rates.remaining_s is not None:
            parts.append(f"{clock_time(round(rates.remaining_s))[:-2]} left")
        busy = sorted(rates.utilisation.items(), key=lambda item: -item[1])
        parts += [f"{stage} {share:.0%}" for stage, share in busy[:2] if share > 0.01]
        done = counts.n_before + counts.n_done
        if self._bar is not None and self._task is not None:
            self._bar.update(
                self._task, total=counts.n_inputs, completed=done, text=", ".join(parts)
            )
        else:
            text = f"{done} of {counts.n_inputs} inputs done, {', '.join(parts)}"
            self._console.print(text, highlight=False, soft_wrap=True)

    def _write_metrics(self) -> None:
        assert self._metrics is not None
        counts, rates = self.counts, self.rates()
        record: dict[str, Any] = {
            "time": time.time(),
            "elapsed_s": round(rates.elapsed_s, 3),
            "inputs": counts.n_inputs,
            "done_before": counts.n_before,
            "done": counts.n_done,
            **{status: counts.statuses[status] for status in ("ok", "partial", "failed")},
            "duplicates": counts.n_duplicates,
            "tried_again": counts.n_again,
            "video_hours": round(counts.video_s / 3600, 6),
            "times_real_time": round(rates.times_real_time, 3),
            "remaining_s": rates.remaining_s,
            "workers": counts.n_workers,
            "stage_cpu_s": {name: round(value, 3) for name, value in counts.stage_s.items()},
            "utilisation": rates.utilisation,
        }
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()


@dataclass
class Reasons:
    """Failures grouped by reason, with an example each."""

    groups: dict[tuple[str, str, str], tuple[int, str]] = field(default_factory=dict)

    def add(self, status: str, stage: str | None, code: str | None, message: str | None) -> None:
        """Count one input that is not ok."""
        key = (status, stage or "", code or "")
        count, example = self.groups.get(key, (0, message or ""))
        self.groups[key] = (count + 1, example)

    def lines(self) -> Sequence[str]:
        """One line a reason, the most frequent first."""
        ordered = sorted(self.groups.items(), key=lambda item: (-item[1][0], item[0]))
        lines = [
            f"  {count} {status}: {code} ({stage}), such as: {example}"
            for (status, stage, code), (count, example) in ordered[:_MOST_REASONS]
        ]
        if len(ordered) > _MOST_REASONS:
            lines.append(
                f"  and {len(ordered) - _MOST_REASONS} other reasons: see the videos table"
            )
        return lines
