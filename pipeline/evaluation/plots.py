"""Figures of one task, drawn by matplotlib off screen, as PNG bytes."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sightsound.pipeline.evaluation.metrics import MULTI_THRESHOLD
from sightsound.pipeline.evaluation.results import Calibration, Confusion, RocCurve, TaskMetrics

_INK, _QUIET, _GRID = "#1f2933", "#9aa5b1", "#e4e7eb"
_BLUE, _ORANGE = "#1f6feb", "#d9730d"
# Distinct without red beside green: Okabe and Ito's palette.
_LINES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7a7a00", "#7b3fbf")
_STYLE: Any = {
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "axes.edgecolor": _QUIET,
    "axes.labelcolor": _INK,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "font.size": 10,
    "text.parse_math": False,
}
_DOTS_PER_INCH = 110
_MOST_MATRIX_LABELS = 100
_MOST_COUNTED_LABELS = 30
_MOST_BARS = 100
_MOST_NAMED_CURVES = 8
_LONGEST_LABEL = 34


def draw_all(metrics: TaskMetrics, *, title: str) -> dict[str, bytes]:
    """The figures that the task has, by name; ``title`` says whose they are."""
    figures = {}
    if metrics.confusion is not None and metrics.confusion.labels:
        figures["confusion"] = draw_confusion(metrics.confusion, title=title)
    if any(entry.f1 is not None for entry in metrics.classes):
        figures["classes"] = draw_classes(metrics, title=title)
    if metrics.roc:
        figures["roc"] = draw_roc(metrics.roc, macro_auc=metrics.macro_auc, title=title)
    if metrics.calibration is not None:
        figures["reliability"] = draw_reliability(
            metrics.calibration, is_single=metrics.kind == "single", title=title
        )
    return figures


def draw_confusion(confusion: Confusion, *, title: str) -> bytes:
    """Rows are true labels, columns what they were taken for; colour is the share of the row.

    Up to 30 labels have their counts written in; beyond 100 only the 100 labels that are true
    most often are shown, the others together.
    """
    labels, counts = _most_frequent(confusion)
    n_labels = len(labels)
    cell = 0.13 + 0.21 * math.exp(-max(0, n_labels - 10) / 25)
    side = 3.2 + max(2.6, cell * n_labels)
    with _figure(width=side, height=side - 0.7) as figure:
        axes = figure.subplots()
        totals = counts.sum(axis=1, keepdims=True)
        shares = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="equal")
        size = min(10.0, 0.76 * 72 * cell)
        axes.set_xticks(range(n_labels), labels, rotation=0 if n_labels <= 3 else 90, fontsize=size)
        axes.set_yticks(range(n_labels), labels, fontsize=size)
        axes.set_xlabel("predicted label")
        axes.set_ylabel("true label")
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.set_xticks(np.arange(n_labels + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(n_labels + 1) - 0.5, minor=True)
        axes.grid(which="minor", color=_GRID, linewidth=0.5 if n_labels <= 30 else 0.25)
        axes.tick_params(which="minor", length=0)
        if n_labels <= _MOST_COUNTED_LABELS:
            for row, column in zip(*np.nonzero(counts), strict=True):
                axes.text(
                    column,
                    row,
                    f"{counts[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=size - 1,
                    color="white" if shares[row, column] > 0.55 else _INK,
                )
        bar = figure.colorbar(
            image, ax=axes, shrink=min(1.0, 4 / side), aspect=20, pad=0.01, anchor=(0.0, 1.0)
        )
        bar.set_label("share of the true label's samples")
        bar.outline.set_visible(False)
        axes.set_title(_title("Confusion matrix", f"{counts.sum():.0f} samples", title))
        return _png(figure)


def draw_roc(curves: tuple[RocCurve, ...], *, macro_auc: float | None, title: str) -> bytes:
    """Every label against all others; beyond eight only the worst are named."""
    with _figure(width=7.6, height=5.6) as figure:
        axes = figure.subplots()
        by_auc = sorted((c for c in curves if c.label is not None), key=lambda curve: curve.auc)
        named = by_auc[:_MOST_NAMED_CURVES]
        for curve in by_auc[_MOST_NAMED_CURVES:]:
            rates = curve.false_positive_rate, curve.true_positive_rate
            axes.plot(*rates, color=_QUIET, linewidth=0.6, alpha=0.5)
        for curve, colour in zip(named, _LINES, strict=False):
            rates = curve.false_positive_rate, curve.true_positive_rate
            name = f"{_short(curve.label or '')}  {curve.auc:.3f}"
            axes.plot(*rates, color=colour, linewidth=1.3, label=name)
        for curve in curves:
            if curve.label is None:
                rates = curve.false_positive_rate, curve.true_positive_rate
                name = f"all decisions  {curve.auc:.3f}"
                axes.plot(*rates, color=_INK, linewidth=2.4, label=name)
        axes.plot([0, 1], [0, 1], color=_QUIET, linestyle=":", linewidth=1)
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
        axes.set_aspect("equal")
        axes.set_xlabel("false positive rate")
        axes.set_ylabel("true positive rate")
        axes.grid(visible=True)
        heading = "label and area under it"
        if len(by_auc) > len(named):
            heading = f"the {len(named)} labels of least area"
        axes.legend(
            title=heading, loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False, fontsize=9
        )
        mean = "" if macro_auc is None else f"mean area {macro_auc:.3f} over {len(by_auc)} labels"
        axes.set_title(_title("ROC, each label against all others", mean, title))
        return _png(figure)


def draw_reliability(calibration: Calibration, *, is_single: bool, title: str) -> bytes:
    """How often a confidence came true, above how often it was given."""
    with _figure(width=6.2, height=6.0) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        filled = [entry for entry in calibration.bins if entry.count]
        width = calibration.bins[0].high - calibration.bins[0].low
        middles = [(entry.low + entry.high) / 2 for entry in filled]
        accuracies = [entry.accuracy or 0.0 for entry in filled]
        confidences = [entry.confidence or 0.0 for entry in filled]
        upper.plot([0, 1], [0, 1], color=_QUIET, linestyle=":", linewidth=1.2, label="calibrated")
        upper.bar(
            middles, accuracies, width=width * 0.92, color=_BLUE, alpha=0.35, label="came true"
        )
        upper.scatter(confidences, accuracies, color=_BLUE, s=18, zorder=3, label="mean of the bin")
        upper.set(ylim=(0, 1.02), xlim=(0, 1))
        upper.set_ylabel("share that came true")
        upper.grid(visible=True)
        upper.legend(loc="upper left", frameon=False, fontsize=9)
        lower.bar(middles, [entry.count for entry in filled], width=width * 0.92, color=_ORANGE)
        if not is_single:
            lower.set_yscale("log")
        lower.set_ylabel("samples" if is_single else "decisions")
        lower.set_xlabel("confidence of the best label" if is_single else "confidence of a label")
        lower.grid(visible=True, axis="y")
        error = f"expected calibration error {calibration.error:.3f}"
        upper.set_title(_title("Reliability", error, title))
        return _png(figure)


def draw_classes(metrics: TaskMetrics, *, title: str) -> bytes:
    """F1 of each label that is true somewhere, best first; beyond 100 the worst 100."""
    known = [entry for entry in metrics.classes if entry.f1 is not None]
    known.sort(key=lambda entry: (-(entry.f1 or 0.0), entry.label))
    shown = known[-_MOST_BARS:]
    size = 10.0 if len(shown) <= 30 else 8.0
    height = 1.6 + max(1.2, len(shown) * (0.26 if len(shown) <= 30 else 0.165))
    with _figure(width=7.4, height=height) as figure:
        axes = figure.subplots()
        places = np.arange(len(shown))
        axes.barh(places, [entry.f1 or 0.0 for entry in shown], height=0.72, color=_BLUE)
        for place, entry in zip(places, shown, strict=True):
            text = f"{entry.f1 or 0.0:.2f}  ({entry.support})"
            axes.text(
                (entry.f1 or 0.0) + 0.012,
                place,
                text,
                va="center",
                fontsize=size - 1,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
            )
        if metrics.macro_f1 is not None:
            axes.axvline(metrics.macro_f1, color=_ORANGE, linewidth=1.4)
        axes.set_yticks(places, [_short(entry.label) for entry in shown], fontsize=size)
        axes.set(xlim=(0, 1.16), ylim=(len(shown) - 0.4, -0.6))
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.set_xlabel("F1 (number of samples)")
        axes.grid(visible=True, axis="x")
        axes.tick_params(axis="y", length=0)
        mean = "" if metrics.macro_f1 is None else f"mean {metrics.macro_f1:.3f} (orange)"
        if metrics.kind == "multi":
            mean += f", labels of at least {MULTI_THRESHOLD:g}"
        if len(shown) < len(known):
            mean += f", the {len(shown)} worst of {len(known)} labels"
        axes.set_title(_title("F1 by label", mean, title))
        return _png(figure)


@contextmanager
def _figure(*, width: float, height: float) -> Iterator[Any]:
    """A figure in our style, inches wide and high, with no window and no global state."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        yield figure


def _png(figure: Any) -> bytes:
    """The figure as PNG, the same bytes for the same figure."""
    file = io.BytesIO()
    figure.savefig(
        file,
        format="png",
        dpi=_DOTS_PER_INCH,
        bbox_inches="tight",
        pad_inches=0.12,
        metadata={"Software": None},
    )
    return file.getvalue()


def _most_frequent(confusion: Confusion) -> tuple[list[str], Any]:
    """At most 100 labels and their counts; those left over are one label more."""
    counts = np.asarray(confusion.counts, dtype=np.float64)
    labels = [_short(label) for label in confusion.labels]
    if len(labels) <= _MOST_MATRIX_LABELS:
        return labels, counts
    order = np.argsort(-counts.sum(axis=1), kind="stable")
    kept = np.sort(order[:_MOST_MATRIX_LABELS])
    others = np.sort(order[_MOST_MATRIX_LABELS:])
    rows = np.vstack((counts[kept], counts[others].sum(axis=0)))
    whole = np.column_stack((rows[:, kept], rows[:, others].sum(axis=1)))
    return [*(labels[index] for index in kept), f"{len(others)} others"], whole


def _short(label: str) -> str:
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _title(what: str, figure: str, whose: str) -> str:
    return "\n".join(filter(None, (what + (f": {figure}" if figure else ""), whose)))
