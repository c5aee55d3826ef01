"""Features for training: files to tokens of frozen backbones, through the stages of inference.

Variant 0 is the file as inference sees it. Each further variant is altered the same way for
all frames and for every backbone (see ``augment``).
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

from av.video.frame import VideoFrame

from sightsound.models.backbones.base import AudioBackbone, FrameView, VisualBackbone
from sightsound.models.engines.base import Engine, EngineOptions, LoadedNetwork, create_engine
from sightsound.pipeline.training.augment import (
    Alteration,
    PictureAugmentation,
    SoundAugmentation,
)
from sightsound.pipeline.training.backbones import find_backbone
from sightsound.pipeline.training.sound_features import listen
from sightsound.stages.decode import Decode
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.features import TokenBuffer, VisualFeatures
from sightsound.stages.frames import DecodeReport
from sightsound.stages.picture import Renderer, shown_size
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import (
    DecodedFrame,
    MediaInfo,
    VideoPlan,
    VideoStreamInfo,
)

# The windows of the default bundle. Tokens do not depend on how windows are laid.
WINDOW_LENGTH_S = 8.0
WINDOW_HOP_S = 4.0

_PICTURE = PictureAugmentation()
_SOUND = SoundAugmentation()

# Crops are cut from pictures of at most this short side; networks see 224 and 160 pixels.
_CROP_SOURCE_SIDE = 256

# How clips are cut (see ``VisualFeatures``): a change here forgets what is kept.
_CLIPS = "the last is filled from the front"


@dataclass(frozen=True, kw_only=True)
class Extraction:
    """What is wanted of a file: which backbone looks at which rate, and how many variants.

    ``keeps_logits`` takes the backbone's scores (a teacher) instead of its embeddings.
    ``fixed_name`` is what the rows are kept under where the settings never change.
    """

    backbone: str
    fps: Fraction | None
    n_variants: int
    keeps_logits: bool = False
    picture: PictureAugmentation = _PICTURE
    sound: SoundAugmentation = _SOUND
    fixed_name: str | None = None

    def name(self, variant: int) -> str:
        """What a variant is kept under: it changes with whatever its values depend on.

        That is the backbone and its weights, the rate, what is kept of the outputs and, of
        altered variants, the augmentation.
        """
        return self.fixed_name or _name(self, is_altered=variant > 0)


@lru_cache(maxsize=64)
def _name(extraction: Extraction, *, is_altered: bool) -> str:
    backbone = find_backbone(extraction.backbone)
    parts = [backbone.weights.sha256, str(extraction.fps), str(extraction.keeps_logits)]
    if not isinstance(backbone, AudioBackbone) and backbone.clip_frames > 1:
        parts.append(_CLIPS)
    if is_altered:
        is_audio = isinstance(backbone, AudioBackbone)
        augmentation = extraction.sound if is_audio else extraction.picture
        parts.append(augmentation.model_dump_json())
    digest = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]
    return f"{backbone.name}-{digest}"


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is still to be extracted of a file, by one backbone."""

    path: Path
    content_id: str
    extraction: Extraction
    variants: tuple[int, ...]


@lru_cache(maxsize=1)
def _engine() -> Engine:
    """The engine of this process, made when first needed, behind everything else running."""
    os.nice(10)
    return create_engine(EngineOptions(engine="openvino", threads=1))


@lru_cache
def _network(backbone: str) -> LoadedNetwork:
    return _engine().load(find_backbone(backbone).network())


@lru_cache
def _front_end(backbone: str) -> LoadedNetwork:
    found = find_backbone(backbone)
    assert isinstance(found, AudioBackbone)
    return _engine().load(found.front_end())


def load_networks(backbones: tuple[str, ...]) -> None:
    """Load networks, which exports those that OpenVINO has no form of yet.

    Raises:
        ModelError: weights are missing or wrong, or a network cannot be exported.
    """
    for name in backbones:
        _network(name)
        if isinstance(find_backbone(name), AudioBackbone):
            _front_end(name)


def extract(job: Job, alive: Callable[[], None] = lambda: None) -> list[dict[str, object]]:
    """Rows of the cache, one a variant; a file without the sense gives rows without tokens.

    ``alive`` is called now and then.

    Raises:
        StageError: the file cannot be read.
    """
    info = Probe()(str(job.path))
    backbone = find_backbone(job.extraction.backbone)
    if isinstance(backbone, AudioBackbone):
        plan = inference_plan(info, Fraction(1))
        buffers = listen(
            info,
            plan,
            backbone,
            network=_network(job.extraction.backbone),
            front_end=_front_end(job.extraction.backbone),
            augmentation=job.extraction.sound,
            seeds={variant: f"{job.content_id}-{variant}" for variant in job.variants},
            alive=alive,
        )
    else:
        fps = job.extraction.fps
        assert fps is not None
        margin_s = float(backbone.clip_frames / fps) if backbone.clip_frames > 1 else 0.0
        plan = inference_plan(info, fps, margin_s=margin_s)
        try:
            buffers = _look(job, info, plan, backbone, alive)
        except PlanMismatchError:
            buffers = _look(job, info, plan, backbone, alive, in_full=True)
    return [
        _row(job, variant, buffer, duration_s=plan.duration_s)
        for variant, buffer in buffers.items()
    ]


def _row(job: Job, variant: int, buffer: TokenBuffer, *, duration_s: float) -> dict[str, object]:
    row: dict[str, object] = {
        "content_id": job.content_id,
        "backbone": job.extraction.name(variant),
        "variant": variant,
        "duration_s": duration_s,
        "times_s": [],
        "values": b"",
    }
    tokens = buffer.between(-math.inf, math.inf)
    if tokens is not None:
        values = tokens.embeddings
        if job.extraction.keeps_logits:
            assert tokens.logits is not None
            values = tokens.logits
        row["times_s"] = tokens.times_s.tolist()
        row["values"] = values.astype("float16").tobytes()
    return row


def inference_plan(info: MediaInfo, fps: Fraction, *, margin_s: float = 0.0) -> VideoPlan:
    """The plan of inference, in one slice. Networks that see motion need a margin before it."""
    grid = Grid(fps=fps, length_s=WINDOW_LENGTH_S, hop_s=WINDOW_HOP_S, sample_margin_s=margin_s)
    return Plan(grid, slice_s=math.inf)(info)


def _look(
    job: Job,
    info: MediaInfo,
    plan: VideoPlan,
    backbone: VisualBackbone,
    alive: Callable[[], None],
    *,
    in_full: bool = False,
) -> dict[int, TokenBuffer]:
    """The tokens of every variant, from one pass over the frames."""
    if info.video is None or plan.video_span_s is None:
        return {variant: TokenBuffer() for variant in job.variants}
    source = _source_view(info.video)
    looks = {
        variant: VisualFeatures(backbone, _network(job.extraction.backbone), fps=plan.fps)
        for variant in job.variants
    }
    alterations = {
        variant: Alteration.draw(
            f"{job.content_id}-{variant}", source.width, source.height, job.extraction.picture
        )
        for variant in job.variants
        if variant > 0
    }
    views = (backbone.view, source) if alterations else (backbone.view,)
    decode = Decode(views, sample_rate_hz=None)
    render = Renderer()
    for event in decode(info, plan, plan.slices[0], report=DecodeReport(), in_full=in_full):
        assert isinstance(event, DecodedFrame)
        for variant, features in looks.items():
            alive()
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
