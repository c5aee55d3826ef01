"""EfficientAT mn04: AudioSet's 527 sound classes from patches of four seconds.

Schmid et al. 2022, "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge
Distillation" (arXiv:2211.04772): MobileNetV3-Large at 0.4 of its width over log-mel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sightsound.models.backbones.base import AudioBackbone, LogMelFormat
from sightsound.models.backbones.labels import labels_beside
from sightsound.models.weights import WeightFile

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = WeightFile(
    file="efficientat_mn04_as_fp16.safetensors",
    sha256="6c1b3cedb9fe2a6386988bbfb44a5392da2f341ddf957657ea8630c41507e237",
)


def labels() -> tuple[str, ...]:
    """The 527 display names of AudioSet's classes, in the order of the logits (sigmoid)."""
    return labels_beside(WEIGHTS, "audioset527.txt")


def _build() -> nn.Module:
    from sightsound.models.backbones.efficientat_network import load_efficientat

    return load_efficientat(WEIGHTS.path())


def _build_front_end() -> nn.Module:
    from sightsound.models.backbones.efficientat_network import EfficientATMel

    return EfficientATMel().eval()


EFFICIENTAT_MN04 = AudioBackbone(
    name="efficientat_mn04",
    origin="EfficientAT mn04_as, trained on AudioSet by distillation",
    licence="MIT",
    embedding_dim=384,
    labels=labels,
    weights=WEIGHTS,
    build=_build,
    log_mel=LogMelFormat(
        sample_rate_hz=32000, patch_samples=128000, hop_samples=128000, n_frames=400, n_mels=128
    ),
    build_front_end=_build_front_end,
)
