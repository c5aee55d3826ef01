"""The pictures of a window as a viewer sees them, and the regions that made a label."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import VisualBackbone
from sightsound.pipeline.explain.attributions import Regions
from sightsound.pipeline.explain.explanation import Explanation
from sightsound.pipeline.explain.page import (
    AGAINST_LABEL,
    FOR_LABEL,
    Page,
    bare,
    greyed,
    heat,
    sharper,
)
from sightsound.pipeline.explain.window import frame_times_s
from sightsound.pipeline.timeline import clock_time
from sightsound.stages.picture import shown_size

_GAP_INCHES = 0.18
_MOST_LARGE_INCHES = 2.9
_LARGEST_PERCENTILE = 99.5


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """What one visual backbone saw: ``frames`` uint8 (n, clip_frames, height, width, 3) at
    ``times_s`` (n, clip_frames), to be shown ``aspect`` times as wide as high."""

    backbone: VisualBackbone
    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    interval_s: float
    aspect: float

    @property
    def token_length_s(self) -> float:
        """How long each token stands for."""
        return self.interval_s * int(self.frames.shape[1])

    def large_inches(self, room: float) -> tuple[float, float]:
        """Width and height of each of three pictures side by side in ``room``."""
        width = min((room - 2 * _GAP_INCHES) / 3, _MOST_LARGE_INCHES * self.aspect)
        return width, width / self.aspect


def pictures_of(explanation: Explanation) -> Pictures | None:
    """Those that the task looks at or, if it looks at none, those of the first backbone."""
    found = explanation.found
    used = [
        weights.source.backbone.name
        for weights in explanation.attributions.tokens
        if weights.source.sense == "visual"
    ]
    names = [name for name in (*used, *found.pictures) if name in found.pictures]
    if not names or found.info.video is None:
        return None
    (backbone,) = (each for each in explanation.bundle.visual if each.name == names[0])
    view, video = backbone.view, found.info.video
    aspect = view.width / view.height
    if view.fit == "stretch":
        width, height = shown_size(video.width, video.height, video.pixel_aspect, found.rotation)
        aspect = width / height
    seen = found.pictures[backbone.name]
    return Pictures(
        backbone=backbone,
        frames=seen.values.astype(np.uint8),
        times_s=frame_times_s(backbone, seen.times_s, found.plan),
        interval_s=float(1 / found.plan.fps),
        # A strip of a picture is a line on the page.
        aspect=min(4.0, max(0.25, aspect)),
    )


def draw_regions(
    page: Page, pictures: Pictures, regions: Regions, explanation: Explanation, *, room: float
) -> None:
    """The pictures of most weight side by side, red over what speaks for the label."""
    width, height = pictures.large_inches(room)
    by_token = next(
        weights for weights in explanation.attributions.tokens if weights.source is regions.source
    )
    step = (room - 3 * width - 2 * _GAP_INCHES) / 2 if width * 3 < room else 0.0
    step = min(step, 0.6)
    largest = float(np.percentile(np.abs(regions.cells), _LARGEST_PERCENTILE))
    for place, (token, cells) in enumerate(zip(regions.tokens, regions.cells, strict=True)):
        frame = int(np.abs(cells).sum(axis=(1, 2)).argmax())
        axes = page.axes(
            left=place * (width + _GAP_INCHES + step), width=width, height=height, down=0.3
        )
        axes.imshow(greyed(pictures.frames[token, frame]), extent=(0, 1, 0, 1), aspect="auto")
        axes.imshow(
            heat(sharper(cells[frame], smooth=False), largest=largest),
            extent=(0, 1, 0, 1),
            aspect="auto",
            interpolation="bilinear",
        )
        bare(axes)
        time = clock_time(float(pictures.times_s[token, frame]))
        axes.set_title(
            f"{time}   weight {by_token.weights[token]:+.2f}",
            loc="left",
            fontsize=12,
            pad=4,
            color=FOR_LABEL if by_token.weights[token] > 0 else AGAINST_LABEL,
        )
