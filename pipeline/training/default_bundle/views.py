"""Views of stored pictures: whole, or cropped, mirrored or not, with other light and contrast."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

_LEAST_AREA = 0.35
_ASPECT = 0.2
_CONTRAST = 0.25
_BRIGHTNESS = 20.0


def whole(pixels: NDArray[np.uint8], *, size: int) -> NDArray[np.uint8]:
    """Pictures (n, side, side, 3) brought to (n, size, size, 3)."""
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    views = nn.functional.interpolate(planes, size=(size, size), mode="bilinear", antialias=True)
    return _bytes(views)


def altered(
    pixels: NDArray[np.uint8], *, size: int, random: np.random.Generator
) -> NDArray[np.uint8]:
    """A random view of each of some pictures (n, side, side, 3): uint8 (n, size, size, 3)."""
    n = len(pixels)
    side = np.sqrt(random.uniform(_LEAST_AREA, 1.0, n))
    aspect = np.exp(random.uniform(-_ASPECT, _ASPECT, n))
    width, height = np.minimum(1.0, side * aspect), np.minimum(1.0, side / aspect)
    # Centres in [-1, 1] such that the crop stays inside.
    x, y = random.uniform(-1, 1, (2, n)) * (1 - np.stack((width, height)))
    mirror = np.where(random.random(n) < 0.5, -1.0, 1.0)
    zeros = np.zeros(n)
    across = np.stack((width * mirror, zeros, x), axis=1)
    down = np.stack((zeros, height, y), axis=1)
    grid = nn.functional.affine_grid(
        torch.from_numpy(np.stack((across, down), axis=1)).float(),
        [n, 3, size, size],
        align_corners=False,
    )
    views = nn.functional.grid_sample(
        torch.from_numpy(pixels).permute(0, 3, 1, 2).float(),
        grid,
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )
    gain = torch.from_numpy(random.uniform(1 - _CONTRAST, 1 + _CONTRAST, (n, 1, 1, 1))).float()
    lift = torch.from_numpy(random.uniform(-_BRIGHTNESS, _BRIGHTNESS, (n, 1, 1, 1))).float()
    return _bytes((views - 128) * gain + 128 + lift)


def _bytes(planes: torch.Tensor) -> NDArray[np.uint8]:
    rounded = planes.clamp(0, 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(0, 2, 3, 1).numpy())
