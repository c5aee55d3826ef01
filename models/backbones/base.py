"""The contract of a backbone: what it looks at or listens to, and what it gives.

A backbone turns frames or sound into embeddings and, where it was published with a trained
head, into logits over that head's labels. It is described by a frozen :class:`VisualBackbone`
or :class:`AudioBackbone`; the torch module behind it is built only when an engine asks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sightsound.models.networks import NetworkSpec, TensorSpec

if TYPE_CHECKING:
    from torch import nn

    from sightsound.models.weights import Weights

Fit = Literal["stretch", "cover"]


@dataclass(frozen=True, kw_only=True)
class FrameView:
    """How a picture is brought to the size that a network takes.

    ``stretch`` maps the whole picture onto width x height. ``cover`` scales it, keeping its
    aspect, until the shorter side is ``short_side`` pixels, then cuts width x height from the
    centre. Frames are upright and have square pixels in either case.
    """

    width: int
    height: int
    fit: Fit
    short_side: int | None = None


@dataclass(frozen=True, kw_only=True)
class LogMelFormat:
    """How sound becomes the log-mel patch that a network takes (see ``models.logmel``).

    A patch is ``patch_samples`` of mono sound at ``sample_rate_hz``, giving (n_frames, n_mels);
    patches start every ``hop_samples`` on a grid that begins at sample 0 of the presentation.
    """

    sample_rate_hz: int
    patch_samples: int
    hop_samples: int
    n_frames: int
    n_mels: int


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """What both kinds of backbone have. ``origin`` and ``licence`` are stated in model cards."""

    name: str
    origin: str
    licence: str
    embedding_dim: int
    labels: Callable[[], tuple[str, ...]] | None
    weights: Weights
    build: Callable[[], nn.Module]

    def outputs(self) -> tuple[TensorSpec, ...]:
        """The network's outputs: ``embedding`` and, with a trained head, ``logits``."""
        embedding = TensorSpec(name="embedding", shape=(self.embedding_dim,))
        if self.labels is None:
            return (embedding,)
        return embedding, TensorSpec(name="logits", shape=(len(self.labels()),))


@dataclass(frozen=True, kw_only=True)
class VisualBackbone(Backbone):
    """A network over RGB frames.

    Its module takes uint8 (batch, clip_frames, height, width, 3) and normalises inside.
    ``clip_frames`` consecutive samples of the frame grid, ``frame_interval_s`` apart, make one
    token; 1 for an image network, whose ``frame_interval_s`` is None (any rate will do).
    """

    view: FrameView
    clip_frames: int = 1
    frame_interval_s: float | None = None

    def network(self) -> NetworkSpec:
        """The network for an engine: frames to embedding and logits."""
        shape = (self.clip_frames, self.view.height, self.view.width, 3)
        return NetworkSpec(
            name=self.name,
            inputs=(TensorSpec(name="frames", shape=shape, dtype="uint8"),),
            outputs=self.outputs(),
            build=self.build,
            weights_sha256=self.weights.sha256,
            reduced_precision=True,
        )


@dataclass(frozen=True, kw_only=True)
class AudioBackbone(Backbone):
    """A network over log-mel patches.

    ``build_front_end`` makes the module from float32 samples (batch, patch_samples) to log-mel
    (batch, n_frames, n_mels); ``build`` the module from log-mel to embedding and logits.
    """

    log_mel: LogMelFormat
    build_front_end: Callable[[], nn.Module]

    def front_end(self) -> NetworkSpec:
        """The front end for an engine: samples to log-mel."""
        return NetworkSpec(
            name=f"{self.name}-logmel",
            inputs=(TensorSpec(name="samples", shape=(self.log_mel.patch_samples,)),),
            outputs=(
                TensorSpec(name="log_mel", shape=(self.log_mel.n_frames, self.log_mel.n_mels)),
            ),
            build=self.build_front_end,
            weights_sha256="",
            reduced_precision=False,
        )

    def network(self) -> NetworkSpec:
        """The network for an engine: log-mel to embedding and logits."""
        shape = (self.log_mel.n_frames, self.log_mel.n_mels)
        return NetworkSpec(
            name=self.name,
            inputs=(TensorSpec(name="log_mel", shape=shape),),
            outputs=self.outputs(),
            build=self.build,
            weights_sha256=self.weights.sha256,
            reduced_precision=True,
        )
