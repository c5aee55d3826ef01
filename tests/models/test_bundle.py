"""Bundles: what a manifest may say, and what is refused with which words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sightsound.models.bundle import MANIFEST_FILE, Bundle, load_bundle, save_bundle
from sightsound.models.engines.base import EngineOptions, create_engine
from sightsound.models.errors import BundleError
from sightsound.models.fusion import METHODS, build_fusion

SIZES = {"dim": 16, "n_layers": 1, "n_heads": 2, "n_bottlenecks": 2, "hidden": 8}
LABELS = ["calm", "fight"]


def write(
    path: Path,
    *,
    method: str = "bottleneck",
    visual: tuple[str, ...] = ("efficientnet_lite0",),
    audio: tuple[str, ...] = ("yamnet",),
    task: dict[str, Any] | None = None,
    **manifest: Any,
) -> str:
    """A bundle with random weights, in a folder."""
    import torch

    torch.manual_seed(0)
    network = build_fusion(
        "late" if method not in METHODS else method,  # type: ignore[arg-type]
        visual_dim=1280 if visual else 1,
        audio_dim=1024 if audio else 1,
        tasks={"label": 2},
        **SIZES,
    )
    entry = {"kind": "single", "sources": {"fusion": 1.0}, "labels": LABELS, **(task or {})}
    save_bundle(
        path,
        {
            "name": "own",
            "fps": 2.0,
            "visual_backbones": visual,
            "audio_backbones": audio,
            "tasks": {"label": entry},
            "fusion": {"method": method, **SIZES},
            **manifest,
        },
        network.state_dict(),
    )
    return str(path)


def run(bundle: Bundle, *, n_visual: int, n_audio: int) -> list[np.ndarray]:
    """The outputs of the fusion for one window of nonsense."""
    spec = bundle.fusion_network(n_visual=n_visual, n_audio=n_audio)
    engine = create_engine(EngineOptions(engine="torch", device="cpu", precision="float32"))
    generator = np.random.default_rng(0)
    arrays = [
        np.ones((1, *tensor.shape), dtype=bool)
        if tensor.dtype == "bool"
        else generator.random((1, *tensor.shape), dtype=np.float32)
        for tensor in spec.inputs
    ]
    if not bundle.visual:
        arrays[2][:] = False
    if not bundle.audio:
        arrays[5][:] = False
    outputs = engine.load(spec)(*arrays)
    for output, tensor in zip(outputs, spec.outputs, strict=True):
        assert output.shape == (1, *tensor.shape)
    return list(outputs)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_stored_and_runs(tmp_path, method):
    bundle = load_bundle(write(tmp_path, method=method))
    outputs = run(bundle, n_visual=3, n_audio=2)
    assert [tensor.name for tensor in bundle.fusion_network(n_visual=3, n_audio=2).outputs] == [
        "label",
        "embedding",
        "visual_attention",
        "audio_attention",
    ]
    assert float(outputs[2].sum() + outputs[3].sum()) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(("sense", "other"), [("visual", {"audio": ()}), ("audio", {"visual": ()})])
@pytest.mark.parametrize("is_single", [True, False])
def test_bundle_of_one_sense_runs_with_the_other_masked(tmp_path, sense, other, is_single):
    bundle = load_bundle(write(tmp_path, method=sense if is_single else "bottleneck", **other))
    outputs = run(bundle, n_visual=3, n_audio=2)
    used, unused = (outputs[2], outputs[3]) if sense == "visual" else (outputs[3], outputs[2])
    assert float(used.sum()) == pytest.approx(1, abs=1e-5)
    assert not unused.any()
    assert (bundle.audio_dim if sense == "visual" else bundle.visual_dim) == 1


def test_a_sense_that_is_left_out_has_no_attention_and_a_network_of_its_own(tmp_path):
    plain = load_bundle(write(tmp_path / "plain"))
    bundle = load_bundle(write(tmp_path / "leaving", left_out="audio"))
    *_, seen, heard = run(bundle, n_visual=3, n_audio=2)
    assert float(seen.sum()) == pytest.approx(1, abs=1e-5)
    assert not heard.any()
    networks = [each.fusion_network(n_visual=3, n_audio=2) for each in (plain, bundle)]
    assert networks[0].key != networks[1].key


def test_only_a_sense_can_be_left_out(tmp_path):
    with pytest.raises(BundleError, match="visual, audio or null"):
        load_bundle(write(tmp_path, left_out="smell"))


def test_backbones_that_share_a_name_are_refused(tmp_path):
    with pytest.raises(BundleError, match="must not share a name"):
        load_bundle(write(tmp_path, visual=("efficientnet_lite0", "efficientnet_lite0")))


def test_unknown_method_is_refused_with_those_allowed(tmp_path):
    with pytest.raises(BundleError, match=r"'average' is no method.*gated, cross_attention"):
        load_bundle(write(tmp_path, method="average"))


def test_fusion_without_a_method_is_refused(tmp_path):
    with pytest.raises(BundleError, match="method"):
        load_bundle(write(tmp_path, fusion=SIZES))


@pytest.mark.parametrize(("method", "other"), [("visual", "visual"), ("audio", "audio")])
def test_fusion_of_a_sense_that_no_backbone_has_is_refused(tmp_path, method, other):
    with pytest.raises(BundleError, match=f"the fusion is {method}"):
        load_bundle(write(tmp_path, method=method, **{other: ()}))


def test_unknown_backbone_is_refused_with_those_known(tmp_path):
    with pytest.raises(BundleError, match=r"'resnet' is no visual backbone.*efficientnet_lite2"):
        load_bundle(write(tmp_path, visual=("resnet",)))


def test_fused_task_without_a_fusion_is_refused(tmp_path):
    with pytest.raises(BundleError, match="scored by fusion"):
        load_bundle(write(tmp_path, fusion=None))


def test_task_says_what_it_requires_and_when_it_is_unknown(tmp_path):
    task = {"kind": "multi", "requires": ["visual", "audio"], "threshold": 0.3, "temperature": 2.0}
    (found,) = load_bundle(write(tmp_path, task=task)).tasks
    assert (found.kind, found.requires, found.threshold) == ("multi", ("visual", "audio"), 0.3)


def test_task_requires_nothing_and_is_never_unknown_unless_it_says_so(tmp_path):
    (found,) = load_bundle(write(tmp_path)).tasks
    assert (found.requires, found.threshold) == ((), 0.0)


@pytest.mark.parametrize("method", ["visual", "audio"])
def test_fusion_of_one_sense_requires_it(tmp_path, method):
    (found,) = load_bundle(write(tmp_path, method=method)).tasks
    assert found.requires == (method,)


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"kind": "several"}, "single or multi"),
        ({"requires": ["smell"]}, "visual and audio only"),
        ({"threshold": 1.5}, "between 0 and 1"),
    ],
)
def test_wrong_entry_of_a_task_is_refused_by_name(tmp_path, task, words):
    with pytest.raises(BundleError, match=rf"{words}"):
        load_bundle(write(tmp_path, task=task))


def test_default_bundle_names_action_and_scene_only_with_a_picture():
    required = {task.name: task.requires for task in load_bundle("default").tasks}
    assert required == {"action": ("visual",), "scene": ("visual",), "sound": ()}


def test_threshold_is_part_of_what_identifies_a_model(tmp_path):
    first = load_bundle(write(tmp_path)).model_id
    path = tmp_path / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    manifest["tasks"]["label"]["threshold"] = 0.4
    path.write_text(json.dumps(manifest))
    assert load_bundle(str(tmp_path)).model_id != first
