"""Pictures: upright, square pixels, the asked size, close to a true area average."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from av.video.frame import VideoFrame
from helpers.decoding import decode
from hypothesis import given
from hypothesis import strategies as st
from media.make import Picture, even_times, make_clip
from media.pictures import four_colours, numbered
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView
from sightsound.stages.picture import Renderer, quarter_turns, shown_size

STRETCH = FrameView(width=48, height=32, fit="stretch")


def drawn(_number: int, width: int, height: int) -> NDArray[np.uint8]:
    """The picture that the clips here show."""
    return four_colours(width, height)


def clip(path: Path, *, rotation: int = 0, pixel_aspect: Fraction = Fraction(1)) -> Path:
    """A clip of four colours, 96 x 72 as stored."""
    picture = Picture(
        times=even_times(3),
        draw=drawn,
        rotation=rotation,
        pixel_aspect=pixel_aspect,
        options={"crf": "4"},
    )
    return make_clip(path, picture=picture)


def corners(picture: NDArray[np.uint8]) -> list[str]:
    """The colours of the quarters in reading order."""
    height, width, _ = picture.shape
    names = {(1, 0, 0): "red", (0, 1, 0): "green", (0, 0, 1): "blue", (1, 1, 0): "yellow"}
    found = []
    for y in (height // 4, 3 * height // 4):
        for x in (width // 4, 3 * width // 4):
            found.append(names[tuple(int(value > 120) for value in picture[y, x])])
    return found


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
def test_a_rotated_video_comes_out_upright(tmp_path: Path, rotation: int) -> None:
    """What a player turns counter-clockwise by so much is turned so here, pixel by pixel."""
    decoded = decode(clip(tmp_path / "turned.mp4", rotation=rotation), view=STRETCH)
    upright = np.rot90(drawn(0, 96, 72), rotation // 90)
    assert corners(decoded.shown[0].picture) == corners(upright)
    assert decoded.report.rotation == rotation % 360


def test_rotation_and_stretching_go_together(tmp_path: Path) -> None:
    decoded = decode(clip(tmp_path / "turned.mp4", rotation=90), view=STRETCH)
    picture = decoded.shown[0].picture
    assert picture.shape == (32, 48, 3)
    expected = area_average(np.rot90(drawn(0, 96, 72)), 48, 32)
    assert np.abs(picture.astype(float) - expected).mean() < 6


def area_average(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.float64]:
    """The true area average, by painting every pixel large enough to be cut evenly."""
    rows = np.repeat(picture.astype(float), height, axis=0)
    rows = rows.reshape(height, picture.shape[0], picture.shape[1], 3).mean(axis=1)
    columns = np.repeat(rows, width, axis=1)
    return columns.reshape(height, width, picture.shape[1], 3).mean(axis=2)


@pytest.mark.parametrize(("width", "height"), [(48, 36), (24, 18), (32, 24)])
def test_scaling_is_close_to_a_true_area_average(width: int, height: int) -> None:
    grey = numbered(1234, 96, 72)
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    view = FrameView(width=width, height=height, fit="stretch")
    found = Renderer()(frame, view, Fraction(1)).astype(float)
    assert np.abs(found - area_average(picture, width, height)).mean() < 2


@pytest.mark.parametrize("aspect", [Fraction(1, 2), Fraction(1), Fraction(2)])
def test_pixels_are_square_in_a_covering_view(tmp_path: Path, aspect: Fraction) -> None:
    """A disc drawn so that it is round once pixels are square, is round."""

    def disc(_number: int, width: int, height: int) -> NDArray[np.uint8]:
        x = (np.arange(width)[None, :] - (width - 1) / 2) * float(aspect)
        y = np.arange(height)[:, None] - (height - 1) / 2
        return np.where(x * x + y * y < 20**2, 255, 0).astype(np.uint8)

    picture = Picture(
        times=even_times(2),
        width=128,
        height=64,
        draw=disc,
        pixel_aspect=aspect,
        options={"crf": "4"},
    )
    path = make_clip(tmp_path / "disc.mp4", picture=picture)
    view = FrameView(width=64, height=64, fit="cover", short_side=64)
    bright = decode(path, view=view).shown[0].picture.mean(axis=2) > 127
    width, height = bright.any(axis=0).sum(), bright.any(axis=1).sum()
    assert width == pytest.approx(height, abs=2)
    assert height == pytest.approx(40, abs=2)


def test_a_covering_view_is_cut_from_the_centre() -> None:
    picture = np.zeros((60, 120, 3), dtype=np.uint8)
    picture[:, 30:90] = 200
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    view = FrameView(width=30, height=30, fit="cover", short_side=30)
    found = Renderer()(frame, view, Fraction(1))
    assert found.shape == (30, 30, 3)
    assert found[:, 2:-2].min() > 190


def test_a_stretched_view_shows_the_whole_picture() -> None:
    picture = np.zeros((60, 120, 3), dtype=np.uint8)
    picture[:, :20] = 200
    picture[:, -20:] = 200
    frame = VideoFrame.from_ndarray(picture, format="rgb24")
    found = Renderer()(frame, FrameView(width=30, height=30, fit="stretch"), Fraction(1))
    assert found[:, 0].min() > 190
    assert found[:, -1].min() > 190
    assert found[:, 15].max() < 10


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([Fraction(1), Fraction(16, 11), Fraction(1, 3), Fraction(5)]),
    st.sampled_from([0, 90, 180, 270]),
    st.sampled_from(["stretch", "cover"]),
    st.integers(1, 64),
    st.integers(1, 64),
)
def test_any_picture_comes_out_at_the_asked_size(
    width: int,
    height: int,
    aspect: Fraction,
    rotation: int,
    fit: str,
    to_width: int,
    to_height: int,
) -> None:
    frame = VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
    view = FrameView(width=to_width, height=to_height, fit=fit)  # type: ignore[arg-type]
    found = Renderer()(frame, view, aspect)
    assert found.shape == (to_height, to_width, 3)
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    shown = shown_size(width, height, aspect, rotation)
    assert min(shown) >= 1


@pytest.mark.parametrize(
    ("rotation", "turns"),
    [(0, 0), (90, 1), (180, 2), (-180, 2), (-90, 3), (270, 3), (89, 1), (360, 0), (44, 0)],
)
def test_a_rotation_is_rounded_to_quarter_turns(rotation: int, turns: int) -> None:
    assert quarter_turns(rotation) == turns


def test_a_broken_display_matrix_turns_nothing() -> None:
    assert quarter_turns(-2147483648) == 0


def test_the_size_shown_has_square_pixels_and_is_upright() -> None:
    assert shown_size(720, 576, Fraction(16, 11), 0) == (1047, 576)
    assert shown_size(1920, 1080, Fraction(1), 90) == (1080, 1920)
    assert shown_size(1920, 1080, Fraction(1), 180) == (1920, 1080)


@pytest.mark.parametrize("name", ["gray", "yuv444p10le", "yuva420p", "pal8", "rgba64le", "nv12"])
def test_any_pixel_format_becomes_rgb(name: str) -> None:
    rgb = VideoFrame.from_ndarray(np.full((40, 60, 3), 90, np.uint8), format="rgb24")
    frame = VideoFrame(60, 40, "pal8") if name == "pal8" else rgb.reformat(format=name)
    found = Renderer()(frame, STRETCH, Fraction(1))
    assert found.shape == (32, 48, 3)
    if name != "pal8":
        assert np.abs(found.astype(int) - 90).max() <= 3


def test_frames_whose_size_changes_are_each_scaled_whole() -> None:
    render = Renderer()
    for width, height in ((96, 72), (40, 80), (96, 72)):
        frame = VideoFrame.from_ndarray(four_colours(width, height), format="rgb24")
        found = render(frame, STRETCH, Fraction(1))
        assert corners(found) == ["red", "green", "blue", "yellow"]
