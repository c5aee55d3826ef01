"""A worker's side of an evaluation: a file to what a bundle says of spans of it.

It runs the stages of inference, and keeps what inference does not: the probability of every
label, and the answers with one sense masked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sightsound.models.engines.base import create_engine
from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import StageClock
from sightsound.pipeline.evaluation.records import SENSES, Senses
from sightsound.pipeline.evaluation.tokens import TokenReader
from sightsound.pipeline.evaluation.window_fusion import WindowFusion
from sightsound.stages.plan import Grid, Plan, lay_windows
from sightsound.stages.probe import Probe
from sightsound.stages.records import Slice, Tokens, VideoPlan, Window


@dataclass(frozen=True, kw_only=True)
class ScoreTask:
    """A file and the spans of it that are asked about, in seconds; None is the end of the file."""

    path: str
    spans: tuple[tuple[float, float | None], ...]


@dataclass(frozen=True, kw_only=True)
class SpanScores:
    """What is said of one span: by the senses used, then by task, (n_labels,) float64.

    A task that no window of the span answers is not there.
    """

    probabilities: Mapping[Senses, Mapping[str, NDArray[np.float64]]]
    has_visual: bool
    has_audio: bool


@dataclass(frozen=True, kw_only=True)
class FileScores:
    """The spans of one file in the order of the task, and the CPU seconds by stage.

    ``read_whole`` says that the seconds are for all of its ``duration_s``.
    """

    spans: tuple[SpanScores, ...]
    duration_s: float
    read_whole: bool
    stage_s: Mapping[str, float] = field(default_factory=dict)


class Scorer:
    """ScoreTask -> FileScores. Loads the networks once."""

    def __init__(self, config: Config) -> None:
        self._reader = TokenReader(config)
        self._bundle, self._grid = self._reader.bundle, self._reader.grid
        self._limits = config.limits.media_limits()
        self._audio_track = config.streams.audio_track
        self._plan = Plan(self._grid, slice_s=config.workers.slice_s)
        engine = create_engine(config.engine_options())
        self._fusion = WindowFusion(self._bundle, engine, self._grid)

    def __call__(self, task: ScoreTask, alive: Callable[[], None]) -> FileScores:
        """Score one file.

        Raises:
            StageError: it cannot be read.
        """
        info = Probe(limits=self._limits, audio_track=self._audio_track)(task.path)
        plan = self._plan(info)
        clock = StageClock()
        pieces = [piece for piece in plan.slices if _overlaps(piece, task.spans)]
        tokens = self._reader.read(info, plan, pieces, clock, alive)
        with clock("fuse"):
            spans = tuple(self._span(plan, span, tokens) for span in task.spans)
        return FileScores(
            spans=spans,
            duration_s=plan.duration_s,
            read_whole=len(pieces) == len(plan.slices),
            stage_s=clock.seconds,
        )

    def _span(
        self, plan: VideoPlan, span: tuple[float, float | None], tokens: Mapping[str, Tokens]
    ) -> SpanScores:
        start_s, end_s = span[0], plan.duration_s if span[1] is None else span[1]
        gathered: dict[Senses, dict[str, list[NDArray[np.float32]]]] = {s: {} for s in SENSES}
        inside = _between(tokens, start_s, min(end_s, plan.duration_s))
        for window in _windows_of_span(self._grid, start_s, min(end_s, plan.duration_s)):
            found = _between(inside, window.start_s, window.end_s)
            for senses, tasks in self._fusion(window, found).items():
                for name, probabilities in tasks.items():
                    gathered[senses].setdefault(name, []).append(probabilities)
        return SpanScores(
            probabilities={
                senses: {
                    name: np.mean(np.stack(rows), axis=0, dtype=np.float64)
                    for name, rows in tasks.items()
                }
                for senses, tasks in gathered.items()
            },
            has_visual=any(backbone.name in inside for backbone in self._bundle.visual),
            has_audio=any(backbone.name in inside for backbone in self._bundle.audio),
        )


def make_scorer(config: Config) -> Scorer:
    """Make a worker's handler (runs in the worker)."""
    return Scorer(config)


def _overlaps(piece: Slice, spans: Sequence[tuple[float, float | None]]) -> bool:
    start_s, end_s = piece.windows[0].start_s, piece.windows[-1].end_s
    return any(
        span[0] < end_s and (math.inf if span[1] is None else span[1]) > start_s for span in spans
    )


def _between(tokens: Mapping[str, Tokens], start_s: float, end_s: float) -> dict[str, Tokens]:
    found = {}
    for name, each in tokens.items():
        first, stop = np.searchsorted(each.times_s, (start_s, end_s))
        if stop > first:
            found[name] = Tokens(
                times_s=each.times_s[first:stop],
                embeddings=each.embeddings[first:stop],
                logits=None if each.logits is None else each.logits[first:stop],
            )
    return found


def _windows_of_span(grid: Grid, start_s: float, end_s: float) -> tuple[Window, ...]:
    """Windows laid from the start of the span, as those of a whole file are."""
    if end_s <= start_s:
        return ()
    laid = lay_windows(end_s - start_s, length_s=grid.length_s, hop_s=grid.hop_s)
    return tuple(
        Window(index=each.index, start_s=start_s + each.start_s, end_s=start_s + each.end_s)
        for each in laid
    )
