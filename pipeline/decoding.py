"""The first half of a slice, which needs no model: the grid, and decoding on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sightsound.models.bundle import Bundle
from sightsound.pipeline.config import Config, ConfigError
from sightsound.stages.decode import Decode
from sightsound.stages.decoders import create_decoder
from sightsound.stages.errors import DecoderUnavailableError, PlanMismatchError
from sightsound.stages.frames import DecodeReport
from sightsound.stages.plan import Grid
from sightsound.stages.records import DecodedFrame, DecodedSound, MediaInfo, Slice, VideoPlan


class StageClock:
    """CPU seconds of this process, by stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the CPU time of the block towards ``stage``."""
        start = time.process_time()
        try:
            yield
        finally:
            self.add(stage, time.process_time() - start)

    def add(self, stage: str, seconds: float) -> None:
        """Count CPU time towards ``stage``."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


def make_grid(config: Config, bundle: Bundle) -> Grid:
    """The grids of windows and samples that a configuration and a bundle make."""
    fps = config.fps(bundle.fps)
    longest_clip = max((backbone.clip_frames for backbone in bundle.visual), default=1)
    return Grid(
        fps=fps,
        length_s=config.window.length_s,
        hop_s=config.window.hop_s,
        sample_margin_s=float(longest_clip / fps) if longest_clip > 1 else 0.0,
    )


def check_backend(config: Config) -> None:
    """Raise a ConfigError where the decoder that is asked for does not load here."""
    try:
        create_decoder(config.decode.backend)
    except DecoderUnavailableError as error:
        raise ConfigError(str(error)) from error


def make_decode(config: Config, bundle: Bundle) -> Decode:
    """The decode stage that gives what the bundle's backbones look at and listen to.

    Raises:
        ConfigError: the decoder that is asked for does not load here.
    """
    check_backend(config)
    formats = [backbone.log_mel for backbone in bundle.audio]
    return Decode(
        tuple(dict.fromkeys(backbone.view for backbone in bundle.visual)),
        sample_rate_hz=formats[0].sample_rate_hz if formats else None,
        sound_margin_s=max(
            (item.patch_samples / 2 / item.sample_rate_hz for item in formats), default=0.0
        ),
        backend=config.decode.backend,
    )


@dataclass(frozen=True, kw_only=True)
class DecodedSlice:
    """What the first half of a slice hands to the second."""

    events: tuple[DecodedFrame | DecodedSound, ...]
    report: DecodeReport
    decoded_in_full: bool
    stage_s: dict[str, float]


def decode_slice(
    decode: Decode,
    info: MediaInfo,
    plan: VideoPlan,
    piece: Slice,
    *,
    on_progress: Callable[[], None] = lambda: None,
) -> DecodedSlice:
    """Decode a slice whole: some 20 MB a minute for each view of the default models.

    Raises:
        StageError: the file can no longer be read.
    """
    for in_full in (False, True):
        report, clock = DecodeReport(), StageClock()
        stream = decode(info, plan, piece, in_full=in_full, report=report, on_progress=on_progress)
        try:
            with clock("decode"):
                events = tuple(stream)
        except PlanMismatchError:
            continue
        return DecodedSlice(
            events=events, report=report, decoded_in_full=in_full, stage_s=clock.seconds
        )
    raise AssertionError("a full decode follows no plan")
