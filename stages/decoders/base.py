"""What every decoder of pictures does, and what each declares that it can and cannot do.

A decoder gives the sampled frames of one slice. Which frame belongs to which sample is decided
by the plan alone, so that all decoders show the same frames at the same times; one that cannot
promise that for a file says so beforehand (``Capabilities.lacks``), or raises
``PlanMismatchError`` when a frame is not where the plan has it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from sightsound.models.backbones.base import FrameView
from sightsound.stages.decoders import BackendName
from sightsound.stages.frames import DecodeReport
from sightsound.stages.media import opens_by_name
from sightsound.stages.records import (
    NO_FRAME,
    DecodedFrame,
    DecodedSound,
    MediaInfo,
    Slice,
    VideoPlan,
)
from sightsound.stages.sound import SoundBlocks


@dataclass(frozen=True, kw_only=True)
class Demands:
    """What the picture of a file asks of a decoder.

    ``container`` and ``codec`` are FFmpeg's names. ``opens_by_name`` says that a library may be
    handed its path. ``has_plan`` says that its timestamps tell its frames apart. ``hides_packets``
    says that some of its packets are never shown, by an edit list or by the codec;
    ``has_leading_frames`` that some frames are shown before the key frame that they follow.
    ``is_damaged`` says that damage is known before anything is decoded. ``n_pictures`` is how
    many video streams there are, cover art among them.
    """

    container: str
    codec: str
    opens_by_name: bool = True
    has_plan: bool = True
    hides_packets: bool = False
    has_leading_frames: bool = False
    is_damaged: bool = False
    n_pictures: int = 1


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a decoder gets right; None for ``containers`` or ``codecs`` means all.

    ``any_source``: reads what has no path of its own, as on an object store. ``unplanned``: finds
    the frames of a file whose timestamps do not tell them apart. ``hidden_packets``: is not misled
    by packets that are never shown. ``leading_frames``: finds its place where frames are shown
    before the key frame that they follow. ``damage``: marks the frames that damage has spoilt.
    ``chooses_stream``: takes the video stream that it is told to.
    """

    containers: frozenset[str] | None = None
    codecs: frozenset[str] | None = None
    any_source: bool = True
    unplanned: bool = True
    hidden_packets: bool = True
    leading_frames: bool = True
    damage: bool = True
    chooses_stream: bool = True

    def lacks(self, demands: Demands) -> str | None:
        """Why a file cannot be decoded right, as the end of a sentence about the decoder, or None
        where it can."""
        if self.containers is not None and demands.container not in self.containers:
            return f"does not give exact times in {demands.container} files"
        if self.codecs is not None and demands.codec not in self.codecs:
            return f"does not decode {demands.codec} reliably"
        if not (self.any_source or demands.opens_by_name):
            return "reads only local video files"
        if not (self.unplanned or demands.has_plan):
            return "needs timestamps that tell frames apart"
        if not (self.hidden_packets or not demands.hides_packets):
            return "miscounts frames where some are hidden, as by an edit list"
        if not (self.leading_frames or not demands.has_leading_frames):
            return "loses its place where frames are shown before their key frame (open groups)"
        if not (self.damage or not demands.is_damaged):
            return "does not mark damage, and the file is damaged"
        if not (self.chooses_stream or demands.n_pictures == 1):
            return "cannot be told which of several video streams to decode"
        return None


@dataclass(frozen=True, kw_only=True)
class SliceJob:
    """What is wanted of one slice: its sampled frames in these views, and its sound, if any.

    ``report`` is filled in, and ``on_progress`` called at least once for each frame. ``in_full``
    asks for every packet to be decoded from the slice's first key frame on.
    """

    info: MediaInfo
    plan: VideoPlan
    piece: Slice
    views: tuple[FrameView, ...]
    sound: SoundBlocks | None
    report: DecodeReport
    on_progress: Callable[[], None] = lambda: None
    in_full: bool = False

    @property
    def has_picture(self) -> bool:
        """Whether any frame is wanted."""
        has_samples = bool((self.piece.sample_pts != NO_FRAME).any())
        return self.info.video is not None and has_samples and bool(self.views)

    def demands(self, *, n_pictures: int) -> Demands:
        """What the picture asks of a decoder; only the open file tells ``n_pictures``."""
        assert self.info.video is not None
        return Demands(
            container=self.info.container,
            codec=self.info.video.codec,
            opens_by_name=opens_by_name(self.info.path),
            has_plan=self.piece.packets is not None,
            hides_packets=self.plan.hides_packets,
            has_leading_frames=self.plan.has_leading_frames,
            is_damaged=self.plan.truncated,
            n_pictures=n_pictures,
        )


class Decoder(ABC):
    """A library that decodes pictures. Sound is always PyAV's."""

    name: ClassVar[BackendName]
    capabilities: ClassVar[Capabilities]

    @classmethod
    @abstractmethod
    def load(cls) -> str:
        """Load the library and return its version, and that of what it is built on.

        Raises:
            DecoderUnavailableError: it is not there, or does not load.
        """

    @abstractmethod
    def read(self, job: SliceJob) -> Iterator[DecodedFrame | DecodedSound]:
        """Yield the frames and the sound of a slice, in order of time for each sense.

        Raises:
            PlanMismatchError: a planned frame did not come out.
            StageError: the file cannot be opened any more.
        """
