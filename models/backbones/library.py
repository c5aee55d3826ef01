"""Visual backbones of timm and torchvision, by the libraries' own names.

What such a network looks at is the library's own published configuration. To read that takes
torch, so a child process does it once and the answer is kept in the cache: a worker that runs an
exported network never imports torch.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, get_args

from sightsound.models.backbones.base import FrameView, VisualBackbone
from sightsound.models.cache import cache_folder
from sightsound.models.errors import ModelError, UnknownBackboneError
from sightsound.models.networks import source_sha256
from sightsound.models.weights import Library, LibraryWeights

if TYPE_CHECKING:
    from torch import nn

LIBRARIES: tuple[str, ...] = get_args(Library)
UNKNOWN_STATUS = 4
_NAME = re.compile(r"\w[\w.]*")


@dataclass(frozen=True, kw_only=True)
class Description:
    """What a library publishes of a network.

    ``view`` is the picture that the module takes; of it the centre, ``crop_width`` x
    ``crop_height``, is used, and pixels in [0, 1] are normalised by ``mean`` and ``deviation``.
    ``labels`` is empty for a network that gives an embedding only.
    """

    library: Library
    name: str
    embedding_dim: int
    labels: tuple[str, ...]
    licence: str
    weights: LibraryWeights
    view: FrameView
    crop_width: int
    crop_height: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    clip_frames: int = 1
    frame_interval_s: float | None = None

    def label_names(self) -> tuple[str, ...]:
        """The labels, in the order of the logits."""
        return self.labels

    def to_json(self) -> str:
        """Text from which ``from_json`` makes the same description."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Description:
        """The description that ``to_json`` wrote."""
        fields: Mapping[str, Any] = json.loads(text)
        return Description(
            **{
                **fields,
                **{name: tuple(fields[name]) for name in ("labels", "mean", "deviation")},
                "weights": LibraryWeights(**fields["weights"]),
                "view": FrameView(**fields["view"]),
            }
        )


@lru_cache(maxsize=64)
def library_backbone(library: Library, name: str) -> VisualBackbone:
    """The backbone ``LIBRARY:NAME``. Its weights are looked for when they are asked for.

    Raises:
        UnknownBackboneError: the library has no such network, or none with weights that are read
            without running code (safetensors, or tensors alone).
    """
    description = _described(library, name)
    return VisualBackbone(
        name=f"{library}:{name}",
        origin=f"{description.name} of {library}, weights from {description.weights.source}",
        licence=description.licence,
        embedding_dim=description.embedding_dim,
        labels=description.label_names if description.labels else None,
        weights=description.weights,
        build=partial(_build, description),
        view=description.view,
        clip_frames=description.clip_frames,
        frame_interval_s=description.frame_interval_s,
    )


def _build(description: Description) -> nn.Module:
    from sightsound.models.backbones.library_network import load_library_network

    return load_library_network(description, description.weights.path())


def _described(library: Library, name: str) -> Description:
    if not _NAME.fullmatch(name):
        raise UnknownBackboneError(f"{library}:{name} is not named as {library} names networks.")
    try:
        version = importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        raise UnknownBackboneError(
            f"{library}:{name} needs {library}: pip install {library}."
        ) from None
    folder = cache_folder() / "backbones"
    path = folder / f"{library}-{version}-{name}-{source_sha256()[:16]}.json"
    if path.is_file():
        return Description.from_json(path.read_text(encoding="utf-8"))
    text = _ask_library(library, name)
    folder.mkdir(parents=True, exist_ok=True)
    # Written under another name and renamed: a second process never reads half a file.
    part = path.with_name(f".{os.getpid()}-{path.name}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)
    return Description.from_json(text)


def _ask_library(library: Library, name: str) -> str:
    """The description as JSON, by a child process."""
    program = "from sightsound.models.backbones.library_network import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-c", program, library, name],
        capture_output=True,
        text=True,
        check=False,
    )
    last = (done.stderr.strip().splitlines() or ["no message"])[-1]
    if done.returncode == UNKNOWN_STATUS:
        raise UnknownBackboneError(last)
    if done.returncode:
        raise ModelError(f"{library}:{name} could not be read from {library} ({last}).")
    return done.stdout
