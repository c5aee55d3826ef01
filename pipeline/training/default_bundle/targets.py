"""What the looking network is to say of single pictures, by labels and by both teachers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from sightsound.models.backbones.places365 import PLACES365
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.pooling import softmax
from sightsound.pipeline.training.cache import FileFeatures, Key
from sightsound.pipeline.training.default_bundle.batches import (
    TrainSettings,
    action_targets,
    scene_targets,
)
from sightsound.pipeline.training.default_bundle.material import Material
from sightsound.pipeline.training.default_bundle.pictures import Pictures
from sightsound.pipeline.training.default_bundle.tune import Targets, TuneSettings

# How far a teacher's clip may lie from a frame that it speaks of.
_NEAR_S = 1.5


def picture_targets(
    material: Material,
    pictures: Pictures,
    words: Mapping[Key, FileFeatures],
    *,
    settings: TrainSettings,
    tuning: TuneSettings,
    n_variants: int,
) -> Targets:
    """Targets of all pictures; ``words`` are the teachers' logits."""
    labels = material.labels
    n = len(pictures.file)
    taught = np.zeros((n, 1, len(labels.actions)), dtype=np.float32)
    places = np.zeros((n, len(labels.scenes)), dtype=np.float32)
    names = np.zeros((n, len(labels.actions)), dtype=bool)
    scene = np.full(n, -1, dtype=np.int64)
    weight = np.ones(n, dtype=np.float32)
    for row, (number, time_s) in enumerate(zip(pictures.file, pictures.time_s, strict=True)):
        file, content_id = material.files[number], material.ids[number]
        said = [
            softmax(near.astype(np.float32)).mean(axis=0)
            for variant in range(n_variants)
            if (near := _near(words.get((content_id, X3D_XS.name, variant)), time_s)) is not None
        ]
        if said:
            taught[row, 0] = np.mean(said, axis=0)
        placed = _near(words.get((content_id, PLACES365.name, 0)), time_s)
        if placed is not None:
            places[row] = labels.known_places(placed)
        names[row] = np.isin(labels.actions, file.actions)
        scene[row] = labels.scenes.index(file.scene) if file.scene is not None else -1
        weight[row] = 1.0 if file.is_still else tuning.clip_weight
    mask = torch.from_numpy(taught.any(axis=2))
    action, has_action = action_targets(
        torch.from_numpy(taught), mask, torch.from_numpy(names), settings=settings
    )
    target, has_scene = scene_targets(
        torch.from_numpy(scene),
        torch.from_numpy(places),
        smoothing=settings.label_smoothing,
        places_weight=tuning.places_weight,
    )
    counts = torch.from_numpy(weight)
    return Targets(
        action=action,
        action_weight=has_action * counts,
        scene=target,
        scene_weight=has_scene * counts,
    )


def _near(found: FileFeatures | None, time_s: float) -> NDArray[np.float16] | None:
    """The tokens about a time: all that are near, or the nearest."""
    if found is None or not len(found.times_s):
        return None
    distance = np.abs(found.times_s - time_s)
    chosen = distance <= max(_NEAR_S, float(distance.min()))
    return found.values[chosen]
