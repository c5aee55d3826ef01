"""Whole runs by every decoder over real files, each with an ailment of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.config import load_config
from sightsound.pipeline.local import LocalEngine


def statuses(files: list[Path], backend: str) -> dict[str, tuple[str, str | None, int]]:
    """Of each file its status, its code if it failed, and its number of windows."""
    config = load_config(settings=("workers.count=2", f"decode.backend={backend}"))
    engine = LocalEngine(config, load_bundle("default"))
    return {
        Path(result.uri).name: (
            result.status,
            result.failure.code if result.failure else None,
            len(result.windows),
        )
        for result in engine.run([str(file) for file in files])
    }


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_real_files_end_alike_whatever_decodes_them(shared_media: Path, backend: str) -> None:
    files = sorted(shared_media.glob("edge/*.*"))
    found = statuses(files, backend)
    assert len(found) == len(files)
    assert found == statuses(files, "pyav")
