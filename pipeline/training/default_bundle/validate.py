"""Cross-validation over the real clips, no source on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from sightsound.pipeline.training.default_bundle.batches import TrainSettings
from sightsound.pipeline.training.default_bundle.fusion import ACTION, SCENE, train
from sightsound.pipeline.training.default_bundle.material import Material
from sightsound.pipeline.training.default_bundle.measure import agreement, predict
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


def cross_validate(
    material: Material,
    make: Callable[[], nn.Module],
    settings: TrainSettings,
    *,
    seed: int,
    n_asked: int,
    say: Callable[[str], None],
) -> Held:
    """Train once a fold, without the fold's clips and its share of the scenes; ask about these.

    Only the first ``n_asked`` folds are asked about, since each costs a training. Stills with
    actions are learnt from in every fold: they share no source with the clips.
    """
    clips, stills = material.clips, material.stills
    is_clip = material.marks(clips, lambda file: file.dataset == "clips")
    has_scene = stills.scene >= 0
    still_fold, clip_fold = material.fold_of_file[stills.file], material.fold_of_file[clips.file]
    collected: list[Held] = []
    for fold in range(n_asked):
        still_held = has_scene & (still_fold == fold)
        torch.manual_seed(seed + fold)
        network = train(
            make(),
            stills.take((still_fold >= 0) & ~still_held),
            clips.take(clip_fold != fold),
            n_scenes=len(material.labels.scenes),
            settings=settings,
            seed=seed + fold,
        )
        asked, seen = clips.take((clip_fold == fold) & is_clip), stills.take(still_held)
        collected.append(
            Held(
                clips=asked,
                logits=predict(network, asked),
                silent_logits=predict(network, asked, with_audio=False),
                scenes=seen.scene,
                scene_logits=predict(network, seen)[SCENE],
            )
        )
        found = agreement(collected[-1].logits[ACTION], asked)
        say(f"fold {fold}: agreement top-1 {found.top1:.3f}, in the top 5 {found.top5:.3f}")
    return Held(
        clips=joined([held.clips for held in collected]),
        logits=_joined_logits([held.logits for held in collected]),
        silent_logits=_joined_logits([held.silent_logits for held in collected]),
        scenes=torch.cat([held.scenes for held in collected]),
        scene_logits=torch.cat([held.scene_logits for held in collected]),
    )


def _joined_logits(parts: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    return {task: torch.cat([part[task] for part in parts]) for task in parts[0]}
