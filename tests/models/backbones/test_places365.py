"""SqueezeNet-Places365: the published outputs, the declared shapes, the exported form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch

from sightsound.models.backbones.places365 import PLACES365, WEIGHTS
from sightsound.models.backbones.places365_network import SqueezeNetPlaces365

WEIGHTS_FOLDER = Path(
    os.environ.get("SIGHTSOUND_WEIGHTS") or Path(__file__).parents[4] / "shared" / "weights"
)


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The outputs of the original network, with the weights made findable."""
    if not (WEIGHTS_FOLDER / WEIGHTS.file).is_file():
        pytest.skip(f"{WEIGHTS.file} is not in {WEIGHTS_FOLDER}: set SIGHTSOUND_WEIGHTS")
    monkeypatch.setenv("SIGHTSOUND_WEIGHTS", str(WEIGHTS_FOLDER))
    references: dict[str, dict[str, Any]] = json.loads(
        (WEIGHTS_FOLDER / "reference.json").read_text()
    )
    return references["squeezenet_places365"]


def random_frames(batch: int) -> torch.Tensor:
    """Noise in the shape that ``network()`` declares, which wants the label list itself."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, PLACES365.clip_frames, PLACES365.view.height, PLACES365.view.width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def random_network() -> SqueezeNetPlaces365:
    """The network without its weight file.

    He initialisation, since under torch's own the signal dies out over so many layers: the
    outputs would hardly depend on the input, and any two networks would agree.
    """
    torch.manual_seed(0)
    network = SqueezeNetPlaces365()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return network.eval()


@torch.inference_mode()
def test_outputs_equal_the_published_network(reference: dict[str, Any]) -> None:
    """The input is the formula that the reference states, already normalised."""
    row = torch.arange(224, dtype=torch.float64)[:, None]
    column = torch.arange(224, dtype=torch.float64)[None, :]
    channel = torch.arange(3, dtype=torch.float64)[:, None, None]
    picture = 0.3 * torch.sin(0.05 * row + 0.07 * column + 1.3 * channel).float()[None]
    network = PLACES365.build()
    assert isinstance(network, SqueezeNetPlaces365)
    _, logits = network.forward_normalised(picture)
    np.testing.assert_allclose(logits[0, :8], reference["logits_first_8"], atol=1e-2)
    assert logits[0].topk(5).indices.tolist() == reference["top5"]


def test_labels_are_the_places(reference: dict[str, Any]) -> None:
    """The list beside the weight file has one line an output."""
    assert PLACES365.labels is not None
    labels = PLACES365.labels()
    assert len(labels) == 365
    assert labels[0] == "airfield"
    assert [tensor.shape for tensor in PLACES365.network().outputs] == [(512,), (365,)]


def test_centre_is_cut_and_channels_are_reversed() -> None:
    """One pixel, followed from uint8 RGB to what the network sees."""
    frames = random_frames(1)
    normalised = random_network().preprocess(frames)
    assert normalised.shape == (1, 3, 224, 224)
    blue, green, red = (float(value) for value in normalised[0, :, 10, 20])
    expected = frames[0, 0, 16 + 10, 16 + 20].float()
    assert blue == pytest.approx((float(expected[2]) - 104.05) / 255, abs=1e-5)
    assert green == pytest.approx((float(expected[1]) - 112.51) / 255, abs=1e-5)
    assert red == pytest.approx((float(expected[0]) - 116.68) / 255, abs=1e-5)


@torch.inference_mode()
def test_shapes_are_those_declared() -> None:
    """With a batch of two, so that no dimension is right by being 1."""
    embedding, logits = random_network()(random_frames(2))
    assert embedding.shape == (2, PLACES365.embedding_dim)
    assert logits.shape == (2, 365)
    assert embedding.dtype == logits.dtype == torch.float32


@torch.inference_mode()
def test_exported_form_agrees_with_torch() -> None:
    """In float32, relative to the spread of the outputs: random weights set no scale."""
    network = random_network()
    frames = random_frames(2)
    model = openvino.convert_model(network, example_input=frames, input=[tuple(frames.shape)])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled([frames.numpy()])
    for index, expected in enumerate(network(frames)):
        spread = float(expected.std())
        np.testing.assert_allclose(results[index], expected, rtol=0, atol=1e-3 * spread)
