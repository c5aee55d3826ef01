"""Augmented batches for training: what the network is shown, and what it should say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import nn

from sightsound.pipeline.training.batches import drop_senses
from sightsound.pipeline.training.default_bundle.samples import Samples

_MOST_STILL_TOKENS = 2
_FRAMES_SHOWN = (4, 4, 8, 17)


class TrainSettings(BaseModel):
    """The numbers of one training. Chances are probabilities, drawn anew for each sample."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int
    stills_a_step: int
    windows_a_step: int
    learning_rate: float
    weight_decay: float
    average_decay: float
    feature_noise: float
    mix_chance: float
    plain_chance: float
    moving_still_chance: float
    crop_in_time_chance: float
    drop_audio_chance: float
    drop_visual_chance: float
    true_name_share: float
    teacher_temperature: float
    label_smoothing: float
    scene_weight: float
    places_weight: float


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What the network takes, and its targets.

    Inputs are as in ``BottleneckFusion``. ``action`` (n, n_actions) and ``scene`` (n, n_scenes)
    are float32 distributions; ``has_action`` and ``has_scene`` (n,) float32 are 0 for samples
    that say nothing about a task.
    """

    visual: torch.Tensor
    visual_times: torch.Tensor
    visual_mask: torch.Tensor
    audio: torch.Tensor
    audio_times: torch.Tensor
    audio_mask: torch.Tensor
    action: torch.Tensor
    has_action: torch.Tensor
    scene: torch.Tensor
    has_scene: torch.Tensor

    def inputs(self) -> tuple[torch.Tensor, ...]:
        """The network's inputs, in order."""
        return (
            self.visual,
            self.visual_times,
            self.visual_mask,
            self.audio,
            self.audio_times,
            self.audio_mask,
        )


def draw_batch(
    samples: Samples,
    rows: torch.Tensor,
    *,
    settings: TrainSettings,
    spread: torch.Tensor,
    generator: torch.Generator,
) -> Batch:
    """Make an augmented batch of some rows.

    A still becomes one token, or several of its variants as if a camera moved over it. A clip is
    shown in one variant, cut to a random stretch of time (the teacher is asked about the same
    stretch), and with only some of its frames. ``spread`` (visual_dim,) is the deviation of
    features, in units of which noise is added.
    """

    def chance(probability: float) -> torch.Tensor:
        return torch.rand(len(rows), generator=generator) < probability

    part = samples.take(rows)
    n_variants = part.visual.shape[1]
    is_still = part.visual.shape[2] == 1
    if is_still:
        order = torch.rand((len(rows), n_variants), generator=generator)
        order[chance(settings.plain_chance), 0] = -1.0
        chosen = order.argsort(dim=1)[:, :_MOST_STILL_TOKENS]
        every = torch.arange(len(rows))[:, None]
        visual = part.visual[every, chosen, 0].float()
        taught = part.teacher[every, chosen, 0].float()
        is_moving = chance(settings.moving_still_chance)[:, None]
        visual_mask = is_moving.repeat(1, chosen.shape[1])
        visual_mask[:, 0] = True
        times = 0.5 * torch.randint(0, 16, chosen.shape, generator=generator)
        times = torch.where(is_moving, times, 0.0)
        teacher_mask = part.teacher_mask & visual_mask
        audio_mask = part.audio_mask
    else:
        variant = torch.randint(0, n_variants, (len(rows),), generator=generator)
        variant = torch.where(chance(settings.plain_chance), 0, variant)
        every = torch.arange(len(rows))
        taught = part.teacher[every, variant].float()
        inside = _stretch_of_time(part, chance(settings.crop_in_time_chance), generator)
        visual_mask = part.visual_mask & inside(part.visual_times)
        frames = _frames(visual_mask, generator)
        visual = part.visual[every[:, None], variant[:, None], frames].float()
        times = part.visual_times.gather(1, frames)
        visual_mask = visual_mask.gather(1, frames)
        audio_mask = part.audio_mask & inside(part.audio_times)
        teacher_mask = part.teacher_mask & inside(part.teacher_times)
        visual_mask = _some(visual_mask, generator)
    visual_mask, audio_mask = drop_senses(
        visual_mask,
        audio_mask,
        drop_visual=settings.drop_visual_chance,
        drop_audio=settings.drop_audio_chance,
        generator=generator,
    )
    deviation = settings.feature_noise * torch.rand((len(rows), 1, 1), generator=generator)
    noise = torch.randn((len(rows), 1, visual.shape[2]), generator=generator)
    visual = visual + deviation * noise * spread
    action, has_action = action_targets(taught, teacher_mask, part.actions, settings=settings)
    scene, has_scene = scene_targets(
        part.scene,
        part.places,
        smoothing=settings.label_smoothing,
        places_weight=settings.places_weight,
    )
    batch = Batch(
        visual=visual,
        visual_times=times,
        visual_mask=visual_mask,
        audio=part.audio.float(),
        audio_times=part.audio_times,
        audio_mask=audio_mask,
        action=action,
        has_action=has_action,
        scene=scene,
        has_scene=has_scene,
    )
    return _mixed(batch, chance(settings.mix_chance), generator)


def _stretch_of_time(
    part: Samples, is_cut: torch.Tensor, generator: torch.Generator
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Whether times lie in a random stretch about one of the teacher's clips, for each sample."""
    n = len(part)
    last = part.teacher_mask.sum(dim=1) - 1
    low, high = torch.rand((2, n), generator=generator).sort(dim=0).values
    first_clip = torch.floor(low * (last + 1)).long().clamp(min=0)
    last_clip = torch.floor(high * (last + 1)).long().clamp(min=0)
    every = torch.arange(n)
    margin_s = 0.81  # Half of what one of the teacher's clips spans.
    start = (part.teacher_times[every, first_clip] - margin_s)[:, None]
    stop = (part.teacher_times[every, last_clip] + margin_s)[:, None]
    seen = part.visual_mask & (part.visual_times >= start) & (part.visual_times <= stop)
    is_whole = ~(is_cut & seen.any(dim=1))[:, None]
    return lambda times: is_whole | ((times >= start) & (times <= stop))


def _frames(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Which frames of each window to show: a number of them that is the same for the batch.

    Few are enough to learn from and cost less; frames where ``mask`` is True come first.
    """
    most = _FRAMES_SHOWN[int(torch.randint(len(_FRAMES_SHOWN), (1,), generator=generator))]
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
    return order.argsort(dim=1)[:, :most]


def _some(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Some of the tokens, at least one where there was one."""
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
    share = torch.rand((len(mask), 1), generator=generator).clamp(min=0.1) * 1.6
    return mask & ((order < share) | (order == order.min(dim=1, keepdim=True).values))


def action_targets(
    taught: torch.Tensor, mask: torch.Tensor, names: torch.Tensor, *, settings: TrainSettings
) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's distribution, with the true names mixed in where they are known.

    Several names share according to the teacher, since any of them may be the true one.

    Args:
        taught: float32 (n, C, n_actions), the teacher's probabilities on each of its clips.
        mask: bool (n, C), True where it has one.
        names: bool (n, n_actions), the names that may be true.
        settings: the share of true names, and the temperature that softens the target, so that
            the labels that come next to the first are learnt as well.

    Returns:
        The targets (n, n_actions) and (n,) 1.0 where there is one, both float32.
    """
    count = mask.sum(dim=1, keepdim=True)
    mean = (taught * mask[:, :, None]).sum(dim=1) / count.clamp(min=1)
    named = mean.clamp(min=1e-8) * names
    named = named / named.sum(dim=1, keepdim=True).clamp(min=1e-12)
    share = settings.true_name_share * names.any(dim=1, keepdim=True)
    target = (1 - share) * mean + share * named
    softened = target.clamp(min=1e-8) ** (1 / settings.teacher_temperature)
    softened = softened / softened.sum(dim=1, keepdim=True)
    has_target = (count[:, 0] > 0).float()
    return softened * has_target[:, None], has_target


def scene_targets(
    scene: torch.Tensor, places: torch.Tensor, *, smoothing: float, places_weight: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What is to be said of scenes, and how much it counts.

    Args:
        scene: int64 (n,), the true scene, -1 where there is none.
        places: float16 (n, n_scenes), the teacher's probabilities of the scenes that it knows.
        smoothing: how much of a true label is spread over all.
        places_weight: what the teacher counts where there is no true label, times what it gives
            to scenes that it knows.

    Returns:
        Distributions (n, n_scenes) and weights (n,), both float32, 0 where nothing is known.
    """
    has_label = scene >= 0
    one_hot = nn.functional.one_hot(scene.clamp(min=0), places.shape[1]).float()
    smoothed = (1 - smoothing) * one_hot + smoothing / places.shape[1]
    known = places.float().sum(dim=1)
    taught = places.float() / known.clamp(min=1e-6)[:, None]
    weight = torch.where(has_label, 1.0, places_weight * known)
    target = torch.where(has_label[:, None], smoothed, taught)
    return target * (weight > 0)[:, None], weight


def _mixed(batch: Batch, is_mixed: torch.Tensor, generator: torch.Generator) -> Batch:
    """Mix the tokens of some samples with the mean token of another, and their targets alike.

    Zhang et al. 2018, "mixup" (arXiv:1710.09412), on features.
    """
    n = len(is_mixed)
    other = torch.randperm(n, generator=generator)
    is_mixed = is_mixed & batch.visual_mask.any(dim=1) & batch.visual_mask.any(dim=1)[other]
    for has in (batch.has_action, batch.has_scene):
        is_mixed &= (has > 0) == (has[other] > 0)
    share = torch.where(is_mixed, 0.5 * torch.rand(n, generator=generator), 0.0)
    mask = batch.visual_mask[:, :, None].float()
    mean = (batch.visual * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
    fields = dict(batch.__dict__)
    fields["visual"] = torch.lerp(batch.visual, mean[other][:, None], share[:, None, None])
    for name in ("action", "scene"):
        fields[name] = torch.lerp(fields[name], fields[name][other], share[:, None])
    fields["has_scene"] = torch.lerp(batch.has_scene, batch.has_scene[other], share)
    return Batch(**fields)
