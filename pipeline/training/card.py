"""The bundle that a training writes: its manifest, and the card of what was learnt and measured."""

from __future__ import annotations

import datetime
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightsound.models.backbones import visual_backbone
from sightsound.models.bundle import FUSION, MANIFEST_FILE, WEIGHTS_FILE, save_bundle
from sightsound.pipeline.training.backbones import find_backbone
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.left_out import LeftOutSense
from sightsound.pipeline.training.recipe import Recipe, frame_rate
from sightsound.pipeline.training.records import Dataset
from sightsound.pipeline.training.validate import Calibration

# What only matters while training.
_TRAINING_SIZES = {"dropout", "hidden_dropout"}


def required_senses(recipe: Recipe, features: Features) -> list[str]:
    """The senses without which the fusion has never had to answer."""
    method = recipe.fusion.method
    seen = [any(len(each.times_s) for each in file.visual[:1]) for file in features.files.values()]
    heard = [any(len(each.times_s) for each in file.audio[:1]) for file in features.files.values()]
    if method == "visual" or not any(heard):
        return ["visual"]
    if method == "audio" or not any(seen):
        return ["audio"]
    if all(seen) and not recipe.augmentation.drop_visual:
        return ["visual"]
    if all(heard) and not recipe.augmentation.drop_audio:
        return ["audio"]
    return []


def make_card(
    recipe: Recipe,
    dataset: Dataset,
    features: Features,
    *,
    data_name: str,
    n_folds: int,
    n_steps: int,
    n_workers: int,
    left_out: LeftOutSense,
    held_out: Mapping[str, Mapping[str, object]],
    test: Mapping[str, Mapping[str, object]] | None,
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The card: data, counts, recipe, time, and what was measured on what."""
    backbones = [*recipe.visual, *([recipe.audio] if recipe.audio else [])]
    splits = Counter(sample.split or "train" for sample in dataset.samples)
    measured = [
        {
            "what": f"{task}, on samples held out",
            "on": f"{n_folds} {'part' if n_folds == 1 else 'parts'} of the data, groups kept "
            "whole; networks trained as the bundle was, each without the part it was asked about",
            "numbers": dict(numbers),
        }
        for task, numbers in held_out.items()
    ]
    measured += [
        {
            "what": f"{task}, on the test split",
            "on": "samples that the bundle has not seen",
            "numbers": dict(numbers),
        }
        for task, numbers in (test or {}).items()
    ]
    return {
        "summary": f"{' and '.join(backbones)}, joined by the method {recipe.fusion.method}, "
        f"trained on {data_name}.",
        "trained_on": [
            {
                "data": data_name,
                "samples": len(dataset.samples),
                "left_out": len(features.failed),
                "splits": dict(splits),
                "groups": len({sample.group for sample in dataset.samples}),
                "labels": _label_counts(dataset),
            }
        ],
        "backbones": {
            name: {"origin": backbone.origin, "licence": backbone.licence}
            for name in backbones
            for backbone in (find_backbone(name),)
        },
        "teacher": recipe.teacher.backbone if recipe.teacher else None,
        "left_out": {
            "sense": left_out.sense,
            "held_out_loss_without": {
                sense or "nothing": round(loss, 4) for sense, loss in left_out.losses.items()
            },
        },
        "measured": measured,
        "steps": n_steps,
        "workers": n_workers,
        "seed": recipe.seed,
        "recipe": recipe.model_dump(mode="json"),
        "seconds": dict(seconds),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _label_counts(dataset: Dataset) -> dict[str, dict[str, int]]:
    counts: dict[str, Counter[str]] = {}
    for sample in dataset.samples:
        for task, labels in sample.labels.items():
            counts.setdefault(task, Counter()).update(labels)
    return {task: dict(sorted(count.items())) for task, count in counts.items()}


def make_manifest(
    recipe: Recipe,
    dataset: Dataset,
    features: Features,
    *,
    name: str,
    calibration: Calibration,
    left_out: LeftOutSense,
    card: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of ``bundle.json``, as ``models.bundle`` reads it."""
    intervals_s = [visual_backbone(name).frame_interval_s for name in recipe.visual]
    requires = required_senses(recipe, features)
    return {
        "name": name,
        # As text, since the decimals of a rate such as 1/3 never end.
        "fps": str(frame_rate(recipe, intervals_s)),
        "visual_backbones": list(recipe.visual),
        "audio_backbones": [recipe.audio] if recipe.audio else [],
        "tasks": {
            task.name: {
                "kind": task.kind,
                "sources": {FUSION: 1.0},
                "temperature": calibration.temperatures[task.name],
                "threshold": calibration.thresholds.get(task.name, 0.0),
                "requires": requires,
                "labels": list(task.labels),
            }
            for task in dataset.tasks
        },
        "fusion": {
            "method": recipe.fusion.method,
            **recipe.fusion.model_dump(exclude={"method", *_TRAINING_SIZES}),
        },
        "left_out": left_out.sense,
        "card": dict(card),
    }


def write_bundle(out: Path, manifest: dict[str, Any], tensors: Mapping[str, Any]) -> None:
    """Write a bundle beside its place and move it there, weights first: no reader meets half."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        save_bundle(Path(folder), manifest, tensors)
        for file in (WEIGHTS_FILE, MANIFEST_FILE):
            (Path(folder) / file).replace(out / file)
