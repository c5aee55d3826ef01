"""Pictures that carry their own number, so that a test can see which frame came out.

A picture is a grid of 4 x 3 blocks, dark for 0 and bright for 1: the number in binary, twelve
bits, the highest at the top left. A pattern moves over the blocks, so that a codec has motion to
predict and a frame decoded from the wrong references is not the same to the bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

COLUMNS, ROWS = 4, 3
MOST = 1 << (COLUMNS * ROWS)
_DARK, _BRIGHT, _TEXTURE = 60, 195, 30


def numbered(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """The picture of a number from 0 to 4095: uint8 grey (height, width)."""
    assert 0 <= number < MOST
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    bit = COLUMNS * ROWS - 1 - (rows[:, None] * COLUMNS + columns[None, :])
    blocks = np.where((number >> bit) & 1, _BRIGHT, _DARK)
    x, y = np.arange(width)[None, :], np.arange(height)[:, None]
    pattern = np.sin(0.35 * x + 0.9 * number) * np.cos(0.27 * y - 0.4 * number)
    return np.asarray(blocks + _TEXTURE * pattern, dtype=np.uint8)


def read_number(picture: NDArray[np.uint8]) -> int:
    """The number of a picture, grey or RGB, however it was scaled."""
    grey = picture.mean(axis=2) if picture.ndim == 3 else picture.astype(float)
    height, width = grey.shape
    number = 0
    for row in range(ROWS):
        for column in range(COLUMNS):
            top, bottom = ((4 * row + 1) * height // 12, (4 * row + 3) * height // 12)
            left, right = ((4 * column + 1) * width // 16, (4 * column + 3) * width // 16)
            number = number * 2 + int(grey[top:bottom, left:right].mean() > 127)
    return number


def flash(number: int, at: int, width: int, height: int) -> NDArray[np.uint8]:
    """Black, but white at the number ``at``: uint8 grey (height, width)."""
    return np.full((height, width), 255 if number == at else 0, dtype=np.uint8)


def four_colours(width: int, height: int) -> NDArray[np.uint8]:
    """Red, green, blue and yellow quarters, from the top left in reading order, (h, w, 3)."""
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    picture[: height // 2, : width // 2] = (220, 30, 30)
    picture[: height // 2, width // 2 :] = (30, 200, 30)
    picture[height // 2 :, : width // 2] = (30, 30, 220)
    picture[height // 2 :, width // 2 :] = (220, 210, 30)
    return picture
