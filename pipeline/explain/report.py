"""An explanation as a table in the terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightsound.models.backbones.base import AudioBackbone
from sightsound.models.bundle import SENSE_WORDS
from sightsound.pipeline.explain.attributions import BASELINE, Completeness, Regions, TokenWeights
from sightsound.pipeline.explain.contributions import Contributions
from sightsound.pipeline.explain.explanation import Explanation
from sightsound.pipeline.explain.window import frame_times_s, patch_starts_s
from sightsound.pipeline.show import score_bar
from sightsound.pipeline.timeline import clock_time
from sightsound.stages.errors import printable

_N_MOMENTS = 5
_DIGITS = 6


def show_explanation(console: Console, explanation: Explanation) -> None:
    """Print one explanation: what is explained, the senses, the moments of most weight."""
    window = explanation.found.window
    heading = Text(printable(Path(explanation.uri).name), style="bold")
    heading.append(f"  {clock_time(window.start_s)} to {clock_time(window.end_s)}", style="dim")
    console.print(heading)
    line = Text(f"  {explanation.task.name}: ")
    line.append(explanation.label, style="bold")
    line.append(
        f"  {explanation.probability:.3f}, rank {explanation.rank} of "
        f"{len(explanation.task.labels)}"
    )
    console.print(line)
    if explanation.found.scores.corrupt:
        console.print(Text("  a part of this window is damaged", style="yellow"))
    console.print()
    console.print(_senses(explanation.contributions))
    console.print()
    for weights in explanation.attributions.tokens:
        console.print(_moments(weights))
        console.print()
    console.print(
        Text(
            f"Weights are integrated gradients of the {explanation.quantity}, from {BASELINE}.",
            style="dim",
        ),
        soft_wrap=True,
    )
    for what, completeness in _all_completeness(explanation):
        style = "dim" if completeness.holds else "yellow"
        console.print(Text(completeness_line(what, completeness), style=style), soft_wrap=True)


def completeness_line(what: str, completeness: Completeness) -> str:
    """Whether attributions add up, in one line."""
    short = "" if completeness.holds else "; incomplete, so take them as rough"
    return (
        f"{what}: they add up to {completeness.total:+.3f} of {completeness.difference:+.3f} "
        f"(off by {abs(completeness.delta):.3f} after {completeness.n_steps} steps{short})."
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="left" if number == 0 else "right")
    return table


def _senses(found: Contributions) -> Table:
    table = _table("sense", "leave one out", "without it", "attention share")
    for sense, fall in found.leave_one_out.items():
        left = found.without[sense]
        table.add_row(
            SENSE_WORDS[sense],
            f"falls by {fall:.3f}" if fall >= 0 else f"rises by {-fall:.3f}",
            "no answer" if left is None else f"{left:.3f}",
            "none" if found.attention_share is None else f"{found.attention_share[sense]:.1%}",
        )
    return table


def _moments(weights: TokenWeights) -> Table:
    """The tokens that moved the score most, in order of time."""
    table = _table("moment", "weight", "")
    table.columns[2].justify = "left"
    largest = float(np.abs(weights.weights).max()) or 1.0
    most = np.sort(np.argsort(-np.abs(weights.weights), kind="stable")[:_N_MOMENTS])
    for number in most:
        weight = float(weights.weights[number])
        table.add_row(
            f"{clock_time(float(weights.times_s[number]))} {SENSE_WORDS[weights.source.sense]}",
            f"{weight:+.3f}",
            Text(score_bar(abs(weight) / largest), style="red" if weight > 0 else "blue"),
        )
    return table


def _all_completeness(explanation: Explanation) -> Iterator[tuple[str, Completeness]]:
    yield "Moments", explanation.attributions.completeness
    for regions in explanation.attributions.regions:
        what = "Regions of pictures" if regions.source.sense == "visual" else "Spectrogram"
        yield what, regions.completeness


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Everything of one explanation, as JSON takes it."""
    found, window = explanation.found, explanation.found.window
    parts = explanation.contributions
    return {
        "uri": explanation.uri,
        "video_id": found.info.video_id,
        "model": explanation.bundle.name,
        "model_id": explanation.bundle.model_id,
        "window": window.index,
        "start_s": window.start_s,
        "end_s": window.end_s,
        "has_video": found.scores.has_video,
        "has_audio": found.scores.has_audio,
        "corrupt": found.scores.corrupt,
        "task": explanation.task.name,
        "kind": explanation.task.kind,
        "label": explanation.label,
        "probability": explanation.probability,
        "rank": explanation.rank,
        "n_labels": len(explanation.task.labels),
        "contributions": {
            "leave_one_out": dict(parts.leave_one_out),
            "probability_without": dict(parts.without),
            "attention_share": None
            if parts.attention_share is None
            else dict(parts.attention_share),
        },
        "attributions": {
            "method": "integrated gradients",
            "of": explanation.quantity,
            "baseline": BASELINE,
            "completeness": completeness_json(explanation.attributions.completeness),
            "tokens": [_tokens_json(each) for each in explanation.attributions.tokens],
            "regions": [
                _regions_json(each, explanation) for each in explanation.attributions.regions
            ],
        },
    }


def completeness_json(completeness: Completeness) -> dict[str, Any]:
    """How near attributions come to adding up."""
    return {
        "total": completeness.total,
        "difference": completeness.difference,
        "convergence_delta": completeness.delta,
        "n_steps": completeness.n_steps,
        "holds": completeness.holds,
    }


def _tokens_json(found: TokenWeights) -> dict[str, Any]:
    return {
        "backbone": found.source.backbone.name,
        "sense": found.source.sense,
        "times_s": found.times_s.tolist(),
        "weights": _rounded(found.weights),
    }


def _regions_json(regions: Regions, explanation: Explanation) -> dict[str, Any]:
    backbone = regions.source.backbone
    times_s = regions.source.times_s[regions.tokens]
    plan = explanation.found.plan
    where: dict[str, Any]
    if isinstance(backbone, AudioBackbone):
        assert plan.audio_span_s is not None
        where = {
            "axes": ["patch", "time", "mel band"],
            "starts_s": patch_starts_s(backbone.log_mel, times_s, plan.audio_span_s).tolist(),
            "length_s": backbone.log_mel.patch_samples / backbone.log_mel.sample_rate_hz,
        }
    else:
        where = {
            "axes": ["token", "frame", "row", "column"],
            "frame_times_s": frame_times_s(backbone, times_s, plan).tolist(),
        }
    return {
        "backbone": backbone.name,
        "sense": regions.source.sense,
        "times_s": times_s.tolist(),
        **where,
        "completeness": completeness_json(regions.completeness),
        "cells": _rounded(regions.cells),
    }


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.round(values, _DIGITS).tolist()
