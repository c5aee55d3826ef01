"""YAMNet: its published outputs, onnxruntime on the same file, librosa for the front end."""

import json
import os
import zipfile
from pathlib import Path

import librosa
import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from sightsound.models.backbones.yamnet import WEIGHTS, YAMNET, labels

SHARED_WEIGHTS = Path(
    os.environ.get("SIGHTSOUND_WEIGHTS", Path(__file__).parents[3].parent / "shared" / "weights")
)


@pytest.fixture(scope="module")
def network():
    return YAMNET.build()


def sweep() -> np.ndarray:
    n = np.arange(48000)
    slow = 2 * np.pi * (200 + 0.004 * n) * n / 16000
    sound = 0.1 * np.sin(2 * np.pi * 440 * n / 16000) + 0.05 * np.sin(slow)
    starts = range(0, 48000 - 15600 + 1, 7680)
    return np.stack([sound[start : start + 15600] for start in starts]).astype(np.float32)


def log_mel(samples: np.ndarray) -> torch.Tensor:
    return YAMNET.build_front_end()(torch.from_numpy(samples))[0]


def without_quantisation(path: Path) -> bytes:
    """The ONNX graph with every Quantize/Dequantize pair taken out: the float network."""
    model = onnx.load(str(path))
    renamed: dict[str, str] = {}
    kept = []
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
            renamed[node.output[0]] = renamed.get(node.input[0], node.input[0])
        else:
            for position, name in enumerate(node.input):
                node.input[position] = renamed.get(name, name)
            kept.append(node)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    output = renamed[model.graph.output[0].name]
    del model.graph.output[:]
    model.graph.output.append(
        onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, [1, 521])
    )
    return model.SerializeToString()


def test_torch_equals_onnxruntime_on_the_same_file(network, tmp_path):
    with zipfile.ZipFile(WEIGHTS.path()) as archive:
        archive.extractall(tmp_path)
    session = onnxruntime.InferenceSession(without_quantisation(next(tmp_path.rglob("*.onnx"))))
    patches = log_mel(sweep())
    with torch.inference_mode():
        _, logits = network(patches)
    for patch, expected in zip(patches, logits, strict=True):
        (found,) = session.run(None, {"audio": patch[None, None].numpy()})
        np.testing.assert_allclose(found[0], expected, atol=1e-3, rtol=1e-4)


def test_outputs_equal_the_reference(network):
    path = SHARED_WEIGHTS / "reference.json"
    if not path.is_file():
        pytest.skip("the folder of reference weights is not here")
    reference = json.loads(path.read_text())["yamnet_float_weights"]
    patches = log_mel(sweep())
    with torch.inference_mode():
        embedding, logits = network(patches)
    assert patches.mean().item() == pytest.approx(reference["patch_mean"], abs=1e-2)
    np.testing.assert_allclose(
        logits.mean(dim=0)[:8], reference["mean_output_first_8"], atol=5e-2, rtol=1e-2
    )
    top5 = logits.mean(dim=0).topk(5).indices.tolist()
    assert set(top5) == set(reference["top5_of_mean"])
    norm = embedding[0].norm().item()
    assert norm == pytest.approx(reference["embedding_norm_first_patch"], rel=1e-2)


def test_front_end_equals_librosa():
    samples = sweep()[0]
    power = librosa.feature.melspectrogram(
        y=np.pad(samples, (0, 112)),
        sr=16000,
        n_fft=512,
        win_length=512,
        hop_length=160,
        window=np.pad(np.hanning(401)[:-1], (0, 112)),
        center=False,
        power=1.0,
        n_mels=64,
        fmin=125.0,
        fmax=7500.0,
        htk=True,
        norm=None,
    )
    expected = np.log(power.T + 0.001)
    assert expected.shape == (96, 64)
    np.testing.assert_allclose(log_mel(samples[None])[0], expected, atol=1e-3)


def test_silence_and_noise_are_told_apart(network):
    silence = np.zeros((1, 15600), dtype=np.float32)
    noise = np.random.default_rng(0).normal(0, 0.3, (1, 15600)).astype(np.float32)
    with torch.inference_mode():
        best = [labels()[network(log_mel(sound))[1].argmax()] for sound in (silence, noise)]
    assert best[0] == "Silence"
    assert best[1] in {"White noise", "Static", "Noise", "Waterfall", "Spray", "Hiss", "Steam"}


def test_class_map_has_the_521_names_in_order():
    assert len(labels()) == 521
    assert labels()[0] == "Speech"
    assert labels()[494] == "Silence"
