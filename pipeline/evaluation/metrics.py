"""Scores of one task, by scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.evaluation.results import (
    Calibration,
    ClassMetrics,
    Confusion,
    ReliabilityBin,
    RocCurve,
    TaskMetrics,
)

MULTI_THRESHOLD = 0.5
N_CALIBRATION_BINS = 15
_MOST_CURVE_POINTS = 101
_TOP = 5


def measure(predictions: TaskPredictions) -> TaskMetrics:
    """Everything that is told of a task.

    The probabilities are taken as they are; of equal ones the label that comes first wins.
    """
    classes = _class_metrics(predictions)
    present = [entry for entry in classes if entry.support]
    curves = _roc_curves(predictions)
    return TaskMetrics(
        task=predictions.task,
        kind=predictions.kind,
        n_samples=len(predictions.samples),
        n_groups=len(set(predictions.groups)),
        n_labels=len(predictions.labels),
        accuracy=_share(hits(predictions, 1)),
        top5=_share(hits(predictions, _TOP)) if len(predictions.labels) > _TOP else None,
        macro_f1=_mean([entry.f1 for entry in present]),
        mean_average_precision=_mean([entry.average_precision for entry in present]),
        macro_auc=_mean([entry.auc for entry in present]),
        calibration=_calibration(predictions),
        absent_labels=tuple(entry.label for entry in classes if not entry.support),
        classes=classes,
        confusion=_confusion(predictions) if predictions.kind == "single" else None,
        roc=curves,
    )


def hits(predictions: TaskPredictions, k: int) -> NDArray[np.float64]:
    """Whether a true label is among the best ``k``: (n,) of 1 and 0, NaN where none is true."""
    best = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(predictions.truth, best, axis=1).any(axis=1).astype(np.float64)
    return np.where(predictions.truth.any(axis=1), found, np.nan)


def decisions(predictions: TaskPredictions) -> NDArray[np.bool_]:
    """Which labels are predicted, (n, n_labels) bool: the best, or those of at least 0.5."""
    if predictions.kind == "multi":
        return np.asarray(predictions.probabilities >= MULTI_THRESHOLD)
    best = predictions.probabilities.argmax(axis=1)
    return np.asarray(np.arange(len(predictions.labels)) == best[:, None])


def _class_metrics(predictions: TaskPredictions) -> tuple[ClassMetrics, ...]:
    from sklearn.metrics import (
        average_precision_score,
        precision_recall_fscore_support,
        roc_auc_score,
    )

    truth, said = predictions.truth, decisions(predictions)
    n_samples = len(truth)
    entries = []
    for index, label in enumerate(predictions.labels):
        scores = predictions.probabilities[:, index]
        support, predicted = int(truth[:, index].sum()), int(said[:, index].sum())
        has_both = 0 < support < n_samples
        precision = recall = f1 = 0.0
        if support:
            precision, recall, f1, _ = precision_recall_fscore_support(
                truth[:, index].astype(int),
                said[:, index].astype(int),
                average="binary",
                zero_division=0,
            )
        entries.append(
            ClassMetrics(
                label=label,
                support=support,
                predicted=predicted,
                true_positives=int((truth[:, index] & said[:, index]).sum()),
                precision=float(precision) if support and predicted else None,
                recall=float(recall) if support else None,
                f1=float(f1) if support else None,
                average_precision=(
                    float(average_precision_score(truth[:, index], scores)) if support else None
                ),
                auc=float(roc_auc_score(truth[:, index], scores)) if has_both else None,
            )
        )
    return tuple(entries)


def _roc_curves(predictions: TaskPredictions) -> tuple[RocCurve, ...]:
    """The micro average and each label's own, of those that are true for some but not all."""
    from sklearn.metrics import auc, roc_curve

    def curve(label: str | None, truth: NDArray[np.bool_], scores: NDArray[np.float64]) -> RocCurve:
        false_rate, true_rate, _ = roc_curve(truth, scores)
        area = float(auc(false_rate, true_rate))
        kept = _thinned(false_rate, true_rate)
        return RocCurve(
            label=label,
            false_positive_rate=tuple(np.round(false_rate[kept], 6).tolist()),
            true_positive_rate=tuple(np.round(true_rate[kept], 6).tolist()),
            auc=area,
        )

    truth, scores = predictions.truth, predictions.probabilities
    if not truth.any() or truth.all():
        return ()
    curves = [curve(None, truth.ravel(), scores.ravel())]
    for index, label in enumerate(predictions.labels):
        if 0 < truth[:, index].sum() < len(truth):
            curves.append(curve(label, truth[:, index], scores[:, index]))
    return tuple(curves)


def _thinned(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.int64]:
    """Indices of points evenly spaced along the curve, its ends among them."""
    length = np.concatenate(([0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))))
    wanted = np.linspace(0, length[-1], _MOST_CURVE_POINTS)
    kept = np.unique(np.searchsorted(length, wanted).clip(max=len(x) - 1))
    return np.unique(np.concatenate(([0], kept, [len(x) - 1])))


def _confusion(predictions: TaskPredictions) -> Confusion:
    from sklearn.metrics import confusion_matrix

    true = predictions.truth.argmax(axis=1)
    said = predictions.probabilities.argmax(axis=1)
    occurring = np.union1d(true, said)
    if not len(occurring):
        return Confusion(labels=(), counts=())
    counts = confusion_matrix(true, said, labels=occurring)
    return Confusion(
        labels=tuple(predictions.labels[index] for index in occurring),
        counts=tuple(tuple(row) for row in counts.tolist()),
    )


def _calibration(predictions: TaskPredictions) -> Calibration | None:
    import torch
    from torchmetrics.functional.classification import binary_calibration_error

    if not predictions.probabilities.size:
        return None
    if predictions.kind == "single":
        confidence = predictions.probabilities.max(axis=1)
        is_right = hits(predictions, 1) == 1
    else:
        confidence, is_right = predictions.probabilities.ravel(), predictions.truth.ravel()
    # torchmetrics would count a confidence of exactly 1 in a bin of its own.
    confidence = np.clip(confidence, 0.0, np.nextafter(1.0, 0.0))
    error = binary_calibration_error(
        torch.from_numpy(confidence),
        torch.from_numpy(is_right.astype(np.int64)),
        n_bins=N_CALIBRATION_BINS,
    )
    edges = np.linspace(0, 1, N_CALIBRATION_BINS + 1)
    counts, _ = np.histogram(confidence, edges)
    confidences, _ = np.histogram(confidence, edges, weights=confidence)
    rights, _ = np.histogram(confidence, edges, weights=is_right.astype(np.float64))
    bins = tuple(
        ReliabilityBin(
            low=round(float(edges[i]), 6),
            high=round(float(edges[i + 1]), 6),
            count=int(counts[i]),
            confidence=float(confidences[i] / counts[i]) if counts[i] else None,
            accuracy=float(rights[i] / counts[i]) if counts[i] else None,
        )
        for i in range(N_CALIBRATION_BINS)
    )
    return Calibration(error=float(error), bins=bins)


def _share(found: NDArray[np.float64]) -> float | None:
    asked = found[~np.isnan(found)]
    return float(asked.mean()) if len(asked) else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
