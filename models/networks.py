"""What an inference engine needs to know of a network, whatever runs it.

A :class:`NetworkSpec` names a network, the shapes it takes and gives for one row, and how to
build it as a torch module. Engines (``models.engines``) turn a spec into something callable.
Specs hold no tensors, so that a process that runs an exported network never imports torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import nn

TensorType = Literal["uint8", "float32", "bool"]


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """One input or output of a network: its name, the shape of one row, its element type."""

    name: str
    shape: tuple[int, ...]
    dtype: TensorType = "float32"


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """A network that an engine can load.

    ``build`` makes the torch module in evaluation mode. Its ``forward`` takes one tensor an
    entry of ``inputs``, each (batch, *shape), and returns a tuple of tensors, one an entry of
    ``outputs``, each (batch, *shape).

    ``weights_sha256`` identifies the parameters. With the source of this package it makes the
    key under which an exported form may be cached.

    ``reduced_precision`` allows an engine to compute in bfloat16 where the hardware has it.
    Front ends (log-mel) and fusion forbid it: they are cheap, and a logarithm or a softmax
    magnifies rounding.
    """

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    build: Callable[[], nn.Module]
    weights_sha256: str
    reduced_precision: bool

    @property
    def key(self) -> str:
        """Cache key: changes with the weights, the shapes and the code of ``models``."""
        shapes = repr((self.inputs, self.outputs))
        text = "\n".join((self.name, self.weights_sha256, shapes, source_sha256()))
        return f"{self.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


@lru_cache(maxsize=1)
def source_sha256() -> str:
    """SHA-256 over the Python source of this package, so that no exported network outlives
    the code that defined it."""
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, read in blocks of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
