"""Features for training: files to tokens of frozen backbones, through the stages of inference.

Variant 0 is the file as inference sees it; each further variant is one random crop of it,
flipped or not, brighter or darker, the same for all frames and for every backbone.
"""

from __future__ import annotations

import hashlib
import math
import os
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sightsound.models.backbones import AUDIO_BACKBONES, VISUAL_BACKBONES
from sightsound.models.backbones.base import AudioBackbone, FrameView, VisualBackbone
from sightsound.models.engines.base import Engine, EngineOptions, LoadedNetwork, create_engine
from sightsound.stages.decode import Decode
from sightsound.stages.features import AudioFeatures, TokenBuffer, VisualFeatures
from sightsound.stages.frames import DecodeReport
from sightsound.stages.picture import Renderer, shown_size
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import (
    DecodedFrame,
    DecodedSound,
    MediaInfo,
    VideoPlan,
    VideoStreamInfo,
)
from sightsound.stages.spectrogram import Spectrogram

WINDOW_LENGTH_S = 8.0
WINDOW_HOP_S = 4.0

# Crops are cut from pictures of at most this short side; networks see 224 and 160 pixels.
_CROP_SOURCE_SIDE = 256
_LEAST_CROP_SIDE = 48


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is wanted of a file: which backbone looks at which rate, and how many variants.

    ``keeps_logits`` takes the backbone's scores (a teacher) instead of its embeddings.
    """

    backbone: str
    fps: Fraction | None
    n_variants: int
    keeps_logits: bool = False


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is still to be extracted of a file, by one backbone."""

    path: Path
    content_id: str
    recipe: Recipe
    variants: tuple[int, ...]


@lru_cache(maxsize=1)
def _engine() -> Engine:
    """The engine of this process, made when first needed, behind everything else running."""
    os.nice(10)
    return create_engine(EngineOptions(engine="openvino", threads=1))


@lru_cache
def _network(backbone: str) -> LoadedNetwork:
    known = VISUAL_BACKBONES.get(backbone) or AUDIO_BACKBONES[backbone]
    return _engine().load(known.network())


@lru_cache
def _front_end(backbone: str) -> LoadedNetwork:
    return _engine().load(AUDIO_BACKBONES[backbone].front_end())


def extract(job: Job) -> list[dict[str, object]]:
    """Rows of the cache, one a variant.

    Raises:
        StageError: the file cannot be read.
    """
    info = Probe()(str(job.path))
    backbone = job.recipe.backbone
    if backbone in AUDIO_BACKBONES:
        plan = _plan(info, Fraction(1), margin_s=0.0)
        buffers = {0: _listen(info, plan, AUDIO_BACKBONES[backbone])}
    else:
        looking = VISUAL_BACKBONES[backbone]
        fps = job.recipe.fps
        assert fps is not None
        margin_s = float(looking.clip_frames / fps) if looking.clip_frames > 1 else 0.0
        plan = _plan(info, fps, margin_s=margin_s)
        buffers = _look(job, info, plan, looking)
    rows: list[dict[str, object]] = []
    for variant, buffer in buffers.items():
        tokens = buffer.between(-math.inf, math.inf)
        times_s, values = np.zeros(0), np.zeros((0, 0), dtype=np.float32)
        if tokens is not None:
            times_s, values = tokens.times_s, tokens.embeddings
            if job.recipe.keeps_logits:
                assert tokens.logits is not None
                values = tokens.logits
        rows.append(
            {
                "content_id": job.content_id,
                "backbone": backbone,
                "variant": variant,
                "duration_s": plan.duration_s,
                "times_s": times_s.tolist(),
                "values": values.astype(np.float16).tobytes(),
            }
        )
    return rows


def _plan(info: MediaInfo, fps: Fraction, *, margin_s: float) -> VideoPlan:
    """The plan of inference, in one slice."""
    grid = Grid(fps=fps, length_s=WINDOW_LENGTH_S, hop_s=WINDOW_HOP_S, sample_margin_s=margin_s)
    return Plan(grid, slice_s=math.inf)(info)


def _listen(info: MediaInfo, plan: VideoPlan, backbone: AudioBackbone) -> TokenBuffer:
    features = AudioFeatures(backbone, _network(backbone.name))
    if info.audio is None or plan.audio_span_s is None:
        return features.tokens
    (piece,) = plan.slices
    log_mel = backbone.log_mel
    spectrogram = Spectrogram(
        _front_end(backbone.name),
        log_mel,
        start_s=piece.windows[0].start_s,
        end_s=piece.windows[-1].end_s,
        sound_span_s=plan.audio_span_s,
    )
    decode = Decode(
        (),
        sample_rate_hz=log_mel.sample_rate_hz,
        sound_margin_s=log_mel.patch_samples / 2 / log_mel.sample_rate_hz,
    )
    for event in decode(info, plan, piece, report=DecodeReport()):
        assert isinstance(event, DecodedSound)
        for patches in spectrogram(event):
            features.add(*patches)
    for patches in spectrogram.finish():
        features.add(*patches)
    return features.tokens


def _look(
    job: Job, info: MediaInfo, plan: VideoPlan, backbone: VisualBackbone
) -> dict[int, TokenBuffer]:
    """The tokens of every variant, from one pass over the frames."""
    assert info.video is not None
    source = _source_view(info.video)
    looks = {
        variant: VisualFeatures(backbone, _network(backbone.name), fps=plan.fps)
        for variant in job.variants
    }
    alterations = {
        variant: Alteration.draw(f"{job.content_id}-{variant}", source.width, source.height)
        for variant in job.variants
        if variant > 0
    }
    views = (backbone.view, source) if alterations else (backbone.view,)
    decode = Decode(views, sample_rate_hz=None)
    render = Renderer()
    for event in decode(info, plan, plan.slices[0], report=DecodeReport()):
        assert isinstance(event, DecodedFrame)
        for variant, features in looks.items():
            altered = event
            if variant > 0:
                picture = alterations[variant](event.pictures[source])
                frame = VideoFrame.from_ndarray(picture, format="rgb24")
                rendered = render(frame, backbone.view, Fraction(1))
                altered = replace(event, pictures={backbone.view: rendered})
            features.add(altered)
    for features in looks.values():
        features.finish()
    return {variant: features.tokens for variant, features in looks.items()}


def _source_view(stream: VideoStreamInfo) -> FrameView:
    """The whole picture with square pixels, no larger than crops need it."""
    width, height = shown_size(stream.width, stream.height, stream.pixel_aspect, 0)
    scale = min(1.0, _CROP_SOURCE_SIDE / min(width, height))
    return FrameView(width=round(width * scale), height=round(height * scale), fit="stretch")


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """One random crop of a picture, mirrored or not, with its light and contrast changed."""

    top: int
    left: int
    height: int
    width: int
    is_mirrored: bool
    gain: float
    lift: float

    @classmethod
    def draw(cls, seed: str, width: int, height: int) -> Alteration:
        """Draw one for a picture of this size; the same for the same ``seed``."""
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
        random = np.random.default_rng(number)
        side, aspect = math.sqrt(random.uniform(0.3, 1.0)), math.exp(random.uniform(-0.2, 0.2))
        crop_width = min(width, max(_LEAST_CROP_SIDE, round(width * side * aspect)))
        crop_height = min(height, max(_LEAST_CROP_SIDE, round(height * side / aspect)))
        return cls(
            top=int(random.integers(height - crop_height + 1)),
            left=int(random.integers(width - crop_width + 1)),
            height=crop_height,
            width=crop_width,
            is_mirrored=bool(random.integers(2)),
            gain=float(random.uniform(0.75, 1.25)),
            lift=float(random.uniform(-20, 20)),
        )

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """uint8 RGB (height, width, 3) of the size it was drawn for to the crop's size."""
        rows = slice(self.top, self.top + self.height)
        crop = picture[rows, self.left : self.left + self.width].astype(np.float32)
        if self.is_mirrored:
            crop = crop[:, ::-1]
        changed = (crop - 128) * self.gain + 128 + self.lift
        return np.ascontiguousarray(np.clip(changed, 0, 255).astype(np.uint8))
