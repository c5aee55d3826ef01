"""Features: frames and log-mel patches to tokens, by the backbones."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.engines.base import LoadedNetwork
from sightsound.stages.records import DecodedFrame, Tokens


class TokenBuffer:
    """Tokens of one backbone, in order of time; what lies behind can be let go."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._embeddings: list[NDArray[np.float32]] = []
        self._logits: list[NDArray[np.float32]] = []

    def add(self, time_s: float, outputs: list[NDArray[np.float32]]) -> None:
        """Add one token: its embedding and, from a backbone with a head, its logits."""
        self._times.append(time_s)
        self._embeddings.append(outputs[0])
        if len(outputs) > 1:
            self._logits.append(outputs[1])

    def between(self, start_s: float, end_s: float) -> Tokens | None:
        """The tokens whose time lies in [start_s, end_s), None if there are none."""
        chosen = [i for i, time in enumerate(self._times) if start_s <= time < end_s]
        if not chosen:
            return None
        return Tokens(
            times_s=np.array([self._times[i] for i in chosen]),
            embeddings=np.stack([self._embeddings[i] for i in chosen]),
            logits=np.stack([self._logits[i] for i in chosen]) if self._logits else None,
        )

    def drop_before(self, time_s: float) -> None:
        """Let go of tokens before ``time_s``."""
        keep = next((i for i, time in enumerate(self._times) if time >= time_s), len(self._times))
        self._times = self._times[keep:]
        self._embeddings = self._embeddings[keep:]
        self._logits = self._logits[keep:]


class VisualFeatures:
    """DecodedFrame, one after the other -> tokens of one visual backbone.

    An image network gives a token for every sample of the grid, at the sample's time, from the
    frame on screen then. A clip network gives one for every ``clip_frames`` samples, counted
    from sample 0 of the video, at their middle; samples without a picture repeat the one before.
    The clip at the end of a video is filled from the front with the samples before it, so that
    what moves is seen to move. Frames wait until a batch is full.
    """

    def __init__(self, backbone: VisualBackbone, network: LoadedNetwork, *, fps: Fraction) -> None:
        self.backbone = backbone
        self.tokens = TokenBuffer()
        self._network = network
        self._fps = fps
        self._waiting: list[tuple[list[float], list[NDArray[np.uint8]]]] = []
        self._clip: int | None = None
        self._clip_pictures: dict[int, NDArray[np.uint8]] = {}
        self._clip_before: list[NDArray[np.uint8]] = []
        self._settled_s = -math.inf

    @property
    def settled_s(self) -> float:
        """All tokens before this time are in ``tokens``."""
        return self._settled_s

    def add(self, frame: DecodedFrame) -> None:
        """Take the next frame."""
        picture = frame.pictures[self.backbone.view]
        if self.backbone.clip_frames == 1:
            self._enqueue([float(sample / self._fps) for sample in frame.samples], [picture])
            reached = frame.samples[0]
        else:
            for sample in frame.samples:
                self._add_to_clip(sample, picture)
            assert self._clip is not None
            reached = self._clip * self.backbone.clip_frames
        self._run(at_least=self._network.batch_size)
        if not self._waiting:
            self._settled_s = float(reached / self._fps)

    def finish(self) -> None:
        """No more frames will come: run what waits."""
        self._close_clip(is_last=True)
        self._run(at_least=1)
        self._settled_s = math.inf

    def _add_to_clip(self, sample: int, picture: NDArray[np.uint8]) -> None:
        clip, offset = divmod(sample, self.backbone.clip_frames)
        if clip != self._clip:
            pictures = self._close_clip()
            self._clip_before = pictures if self._clip == clip - 1 else []
            self._clip = clip
        self._clip_pictures[offset] = picture

    def _close_clip(self, *, is_last: bool = False) -> list[NDArray[np.uint8]]:
        """Enqueue the present clip and return its pictures."""
        if self._clip is None or not self._clip_pictures:
            return []
        n_frames = self.backbone.clip_frames
        n_known = max(self._clip_pictures) + 1
        pictures = []
        shown = self._clip_pictures[min(self._clip_pictures)]
        for offset in range(n_frames):
            shown = self._clip_pictures.get(offset, shown)
            pictures.append(shown)
        if is_last and self._clip_before:
            pictures = (self._clip_before + pictures[:n_known])[-n_frames:]
        middle = Fraction(2 * self._clip * n_frames + n_frames - 1, 2) / self._fps
        first_s = self._clip * n_frames / self._fps
        last_s = (self._clip * n_frames + n_known - 1) / self._fps
        # It is described at the middle of its own samples: a slice that ends in the midst of a
        # video must not move what lies beyond its windows into them.
        self._enqueue([float(min(middle, (first_s + last_s) / 2))], pictures)
        self._clip_pictures = {}
        return pictures

    def _enqueue(self, times_s: list[float], pictures: list[NDArray[np.uint8]]) -> None:
        self._waiting.append((times_s, pictures))

    def _run(self, *, at_least: int) -> None:
        if len(self._waiting) < at_least:
            return
        outputs = self._network(np.stack([np.stack(pictures) for _, pictures in self._waiting]))
        for row, (times_s, _) in enumerate(self._waiting):
            for time_s in times_s:
                self.tokens.add(time_s, [output[row].copy() for output in outputs])
        self._waiting = []


class AudioFeatures:
    """Log-mel patches -> tokens of one audio backbone, at the middle of each patch."""

    def __init__(self, backbone: AudioBackbone, network: LoadedNetwork) -> None:
        self.backbone = backbone
        self.tokens = TokenBuffer()
        self._network = network

    def add(self, times_s: NDArray[np.float64], log_mel: NDArray[np.float32]) -> None:
        """Take the next patches: times (n,) and log-mel (n, n_frames, n_mels)."""
        outputs = self._network(log_mel)
        for row, time_s in enumerate(times_s):
            self.tokens.add(float(time_s), [output[row].copy() for output in outputs])
