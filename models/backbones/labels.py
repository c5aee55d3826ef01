"""Label lists that lie as text files beside a weight file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from sightsound.models.errors import WeightsNotFoundError
from sightsound.models.weights import WeightFile


def labels_beside(weights: WeightFile, file: str) -> tuple[str, ...]:
    """The lines of a UTF-8 text file in the folder of a weight file, in the order of outputs.

    The weight file is only located: its content, and so its checksum, is left alone.

    Raises:
        WeightsNotFoundError: the weight file or the list beside it is missing.
    """
    found = weights.find()
    if found is None:
        raise WeightsNotFoundError(f"{weights.file} was not found: {weights.remedy()}.")
    path = found.parent / file
    if not path.is_file():
        raise WeightsNotFoundError(
            f"{path} was not found: put {file} into the folder that holds {weights.file}."
        )
    return _lines(path)


@lru_cache(maxsize=16)
def _lines(path: Path) -> tuple[str, ...]:
    return tuple(path.read_text(encoding="utf-8").splitlines())
