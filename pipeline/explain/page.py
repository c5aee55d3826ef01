"""The page that an explanation is drawn on: places in inches from the top, colours, overlays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 16.0
DOTS_PER_INCH = 100
LEFT_INCHES = 1.05
RIGHT_INCHES = 0.35
# Blue and red are told apart by nearly everybody, whatever colours they see.
FOR_LABEL = "#c8321e"
AGAINST_LABEL = "#2166ac"
SENSE_COLOURS = {"visual": "#2a7f78", "audio": "#7b4fa3"}
QUIET = "#666666"
_SHARPER = 8
_MOST_OPAQUE = 0.8


class Page:
    """Axes from top to bottom, each placed where the one before ends."""

    def __init__(self, height_inches: float) -> None:
        """Start a page of 1600 dots across."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.figure: Figure = Figure(
            figsize=(WIDTH_INCHES, height_inches), dpi=DOTS_PER_INCH, facecolor="white"
        )
        FigureCanvasAgg(self.figure)
        self._height_inches = height_inches
        self.top_inches = 0.0

    @property
    def across_inches(self) -> float:
        """From the left to the right margin."""
        return WIDTH_INCHES - LEFT_INCHES - RIGHT_INCHES

    def axes(self, *, left: float, width: float, height: float, down: float = 0.0) -> Axes:
        """Axes ``down`` below the current place; all in inches, ``left`` from the left margin."""
        bottom = self._height_inches - self.top_inches - down - height
        return self.figure.add_axes(
            (
                (LEFT_INCHES + left) / WIDTH_INCHES,
                bottom / self._height_inches,
                width / WIDTH_INCHES,
                height / self._height_inches,
            )
        )

    def text(
        self, words: str, *, down: float, size: float, left: float = 0.0, **style: Any
    ) -> None:
        """A line whose top is ``down`` below the current place, ``left`` from the margin."""
        self.figure.text(
            (LEFT_INCHES + left) / WIDTH_INCHES,
            1 - (self.top_inches + down) / self._height_inches,
            words,
            fontsize=size,
            verticalalignment="top",
            parse_math=False,
            **style,
        )

    def skip(self, inches: float) -> None:
        """Go down."""
        self.top_inches += inches


def bare(axes: Axes) -> None:
    """Take off the ticks and the frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def plain(axes: Axes) -> None:
    """Leave the left and the lower edge of the frame, thin."""
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color("#999999")
    axes.tick_params(labelsize=10, color="#999999", length=3)


def sharper(cells: NDArray[np.float64], *, smooth: bool) -> NDArray[np.float64]:
    """Cells (rows, columns) to 8 times as many of each, by linear interpolation.

    ``smooth`` first weights each cell and its neighbours 1, 2, 1 along each axis.
    """
    for axis in (0, 1):
        length = cells.shape[axis]
        ends = [(1, 1) if each == axis else (0, 0) for each in (0, 1)]
        wide = np.pad(cells, ends, mode="edge")
        before, after = np.delete(wide, [-2, -1], axis), np.delete(wide, [0, 1], axis)
        if smooth:
            cells = (before + 2 * cells + after) / 4
        places = (np.arange(length * _SHARPER) + 0.5) / _SHARPER - 0.5
        cells = np.apply_along_axis(
            lambda line, at=places, n=length: np.interp(at, np.arange(n), line), axis, cells
        )
    return cells


def heat(values: NDArray[np.float64], *, largest: float) -> NDArray[np.float64]:
    """Signed values to colours (..., 4): red for the label, blue against, clear at 0.

    ``largest`` is the magnitude from which on a colour covers most of what is below it.
    """
    from matplotlib.colors import to_rgb

    strength = np.clip(np.abs(values) / max(largest, 1e-12), 0, 1)
    colours = np.empty((*values.shape, 4))
    colours[..., :3] = np.where(
        (values > 0)[..., None], np.array(to_rgb(FOR_LABEL)), np.array(to_rgb(AGAINST_LABEL))
    )
    colours[..., 3] = _MOST_OPAQUE * strength
    return colours


def greyed(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A picture (height, width, 3) with most of its colour taken out, light, from 0 to 1."""
    colour = picture / 255.0
    grey = (colour @ np.array([0.299, 0.587, 0.114]))[..., None]
    return np.asarray(0.12 + 0.88 * (0.25 * colour + 0.75 * grey))
