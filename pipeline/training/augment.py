"""Augmentation that happens before the frozen networks: pictures altered, sound shifted and masked.

Whatever is drawn depends on a seed alone, so that a file's variants are the same in every run.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]

_LEAST_CROP_SIDE = 48


class PictureAugmentation(BaseModel):
    """How far the variants of pictures stray. One draw holds for all frames of a file.

    The defaults are those of the default bundle.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    flip: bool = Field(True, description="mirror every second variant")
    min_area: Annotated[float, Field(gt=0, le=1)] = Field(
        0.3, description="smallest crop, as a share of the picture's area"
    )
    aspect: Annotated[float, Field(ge=0, le=1)] = Field(
        0.2, description="most by which the logarithm of a crop's aspect changes, twice"
    )
    rotation_degrees: Annotated[float, Field(ge=0, le=45)] = Field(
        0.0, description="most that a picture is turned, either way"
    )
    contrast: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.25, description="most by which differences from grey grow or shrink"
    )
    brightness: Annotated[float, Field(ge=0, le=255)] = Field(
        20.0, description="most that is added to or taken from all values (of 255)"
    )
    gamma: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="most by which the exponent of values departs from 1"
    )


class SoundAugmentation(BaseModel):
    """How far the variants of sound stray; masks are drawn anew for every patch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_shift_s: Annotated[float, Field(ge=0, le=10)] = Field(
        0.24, description="most that sound is moved against the grid of patches"
    )
    frequency_mask: Share = Field(0.2, description="widest band that is masked, of all bands")
    time_mask: Share = Field(0.2, description="longest stretch that is masked, of a patch")
    n_masks: Annotated[int, Field(ge=0, le=8)] = Field(1, description="masks of each kind")


def seeded(seed: str) -> np.random.Generator:
    """A random generator that is the same for the same text."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    return np.random.default_rng(number)


_PLAIN = PictureAugmentation()


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """One random crop of a picture, mirrored or not, turned, with its light and contrast changed.

    Values v in [0, 255] become 255 * (v / 255) ** ``gamma``, then (v - 128) * ``gain`` + 128 +
    ``lift``. ``rotation_radians`` turns about the crop's middle; what lies outside the picture
    repeats its edge.
    """

    top: int
    left: int
    height: int
    width: int
    is_mirrored: bool
    gain: float
    lift: float
    rotation_radians: float = 0.0
    gamma: float = 1.0

    @classmethod
    def draw(
        cls, seed: str, width: int, height: int, augmentation: PictureAugmentation = _PLAIN
    ) -> Alteration:
        """Draw one for a picture of this size; the same for the same ``seed``."""
        random, limits = seeded(seed), augmentation
        side = math.sqrt(random.uniform(limits.min_area, 1.0))
        aspect = math.exp(random.uniform(-limits.aspect, limits.aspect))
        crop_width = min(width, max(_LEAST_CROP_SIDE, round(width * side * aspect)))
        crop_height = min(height, max(_LEAST_CROP_SIDE, round(height * side / aspect)))
        # The order of the draws is part of what is kept under a key: add new ones at the end.
        return cls(
            top=int(random.integers(height - crop_height + 1)),
            left=int(random.integers(width - crop_width + 1)),
            height=crop_height,
            width=crop_width,
            is_mirrored=bool(random.integers(2)) and limits.flip,
            gain=float(random.uniform(1 - limits.contrast, 1 + limits.contrast)),
            lift=float(random.uniform(-limits.brightness, limits.brightness)),
            rotation_radians=math.radians(
                random.uniform(-limits.rotation_degrees, limits.rotation_degrees)
            ),
            gamma=float(random.uniform(1 - limits.gamma, 1 + limits.gamma)),
        )

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 RGB (height, width, 3) of the size it was drawn for to the crop's size."""
        if self.rotation_radians:
            crop = self._turned(picture)
        else:
            rows = slice(self.top, self.top + self.height)
            crop = picture[rows, self.left : self.left + self.width].astype(np.float32)
        if self.is_mirrored:
            crop = crop[:, ::-1]
        if self.gamma != 1.0:
            crop = np.asarray(255 * (crop / 255) ** self.gamma, dtype=np.float32)
        changed = (crop - 128) * self.gain + 128 + self.lift
        return np.ascontiguousarray(np.clip(changed, 0, 255).astype(np.uint8))

    def _turned(self, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The crop turned about its middle, by bilinear interpolation, float32 (h, w, 3)."""
        down = np.arange(self.height)[:, None] - (self.height - 1) / 2
        right = np.arange(self.width)[None, :] - (self.width - 1) / 2
        cosine, sine = math.cos(self.rotation_radians), math.sin(self.rotation_radians)
        last_row, last_column = picture.shape[0] - 1, picture.shape[1] - 1
        rows = self.top + (self.height - 1) / 2 + down * cosine - right * sine
        columns = self.left + (self.width - 1) / 2 + down * sine + right * cosine
        rows, columns = np.clip(rows, 0, last_row), np.clip(columns, 0, last_column)
        row, column = np.floor(rows).astype(np.intp), np.floor(columns).astype(np.intp)
        next_row, next_column = np.minimum(row + 1, last_row), np.minimum(column + 1, last_column)
        below = (rows - row)[..., None].astype(np.float32)
        beside = (columns - column)[..., None].astype(np.float32)
        upper = picture[row, column] * (1 - beside) + picture[row, next_column] * beside
        lower = picture[next_row, column] * (1 - beside) + picture[next_row, next_column] * beside
        return np.asarray(upper * (1 - below) + lower * below, dtype=np.float32)


class SpecAugment:
    """Masks of bands and of stretches of time on log-mel patches.

    Park et al. 2019, "SpecAugment" (arXiv:1904.08779), without the warping of time. A mask takes
    the mean of its patch, which says least.
    """

    def __init__(self, seed: str, augmentation: SoundAugmentation) -> None:
        self._random = seeded(seed)
        self._augmentation = augmentation

    def __call__(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mask float32 log-mel patches (n, n_frames, n_mels); the input is left as it is."""
        masked = patches.copy()
        _, n_frames, n_mels = patches.shape
        for patch in masked:
            mean = patch.mean()
            for _ in range(self._augmentation.n_masks):
                patch[:, self._span(n_mels, self._augmentation.frequency_mask)] = mean
                patch[self._span(n_frames, self._augmentation.time_mask)] = mean
        return masked

    def _span(self, length: int, share: float) -> slice:
        size = int(self._random.integers(int(length * share) + 1))
        start = int(self._random.integers(length - size + 1))
        return slice(start, start + size)


def sound_shift_s(seed: str, augmentation: SoundAugmentation) -> float:
    """By how much a variant's sound is moved later against the grid of patches, in seconds."""
    return float(seeded(f"{seed}-shift").uniform(0, augmentation.max_shift_s))
