"""Features of sound in several variants: moved against the grid of patches, and masked."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from sightsound.models.backbones.base import AudioBackbone
from sightsound.models.engines.base import LoadedNetwork
from sightsound.pipeline.training.augment import SoundAugmentation, SpecAugment, sound_shift_s
from sightsound.stages.decode import Decode
from sightsound.stages.features import AudioFeatures, TokenBuffer
from sightsound.stages.frames import DecodeReport
from sightsound.stages.records import DecodedSound, MediaInfo, VideoPlan
from sightsound.stages.spectrogram import Patches, Spectrogram


def listen(
    info: MediaInfo,
    plan: VideoPlan,
    backbone: AudioBackbone,
    *,
    network: LoadedNetwork,
    front_end: LoadedNetwork,
    augmentation: SoundAugmentation,
    seeds: Mapping[int, str],
    alive: Callable[[], None],
) -> dict[int, TokenBuffer]:
    """The tokens of every variant, from one pass over the sound; none where there is no sound.

    ``seeds`` are by variant; variant 0 is the sound as it is. ``alive`` is called now and then.
    """
    if info.audio is None or plan.audio_span_s is None:
        return {variant: TokenBuffer() for variant in seeds}
    listeners = {}
    for variant, seed in seeds.items():
        shift_s = sound_shift_s(seed, augmentation) if variant > 0 else 0.0
        listeners[variant] = _Listener(
            plan,
            backbone,
            network=network,
            front_end=front_end,
            shift=round(shift_s * backbone.log_mel.sample_rate_hz),
            mask=SpecAugment(seed, augmentation) if variant > 0 else None,
        )
    for block in _sound(info, plan, backbone):
        for listener in listeners.values():
            alive()
            listener.add(block)
    return {variant: listener.finish() for variant, listener in listeners.items()}


def _sound(info: MediaInfo, plan: VideoPlan, backbone: AudioBackbone) -> Iterator[DecodedSound]:
    log_mel = backbone.log_mel
    decode = Decode(
        (),
        sample_rate_hz=log_mel.sample_rate_hz,
        sound_margin_s=log_mel.patch_samples / 2 / log_mel.sample_rate_hz,
    )
    for event in decode(info, plan, plan.slices[0], report=DecodeReport()):
        assert isinstance(event, DecodedSound)
        yield event


class _Listener:
    """One variant: the sound ``shift`` samples later against the grid, its patches masked."""

    def __init__(
        self,
        plan: VideoPlan,
        backbone: AudioBackbone,
        *,
        network: LoadedNetwork,
        front_end: LoadedNetwork,
        shift: int,
        mask: SpecAugment | None,
    ) -> None:
        assert plan.audio_span_s is not None
        start_s, end_s = plan.audio_span_s
        self._shift, self._shift_s = shift, shift / backbone.log_mel.sample_rate_hz
        self._mask = mask
        self._features = AudioFeatures(backbone, network)
        (piece,) = plan.slices
        self._spectrogram = Spectrogram(
            front_end,
            backbone.log_mel,
            start_s=piece.windows[0].start_s,
            end_s=piece.windows[-1].end_s + self._shift_s,
            sound_span_s=(start_s + self._shift_s, end_s + self._shift_s),
        )

    def add(self, block: DecodedSound) -> None:
        """Take the next block of sound."""
        self._take(self._spectrogram(replace(block, first_sample=block.first_sample + self._shift)))

    def finish(self) -> TokenBuffer:
        """No more sound will come: the tokens, at the times of the file itself."""
        self._take(self._spectrogram.finish())
        found = self._features.tokens.between(-math.inf, math.inf)
        if not self._shift or found is None:
            return self._features.tokens
        moved = TokenBuffer()
        for row, time_s in enumerate(found.times_s):
            outputs = [found.embeddings[row]]
            if found.logits is not None:
                outputs.append(found.logits[row])
            moved.add(max(0.0, float(time_s) - self._shift_s), outputs)
        return moved

    def _take(self, patches: Patches) -> None:
        for times_s, log_mel in patches:
            self._features.add(times_s, log_mel if self._mask is None else self._mask(log_mel))
