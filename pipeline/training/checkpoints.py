"""Checkpoints of a training: written whole or not at all, read back without running anything."""

from __future__ import annotations

import hashlib
import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


class CheckpointError(Exception):
    """A checkpoint cannot be used; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class CheckpointFile:
    """Where a training's state is kept, and a digest of what it must be the same for."""

    path: Path
    fingerprint: str

    def save(self, state: dict[str, Any]) -> None:
        """Replace what is there by tensors, numbers, text, and lists and dicts of them."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        with part.open("wb") as file:
            torch.save({"fingerprint": self.fingerprint, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """What was saved, None if nothing was.

        Raises:
            CheckpointError: it is damaged, or of another training.
        """
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, weights_only=True)
        except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise CheckpointError(
                f"{self.path} cannot be read ({first}): delete it, or train without --resume."
            ) from error
        if state.get("fingerprint") != self.fingerprint:
            raise CheckpointError(
                f"{self.path} is of a training with other data, another recipe or another number "
                "of workers: repeat that command, or train without --resume."
            )
        return state


def fingerprint(*parts: str) -> str:
    """A digest of everything that a training depends on."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
