"""Decoding as the stages do it, and as the plainest possible code does it, to compare."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from media.make import Picture
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView
from sightsound.stages.decode import Decode
from sightsound.stages.decoders import BackendName
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.frames import DecodeReport
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import DecodedFrame, DecodedSound, MediaInfo, VideoPlan

VIEW = FrameView(width=224, height=224, fit="stretch")
SMALL_VIEW = FrameView(width=32, height=32, fit="stretch")
RATE_HZ = 16000
RATES = tuple(Fraction(fps) for fps in ("1/2", "1", "2", "4", "8"))


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a sample must be: the time of the frame on screen, and a digest of its picture."""

    time_s: float
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One sample: the true time of the frame on screen, and its picture."""

    time_s: float
    picture: NDArray[np.uint8]
    tainted: bool = False

    @property
    def digest(self) -> bytes:
        """Equal for pictures that are equal to the bit."""
        return picture_digest(self.picture)


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """All of a file: pictures by sample number, and sound by first sample of each block.

    ``fell_back`` are the slices whose packet plan did not hold; ``report`` has what all slices
    reported, of their fallbacks to PyAV the first.
    """

    info: MediaInfo
    plan: VideoPlan
    shown: Mapping[int, Shown]
    sound: Mapping[int, NDArray[np.float32]]
    fell_back: tuple[int, ...]
    report: DecodeReport

    @property
    def mono(self) -> NDArray[np.float32]:
        """The sound in one piece."""
        blocks = [self.sound[first] for first in sorted(self.sound)]
        return np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.float32)


def make_plan(
    path: Path, *, fps: Fraction = Fraction(2), slice_s: float = 1e6, length_s: float = 8.0
) -> tuple[MediaInfo, VideoPlan]:
    """Probe and plan, with windows that overlap by half."""
    info = Probe()(str(path))
    grid = Grid(fps=fps, length_s=length_s, hop_s=length_s / 2)
    return info, Plan(grid, slice_s=slice_s)(info)


def decode(
    path: Path,
    *,
    fps: Fraction = Fraction(2),
    slice_s: float = 1e6,
    length_s: float = 8.0,
    in_full: bool = False,
    sound: bool = False,
    view: FrameView = VIEW,
    backend: BackendName = "pyav",
) -> Decoded:
    """Run probe, plan and decode over every slice, each sample taken from the slice it is of.

    Sound that several slices gave must be the same to the bit.
    """
    info, plan = make_plan(path, fps=fps, slice_s=slice_s, length_s=length_s)
    stage = Decode(
        (view,),
        sample_rate_hz=RATE_HZ if sound else None,
        sound_margin_s=0.5,
        backend=backend,
    )
    shown: dict[int, Shown] = {}
    blocks: dict[int, NDArray[np.float32]] = {}
    fell_back = []
    total = DecodeReport()
    for piece in plan.slices:
        report = DecodeReport()
        try:
            events = list(stage(info, plan, piece, in_full=in_full, report=report))
        except PlanMismatchError:
            fell_back.append(piece.index)
            report = DecodeReport()
            events = list(stage(info, plan, piece, in_full=True, report=report))
        for event in events:
            if isinstance(event, DecodedSound):
                known = blocks.setdefault(event.first_sample, event.samples)
                np.testing.assert_array_equal(event.samples, known)
            else:
                _take(event, range(piece.owned_from, piece.owned_to), view, shown)
        total.lost |= {sample for sample in report.lost if sample >= piece.owned_from}
        total.tainted |= {sample for sample in report.tainted if sample >= piece.owned_from}
        total.sound_errors_s += report.sound_errors_s
        total.rotation = total.rotation or report.rotation
        total.fallback = total.fallback or report.fallback
    return Decoded(
        info=info,
        plan=plan,
        shown=shown,
        sound=blocks,
        fell_back=tuple(fell_back),
        report=total,
    )


@lru_cache(maxsize=16)
def decode_long(path: Path) -> Decoded:
    """All of a long clip in one slice, at a size that may be kept for other tests."""
    return decode(path, sound=True, view=SMALL_VIEW)


def _take(event: DecodedFrame, owned: range, view: FrameView, shown: dict[int, Shown]) -> None:
    for sample in event.samples:
        if sample in owned:
            assert sample not in shown, f"sample {sample} came twice"
            shown[sample] = Shown(
                time_s=event.pts_s, picture=event.pictures[view], tainted=event.tainted
            )


def picture_digest(picture: NDArray[np.uint8]) -> bytes:
    """SHA-256 of a picture and its shape."""
    return hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()


@lru_cache(maxsize=8)
def reference_frames(path: Path, stream_index: int) -> tuple[tuple[Fraction, bytes], ...]:
    """Time and digest of every frame by the plainest of loops, in order of time.

    Frames that libav marks as corrupt are left out.
    """
    found = []
    with av.open(str(path)) as container:
        stream = container.streams[stream_index]
        # Slices of a picture decoded in parallel are concealed differently where damaged.
        stream.codec_context.thread_count = 1
        for frame in container.decode(stream):
            if frame.pts is not None and not frame.is_corrupt:
                digest = picture_digest(rendered(frame))
                found.append((frame.pts * stream.time_base, digest))
    return tuple(sorted(found, key=lambda timed: timed[0]))


def rendered(frame: VideoFrame) -> NDArray[np.uint8]:
    """A frame stretched to ``VIEW`` and turned upright."""
    turns = round(frame.rotation / 90) % 4 if abs(frame.rotation) <= 360 else 0
    picture = frame.reformat(
        width=VIEW.width, height=VIEW.height, format="rgb24", interpolation="AREA"
    ).to_ndarray()
    return np.rot90(picture, turns)


def reference_samples(
    path: Path, info: MediaInfo, plan: VideoPlan, fps: Fraction
) -> dict[int, Expected]:
    """What a full decode has on screen at each sample: the last frame that is not later.

    At sample 0 the first frame stands for itself if it comes before sample 1 is due.
    """
    assert info.video is not None and plan.video_span_s is not None
    frames = reference_frames(path, info.video.index)
    samples = {}
    for sample in range(math.ceil(Fraction(plan.video_span_s[1]) * fps)):
        time = sample / fps + plan.origin_s
        past = [frame for frame in frames if frame[0] <= time]
        if not past and sample == 0 and frames and frames[0][0] < 1 / fps + plan.origin_s:
            past = [frames[0]]
        if past:
            at, digest = past[-1]
            samples[sample] = Expected(time_s=float(at - plan.origin_s), digest=digest)
    return samples


def due_number(picture: Picture, time: Fraction) -> int:
    """The number of the picture on screen at a time from the start of the presentation."""
    shown = [
        (at + picture.start_s, number)
        for number, at in enumerate(picture.times)
        if at + picture.start_s >= 0
    ]
    origin = shown[0][0] if picture.start_s >= 0 else Fraction(0)
    past = [number for at, number in shown if at - origin <= time]
    return past[-1] if past else shown[0][1]
