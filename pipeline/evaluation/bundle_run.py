"""Asking a bundle about labelled samples, in worker processes, as a run of inference would."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightsound.models.bundle import Bundle, Task
from sightsound.models.engines.base import create_engine
from sightsound.pipeline.config import Config
from sightsound.pipeline.evaluation.matching import Match
from sightsound.pipeline.evaluation.records import SENSES, Senses, TaskPredictions
from sightsound.pipeline.evaluation.results import Cost, LeftOut, Quantiles, Size
from sightsound.pipeline.evaluation.scorer import (
    FileScores,
    ScoreTask,
    SpanScores,
    make_scorer,
)
from sightsound.pipeline.training.records import DataError, LabelledSample
from sightsound.pipeline.workers import WORKER_ENVIRONMENT, Limits, WorkerPool

_LEAST_MEDIA_S = 1.0
_MOST_NAMED = 20
_MOST_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class Answered:
    """What a bundle said of one task: by the senses used, and which samples it could not answer.

    A way of using the senses in which nothing was answered is not there.
    """

    by_senses: Mapping[Senses, TaskPredictions]
    left_out: tuple[LeftOut, ...]


@dataclass(frozen=True, kw_only=True)
class ScoredSamples:
    """The scores of each sample, None where its file could not be read, and what it cost."""

    scores: Sequence[SpanScores | None]
    failed: Mapping[str, str]
    cost: Cost | None


def score_samples(
    samples: Sequence[LabelledSample],
    config: Config,
    *,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> ScoredSamples:
    """Score every sample; a file is read once however many samples are spans of it.

    A file that cannot be read, or that a worker dies of, costs its own samples only; ``failed``
    says by path why.

    Raises:
        WorkersDieError: the installation is broken.
    """
    by_path: dict[str, list[int]] = defaultdict(list)
    for number, sample in enumerate(samples):
        by_path[sample.path].append(number)
    tasks = [
        ScoreTask(path=path, spans=tuple((samples[n].start_s, samples[n].end_s) for n in numbers))
        for path, numbers in by_path.items()
    ]
    scores: list[SpanScores | None] = [None] * len(samples)
    failed: dict[str, str] = {}
    files: list[FileScores] = []
    for done, (task, found) in enumerate(_run(tasks, config), start=1):
        if isinstance(found, str):
            failed[task.path] = found
        else:
            files.append(found)
            for number, span in zip(by_path[task.path], found.spans, strict=True):
                scores[number] = span
        on_progress(done, len(tasks))
    return ScoredSamples(scores=scores, failed=failed, cost=_cost(files, config))


def _run(
    tasks: Sequence[ScoreTask], config: Config
) -> Iterator[tuple[ScoreTask, FileScores | str]]:
    workers = config.workers
    limits = Limits(stall_s=workers.stall_timeout_s, deadline_s=workers.deadline_file_s)
    waiting = list(reversed(tasks))
    before = {name: os.environ.get(name) for name in WORKER_ENVIRONMENT}
    os.environ.update(WORKER_ENVIRONMENT)
    try:
        make, memory_bytes = partial(make_scorer, config), config.worker_memory_bytes()
        with WorkerPool(make, config.worker_count(), memory_bytes=memory_bytes) as pool:
            while waiting or pool.n_busy:
                while waiting and pool.n_idle:
                    pool.submit(waiting.pop(), limits)
                for outcome in pool.wait():
                    yield outcome.task, outcome.value if outcome.kind == "done" else outcome.reason
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def answers(
    samples: Sequence[LabelledSample],
    names: Sequence[str],
    scored: ScoredSamples,
    match: Match,
) -> Answered:
    """The predictions of one data task from the scores of the bundle's task.

    Args:
        samples: of the data, in its order.
        names: what each is called in the report.
        scored: their scores.
        match: which bundle task answers which data task.

    Raises:
        DataError: the bundle answers not one sample.
    """
    asked = [n for n, sample in enumerate(samples) if match.asks(sample)]
    unknown = [n for n in asked if not match.knows(samples[n])]
    known = [n for n in asked if match.knows(samples[n])]
    unread = [n for n in known if scored.scores[n] is None]
    unanswered = [n for n in known if _row(scored, n, "both", match.task) is None]
    unanswered = [n for n in unanswered if scored.scores[n] is not None]
    reasons = {
        f"their label is not among the {len(match.task.labels)} of the model: "
        f"{_some(match.unknown_labels)}": unknown,
        "their file cannot be read: "
        + _some([why.removesuffix(".") for why in sorted(set(scored.failed.values()))]): unread,
        f"nothing in them answers {match.task.name}: they lack a sense that the model needs": (
            unanswered
        ),
    }
    left_out = tuple(
        LeftOut(
            reason=reason,
            n_samples=len(numbers),
            samples=tuple(names[n] for n in numbers[:_MOST_NAMED]),
        )
        for reason, numbers in reasons.items()
        if numbers
    )
    by_senses = {}
    for senses in SENSES:
        predictions = _predictions(samples, names, scored, match, known, senses)
        if predictions.samples:
            by_senses[senses] = predictions
    if "both" not in by_senses:
        why = "; ".join(f"{entry.n_samples}: {entry.reason}" for entry in left_out)
        raise DataError(
            f"The model's task {match.task.name} answers not one of {len(asked)} samples that have "
            f"a {match.data_task} ({why}): choose data with the picture or sound that it needs."
        )
    return Answered(by_senses=by_senses, left_out=left_out)


def _predictions(
    samples: Sequence[LabelledSample],
    names: Sequence[str],
    scored: ScoredSamples,
    match: Match,
    known: Sequence[int],
    senses: Senses,
) -> TaskPredictions:
    labels = match.task.labels
    place = {label: index for index, label in enumerate(labels)}
    rows = [(n, row) for n in known if (row := _row(scored, n, senses, match.task)) is not None]
    truth = np.zeros((len(rows), len(labels)), dtype=bool)
    has_audio, has_visual = np.zeros(len(rows), dtype=bool), np.zeros(len(rows), dtype=bool)
    for i, (n, _) in enumerate(rows):
        for label in samples[n].labels[match.data_task]:
            if label in place:
                truth[i, place[label]] = True
        span = scored.scores[n]
        assert span is not None
        has_audio[i], has_visual[i] = span.has_audio, span.has_visual
    return TaskPredictions(
        task=match.data_task,
        kind=match.kind,
        labels=labels,
        probabilities=(np.stack([row for _, row in rows]) if rows else np.zeros((0, len(labels)))),
        truth=truth,
        samples=tuple(names[n] for n, _ in rows),
        groups=tuple(samples[n].group for n, _ in rows),
        has_audio=has_audio,
        has_visual=has_visual,
    )


def _row(
    scored: ScoredSamples, number: int, senses: Senses, task: Task
) -> NDArray[np.float64] | None:
    span = scored.scores[number]
    return None if span is None else span.probabilities[senses].get(task.name)


def _cost(files: Sequence[FileScores], config: Config) -> Cost | None:
    whole = [file for file in files if file.read_whole and file.stage_s]
    if not whole:
        return None
    infer = [sum(s for stage, s in f.stage_s.items() if stage != "decode") for f in whole]
    decode = [file.stage_s.get("decode", 0.0) for file in whole]
    durations = [file.duration_s for file in whole]
    long = [i for i, duration_s in enumerate(durations) if duration_s >= _LEAST_MEDIA_S]
    stages = {"infer": infer, "decode": decode}
    return Cost(
        device=f"{create_engine(config.engine_options()).description}, 1 thread",
        n_files=len(whole),
        media_s=sum(durations),
        per_file_s={name: _quantiles(seconds) for name, seconds in stages.items()},
        per_media_s={
            name: _quantiles([seconds[i] / durations[i] for i in long])
            for name, seconds in stages.items()
            if long
        },
    )


def _quantiles(values: Sequence[float]) -> Quantiles:
    median, p95 = np.quantile(values, (0.5, 0.95))
    return Quantiles(median=float(median), p95=float(p95))


def model_size(bundle: Bundle) -> Size:
    """Bytes of the bundle's folder, and parameters of the fusion and of all its networks."""
    n_fusion = 0
    if bundle.fusion is not None:
        module = bundle.fusion_network(n_visual=1, n_audio=1).build()
        n_fusion = sum(parameter.numel() for parameter in module.parameters())
    n_backbones = sum(
        parameter.numel()
        for backbone in (*bundle.visual, *bundle.audio)
        for parameter in backbone.build().parameters()
    )
    return Size(
        bundle_bytes=sum(file.stat().st_size for file in _files(bundle.path)),
        n_fusion_parameters=n_fusion,
        n_parameters=n_fusion + n_backbones,
    )


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def _some(items: Sequence[str]) -> str:
    shown = ", ".join(items[:_MOST_REASONS])
    return f"{shown} and {len(items) - _MOST_REASONS} more" if len(items) > _MOST_REASONS else shown
