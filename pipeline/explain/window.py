"""One window of a video, with everything that the networks saw and heard of it.

The stages that label a video are run as they are, in this process, in float32 torch. Beside each
backbone stands a second "network" that gives back what it is given, so that the stages
themselves sort pictures and log-mel patches to the times of their tokens.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import nn

from sightsound.models.backbones.base import AudioBackbone, LogMelFormat, VisualBackbone
from sightsound.models.bundle import Bundle
from sightsound.models.engines.base import LoadedNetwork
from sightsound.models.networks import NetworkSpec, TensorSpec
from sightsound.pipeline.answerable import check_answerable
from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import make_grid
from sightsound.pipeline.explain.errors import ExplainError, ExplainUsageError
from sightsound.pipeline.slices import SliceRunner
from sightsound.stages.features import AudioFeatures, TokenBuffer, VisualFeatures
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import MediaInfo, Slice, Tokens, VideoPlan, Window, WindowScores
from sightsound.stages.spectrogram import Spectrogram

_MOST_SLICES = 64

AnyBackbone = TypeVar("AnyBackbone", VisualBackbone, AudioBackbone)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What one backbone was shown or played in a window, a row for each token.

    ``times_s`` (n,) is the middle of each. ``values`` is uint8 RGB (n, clip_frames, height,
    width, 3) or float32 log-mel (n, n_frames, n_mels).
    """

    times_s: NDArray[np.float64]
    values: NDArray[np.uint8] | NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class WindowInput:
    """One window as the networks got it, and what they said of it.

    ``pictures`` and ``log_mels`` are by the name of the backbone, without those that saw or
    heard nothing. ``corrupt`` is as in ``scores``. ``rotation`` is in degrees.
    """

    info: MediaInfo
    plan: VideoPlan
    window: Window
    scores: WindowScores
    rotation: int
    pictures: Mapping[str, Seen]
    log_mels: Mapping[str, Seen]


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Where a moment of a file lies: the window around it, and the slice that holds the window."""

    info: MediaInfo
    plan: VideoPlan
    piece: Slice
    window: Window


def find_moment(config: Config, bundle: Bundle, path: str, *, at_s: float) -> Moment:
    """Look a moment up in a file, without any network.

    Args:
        config: its grid of windows and limits count.
        bundle: the model, for what it needs of the file.
        path: a file, as ``probe`` takes it.
        at_s: seconds from the start; of the windows that hold it, the one whose middle is
            nearest is taken, the earlier of two.

    Raises:
        StageError: the file cannot be read, or lacks the sense that the bundle needs.
        ExplainUsageError: the moment is not in the video.
    """
    info = make_probe(config)(path)
    plan = plan_finely(info, make_grid(config, bundle))
    check_answerable(bundle, plan, path)
    piece, window = find_window(plan, at_s=at_s, path=path)
    return Moment(info=info, plan=plan, piece=piece, window=window)


class WindowRunner(SliceRunner):
    """A :class:`SliceRunner` in float32 torch that keeps what the networks saw in one window."""

    def __init__(self, config: Config) -> None:
        """Load the bundle of the configuration.

        Raises:
            ModelError: it cannot be had.
        """
        import torch

        inference = config.inference.model_copy(update={"engine": "torch", "precision": "float32"})
        super().__init__(config.model_copy(update={"inference": inference}))
        # The engine takes one thread a worker, and this is the only one.
        torch.set_num_threads(len(os.sched_getaffinity(0)))
        self._wanted: int | None = None
        self._kept: dict[str, Tokens] = {}

    @property
    def device(self) -> str:
        """Where the networks run, as torch names it."""
        return self._engine.device

    def read(self, moment: Moment) -> WindowInput:
        """Run the stages over the window around a moment.

        Raises:
            StageError: the file cannot be read.
            ExplainError: nothing could be decoded there.
        """
        info, plan, window = moment.info, moment.plan, moment.window
        self._wanted, self._kept = window.index, {}
        try:
            result = self(info, plan, moment.piece)
        finally:
            self._wanted = None
        scores = next(each for each in result.windows if each.window.index == window.index)
        if not self._kept:
            raise ExplainError(
                f"Nothing could be decoded from {window.start_s:g} to {window.end_s:g} s of "
                f"{info.path}: the file is damaged there, so choose another --at."
            )
        return WindowInput(
            info=info,
            plan=plan,
            window=window,
            scores=scores,
            rotation=result.rotation,
            pictures={
                backbone.name: Seen(times_s=kept.times_s, values=kept.embeddings.astype(np.uint8))
                for backbone in self.bundle.visual
                if (kept := self._kept.get(_input_name(backbone))) is not None
            },
            log_mels={
                backbone.name: Seen(times_s=kept.times_s, values=kept.embeddings)
                for backbone in self.bundle.audio
                if (kept := self._kept.get(_input_name(backbone))) is not None
            },
        )

    def new_visual(self) -> list[VisualFeatures]:
        """Accumulators for the frames of one slice, and others that keep the pictures."""
        keepers = [
            VisualFeatures(_keeper(backbone), _Unchanged(backbone.network()), fps=self.grid.fps)
            for backbone in self.bundle.visual
        ]
        return super().new_visual() + keepers

    def new_audio(self, plan: VideoPlan, piece: Slice) -> list[tuple[Spectrogram, AudioFeatures]]:
        """Accumulators for the sound of one slice, and others that keep the log-mel patches."""
        doubles = zip(super().new_audio(plan, piece), self.bundle.audio, strict=False)
        keepers = [
            (spectrogram, AudioFeatures(_keeper(backbone), _Unchanged(backbone.network())))
            for (spectrogram, _), backbone in doubles
        ]
        return super().new_audio(plan, piece) + keepers

    def fuse(
        self, window: Window, buffers: Mapping[str, TokenBuffer], *, corrupt: bool
    ) -> WindowScores:
        """Score one window, and keep what was seen in it where it is the one wanted."""
        if window.index == self._wanted:
            for name, buffer in buffers.items():
                tokens = buffer.between(window.start_s, window.end_s)
                if tokens is not None:
                    self._kept[name] = tokens
        return super().fuse(window, buffers, corrupt=corrupt)


class _Unchanged(LoadedNetwork):
    """Gives back its input as the embedding."""

    def __init__(self, like: NetworkSpec) -> None:
        (given,) = like.inputs
        spec = NetworkSpec(
            name=f"{like.name}-input",
            inputs=(given,),
            outputs=(TensorSpec(name="input", shape=given.shape),),
            build=nn.Identity,
            weights_sha256="",
            reduced_precision=False,
        )
        super().__init__(spec, batch_size=1)

    def _run(self, batch: list[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        return [batch[0].astype(np.float32)]


def make_probe(config: Config) -> Probe:
    """The probe stage as a configuration sets it."""
    return Probe(limits=config.limits.media_limits(), audio_track=config.streams.audio_track)


def plan_finely(info: MediaInfo, grid: Grid) -> VideoPlan:
    """A plan whose slices are as short as is cheap, so that little beside a window is decoded.

    Raises:
        StageError: the file holds no packets of its streams.
    """
    slice_s = max(grid.hop_s, (info.claimed_duration_s or 0.0) / _MOST_SLICES)
    return Plan(grid, slice_s=slice_s)(info)


def find_window(plan: VideoPlan, *, at_s: float, path: str) -> tuple[Slice, Window]:
    """Of the windows that hold a moment, the one whose middle is nearest, and its slice.

    Raises:
        ExplainUsageError: the moment is not in the video.
    """
    if not 0 <= at_s <= plan.duration_s:
        raise ExplainUsageError(
            f"--at {at_s:g} is not in {path}, which is {plan.duration_s:.1f} s long."
        )
    holding = [
        (piece, window)
        for piece in plan.slices
        for window in piece.windows
        if window.start_s <= at_s < window.end_s or at_s == plan.duration_s == window.end_s
    ]
    return min(holding, key=lambda pair: abs((pair[1].start_s + pair[1].end_s) / 2 - at_s))


def frame_times_s(
    backbone: VisualBackbone, times_s: NDArray[np.float64], plan: VideoPlan
) -> NDArray[np.float64]:
    """When each picture of each token was on screen, on the grid of samples: (n, clip_frames).

    The clip at the end of a video is filled with the samples before it (``VisualFeatures``), which
    its time, the middle of its own, tells.
    """
    n_frames = backbone.clip_frames
    if n_frames == 1:
        return times_s[:, None]
    interval_s = float(1 / plan.fps)
    middles = times_s / interval_s
    firsts = np.floor(middles / n_frames + 1e-9) * n_frames
    n_own = np.rint(2 * (middles - firsts)) + 1
    firsts -= np.where(firsts > 0, n_frames - n_own, 0)
    return np.asarray((firsts[:, None] + np.arange(n_frames)) * interval_s, dtype=np.float64)


def patch_starts_s(
    log_mel: LogMelFormat, times_s: NDArray[np.float64], sound_span_s: tuple[float, float]
) -> NDArray[np.float64]:
    """Where patches begin on their grid, (n,), from the middles (n,) of the sound in them.

    The sound may fill only a part of the first and of the last patch, which moves its middle.
    """
    hop_s = log_mel.hop_samples / log_mel.sample_rate_hz
    length_s = log_mel.patch_samples / log_mel.sample_rate_hz

    def start_s(time_s: float) -> float:
        first = max(0, int((time_s - length_s) // hop_s))
        starts = [number * hop_s for number in range(first, int(time_s // hop_s) + 2)]
        middles = [
            (max(begin, sound_span_s[0]) + min(begin + length_s, sound_span_s[1])) / 2
            for begin in starts
        ]
        return min(zip(starts, middles, strict=True), key=lambda pair: abs(pair[1] - time_s))[0]

    return np.array([start_s(float(time)) for time in times_s])


def _keeper(backbone: AnyBackbone) -> AnyBackbone:
    return replace(backbone, name=_input_name(backbone))


def _input_name(backbone: VisualBackbone | AudioBackbone) -> str:
    return f"{backbone.name}:input"
