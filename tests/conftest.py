"""Fixtures for every test: generated clips, and the folder of real ones."""

from pathlib import Path

import pytest
from helpers.real import SHARED_MEDIA
from hypothesis import settings
from media.clips import ClipLibrary

# The same examples in every run, and none too slow on a busy machine.
settings.register_profile("tests", deadline=None, derandomize=True)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> ClipLibrary:
    """Generated clips by name; see ``media.clips``."""
    return ClipLibrary(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="session")
def shared_media() -> Path:
    """The folder of real clips beside the repository, which is not part of it."""
    if not SHARED_MEDIA.is_dir():
        pytest.skip(f"there are no real clips in {SHARED_MEDIA}")
    return SHARED_MEDIA
