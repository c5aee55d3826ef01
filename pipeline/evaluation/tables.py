"""The tables of a report, as plain cells; Markdown and HTML only dress them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sightsound.pipeline.evaluation.cells import (
    Table,
    interval_text,
    number,
    p_value,
    with_interval,
)
from sightsound.pipeline.evaluation.evaluation import Evaluation
from sightsound.pipeline.evaluation.results import (
    Cost,
    FoldReport,
    ModelReport,
    PairComparison,
    SenseLoss,
    TaskReport,
)

_SCORES = {
    "accuracy": "accuracy",
    "top5": "top-5",
    "macro_f1": "macro F1",
    "mean_average_precision": "mAP",
}
_SENSE_HEAD = ("left out", "samples", "score", "from both", "from the other", "lost")


def overview(evaluation: Evaluation) -> Table:
    """One row a model and task: the headline scores with their intervals."""
    rows = []
    for model in evaluation.models:
        for name, report in model.tasks.items():
            metrics = report.metrics
            rows.append(
                (
                    model.name,
                    name,
                    str(metrics.n_samples),
                    *(
                        with_interval(getattr(metrics, key), report.intervals, key)
                        for key in _SCORES
                    ),
                    number(metrics.macro_auc),
                    number(metrics.calibration.error if metrics.calibration else None),
                )
            )
    level = _level([report for model in evaluation.models for report in model.tasks.values()])
    return Table(
        caption="Scores",
        head=("model", "task", "samples", *_SCORES.values(), "mean AUC", "ECE"),
        rows=tuple(rows),
        note=f"In brackets the {level:.0%} interval by bootstrap over groups "
        f"({evaluation.n_resamples} resamples). ECE is the expected calibration error."
        if level
        else "ECE is the expected calibration error.",
    )


def comparisons(pairs: Sequence[PairComparison]) -> Table:
    """Every pair of models with its test."""
    rows = []
    for pair in pairs:
        only = "–"
        if pair.n_first_only is not None and pair.n_second_only is not None:
            only = f"{pair.n_first_only} / {pair.n_second_only}"
        rows.append(
            (
                pair.data_task,
                pair.first,
                pair.second,
                str(pair.n_samples),
                _SCORES[pair.measure],
                number(pair.score_first),
                number(pair.score_second),
                f"{pair.difference:+.3f} {interval_text(pair.interval, signed=True)}".strip(),
                only,
                pair.test,
                p_value(pair.p_value),
                p_value(pair.p_adjusted),
            )
        )
    head = ("task", "first", "second", "samples", "score", "first's", "second's", "difference")
    return Table(
        caption="Models compared on the same samples",
        head=(*head, "right alone", "test", "p", "p (Holm)"),
        rows=tuple(rows),
        note="Difference is second minus first. McNemar's test takes samples to be independent; "
        "the interval resamples whole groups and does not.",
    )


def parts(report: TaskReport) -> Table:
    """Samples with and without sound."""
    return Table(
        caption="With and without sound",
        head=("samples", "n", *_SCORES.values()),
        rows=tuple(
            (
                part.part,
                str(part.n_samples),
                *(with_interval(getattr(part, key), part.intervals, key) for key in _SCORES),
            )
            for part in report.parts
        ),
    )


def senses(report: TaskReport) -> Table:
    """What goes with each sense."""
    return Table(
        caption="Without one sense",
        head=(*_SENSE_HEAD, "note"),
        rows=tuple((*_sense_cells(loss), loss.note) for loss in report.senses),
        note="Over the samples that have both picture and sound, labelled again with one masked.",
    )


def all_senses(evaluation: Evaluation) -> Table:
    """What goes with each sense, a row for each model, task and sense."""
    return Table(
        caption="Without one sense",
        head=("model", "task", *_SENSE_HEAD),
        rows=tuple(
            (model.name, task, *_sense_cells(loss))
            for model in evaluation.models
            for task, report in model.tasks.items()
            for loss in report.senses
        ),
    )


def _sense_cells(loss: SenseLoss) -> tuple[str, ...]:
    lost = "–"
    if loss.loss is not None:
        lost = f"{loss.loss:+.3f} {interval_text(loss.interval, signed=True)}".strip()
    return (
        loss.left_out,
        str(loss.n_samples),
        _SCORES[loss.measure],
        number(loss.complete),
        number(loss.reduced),
        lost,
    )


def classes(report: TaskReport) -> Table:
    """Every label that is true or predicted somewhere."""
    return Table(
        caption="By label",
        head=("label", "samples", "predicted", "precision", "recall", "F1", "AP", "AUC"),
        rows=tuple(
            (
                entry.label,
                str(entry.support),
                str(entry.predicted),
                number(entry.precision),
                number(entry.recall),
                number(entry.f1),
                number(entry.average_precision),
                number(entry.auc),
            )
            for entry in report.metrics.classes
            if entry.support or entry.predicted
        ),
    )


def left_out(report: TaskReport) -> Table:
    """Samples that were not asked about."""
    return Table(
        caption="Left out",
        head=("why", "samples", "which"),
        rows=tuple(
            (
                entry.reason,
                str(entry.n_samples),
                ", ".join(entry.samples) + (" …" if entry.n_samples > len(entry.samples) else ""),
            )
            for entry in report.left_out
        ),
    )


def folds(report: FoldReport) -> Table:
    """Each fold's own scores, and their spread."""
    keys = [(task, score) for task, scores in report.spread.items() for score in scores]
    rows = [
        (
            str(fold.fold),
            str(fold.n_train),
            str(fold.n_test),
            f"{fold.train_s:.0f}",
            *(number(fold.scores.get(task, {}).get(score)) for task, score in keys),
        )
        for fold in report.folds
    ]
    spread = (report.spread[task][score] for task, score in keys)
    rows.append(
        ("mean ± SD", "", "", "", *(f"{each.mean:.3f} ± {each.deviation:.3f}" for each in spread))
    )
    how = "the groups of the data, as given" if report.given else f"dealt with seed {report.seed}"
    return Table(
        caption=f"{report.n_folds}-fold cross-validation",
        head=(
            "fold",
            "trained on",
            "tested on",
            "training, s",
            *(f"{task} {_SCORES[score]}" for task, score in keys),
        ),
        rows=tuple(rows),
        note=f"Folds: {how}; no group is on both sides. Each fold is answered by a model that was "
        "trained without it; the scores above are over all folds together.",
    )


def sizes(models: Sequence[ModelReport]) -> Table:
    """How large and how slow each model is."""
    rows = []
    for model in models:
        size, cost = model.size, model.cost
        rows.append(
            (
                model.name,
                f"{size.bundle_bytes / 1e6:.1f}" if size else "–",
                f"{size.n_fusion_parameters / 1e6:.2f}" if size else "–",
                f"{size.n_parameters / 1e6:.2f}" if size else "–",
                *_cost_cells(cost),
            )
        )
    first = next((model.cost for model in models if model.cost), None)
    note = ""
    if first is not None:
        note = (
            f"CPU time of one thread, median and 95th percentile over the {first.n_files} files of "
            f"the data ({first.media_s:.0f} s), on {first.device}; decoding reads frames and "
            "sound, inference is spectrogram, features and fusion. By second of media only files "
            "of at least a second."
        )
    return Table(
        caption="Size and cost",
        head=(
            "model",
            "bundle, MB",
            "trained parameters, M",
            "all parameters, M",
            "inference, ms a second of media",
            "decoding, ms a second of media",
            "inference, ms a file",
            "decoding, ms a file",
        ),
        rows=tuple(rows),
        note=note,
    )


def _cost_cells(cost: Cost | None) -> tuple[str, ...]:
    cells = []
    for group in (cost.per_media_s, cost.per_file_s) if cost else ({}, {}):
        for stage in ("infer", "decode"):
            found = group.get(stage)
            cells.append(f"{found.median * 1e3:.1f} / {found.p95 * 1e3:.1f}" if found else "–")
    return tuple(cells)


def _level(reports: Sequence[TaskReport]) -> float:
    for report in reports:
        for interval in report.intervals.values():
            return interval.level
    return 0.0


def facts(conditions: Mapping[str, object]) -> Table:
    """The conditions as a table of two columns."""
    rows = tuple((key.replace("_", " "), str(value)) for key, value in conditions.items())
    return Table(caption="How this was measured", head=("what", "value"), rows=rows)
