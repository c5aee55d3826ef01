"""A decoded frame to an upright RGB picture of the size that a network takes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView


class Renderer:
    """Scales with swscale's AREA filter: closest to a true area average, and the fastest.

    HDR is not tone-mapped and alpha is dropped.
    """

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(
        self,
        frame: VideoFrame,
        view: FrameView,
        pixel_aspect: Fraction,
        *,
        rotation: int | None = None,
    ) -> NDArray[np.uint8]:
        """Render one frame; ``rotation`` is to be given where the frame does not carry its own.

        Returns:
            uint8 RGB (view.height, view.width, 3), upright, with square pixels.
        """
        rotation = frame.rotation if rotation is None else rotation
        turns = quarter_turns(rotation)
        if view.fit == "stretch":
            width, height = view.width, view.height
        else:
            shown = shown_size(frame.width, frame.height, pixel_aspect, rotation)
            width, height = _covering(*shown, view)
        if turns % 2:
            width, height = height, width
        scaled = self._reformatter.reformat(
            frame, width=width, height=height, format="rgb24", interpolation="AREA", threads=1
        ).to_ndarray()
        if turns:
            scaled = np.rot90(scaled, turns)
        if view.fit == "cover":
            top = (scaled.shape[0] - view.height) // 2
            left = (scaled.shape[1] - view.width) // 2
            scaled = scaled[top : top + view.height, left : left + view.width]
        return np.ascontiguousarray(scaled)


def quarter_turns(rotation: int) -> int:
    """Counter-clockwise quarter turns (0 to 3) for a rotation in degrees, counter-clockwise."""
    # A broken display matrix gives an angle out of range, which turns nothing.
    return round(rotation / 90) % 4 if -360 <= rotation <= 360 else 0


def shown_size(width: int, height: int, pixel_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """Width and height as a viewer sees them: square pixels, upright."""
    width = max(1, round(width * pixel_aspect))
    return (height, width) if quarter_turns(rotation) % 2 else (width, height)


def _covering(width: int, height: int, view: FrameView) -> tuple[int, int]:
    """The size to scale to: the shorter side to ``short_side``, at least as large as the view."""
    short_side = view.short_side or min(view.width, view.height)
    scale = Fraction(short_side, min(width, height))
    return max(view.width, round(width * scale)), max(view.height, round(height * scale))
