"""The variants of a file's pictures: as they are, and altered the same way for all frames."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView
from sightsound.pipeline.training.augment import Alteration, PictureAugmentation
from sightsound.stages.picture import Renderer, shown_size
from sightsound.stages.records import DecodedFrame, VideoStreamInfo

# Crops are cut from pictures of at most this short side; networks see 224 and 160 pixels.
_CROP_SOURCE_SIDE = 256


class PictureVariants:
    """What a network sees of the frames of one file in each of some variants.

    Variant 0 is the frame as it is. The others depend on the file's content and their number
    alone, so that every network sees the same alterations. ``views`` are to be decoded.
    """

    def __init__(
        self,
        content_id: str,
        stream: VideoStreamInfo,
        view: FrameView,
        *,
        variants: Sequence[int],
        augmentation: PictureAugmentation,
    ) -> None:
        self._view, self._source = view, _source_view(stream)
        self._render = Renderer()
        self._alterations = {
            variant: Alteration.draw(
                f"{content_id}-{variant}", self._source.width, self._source.height, augmentation
            )
            if variant
            else None
            for variant in variants
        }
        self.views = (view, self._source) if any(variants) else (view,)

    def __call__(self, frame: DecodedFrame) -> dict[int, NDArray[np.uint8]]:
        """Return uint8 RGB pictures of the view's size, (height, width, 3), by variant."""
        return {
            variant: frame.pictures[self._view]
            if alteration is None
            else self._seen(alteration(frame.pictures[self._source]))
            for variant, alteration in self._alterations.items()
        }

    def _seen(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        frame = VideoFrame.from_ndarray(picture, format="rgb24")
        return self._render(frame, self._view, Fraction(1))


def _source_view(stream: VideoStreamInfo) -> FrameView:
    """The whole picture with square pixels, no larger than crops need it."""
    width, height = shown_size(stream.width, stream.height, stream.pixel_aspect, 0)
    scale = min(1.0, _CROP_SOURCE_SIDE / min(width, height))
    return FrameView(width=round(width * scale), height=round(height * scale), fit="stretch")
