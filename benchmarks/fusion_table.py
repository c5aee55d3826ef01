"""The table of ``fusion.py``: a set's results, side by side, and the targets that it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from report import Target, table

from sightsound.pipeline.evaluation.cells import interval_text, with_interval
from sightsound.pipeline.evaluation.compare import compare
from sightsound.pipeline.evaluation.intervals import bootstrap_intervals
from sightsound.pipeline.evaluation.metrics import measure
from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.evaluation.senses import part_scores

PLAIN, PLAIN_OF_ALL = "logistic regression", "logistic regression on all networks"
BUNDLE = "default bundle"
N_RESAMPLES = 1000
LEAST_SOUND_ACCURACY, LEAST_GAIN = 0.95, 0.03
# The least top-1 and top-5, and of what; None: of the set's own recipe.
LEAST_ACCURACY = {"places100": (BUNDLE, 0.52, 0.81), "sports100": (None, 0.90, None)}
_PARTS = ("with sound", "without sound")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One method on one set: its answers to all samples under each seed, and the time that its
    trainings took, on average over the seeds; None where it was trained before."""

    method: str
    predictions: TaskPredictions
    train_s: float | None
    n_seeds: int = 1


def describe(
    set_name: str, results: Sequence[Result], *, fused: str, seed: int, quick: bool
) -> tuple[str, list[Target]]:
    """A set's section: its table, and the targets that it has of the method ``fused``."""
    lines = []
    scores: dict[str, dict[str, float]] = {}
    for result in results:
        cells, scores[result.method] = _line(result, seed=seed)
        lines.append(cells)
    head = ("method", "accuracy", "top-5", "macro F1", *_PARTS, "training, s")
    first = results[0]
    n_samples = len(first.predictions.samples) // first.n_seeds
    seeds = f", each asked under {first.n_seeds} seeds" if first.n_seeds > 1 else ""
    text = (
        f"{n_samples} samples in {len(set(first.predictions.groups))} groups{seeds}. In brackets "
        f"the 95% interval by bootstrap over groups ({N_RESAMPLES} resamples); training is wall "
        f"time on one core, of all folds together.\n\n{table(head, lines)}"
    )
    if quick:
        text = f"Quick: 40 steps, no augmentation; only to see that it runs.\n\n{text}"
    if len(results) > 1:
        text += f"\n\n{_against_best(results, seed=seed)}"
    return text, _targets_of(set_name, scores, fused=fused)


def _line(result: Result, *, seed: int) -> tuple[tuple[str, ...], dict[str, float]]:
    """The cells of a method, and its scores by name."""
    metrics = measure(result.predictions)
    intervals = bootstrap_intervals(result.predictions, n_resamples=N_RESAMPLES, seed=seed)
    parts = {
        part.part: part
        for part in part_scores(
            result.predictions,
            without_sound=None,
            without_picture=None,
            n_resamples=N_RESAMPLES,
            seed=seed,
        )
    }
    scores = {name: part.accuracy or 0.0 for name, part in parts.items()}
    scores |= {"accuracy": metrics.accuracy or 0.0, "top-5": metrics.top5 or 0.0}
    cells = [
        result.method,
        with_interval(metrics.accuracy, intervals, "accuracy"),
        with_interval(metrics.top5, intervals, "top5"),
        with_interval(metrics.macro_f1, intervals, "macro_f1"),
    ]
    for name in _PARTS:
        part = parts.get(name)
        apart = part is not None and len(parts) > 1
        cells.append(with_interval(part.accuracy, part.intervals, "accuracy") if apart else "–")
    return (*cells, "–" if result.train_s is None else f"{result.train_s:.0f}"), scores


def _against_best(results: Sequence[Result], *, seed: int) -> str:
    """Each method against the most accurate, in one line each."""
    best = max(results, key=lambda result: measure(result.predictions).accuracy or 0.0)
    lines = [f"Accuracy beside {best.method}, with its paired interval over groups:", ""]
    for result in results:
        if result is not best:
            pair = compare(
                best.predictions,
                result.predictions,
                names=(best.method, result.method),
                n_resamples=N_RESAMPLES,
                seed=seed,
            )
            assert pair is not None
            interval = interval_text(pair.interval, signed=True)
            lines.append(f"- {result.method}: {pair.difference:+.3f} {interval}")
    return "\n".join(lines)


def _targets_of(set_name: str, scores: dict[str, dict[str, float]], *, fused: str) -> list[Target]:
    """What must be reached, as something that must stay below a limit."""
    if set_name in LEAST_ACCURACY:
        fused = LEAST_ACCURACY[set_name][0] or fused
    if fused not in scores:
        return []
    own = scores[fused]
    if set_name == "esc10":
        limit = round(1 - LEAST_SOUND_ACCURACY, 3)
        return [Target(what="error by sound alone", limit=limit, measured=1 - own["accuracy"])]
    if set_name in LEAST_ACCURACY:
        _, least, least_top5 = LEAST_ACCURACY[set_name]
        targets = [
            Target(what=f"{fused}: error", limit=round(1 - least, 3), measured=1 - own["accuracy"])
        ]
        if least_top5 is not None:
            limit, measured = round(1 - least_top5, 3), 1 - own["top-5"]
            targets.append(Target(what=f"{fused}: error of top-5", limit=limit, measured=measured))
        return targets
    if not {"visual", "audio"} <= scores.keys():
        return []
    visual, audio = scores["visual"], scores["audio"]
    better = max(visual.get("with sound", 0.0), audio.get("with sound", 0.0))
    return [
        Target(
            what=f"with sound: better single sense - {fused}",
            limit=-LEAST_GAIN,
            measured=better - own.get("with sound", 0.0),
        ),
        Target(
            what=f"without sound: picture alone - {fused}",
            limit=0.0,
            measured=visual.get("without sound", 0.0) - own.get("without sound", 0.0),
        ),
    ]
