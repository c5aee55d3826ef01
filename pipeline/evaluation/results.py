"""What was measured, as records that go into JSON as they are: no NaN, no arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sightsound.models.bundle import TaskKind


@dataclass(frozen=True, kw_only=True)
class ClassMetrics:
    """One label. What cannot be said is None: of a label that is never true everything but the
    false positives, of one that is never predicted the precision, of one that is always true
    the area under the ROC curve.

    A label is predicted where it is the best (single-label) or has at least 0.5 (multi-label).
    ``average_precision`` and ``auc`` are of the label against all others.
    """

    label: str
    support: int
    predicted: int
    true_positives: int
    precision: float | None
    recall: float | None
    f1: float | None
    average_precision: float | None
    auc: float | None


@dataclass(frozen=True, kw_only=True)
class RocCurve:
    """Rates in [0, 1] as the threshold falls, thinned to a bounded number of points.

    ``label`` None is the micro average: every label of every sample as one decision.
    """

    label: str | None
    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    auc: float


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """How often the label of a row was taken for that of a column; only labels that occur."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The decisions whose confidence lies in [low, high), the last bin with its end.

    ``confidence`` and ``accuracy`` are means over them, None in an empty bin.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Whether confidences can be taken at their word (Guo et al. 2017, arXiv:1706.04599).

    ``error`` is the expected calibration error: the mean distance of confidence and accuracy
    over bins of equal width, weighted by how many decisions are in each. A decision is the best
    label of a sample (single-label), or each label of each sample (multi-label).
    """

    error: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, kw_only=True)
class TaskMetrics:
    """One task over the samples that answer it.

    ``accuracy`` is the share of samples whose best label is true, ``top5`` the share with a true
    one among the best five (None with five labels or fewer). Samples of a multi-label task
    without any true label have no part in these two. ``macro_f1``, ``mean_average_precision`` and
    ``macro_auc`` are means over the labels that are true somewhere; ``absent_labels`` never are.
    """

    task: str
    kind: TaskKind
    n_samples: int
    n_groups: int
    n_labels: int
    accuracy: float | None
    top5: float | None
    macro_f1: float | None
    mean_average_precision: float | None
    macro_auc: float | None
    calibration: Calibration | None
    absent_labels: tuple[str, ...]
    classes: tuple[ClassMetrics, ...]
    confusion: Confusion | None
    roc: tuple[RocCurve, ...]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A bootstrap interval: ``level`` of the resampled values lie in [low, high].

    ``spread`` is their standard deviation, the standard error of what was measured.
    """

    low: float
    high: float
    level: float
    spread: float
    n_resamples: int


Intervals = Mapping[str, Interval]


@dataclass(frozen=True, kw_only=True)
class SenseLoss:
    """The same samples, labelled from all they have and with one sense left out.

    ``loss`` is how much of the accuracy (mean average precision of a multi-label task) goes with
    the sense, with its paired interval. None where nothing is answered without the sense.
    """

    left_out: str
    n_samples: int
    measure: str
    complete: float | None
    reduced: float | None
    loss: float | None
    interval: Interval | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class PartScores:
    """The samples of one kind, such as those with sound. Scores as in TaskMetrics."""

    part: str
    n_samples: int
    accuracy: float | None
    top5: float | None
    macro_f1: float | None
    mean_average_precision: float | None
    intervals: Intervals


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """Samples that could not be asked about, and why. ``samples`` names at most the first 20."""

    reason: str
    n_samples: int
    samples: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TaskReport:
    """One task of the data, answered by one task of a model.

    ``parts`` splits the samples by whether there was something to hear, with each sense alone.
    """

    data_task: str
    model_task: str
    metrics: TaskMetrics
    intervals: Intervals
    parts: tuple[PartScores, ...] = ()
    senses: tuple[SenseLoss, ...] = ()
    left_out: tuple[LeftOut, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Quantiles:
    """Median and 95th percentile."""

    median: float
    p95: float


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What labelling took, in CPU seconds of one thread, over ``n_files`` files read whole.

    ``per_file_s`` is by file and ``per_media_s`` by second of media, of files of at least a
    second; ``decode`` is reading and decoding, ``infer`` spectrogram, features and fusion.
    """

    device: str
    n_files: int
    media_s: float
    per_file_s: Mapping[str, Quantiles]
    per_media_s: Mapping[str, Quantiles]


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a model is: its folder, and the parameters of what was trained and of all."""

    bundle_bytes: int
    n_fusion_parameters: int
    n_parameters: int


@dataclass(frozen=True, kw_only=True)
class FoldScores:
    """One fold of a cross-validation. Scores are by data task, seconds are wall time."""

    fold: int
    n_train: int
    n_test: int
    train_s: float
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A score over the folds: mean and standard deviation (of a sample)."""

    mean: float
    deviation: float


@dataclass(frozen=True, kw_only=True)
class FoldReport:
    """A cross-validation: each fold was answered by a model that had not seen its groups."""

    n_folds: int
    given: bool
    seed: int
    folds: tuple[FoldScores, ...]
    spread: Mapping[str, Mapping[str, Spread]]


@dataclass(frozen=True, kw_only=True)
class ModelReport:
    """One model: what it is and how it answered each task of the data."""

    name: str
    model_id: str
    tasks: Mapping[str, TaskReport]
    size: Size | None = None
    cost: Cost | None = None
    folds: FoldReport | None = None


@dataclass(frozen=True, kw_only=True)
class PairComparison:
    """Two models on the same samples.

    ``difference`` is second minus first in ``measure``, with its paired interval over groups.
    ``p_value`` is of ``test``; ``p_adjusted`` is after Holm's correction over all pairs of the
    task. ``n_first_only`` and ``n_second_only`` count the samples that only one got right.
    """

    data_task: str
    first: str
    second: str
    n_samples: int
    measure: str
    score_first: float
    score_second: float
    difference: float
    interval: Interval
    test: str
    p_value: float
    p_adjusted: float
    n_first_only: int | None = None
    n_second_only: int | None = None
