"""Networks small enough to check by hand, for the arithmetic around the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import AudioBackbone, FrameView, LogMelFormat, VisualBackbone
from sightsound.models.bundle import Bundle, Task
from sightsound.models.engines.base import Engine, LoadedNetwork
from sightsound.models.networks import NetworkSpec
from sightsound.models.weights import WeightFile

Arrays = list[NDArray[np.float32]]
VIEW = FrameView(width=2, height=2, fit="stretch")
LOG_MEL = LogMelFormat(sample_rate_hz=100, patch_samples=100, hop_samples=50, n_frames=4, n_mels=3)
_WEIGHTS = WeightFile(file="none", sha256="")


def _never() -> None:
    raise AssertionError("nothing here is built")


class SmallNetwork(LoadedNetwork):
    """Runs a function over full batches, and counts them."""

    def __init__(
        self, spec: NetworkSpec, function: Callable[..., Arrays], *, batch_size: int = 1
    ) -> None:
        super().__init__(spec, batch_size=batch_size)
        self._function = function
        self.n_batches = 0

    def _run(self, batch: list[NDArray[np.generic]]) -> Arrays:
        self.n_batches += 1
        return self._function(*batch)


class SmallEngine(Engine):
    """Gives one function to whatever is loaded, and remembers the specs."""

    name = "small"
    device = "cpu"

    def __init__(self, function: Callable[..., Arrays]) -> None:
        self._function = function
        self.loaded: list[NetworkSpec] = []

    @property
    def description(self) -> str:
        """What this is."""
        return "a function"

    def load(self, spec: NetworkSpec) -> LoadedNetwork:
        """The function as a network."""
        self.loaded.append(spec)
        return SmallNetwork(spec, self._function)


def visual_backbone(
    name: str = "eye", *, clip_frames: int = 1, labels: tuple[str, ...] | None = None
) -> VisualBackbone:
    """A backbone over pictures of 2 x 2 pixels with an embedding of 2 numbers."""
    return VisualBackbone(
        name=name,
        origin="",
        licence="",
        embedding_dim=2,
        labels=(lambda: labels) if labels is not None else None,
        weights=_WEIGHTS,
        build=_never,  # type: ignore[arg-type]
        view=VIEW,
        clip_frames=clip_frames,
    )


def audio_backbone(name: str = "ear", *, labels: tuple[str, ...] | None = None) -> AudioBackbone:
    """A backbone over patches of one second, every half second, with an embedding of 3 numbers."""
    return AudioBackbone(
        name=name,
        origin="",
        licence="",
        embedding_dim=3,
        labels=(lambda: labels) if labels is not None else None,
        weights=_WEIGHTS,
        build=_never,  # type: ignore[arg-type]
        log_mel=LOG_MEL,
        build_front_end=_never,  # type: ignore[arg-type]
    )


def small_bundle(
    tasks: tuple[Task, ...],
    *,
    path: Path = Path(),
    fusion: Mapping[str, int] | None = None,
    visual: tuple[VisualBackbone, ...] | None = None,
    audio: tuple[AudioBackbone, ...] | None = None,
) -> Bundle:
    """A bundle of the backbones above, at two pictures a second."""
    return Bundle(
        name="small",
        path=path,
        visual=visual if visual is not None else (visual_backbone(),),
        audio=audio if audio is not None else (audio_backbone(),),
        fps=Fraction(2),
        tasks=tasks,
        fusion=fusion,
    )
