"""Networks of timm and torchvision by name: what is published, and what is loaded, and how."""

from __future__ import annotations

import dataclasses
import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino
import pytest
import safetensors.torch
import timm
import torch
import torchvision

from sightsound.models.backbones import visual_backbone
from sightsound.models.backbones.base import FrameView
from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0, LITE0_WEIGHTS
from sightsound.models.backbones.library import Description
from sightsound.models.backbones.library_network import (
    build_torchvision,
    load_library_network,
)
from sightsound.models.backbones.library_network import (
    describe as describe_anew,
)
from sightsound.models.errors import (
    UnknownBackboneError,
    WeightsCorruptError,
    WeightsNotFoundError,
)
from sightsound.models.weights import LibraryWeights

LITE0 = "tf_efficientnet_lite0"
describe = functools.lru_cache(describe_anew)


def frames_for(description: Description) -> torch.Tensor:
    """Noise in the shape that the network takes."""
    view = description.view
    shape = (2, description.clip_frames, view.height, view.width, 3)
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def saved_torchvision(name: str, folder: Path) -> tuple[torch.nn.Module, Path]:
    """A torchvision network with random weights, and a file with its tensors."""
    torch.manual_seed(0)
    network = build_torchvision(name)
    path = folder / "weights.pth"
    torch.save(network.state_dict(), path)
    return network, path


def test_image_network_is_described_by_its_published_configuration() -> None:
    found = describe("torchvision", "resnet18")
    assert found.view == FrameView(width=224, height=224, fit="cover", short_side=256)
    assert (found.embedding_dim, found.clip_frames, found.frame_interval_s) == (512, 1, None)
    assert found.mean == (0.485, 0.456, 0.406)
    assert found.labels[0] == "tench" and len(found.labels) == 1000
    assert found.weights.file == "resnet18-f37072fd.pth"


def test_video_network_is_described_with_its_clip() -> None:
    found = describe("torchvision", "r3d_18")
    assert found.view == FrameView(width=171, height=128, fit="stretch")
    assert (found.crop_width, found.crop_height) == (112, 112)
    assert found.clip_frames == 16
    assert found.frame_interval_s == pytest.approx(1 / 15)
    assert found.labels[0] == "abseiling" and len(found.labels) == 400


def test_timm_network_is_described_by_its_published_configuration() -> None:
    found = describe("timm", LITE0)
    assert found.view == FrameView(width=224, height=224, fit="cover", short_side=256)
    assert (found.embedding_dim, found.labels) == (1280, ())
    assert found.mean == found.deviation == (0.5, 0.5, 0.5)
    assert found.weights == LibraryWeights(
        file=f"{LITE0}.in1k.safetensors",
        library="timm",
        source=f"timm/{LITE0}.in1k",
        hub_file="model.safetensors",
    )


def test_description_survives_being_written_down() -> None:
    found = describe("torchvision", "r3d_18")
    assert Description.from_json(found.to_json()) == found


@pytest.mark.parametrize(
    ("library", "name", "near"),
    [
        ("timm", "resnt18", "resnet18"),
        ("timm", "resnet18.never", r"resnet18\.\w+_in1k"),
        ("torchvision", "resnet19", "resnet18"),
        ("torchvision", "fasterrcnn_resnet50_fpn", "resnet50"),
    ],
)
def test_unknown_network_is_refused_with_those_near(library: str, name: str, near: str) -> None:
    with pytest.raises(UnknownBackboneError, match=rf"no network .*{near}"):
        describe(library, name)


@torch.inference_mode()
def test_timm_weights_from_the_folder_give_the_features_of_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same published weights by two ways: timm's names and file, and the package's own."""
    monkeypatch.delenv("SIGHTSOUND_WEIGHTS", raising=False)
    stored = torch.load(LITE0_WEIGHTS.path(), map_location="cpu", weights_only=True)
    names = list(timm.create_model(LITE0).state_dict())
    tensors = {
        name: tensor.contiguous() for name, tensor in zip(names, stored.values(), strict=True)
    }
    safetensors.torch.save_file(tensors, tmp_path / f"{LITE0}.in1k.safetensors")
    expected = EFFICIENTNET_LITE0.build()
    monkeypatch.setenv("SIGHTSOUND_WEIGHTS", str(tmp_path))
    description = describe("timm", LITE0)
    network = load_library_network(description, description.weights.path())
    frames = frames_for(description)
    torch.testing.assert_close(network(frames)[0], expected(frames)[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1"])
@torch.inference_mode()
def test_picture_is_normalised_and_scored_as_by_torchvision(name: str, tmp_path: Path) -> None:
    description = describe("torchvision", name)
    original, path = saved_torchvision(name, tmp_path)
    frames = frames_for(description)
    network = load_library_network(description, path)
    published = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    pixels = frames[:, 0].permute(0, 3, 1, 2).float() / 255
    normalised = torchvision.transforms.functional.normalize(pixels, published.mean, published.std)
    outputs = network(frames)
    assert outputs[0].shape == (2, description.embedding_dim)
    if name == "squeezenet1_1":
        assert len(outputs) == 1
    else:
        torch.testing.assert_close(outputs[1], original(normalised), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "n_frames"), [("r3d_18", 2), pytest.param("s3d", 14, marks=pytest.mark.slow)]
)
@torch.inference_mode()
def test_clip_is_cropped_normalised_and_scored_as_by_torchvision(
    name: str, n_frames: int, tmp_path: Path
) -> None:
    """The published transform leaves a picture of the view's size as large as it is."""
    description = dataclasses.replace(describe("torchvision", name), clip_frames=n_frames)
    original, path = saved_torchvision(name, tmp_path)
    frames = frames_for(description)
    embedding, logits = load_library_network(description, path)(frames)
    transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    expected = original(transform(frames.permute(0, 1, 4, 2, 3).contiguous()))
    assert embedding.shape == (2, description.embedding_dim)
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@torch.inference_mode()
def test_exported_clip_network_gives_the_same_numbers(tmp_path: Path) -> None:
    description = dataclasses.replace(describe("torchvision", "r3d_18"), clip_frames=4)
    _, path = saved_torchvision("r3d_18", tmp_path)
    network = load_library_network(description, path)
    frames = frames_for(description)
    model = openvino.convert_model(network, example_input=frames, input=[tuple(frames.shape)])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled([frames.numpy()])
    for index, expected in enumerate(network(frames)):
        spread = float(expected.std())
        np.testing.assert_allclose(results[index], expected, rtol=0, atol=1e-3 * spread)


class _Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("harm",)


def test_weights_that_would_run_code_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save({"fc.weight": _Harmful()}, path)
    with pytest.raises(WeightsCorruptError, match="does not hold the tensors of resnet18"):
        load_library_network(describe("torchvision", "resnet18"), path)
    assert not (tmp_path / "harm").exists()


def test_timm_weights_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({}, path)
    with pytest.raises(WeightsCorruptError, match="only safetensors"):
        load_library_network(describe("timm", LITE0), path)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    _, path = saved_torchvision("mobilenet_v3_small", tmp_path)
    with pytest.raises(WeightsCorruptError, match="does not hold the tensors of resnet18"):
        load_library_network(describe("torchvision", "resnet18"), path)


def test_supplied_file_that_its_name_contradicts_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = describe("torchvision", "resnet18").weights
    (tmp_path / weights.file).write_bytes(b"something else")
    monkeypatch.setenv("SIGHTSOUND_WEIGHTS", str(tmp_path))
    assert weights.find() == tmp_path / weights.file
    with pytest.raises(WeightsCorruptError, match="does not begin with f37072fd"):
        weights.path()


def test_torchvision_cache_is_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SIGHTSOUND_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    weights = LibraryWeights(file="a.pth", library="torchvision", source="http://127.0.0.1:9/a.pth")
    assert weights.find() is None
    (folder / "a.pth").write_bytes(b"")
    assert weights.find() == folder / "a.pth"


def test_torchvision_weights_that_cannot_be_had_are_named_with_the_ways_to_supply_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("SIGHTSOUND_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    weights = LibraryWeights(file="a.pth", library="torchvision", source="http://127.0.0.1:9/a.pth")
    with pytest.raises(WeightsNotFoundError) as caught:
        weights.path()
    message = str(caught.value)
    assert message.startswith("a.pth was not found and could not be downloaded")
    assert "http://127.0.0.1:9/a.pth" in message and "SIGHTSOUND_WEIGHTS" in message
    assert "\n" not in message
    assert capsys.readouterr().out == ""


def test_timm_weights_that_cannot_be_had_are_named_with_the_ways_to_supply_them(
    tmp_path: Path,
) -> None:
    """In a process of its own, since the client reads where the hub is when it is imported."""
    program = (
        "from sightsound.models.errors import WeightsNotFoundError\n"
        "from sightsound.models.weights import LibraryWeights\n"
        "weights = LibraryWeights(file='net.safetensors', library='timm', source='timm/net',\n"
        "                         hub_file='model.safetensors')\n"
        "try:\n"
        "    weights.path()\n"
        "except WeightsNotFoundError as error:\n"
        "    print(error)\n"
    )
    environment = {
        **os.environ,
        "HF_HOME": str(tmp_path),
        "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HUB_OFFLINE": "1",
        "SIGHTSOUND_WEIGHTS": "",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    (message,) = done.stdout.splitlines()
    assert message.startswith("net.safetensors was not found and could not be downloaded")
    assert "model.safetensors of timm/net" in message and "SIGHTSOUND_WEIGHTS" in message


def test_backbone_by_name_is_had_without_torch_and_can_be_sent_to_another_process() -> None:
    backbone = visual_backbone("torchvision:resnet18")
    assert backbone.labels is not None and backbone.labels()[0] == "tench"
    sent = pickle.loads(pickle.dumps(backbone))
    assert sent.labels() == backbone.labels() and sent.weights == backbone.weights
    program = (
        "import sys\n"
        "from sightsound.models.backbones import visual_backbone\n"
        "visual_backbone('torchvision:resnet18').outputs()\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_unknown_network_is_told_in_the_library_s_words() -> None:
    with pytest.raises(UnknownBackboneError, match="torchvision has no network 'resnet19'"):
        visual_backbone("torchvision:resnet19")
