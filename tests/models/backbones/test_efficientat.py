"""EfficientAT mn04: the published outputs, the front end, the exported form."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
import torchaudio

from sightsound.models.backbones.efficientat import EFFICIENTAT_MN04, WEIGHTS
from sightsound.models.backbones.efficientat_network import EfficientAT, EfficientATMel

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
    return references["efficientat_mn04"]


def random_samples(batch: int) -> torch.Tensor:
    """Noise of the length of a patch."""
    generator = torch.Generator().manual_seed(0)
    samples = torch.randn(batch, EFFICIENTAT_MN04.log_mel.patch_samples, generator=generator)
    # From nearly silent to loud, since the logarithm's floor behaves differently at each end.
    return samples * torch.logspace(-5, -0.5, samples.shape[1])


def random_network() -> EfficientAT:
    """The network without its weight file.

    He initialisation, since under torch's own the signal dies out over so many layers: the
    outputs would hardly depend on the input, and any two networks would agree.
    """
    torch.manual_seed(0)
    network = EfficientAT()
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.kaiming_normal_(parameter)
    return network.eval()


def log_mel_by_stft(samples: torch.Tensor) -> torch.Tensor:
    """The front end as the published code computes it, with ``torch.stft``."""
    emphasised = torch.nn.functional.conv1d(samples[:, None], torch.tensor([[[-0.97, 1.0]]]))
    spectrum = torch.stft(
        emphasised[:, 0],
        1024,
        hop_length=320,
        win_length=800,
        window=torch.hann_window(800, periodic=False),
        center=True,
        return_complex=True,
    )
    bands, _ = torchaudio.compliance.kaldi.get_mel_banks(
        128, 1024, 32000.0, 0.0, 15000.0, 100.0, -500.0, 1.0
    )
    bands = torch.nn.functional.pad(bands, (0, 1))
    mel = bands @ spectrum.abs().square()
    return ((torch.log(mel + 1e-5) + 4.5) / 5).transpose(1, 2)


@torch.inference_mode()
def test_outputs_equal_the_published_network(reference: dict[str, Any]) -> None:
    """Over the 10 s of sound that the reference states, from samples to logits."""
    time = torch.arange(320000, dtype=torch.float64)
    tone = 0.1 * torch.sin(2 * math.pi * 440 * time / 32000)
    sweep = 0.05 * torch.sin(2 * math.pi * (200 + 0.002 * time) * time / 32000)
    (log_mel,) = EFFICIENTAT_MN04.build_front_end()((tone + sweep).float()[None])
    batch, n_mels, n_frames = reference["mel_shape"]
    assert log_mel.shape == (batch, n_frames, n_mels)
    assert float(log_mel.mean()) == pytest.approx(reference["mel_mean"], abs=1e-3)
    np.testing.assert_allclose(log_mel[0, 500:505, 40], reference["mel_[0,40,500:505]"], atol=1e-3)
    embedding, logits = EFFICIENTAT_MN04.build()(log_mel)
    np.testing.assert_allclose(logits[0, :8], reference["logits_first_8"], atol=1e-2)
    assert logits[0].topk(5).indices.tolist() == reference["top5"]
    assert float(embedding.norm()) == pytest.approx(reference["embedding_norm"], abs=1e-2)


def test_labels_are_the_classes_of_audioset(reference: dict[str, Any]) -> None:
    """The list beside the weight file has one line an output."""
    assert EFFICIENTAT_MN04.labels is not None
    labels = EFFICIENTAT_MN04.labels()
    assert len(labels) == 527
    assert labels[0] == "Speech"
    assert [tensor.shape for tensor in EFFICIENTAT_MN04.network().outputs] == [(384,), (527,)]


@torch.inference_mode()
@pytest.mark.parametrize("n_samples", [128000, 32000])
def test_front_end_agrees_with_the_fourier_transform_of_torch(n_samples: int) -> None:
    """The halved basis without the highest bins is the whole transform."""
    samples = random_samples(2)[:, -n_samples:]
    (log_mel,) = EfficientATMel()(samples)
    np.testing.assert_allclose(log_mel, log_mel_by_stft(samples), atol=1e-3)


@torch.inference_mode()
def test_silence_gives_the_floor() -> None:
    """Digital silence stays finite."""
    (log_mel,) = EfficientATMel()(torch.zeros(1, 128000))
    np.testing.assert_allclose(log_mel, (math.log(1e-5) + 4.5) / 5, atol=1e-5)


@torch.inference_mode()
def test_shapes_are_those_declared() -> None:
    """With a batch of two, so that no dimension is right by being 1."""
    samples = random_samples(2)
    (log_mel,) = EfficientATMel()(samples)
    assert log_mel.shape == (2, *EFFICIENTAT_MN04.front_end().outputs[0].shape)
    embedding, logits = random_network()(log_mel)
    assert embedding.shape == (2, EFFICIENTAT_MN04.embedding_dim)
    assert logits.shape == (2, 527)
    assert embedding.dtype == logits.dtype == torch.float32


@torch.inference_mode()
@pytest.mark.parametrize("part", ["front_end", "network"])
def test_exported_form_agrees_with_torch(part: str) -> None:
    """In float32, relative to the spread of the outputs: random weights set no scale."""
    samples = random_samples(2)
    front_end = EfficientATMel().eval()
    module, example = (
        (front_end, samples) if part == "front_end" else (random_network(), front_end(samples)[0])
    )
    model = openvino.convert_model(module, example_input=example, input=[tuple(example.shape)])
    compiled = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    results = compiled([example.numpy()])
    for index, expected in enumerate(module(example)):
        spread = float(expected.std())
        np.testing.assert_allclose(results[index], expected, rtol=0, atol=1e-3 * spread)
