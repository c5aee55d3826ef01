"""X3D-XS: the 400 actions of Kinetics from clips of four frames.

Feichtenhofer 2020, "X3D: Expanding Architectures for Efficient Video Recognition"
(arXiv:2004.04730).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightsound.models.backbones.base import FrameView, VisualBackbone
from sightsound.models.backbones.labels import labels_beside
from sightsound.models.weights import WeightFile

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = WeightFile(
    file="x3d_xs_k400_fp16.safetensors",
    sha256="fca5c743d8e8708e1dbe51dddca33aeb4b012b8ae0972441d678fcf908b3667a",
)


def labels() -> tuple[str, ...]:
    """The 400 actions of Kinetics-400, in the order of the logits (softmax)."""
    return labels_beside(WEIGHTS, "kinetics400.txt")


def _build() -> nn.Module:
    from sightsound.models.backbones.x3d_network import load_x3d

    return load_x3d(WEIGHTS.path())


X3D_XS = VisualBackbone(
    name="x3d_xs",
    origin="X3D-XS, Kinetics-400, from PyTorchVideo's int8 accelerator model, dequantised",
    licence="Apache-2.0",
    embedding_dim=2048,
    labels=labels,
    weights=WEIGHTS,
    build=_build,
    view=FrameView(width=160, height=160, fit="cover", short_side=182),
    clip_frames=4,
    frame_interval_s=0.4,
)
