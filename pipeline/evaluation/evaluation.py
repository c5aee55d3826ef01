"""Everything that a report tells, and its form as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from sightsound.pipeline.evaluation.results import ModelReport, PairComparison


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that a report tells. ``conditions`` names data, versions and settings."""

    data: str
    split: str | None
    seed: int
    n_resamples: int
    models: tuple[ModelReport, ...]
    comparisons: tuple[PairComparison, ...] = ()
    conditions: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values, ready for ``json.dumps``; ``tasks`` sums up the first model."""
        summary = {
            name: {
                "accuracy": report.metrics.accuracy,
                "top5": report.metrics.top5,
                "macro_f1": report.metrics.macro_f1,
                "mean_average_precision": report.metrics.mean_average_precision,
                "n_samples": report.metrics.n_samples,
                "intervals": {key: asdict(value) for key, value in report.intervals.items()},
            }
            for name, report in self.models[0].tasks.items()
        }
        whole = asdict(self)
        models = whole.pop("models")
        return {"tasks": summary, **whole, "models": {model["name"]: model for model in models}}
