"""Small made-up material for the recipe of the default bundle, and a network for it."""

from __future__ import annotations

import torch

from sightsound.models.fusion.bottleneck import BottleneckFusion
from sightsound.pipeline.training.default_bundle.samples import Samples

VISUAL_DIM, AUDIO_DIM = 16, 8
N_ACTIONS, N_SCENES = 4, 4


def make_samples(n: int, *, is_still: bool, seed: int = 0) -> Samples:
    """Windows whose action and scene can be read off the features.

    Every third still has a scene and no action; of the others every second is named, wrongly
    taught by the teacher. Every second clip has sound.
    """
    generator = torch.Generator().manual_seed(seed)
    n_variants, n_visual, n_audio, n_teacher = 2, 1 if is_still else 6, 4, 1 if is_still else 3
    number = torch.arange(n)
    action, scene = number % N_ACTIONS, number % N_SCENES
    noise = torch.randn((n, n_variants, n_visual, VISUAL_DIM), generator=generator)
    visual = 0.3 * noise
    visual[number, :, :, action] += 3
    visual[number, :, :, N_ACTIONS + scene] += 3
    has_scene = (number % 3 == 0) if is_still else torch.zeros(n, dtype=torch.bool)
    taught = torch.full((n, n_variants, n_teacher, N_ACTIONS), 0.02)
    taught[number, :, :, action] = 1 - 0.02 * (N_ACTIONS - 1)
    visual_count = number % n_visual + 1
    teacher_count = number % n_teacher + 1
    return Samples(
        visual=visual.half(),
        visual_times=0.5 * torch.arange(n_visual).expand(n, -1),
        visual_mask=torch.arange(n_visual) < visual_count[:, None],
        audio=torch.randn((n, n_audio, AUDIO_DIM), generator=generator).half(),
        audio_times=torch.arange(n_audio).expand(n, -1) * 0.48,
        audio_mask=((number % 2 == 1) & (not is_still))[:, None].expand(-1, n_audio).clone(),
        teacher=taught.half(),
        teacher_times=torch.arange(n_teacher).expand(n, -1) * 1.6 + 0.6,
        teacher_mask=(torch.arange(n_teacher) < teacher_count[:, None]) & ~has_scene[:, None],
        actions=torch.zeros((n, N_ACTIONS), dtype=torch.bool),
        scene=torch.where(has_scene, scene, -1),
        places=torch.zeros((n, N_SCENES)).half(),
        weight=torch.ones(n),
        file=number,
    )


def make_network(seed: int = 0) -> BottleneckFusion:
    torch.manual_seed(seed)
    return BottleneckFusion(
        visual_dim=VISUAL_DIM,
        audio_dim=AUDIO_DIM,
        tasks={"action": N_ACTIONS, "scene": N_SCENES},
        dim=32,
        dropout=0.1,
    )
