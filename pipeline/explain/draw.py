"""An explanation as a picture of 1600 pixels across: frames, sound and senses, aligned in time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.models.backbones.base import AudioBackbone
from sightsound.models.bundle import SENSE_WORDS, Sense
from sightsound.pipeline.explain.attributions import BASELINE, Regions, TokenWeights
from sightsound.pipeline.explain.draw_sound import SPECTROGRAM_INCHES, draw_spectrogram
from sightsound.pipeline.explain.draw_time import (
    STRIP_GAP_INCHES,
    draw_strip,
    draw_weights,
    strip_inches,
    time_span_s,
)
from sightsound.pipeline.explain.explanation import Explanation
from sightsound.pipeline.explain.page import QUIET, SENSE_COLOURS, Page, bare
from sightsound.pipeline.explain.pictures import Pictures, draw_regions, pictures_of
from sightsound.pipeline.explain.sources import Source
from sightsound.pipeline.timeline import clock_time
from sightsound.stages.errors import printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_TITLE_INCHES = 1.05
_PANEL_INCHES = 3.3
_PANEL_LEAST_INCHES = 2.25
_WEIGHTS_INCHES = 0.85
_NOTE_INCHES = 0.5
_GAP_INCHES = 0.25
_FOOT_INCHES = 0.7
_LONGEST_NAME = 70


def draw_explanation(explanation: Explanation, path: Path) -> None:
    """Write a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    pictures = pictures_of(explanation)
    by_sense = {weights.source.sense: weights for weights in explanation.attributions.tokens}
    regions = {found.source.sense: found for found in explanation.attributions.regions}
    across = Page(1.0).across_inches
    top_inches = _PANEL_LEAST_INCHES
    if pictures is not None and "visual" in regions:
        top_inches = max(top_inches, pictures.large_inches(across - _PANEL_INCHES)[1] + 0.35)
    strip = _NOTE_INCHES if pictures is None else strip_inches(pictures, across)
    sound = SPECTROGRAM_INCHES if explanation.found.log_mels else _NOTE_INCHES
    page = Page(
        _TITLE_INCHES
        + top_inches
        + strip
        + sound
        + len(by_sense) * _WEIGHTS_INCHES
        + 2 * _GAP_INCHES
        + STRIP_GAP_INCHES
        + _FOOT_INCHES
    )
    _draw_title(page, explanation)
    _draw_top(page, explanation, pictures, regions, height=top_inches)
    _draw_seen(page, explanation, pictures, by_sense, height=strip)
    _draw_heard(page, explanation, pictures, regions, by_sense, height=sound)
    _draw_foot(page, explanation)
    page.figure.savefig(path, format="png")


def _draw_title(page: Page, explanation: Explanation) -> None:
    window = explanation.found.window
    name = printable(Path(explanation.uri).name)
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME // 2]} … {name[-_LONGEST_NAME // 2 :]}"
    label = explanation.label
    page.text(
        f"{explanation.task.name}: {label}   {explanation.probability:.3f}",
        down=0.18,
        size=19,
        weight="bold",
    )
    damaged = "   ·   a part of it is damaged" if explanation.found.scores.corrupt else ""
    page.text(
        f"{name}   ·   window {clock_time(window.start_s)} to {clock_time(window.end_s)}"
        f"   ·   rank {explanation.rank} of {len(explanation.task.labels)} labels"
        f"   ·   bundle {explanation.bundle.name}{damaged}",
        down=0.6,
        size=12,
        color=QUIET,
    )
    page.skip(_TITLE_INCHES)


def _draw_top(
    page: Page,
    explanation: Explanation,
    pictures: Pictures | None,
    regions: dict[Sense, Regions],
    *,
    height: float,
) -> None:
    """The pictures of most weight with their regions, and the senses beside them."""
    if pictures is not None and "visual" in regions:
        room = page.across_inches - _PANEL_INCHES
        draw_regions(page, pictures, regions["visual"], explanation, room=room)
        _draw_senses(page, explanation, left=room + 0.95, width=_PANEL_INCHES - 1.9)
    else:
        _draw_senses(page, explanation, left=0.5, width=5.0)
        unseen = "there is no picture" if pictures is None else "the task does not look at pictures"
        page.text(f"No regions of pictures: {unseen}.", down=0.4, size=12, left=7.3, color=QUIET)
    page.skip(height + _GAP_INCHES)


def _draw_senses(page: Page, explanation: Explanation, *, left: float, width: float) -> None:
    parts = explanation.contributions
    senses = list(parts.leave_one_out)
    height = 0.28 * len(senses) + 0.05
    axes = page.axes(left=left, width=width, height=height, down=0.5)
    falls = [parts.leave_one_out[sense] for sense in senses]
    notes = [
        f"{fall:.3f}" + (" (all)" if parts.without[sense] is None else "")
        for sense, fall in zip(senses, falls, strict=True)
    ]
    _bars(axes, senses, falls, notes)
    page.text("Leave one out", down=0.02, size=11.5, left=left - 0.65, weight="bold")
    page.text(
        "fall of the probability without the sense",
        down=0.22,
        size=10,
        left=left - 0.65,
        color=QUIET,
    )
    below = 0.5 + height + 0.25
    page.text("Attention share", down=below, size=11.5, left=left - 0.65, weight="bold")
    if parts.attention_share is None:
        names = ", ".join(source.backbone.name for source in _sources(explanation))
        page.text(
            f"none: scored by {names},\nwhich attends to nothing",
            down=below + 0.22,
            size=10,
            left=left - 0.65,
            color=QUIET,
        )
        return
    page.text(
        "sum of the pooling attention",
        down=below + 0.2,
        size=10,
        left=left - 0.65,
        color=QUIET,
    )
    shares = [parts.attention_share[sense] for sense in senses]
    axes = page.axes(left=left, width=width, height=height, down=below + 0.48)
    _bars(axes, senses, shares, [f"{share:.1%}" for share in shares])


def _sources(explanation: Explanation) -> list[Source]:
    return [weights.source for weights in explanation.attributions.tokens]


def _bars(axes: Axes, senses: list[Sense], values: list[float], notes: list[str]) -> None:
    rows = range(len(senses))
    axes.barh(rows, values, height=0.62, color=[SENSE_COLOURS[sense] for sense in senses], zorder=2)
    lowest = min(0.0, *values) if len(values) > 1 else min(0.0, values[0])
    axes.set_xlim(min(lowest, 0.0), max(1.0, *values) if len(values) > 1 else max(1.0, values[0]))
    axes.set_ylim(len(senses) - 0.5, -0.5)
    bare(axes)
    axes.set_yticks(rows, [SENSE_WORDS[sense] for sense in senses], fontsize=11)
    axes.tick_params(axis="y", length=0)
    axes.axvline(0, color="#999999", linewidth=0.8)
    for row, (value, note) in enumerate(zip(values, notes, strict=True)):
        axes.annotate(
            note,
            (max(value, 0.0), row),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=11,
            annotation_clip=False,
        )


def _draw_seen(
    page: Page,
    explanation: Explanation,
    pictures: Pictures | None,
    by_sense: dict[Sense, TokenWeights],
    *,
    height: float,
) -> None:
    if pictures is None:
        page.text("No picture in this window.", down=0.1, size=12, color=QUIET)
        page.skip(height + _GAP_INCHES)
        return
    draw_strip(page, pictures, explanation, by_sense.get("visual"), height=height)
    page.skip(height)
    if "visual" in by_sense:
        page.skip(STRIP_GAP_INCHES)
        axes = page.axes(left=0, width=page.across_inches, height=_WEIGHTS_INCHES)
        draw_weights(
            axes,
            by_sense["visual"],
            span_s=time_span_s(explanation, pictures),
            length_s=pictures.token_length_s,
        )
        page.skip(_WEIGHTS_INCHES)
    page.skip(_GAP_INCHES)


def _draw_heard(
    page: Page,
    explanation: Explanation,
    pictures: Pictures | None,
    regions: dict[Sense, Regions],
    by_sense: dict[Sense, TokenWeights],
    *,
    height: float,
) -> None:
    if not explanation.found.log_mels:
        page.text("No sound in this window.", down=0.1, size=12, color=QUIET)
        page.skip(height)
        return
    span_s = time_span_s(explanation, pictures)
    axes = page.axes(left=0, width=page.across_inches, height=height - 0.45)
    draw_spectrogram(axes, explanation, regions.get("audio"), span_s=span_s)
    page.skip(height)
    weights = by_sense.get("audio")
    if weights is not None and isinstance(weights.source.backbone, AudioBackbone):
        log_mel = weights.source.backbone.log_mel
        axes = page.axes(left=0, width=page.across_inches, height=_WEIGHTS_INCHES)
        length_s = log_mel.hop_samples / log_mel.sample_rate_hz
        draw_weights(axes, weights, span_s=span_s, length_s=length_s)
        page.skip(_WEIGHTS_INCHES)


def _draw_foot(page: Page, explanation: Explanation) -> None:
    whole = explanation.attributions.completeness
    sums = ", ".join(
        f"{SENSE_WORDS[found.source.sense]} {found.weights.sum():+.2f}"
        for found in explanation.attributions.tokens
    )
    rough = [
        SENSE_WORDS[each.source.sense]
        for each in explanation.attributions.regions
        if not each.completeness.holds
    ]
    doubt = f" Regions of the {' and the '.join(rough)} do not add up: they are rough." * bool(
        rough
    )
    page.text(
        f"Red speaks for the label, blue against it: integrated gradients of the "
        f"{explanation.quantity}, from {BASELINE}.\nWeights add up to {whole.total:+.2f} ({sums}); "
        f"they must to {whole.difference:+.2f}. Colours of pictures and of the spectrogram have a "
        f"scale each.{doubt}",
        down=0.2,
        size=10,
        color=QUIET,
    )
