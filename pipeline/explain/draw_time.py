"""What is drawn along the time of a window: the strip of frames, and weights as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.explain.attributions import TokenWeights
from sightsound.pipeline.explain.explanation import Explanation
from sightsound.pipeline.explain.page import AGAINST_LABEL, FOR_LABEL, Page, bare, plain
from sightsound.pipeline.explain.pictures import Pictures
from sightsound.pipeline.timeline import clock_time

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRIP_GAP_INCHES = 0.08
_TIMES_INCHES = 0.24
_MOST_STRIP_INCHES = 1.3
_MOST_FRAMES = 24
_BAR_SHARE = 0.7


def time_span_s(explanation: Explanation, pictures: Pictures | None) -> tuple[float, float]:
    """Where the axis of time begins and ends: the window, and all of its last frame."""
    window = explanation.found.window
    if pictures is None:
        return window.start_s, window.end_s
    last_s = float(pictures.times_s.max()) + pictures.interval_s
    return window.start_s, max(window.end_s, last_s)


def strip_inches(pictures: Pictures, across: float) -> float:
    """The height of the strip with the times below it."""
    return _strip_size(pictures, across)[1] + _TIMES_INCHES


def draw_strip(
    page: Page,
    pictures: Pictures,
    explanation: Explanation,
    weights: TokenWeights | None,
    *,
    height: float,
) -> None:
    """Every frame at its time; borders are as thick as its weight is large."""
    start_of_axis_s, end_of_axis_s = time_span_s(explanation, pictures)
    across = page.across_inches
    width, _ = _strip_size(pictures, across)
    axes = page.axes(left=0, width=across, height=height)
    bare(axes)
    per_inch_s = (end_of_axis_s - start_of_axis_s) / across
    largest = 1.0 if weights is None else float(np.abs(weights.weights).max()) or 1.0
    every = _every(pictures)
    flat = [
        (token, frame)
        for token in range(pictures.frames.shape[0])
        for frame in range(pictures.frames.shape[1])
    ]
    for token, frame in flat[::every]:
        start_s = float(pictures.times_s[token, frame])
        slot_s = pictures.interval_s * every
        middle_s = start_s + slot_s / 2
        left, right = middle_s - width * per_inch_s / 2, middle_s + width * per_inch_s / 2
        axes.imshow(
            pictures.frames[token, frame],
            extent=(left, right, 0, height - _TIMES_INCHES),
            aspect="auto",
            interpolation="antialiased",
        )
        if weights is not None:
            weight = float(weights.weights[token])
            axes.plot(
                [left, right, right, left, left],
                [0, 0, height - _TIMES_INCHES, height - _TIMES_INCHES, 0],
                color=FOR_LABEL if weight > 0 else AGAINST_LABEL,
                linewidth=4 * abs(weight) / largest,
                solid_joinstyle="miter",
                clip_on=True,
            )
        axes.text(
            middle_s,
            -0.05,
            clock_time(start_s),
            ha="center",
            va="top",
            fontsize=9.5,
            color="#444444",
        )
    axes.set_xlim(start_of_axis_s, end_of_axis_s)
    axes.set_ylim(-_TIMES_INCHES, height - _TIMES_INCHES)


def draw_weights(
    axes: Axes, found: TokenWeights, *, span_s: tuple[float, float], length_s: float
) -> None:
    """A bar for each token of ``length_s``, red for the label and blue against it."""
    if found.source.sense == "visual":
        # Each frame stands for the time from its sample on.
        n_frames = int(found.source.inputs.shape[1])
        middles_s = found.times_s + length_s / n_frames / 2
        word = "frame" if n_frames == 1 else "clip"
    else:
        middles_s, word = found.times_s, "patch"
    axes.bar(
        middles_s,
        found.weights,
        width=_widths_s(middles_s, length_s),
        color=[FOR_LABEL if weight > 0 else AGAINST_LABEL for weight in found.weights],
    )
    axes.axhline(0, color="#999999", linewidth=0.8)
    axes.set_xlim(*span_s)
    plain(axes)
    axes.spines["bottom"].set_visible(False)
    axes.set_xticks([])
    axes.margins(y=0.12)
    axes.locator_params(axis="y", nbins=3)
    axes.set_ylabel(f"weight of\neach {word}", fontsize=10)


def _widths_s(middles_s: NDArray[np.float64], length_s: float) -> NDArray[np.float64]:
    """Widths of bars that do not touch: the last patch of a sound may be near the one before."""
    gaps = np.diff(middles_s, prepend=-np.inf, append=np.inf)
    nearest = np.minimum(gaps[:-1], gaps[1:])
    return np.asarray(_BAR_SHARE * np.minimum(length_s, nearest))


def _every(pictures: Pictures) -> int:
    """Of how many frames one is shown, so that they can still be made out."""
    n_frames = int(pictures.frames.shape[0] * pictures.frames.shape[1])
    return -(-n_frames // _MOST_FRAMES)


def _strip_size(pictures: Pictures, across: float) -> tuple[float, float]:
    """Width and height of each frame in the strip, in inches."""
    every = _every(pictures)
    n_slots = max(8, -(-pictures.frames.shape[0] * pictures.frames.shape[1] // every))
    width = min(0.93 * across / n_slots, _MOST_STRIP_INCHES * pictures.aspect)
    return width, width / pictures.aspect
