"""Cross-validation over the real clips."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from sightsound.pipeline.training.default_bundle.batches import TrainSettings
from sightsound.pipeline.training.default_bundle.fusion import SCENE, Network, train
from sightsound.pipeline.training.default_bundle.material import Material
from sightsound.pipeline.training.default_bundle.measure import predict
from sightsound.pipeline.training.default_bundle.samples import Samples, joined


@dataclass(frozen=True, kw_only=True)
class Held:
    """What networks said of samples that they had not learnt from, joined over the folds.

    Logits of ``clips`` are by task, with sound and ``silent``; ``scene_logits`` (n, n_scenes) are
    of stills whose true scene is ``scenes`` (n,) int64.
    """

    clips: Samples
    logits: dict[str, torch.Tensor]
    silent_logits: dict[str, torch.Tensor]
    scenes: torch.Tensor
    scene_logits: torch.Tensor


def validate_fold(
    material: Material,
    make: Callable[[], Network],
    settings: TrainSettings,
    *,
    finish: Callable[[Network, Samples], None] = lambda network, stills: None,
    seed: int,
    fold: int,
) -> Held:
    """Train without a fold's clips and its share of the scenes; ask about these.

    Stills with actions are learnt from in every fold: they share no source with the clips.
    ``finish`` is called with the trained network and the stills that it was trained on.
    """
    clips, stills = material.clips, material.stills
    still_fold, clip_fold = material.fold_of_file[stills.file], material.fold_of_file[clips.file]
    still_held = (stills.scene >= 0) & (still_fold == fold)
    torch.manual_seed(seed + fold)
    learnt = stills.take((still_fold >= 0) & ~still_held)
    network = train(
        make(),
        learnt,
        clips.take(clip_fold != fold),
        settings=settings,
        seed=seed + fold,
    )
    finish(network, learnt)
    asked, seen = clips.take(clip_fold == fold), stills.take(still_held)
    return Held(
        clips=asked,
        logits=predict(network, asked),
        silent_logits=predict(network, asked, with_audio=False),
        scenes=seen.scene,
        scene_logits=predict(network, seen)[SCENE],
    )


def joined_folds(folds: list[Held]) -> Held:
    """What was said of all folds' samples."""
    return Held(
        clips=joined([held.clips for held in folds]),
        logits=_joined_logits([held.logits for held in folds]),
        silent_logits=_joined_logits([held.silent_logits for held in folds]),
        scenes=torch.cat([held.scenes for held in folds]),
        scene_logits=torch.cat([held.scene_logits for held in folds]),
    )


def _joined_logits(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {task: torch.cat([part[task] for part in parts]) for task in parts[0]}
