"""X3D-XS: the published outputs, the declared shapes, the exported form."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch

from sightsound.models.backbones.x3d import WEIGHTS, X3D_XS
from sightsound.models.backbones.x3d_network import X3D, load_x3d
from sightsound.models.errors import WeightsCorruptError

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
    return references["x3d_xs"]


def random_frames(batch: int) -> torch.Tensor:
    """Noise in the shape that ``network()`` declares, which wants the label list itself."""
    generator = torch.Generator().manual_seed(0)
    shape = (batch, X3D_XS.clip_frames, X3D_XS.view.height, X3D_XS.view.width, 3)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def random_network() -> X3D:
    """The network without its weight file.

    He initialisation, since under torch's own the signal dies out over so many layers: the
    outputs would hardly depend on the input, and any two networks would agree.
    """
    torch.manual_seed(0)
    network = X3D()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return network.eval()


@torch.inference_mode()
def test_outputs_equal_the_published_network(reference: dict[str, Any]) -> None:
    """The input is the formula that the reference states, already normalised."""
    row = torch.arange(160, dtype=torch.float64)[:, None]
    column = torch.arange(160, dtype=torch.float64)[None, :]
    time = torch.arange(4, dtype=torch.float64)[:, None, None]
    channel = torch.arange(3, dtype=torch.float64)[:, None, None, None]
    clip = torch.sin(0.05 * row + 0.07 * column + 0.9 * time + 1.3 * channel).float()[None]
    network = X3D_XS.build()
    assert isinstance(network, X3D)
    embedding, logits = network.forward_normalised(clip)
    np.testing.assert_allclose(logits[0, :8], reference["logits_first_8"], atol=1e-2)
    assert logits[0].topk(5).indices.tolist() == reference["top5"]
    assert float(embedding.norm()) == pytest.approx(reference["embedding_norm"], abs=1e-2)


def test_labels_are_the_actions_of_kinetics(reference: dict[str, Any]) -> None:
    """The list beside the weight file has one line an output."""
    assert X3D_XS.labels is not None
    labels = X3D_XS.labels()
    assert len(labels) == 400
    assert labels[0] == "abseiling"
    assert [tensor.shape for tensor in X3D_XS.network().outputs] == [(2048,), (400,)]


def test_pixels_are_normalised_per_channel_first() -> None:
    """One pixel, followed from uint8 RGB to what the network sees."""
    frames = random_frames(1)
    normalised = random_network().preprocess(frames)
    assert normalised.shape == (1, 3, 4, 160, 160)
    expected = (float(frames[0, 3, 20, 30, 2]) / 255 - 0.45) / 0.225
    assert float(normalised[0, 2, 3, 20, 30]) == pytest.approx(expected, abs=1e-5)


@torch.inference_mode()
def test_shapes_are_those_declared() -> None:
    """With a batch of two, so that no dimension is right by being 1."""
    embedding, logits = random_network()(random_frames(2))
    assert embedding.shape == (2, X3D_XS.embedding_dim)
    assert logits.shape == (2, 400)
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


def pytorchvideo_network() -> Any:
    """PyTorchVideo's own X3D-XS with random weights and batch norms that do something."""
    hub = pytest.importorskip("pytorchvideo.models.hub.x3d", reason="needs pytorchvideo")
    torch.manual_seed(0)
    network = hub.x3d_xs(pretrained=False)
    for name, tensor in network.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(std=0.1)
        elif name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif "norm" in name and tensor.dim() == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5) if name.endswith("weight") else tensor.normal_(std=0.1)
        elif tensor.dim() > 1:
            torch.nn.init.kaiming_normal_(tensor)
    return network.eval()


@torch.inference_mode()
def test_checkpoint_of_pytorchvideo_gives_its_outputs(tmp_path: Path) -> None:
    """Laid out as the published X3D_XS.pyth; its head ends in a softmax."""
    original = pytorchvideo_network()
    path = tmp_path / "X3D_XS.pyth"
    torch.save({"model_state": original.state_dict(), "epoch": 300}, path)
    network = load_x3d(path)
    clips = network.preprocess(random_frames(2))
    _, logits = network.forward_normalised(clips)
    original.blocks[-1].activation = None
    expected = original(clips)
    spread = float(expected.std())
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-3 * spread)
    assert not np.allclose(logits[0], logits[1], atol=0.1 * spread)


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "X3D_XS.pyth"
    torch.save({"model_state": {"blocks": Path(tmp_path)}}, path)
    with pytest.raises(WeightsCorruptError, match="does not hold the tensors of X3D-XS"):
        load_x3d(path)


def test_file_of_another_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "X3D_XS.pyth"
    torch.save({"model_state": {"weight": torch.zeros(1)}}, path)
    with pytest.raises(WeightsCorruptError, match="does not hold the tensors of X3D-XS"):
        load_x3d(path)
