"""What ``probe`` finds of a file. Times are seconds from the start of the presentation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from sightsound.stages.records import Failure


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A stretch of time: [start_s, end_s)."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class StreamFacts:
    """One stream of any kind, used or not. ``n_packets`` counts what is there to read."""

    index: int
    kind: str
    codec: str | None
    language: str | None
    dispositions: tuple[str, ...]
    is_used: bool
    is_cover_art: bool
    n_packets: int
    start_s: float | None
    end_s: float | None


@dataclass(frozen=True, kw_only=True)
class FrameTimes:
    """How the frames of a picture lie in time, by their packets.

    ``n_frames`` are shown; ``n_hidden`` are there, too, but an edit list leaves them out or they
    are only referred to. ``rate_hz`` is the mean rate, None for fewer than two frames.
    ``is_variable`` says that more than 1 % of the intervals are neither the median's length nor
    within its rounding; a gap is an interval of over a second and ten medians. ``are_stated`` is
    False where the file gives the frames no times of their own, so that every frame is decoded to
    place them. ``n_restarts`` counts jumps of the decoding time back by more than a second.
    """

    n_frames: int
    n_hidden: int
    rate_hz: float | None
    shortest_s: float | None
    median_s: float | None
    longest_s: float | None
    is_variable: bool
    are_stated: bool
    n_restarts: int
    gaps: tuple[Stretch, ...]


@dataclass(frozen=True, kw_only=True)
class KeyFrames:
    """Where decoding can begin, and whether it does.

    ``first_s`` is the time of the first; ``n_tried`` of them, spread over the file, were decoded,
    and ``n_decoded`` came out whole.
    """

    count: int
    first_s: float | None
    median_interval_s: float | None
    longest_interval_s: float | None
    n_tried: int
    n_decoded: int


@dataclass(frozen=True, kw_only=True)
class PictureSize:
    """From ``start_s`` on, key frames are of this size: as stored, before rotation."""

    start_s: float
    width: int
    height: int


@dataclass(frozen=True, kw_only=True)
class PictureFacts:
    """The picture: claims of the header, and what its packets and key frames show.

    ``shown_width`` and ``shown_height`` are as a viewer sees it: upright, with square pixels.
    ``rotation`` is what turns it upright, in degrees counter-clockwise. ``colour_transfer`` is
    None where it is not said. ``hdr`` names the transfer of high dynamic range.
    """

    index: int
    codec: str
    profile: str | None
    claimed_width: int
    claimed_height: int
    shown_width: int
    shown_height: int
    sizes: tuple[PictureSize, ...]
    rotation: int
    pixel_aspect: str
    pixel_format: str | None
    bit_depth: int | None
    colour_primaries: str | None
    colour_transfer: str | None
    colour_space: str | None
    hdr: Literal["PQ", "HLG"] | None
    has_alpha: bool
    is_interlaced: bool
    span: Stretch | None
    claimed_rate_hz: float | None
    claimed_frames: int | None
    times: FrameTimes
    key_frames: KeyFrames


@dataclass(frozen=True, kw_only=True)
class SoundFacts:
    """The sound: claims of the header, and what its packets and first frame show.

    ``offset_s`` is how much later than the picture it starts, None without a picture.
    """

    index: int
    codec: str
    profile: str | None
    claimed_sample_rate_hz: int
    claimed_channels: int
    sample_rate_hz: int | None
    channels: int | None
    layout: str | None
    sample_format: str | None
    span: Stretch | None
    offset_s: float | None
    gaps: tuple[Stretch, ...]
    decodes: bool


@dataclass(frozen=True, kw_only=True)
class FileWarning:
    """One thing to know of a file: a code for programs and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, kw_only=True)
class MediaFacts:
    """All of a file that can be read.

    ``origin_s`` is the timestamp at which the presentation starts, from which times count.
    ``n_read_errors`` and ``n_corrupt_packets`` count what could not be read, or is marked as
    damaged. ``is_truncated`` says that the header promises much more than is there.
    """

    container: str
    size_bytes: int
    claimed_duration_s: float | None
    duration_s: float
    origin_s: float
    is_truncated: bool
    n_read_errors: int
    n_corrupt_packets: int
    n_chapters: int
    tags: dict[str, str]
    n_tags_cut: int
    streams: tuple[StreamFacts, ...]
    picture: PictureFacts | None
    sound: SoundFacts | None


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """One input of ``probe``: what it holds, or why that cannot be told."""

    path: str
    facts: MediaFacts | None
    failure: Failure | None
    warnings: tuple[FileWarning, ...] = ()

    @property
    def is_readable(self) -> bool:
        """Whether it has something that can be labelled."""
        return self.failure is None
