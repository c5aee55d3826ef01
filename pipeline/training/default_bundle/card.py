"""What is said of the default bundle: its measured numbers, its card and its manifest."""

from __future__ import annotations

import datetime
from collections import Counter
from typing import Any

import torch
from torch import nn

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.places365 import PLACES365
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.pipeline.training.calibrate import fit_temperature
from sightsound.pipeline.training.default_bundle.fusion import ACTION, SCENE
from sightsound.pipeline.training.default_bundle.material import FPS, Material
from sightsound.pipeline.training.default_bundle.measure import (
    accuracy,
    agreement,
    calibration_error,
    predict,
    scene_agreement,
    teacher_means,
)
from sightsound.pipeline.training.default_bundle.validate import Held

# The network that looks, in the folder of the bundle.
VISUAL_FILE = "visual.safetensors"
# Which validations there are.
BY_FOLD, STUDENT = "fusion", "linear student"

_TERMS = {
    "clips": "mixed licences, some non-commercial, many unstated; private training material. Many "
    "are of VGGSound's test split and of DAVIS: nothing may be reported on those",
    "demo": "mixed: public domain, CC0, CC BY 4.0, several unstated",
    "fights": "MIT repository; the clips are from YouTube",
    "stills": "none stated; the photographs belong to their makers",
    "sports100": "none stated; photographs from the web",
    "places100": "Places2 (MiniPlaces): non-commercial research and education; the photographs "
    "belong to their owners",
}


def fitted_temperatures(held: Held) -> dict[str, float]:
    """By task, what makes held-out confidences true: to the teacher's, and to the scene's."""
    one_hot = nn.functional.one_hot(held.scenes, held.scene_logits.shape[1]).float()
    return {
        ACTION: fit_temperature(held.logits[ACTION], teacher_means(held.clips)),
        SCENE: fit_temperature(held.scene_logits, one_hot),
    }


def validated(held: Held, temperatures: dict[str, float]) -> dict[str, float]:
    """The numbers of a cross-validation."""
    clips = held.clips
    has_sound = clips.audio_mask.any(dim=1)
    heard = clips.take(has_sound)
    whole = agreement(held.logits[ACTION], clips)
    silent = agreement(held.silent_logits[ACTION], clips)
    with_sound = agreement(held.logits[ACTION][has_sound], heard)
    without_sound = agreement(held.silent_logits[ACTION][has_sound], heard)
    scene_top1, scene_top5 = accuracy(held.scene_logits, held.scenes)
    scene_taught = scene_agreement(held.logits[SCENE], clips)
    same_scene = held.logits[SCENE].argmax(dim=1) == held.silent_logits[SCENE].argmax(dim=1)
    return _rounded(
        {
            "clips": whole.n_files,
            "teacher_top1_is_top1": whole.top1,
            "teacher_top1_in_top5": whole.top5,
            "without_sound_teacher_top1_is_top1": silent.top1,
            "without_sound_teacher_top1_in_top5": silent.top5,
            "clips_with_sound": with_sound.n_files,
            "clips_with_sound_teacher_top1_is_top1": with_sound.top1,
            "clips_with_sound_teacher_top1_in_top5": with_sound.top5,
            "clips_with_sound_silenced_teacher_top1_is_top1": without_sound.top1,
            "clips_with_sound_silenced_teacher_top1_in_top5": without_sound.top5,
            "scene_teacher_top1_is_top1": scene_taught.top1,
            "scene_teacher_top1_in_top5": scene_taught.top5,
            "windows_whose_scene_sound_leaves_alone": float(same_scene[has_sound].float().mean()),
            "scene_top1": scene_top1,
            "scene_top5": scene_top5,
            "scene_calibration_error": _scene_error(
                held.scene_logits, held.scenes, temperatures[SCENE]
            ),
        }
    )


def tested(
    network: nn.Module, material: Material, temperatures: dict[str, float]
) -> dict[str, float]:
    """The numbers of the network that is shipped, on the test parts."""
    scenes = material.test_stills("places100")
    sports = material.test_stills("sports100")
    named = sports.take(sports.actions.any(dim=1))
    scene_logits = predict(network, scenes)[SCENE]
    scene_top1, scene_top5 = accuracy(scene_logits, scenes.scene)
    named_logits = predict(network, named)[ACTION]
    action_top1, action_top5 = accuracy(named_logits, named.actions)
    teacher_top1, teacher_top5 = accuracy(teacher_means(named), named.actions)
    agreed = agreement(predict(network, sports)[ACTION], sports)
    return _rounded(
        {
            "places100_test_n": len(scenes),
            "places100_test_top1": scene_top1,
            "places100_test_top5": scene_top5,
            "places100_test_calibration_error": _scene_error(
                scene_logits, scenes.scene, temperatures[SCENE]
            ),
            "sports100_test_named_n": len(named),
            "sports100_test_named_top1": action_top1,
            "sports100_test_named_top5": action_top5,
            "sports100_test_named_teacher_top1": teacher_top1,
            "sports100_test_named_teacher_top5": teacher_top5,
            "sports100_test_n": len(sports),
            "sports100_test_teacher_top1_in_top5": agreed.top5,
        }
    )


def _scene_error(logits: torch.Tensor, truth: torch.Tensor, temperature: float) -> float:
    return calibration_error(
        torch.softmax(logits / temperature, dim=1), logits.argmax(dim=1) == truth
    )


def _rounded(numbers: dict[str, float]) -> dict[str, float]:
    return {name: round(number, 4) for name, number in numbers.items()}


def make_card(
    material: Material,
    measured: dict[str, dict[str, float]],
    *,
    command: str,
    n_folds: int,
    n_asked: int,
) -> dict[str, Any]:
    """The card: what the bundle was trained on, on what terms, and how good it was found."""
    count = Counter(file.dataset for file in material.files if not file.is_test)
    kinds = {file.dataset: "stills" if file.is_still else "clips" for file in material.files}
    trained_on = [
        {"data": name, "n": count[name], "kind": kinds[name], "terms": terms}
        for name, terms in _TERMS.items()
    ]
    return {
        "summary": "EfficientNet-lite0, its last blocks trained further here, looks, YAMNet "
        "listens, and a bottleneck transformer trained here, with a plain regression added for "
        "scenes, names 400 actions (Kinetics) and 100 scenes (Places). Sounds are YAMNet's own "
        "521. Actions are distilled: they follow a teacher, not human labels of video.",
        "trained_on": trained_on,
        "teacher": f"of actions {X3D_XS.origin} ({X3D_XS.licence}), run on each clip and on each "
        "still repeated; where the action of a still is known, its true name counts for 0.8 of the "
        f"target. Of scenes {PLACES365.origin} (licence: {PLACES365.licence}), where the true "
        "scene is not known.",
        "measured": [
            {
                "what": "networks and fusion, on clips left out",
                "on": f"clips of datasets/clips dealt to {n_folds} parts one by one, {n_asked} of "
                "which were asked about; network and fusion trained as the bundle was, each "
                "without the part that it was asked about. The bundle itself has learnt from all "
                "of these clips. Clips of one source may lie on both sides.",
                "numbers": measured[BY_FOLD],
            },
            {
                "what": "linear student on the mean frame of EfficientNet-lite0 as published, for "
                "comparison",
                "on": "the same clips left out",
                "numbers": measured[STUDENT],
            },
            {
                "what": "the bundle as shipped",
                "on": "the test parts of places100 and sports100 (those with a Kinetics name), "
                "which it has not seen",
                "numbers": measured["test"],
            },
        ],
        "calibration": "temperatures fitted on held-out folds: action to the teacher's "
        "probabilities, scene to the true labels",
        "trained_with": command,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def make_manifest(
    material: Material,
    *,
    fusion: dict[str, int],
    temperatures: dict[str, float],
    card: dict[str, Any],
) -> dict[str, Any]:
    """The content of ``bundle.json``, as ``models.bundle`` reads it."""
    labels = {ACTION: material.labels.actions, SCENE: material.labels.scenes}
    by_fusion = {
        task: {
            "kind": "single",
            "sources": {"fusion": 1.0},
            "temperature": temperatures[task],
            "requires": ["visual"],
            "labels": list(labels[task]),
        }
        for task in (ACTION, SCENE)
    }
    return {
        "name": "default",
        "fps": float(FPS),
        "visual_backbones": [f"{EFFICIENTNET_LITE0.name}:{VISUAL_FILE}"],
        "audio_backbones": [YAMNET.name],
        "tasks": {**by_fusion, "sound": {"kind": "multi", "sources": {YAMNET.name: 1.0}}},
        "fusion": {"method": "bottleneck", **fusion},
        "card": card,
    }
