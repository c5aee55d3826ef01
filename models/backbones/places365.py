"""SqueezeNet-Places365: 365 kinds of place from single frames.

Iandola et al. 2016, "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters"
(arXiv:1602.07360), trained on Places365 (Zhou et al. 2017).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightsound.models.backbones.base import FrameView, VisualBackbone
from sightsound.models.backbones.labels import labels_beside
from sightsound.models.weights import WeightFile

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = WeightFile(
    file="squeezenet_places365_fp16.safetensors",
    sha256="af14ded24a961e0ccd2b8b6b50a44518d6cab49e8fdad3982ab3c81b9cce19a2",
)


def labels() -> tuple[str, ...]:
    """The 365 kinds of place, in the order of the logits (softmax)."""
    return labels_beside(WEIGHTS, "places365.txt")


def _build() -> nn.Module:
    from sightsound.models.backbones.places365_network import load_places365

    return load_places365(WEIGHTS.path())


PLACES365 = VisualBackbone(
    name="squeezenet_places365",
    origin="SqueezeNet trained on Places365, batch norms folded in",
    licence="none stated",
    embedding_dim=512,
    labels=labels,
    weights=WEIGHTS,
    build=_build,
    # The module cuts the centre 224 x 224 itself: it was trained on crops of stretched frames.
    view=FrameView(width=256, height=256, fit="stretch"),
)
