"""Batches: windows padded and, in training, augmented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from sightsound.pipeline.training.recipe import AugmentationRecipe
from sightsound.pipeline.training.tensors import TokenStream, Windows

_SPREAD_TOKENS = 4096


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a fusion takes (see ``models.fusion``), and its targets.

    ``targets`` are by task (n, n_labels) float32, ``present`` (n,) bool, both as in ``Windows``.
    """

    visual: torch.Tensor
    visual_times: torch.Tensor
    visual_mask: torch.Tensor
    audio: torch.Tensor
    audio_times: torch.Tensor
    audio_mask: torch.Tensor
    targets: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]

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

    def __len__(self) -> int:
        return len(self.visual_mask)

    def take(self, rows: torch.Tensor) -> Batch:
        """Some of the windows, by number; one may be taken more than once."""
        fields: dict[str, Any] = {
            name: {task: each[rows] for task, each in value.items()}
            if isinstance(value, dict)
            else value[rows]
            for name, value in self.__dict__.items()
        }
        return Batch(**fields)


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Standard deviation of the embeddings of each sense, (dim,) float32: the unit of noise."""

    visual: torch.Tensor
    audio: torch.Tensor


def spread_of(windows: Windows) -> Spread:
    """The spread, over at most some thousand tokens spread evenly."""

    def deviation(stream: TokenStream) -> torch.Tensor:
        step = max(1, len(stream.values) // _SPREAD_TOKENS)
        some = stream.values[::step].float()
        return some.std(dim=0) if len(some) > 1 else torch.zeros(stream.values.shape[1])

    return Spread(visual=deviation(windows.visual), audio=deviation(windows.audio))


def plain_batch(
    windows: Windows, rows: torch.Tensor, *, with_visual: bool = True, with_audio: bool = True
) -> Batch:
    """Windows as inference sees them, or without one of the senses."""
    variants = torch.zeros_like(rows)
    batch = _gathered(windows, rows, variants)
    return Batch(
        **{
            **batch.__dict__,
            "visual_mask": batch.visual_mask & with_visual,
            "audio_mask": batch.audio_mask & with_audio,
        }
    )


def draw_batch(
    windows: Windows,
    size: int,
    *,
    augmentation: AugmentationRecipe,
    spread: Spread,
    generator: torch.Generator,
) -> Batch:
    """Draw windows by weight, with replacement, and augment them."""
    rows = torch.multinomial(windows.weight, size, replacement=True, generator=generator)

    def chance(probability: float) -> torch.Tensor:
        return torch.rand(size, generator=generator) < probability

    n_variants = max(windows.visual.count.shape[1], windows.audio.count.shape[1])
    variants = torch.randint(n_variants, (size,), generator=generator)
    variants = torch.where(chance(augmentation.plain_share), 0, variants)
    batch = _shortened(_gathered(windows, rows, variants), augmentation.most_tokens, generator)
    thin = chance(augmentation.drop_tokens)[:, None]
    visual_mask = torch.where(thin, _some(batch.visual_mask, generator), batch.visual_mask)
    audio_mask = torch.where(thin, _some(batch.audio_mask, generator), batch.audio_mask)
    visual_mask, audio_mask = drop_senses(
        visual_mask,
        audio_mask,
        drop_visual=augmentation.drop_visual,
        drop_audio=augmentation.drop_audio,
        generator=generator,
    )
    noisy = Batch(
        **{
            **batch.__dict__,
            "visual": _noisy(batch.visual, spread.visual, augmentation.feature_noise, generator),
            "audio": _noisy(batch.audio, spread.audio, augmentation.feature_noise, generator),
            "visual_mask": visual_mask,
            "audio_mask": audio_mask,
        }
    )
    return mixed(noisy, chance(augmentation.mixup), generator)


def _gathered(windows: Windows, rows: torch.Tensor, variants: torch.Tensor) -> Batch:
    start_s = windows.start_s[rows]
    visual, visual_times, visual_mask = _tokens(windows.visual, rows, variants, start_s)
    audio, audio_times, audio_mask = _tokens(windows.audio, rows, variants, start_s)
    return Batch(
        visual=visual,
        visual_times=visual_times,
        visual_mask=visual_mask,
        audio=audio,
        audio_times=audio_times,
        audio_mask=audio_mask,
        targets={
            task: target[rows, variants.clamp(max=target.shape[1] - 1)]
            for task, target in windows.targets.items()
        },
        present={task: present[rows] for task, present in windows.present.items()},
    )


def _tokens(
    stream: TokenStream, rows: torch.Tensor, variants: torch.Tensor, start_s: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Values (n, T, dim) float32, times from the windows' start and mask (n, T), T at least 1."""
    variants = variants.clamp(max=stream.count.shape[1] - 1)
    first, count = stream.first[rows, variants], stream.count[rows, variants]
    length = max(1, int(count.max()) if len(count) else 1)
    mask = torch.arange(length) < count[:, None]
    if not len(stream.values):
        shape = (len(rows), length)
        return torch.zeros((*shape, stream.values.shape[1])), torch.zeros(shape), mask
    places = torch.where(mask, first[:, None] + torch.arange(length), 0)
    values = stream.values[places].float() * mask[:, :, None]
    times = (stream.times_s[places] - start_s[:, None]) * mask
    return values, times, mask


def _shortened(batch: Batch, most: int, generator: torch.Generator) -> Batch:
    """At most so many tokens of each sense, drawn for each window, in order of time."""
    fields = dict(batch.__dict__)
    for sense in ("visual", "audio"):
        mask = fields[f"{sense}_mask"]
        if mask.shape[1] <= most:
            continue
        order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
        kept = order.argsort(dim=1)[:, :most].sort(dim=1).values
        fields[sense] = fields[sense].gather(
            1, kept[:, :, None].expand(-1, -1, fields[sense].shape[2])
        )
        fields[f"{sense}_times"] = fields[f"{sense}_times"].gather(1, kept)
        fields[f"{sense}_mask"] = mask.gather(1, kept)
    return Batch(**fields)


def _some(mask: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Some of the tokens, at least one where there was one."""
    order = torch.rand(mask.shape, generator=generator).masked_fill(~mask, 2.0)
    share = torch.rand((len(mask), 1), generator=generator)
    return mask & ((order < share) | (order == order.min(dim=1, keepdim=True).values))


def drop_senses(
    visual_mask: torch.Tensor,
    audio_mask: torch.Tensor,
    *,
    drop_visual: float,
    drop_audio: float,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leave out picture or sound, with these chances, of samples that have both, of no others."""
    has_both = visual_mask.any(dim=1) & audio_mask.any(dim=1)
    draw = torch.rand(len(visual_mask), generator=generator)
    no_audio = has_both & (draw < drop_audio)
    no_visual = has_both & (draw >= 1 - drop_visual)
    return visual_mask & ~no_visual[:, None], audio_mask & ~no_audio[:, None]


def with_each_alone(batch: Batch) -> Batch:
    """The batch, then its windows that have both senses once by picture alone, once by sound."""
    both = torch.nonzero(batch.visual_mask.any(dim=1) & batch.audio_mask.any(dim=1))[:, 0]
    n, n_both = len(batch), len(both)
    whole = batch.take(torch.cat((torch.arange(n), both, both)))
    row = torch.arange(len(whole))[:, None]
    is_unheard, is_unseen = (row >= n) & (row < n + n_both), row >= n + n_both
    return Batch(
        **{
            **whole.__dict__,
            "visual_mask": whole.visual_mask & ~is_unseen,
            "audio_mask": whole.audio_mask & ~is_unheard,
        }
    )


def _noisy(
    values: torch.Tensor, spread: torch.Tensor, most: float, generator: torch.Generator
) -> torch.Tensor:
    """Noise that is the same for all tokens of a window, of a size drawn for each."""
    size = most * torch.rand((len(values), 1, 1), generator=generator)
    noise = torch.randn((len(values), 1, values.shape[2]), generator=generator)
    return values + size * noise * spread


def mixed(batch: Batch, is_mixed: torch.Tensor, generator: torch.Generator) -> Batch:
    """Mix the tokens of some windows with the mean token of another, and their targets alike.

    Zhang et al. 2018, "mixup" (arXiv:1710.09412), on features. Only windows with the same
    senses and the same known tasks are mixed; the other has at most half the weight.
    """
    n = len(is_mixed)
    other = torch.randperm(n, generator=generator)
    share = 0.5 * torch.rand(n, generator=generator)
    for known in (
        batch.visual_mask.any(dim=1),
        batch.audio_mask.any(dim=1),
        *batch.present.values(),
    ):
        is_mixed = is_mixed & (known == known[other])
    share = torch.where(is_mixed, share, 0.0)
    fields = dict(batch.__dict__)
    for sense in ("visual", "audio"):
        mask = fields[f"{sense}_mask"][:, :, None].float()
        mean = (fields[sense] * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
        fields[sense] = torch.lerp(fields[sense], mean[other][:, None], share[:, None, None])
    fields["targets"] = {
        task: torch.lerp(target, target[other], share[:, None])
        for task, target in batch.targets.items()
    }
    return Batch(**fields)
