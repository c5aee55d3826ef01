"""The records that flow between stages. Times are seconds from the start of the presentation."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView
from sightsound.stages.errors import ErrorCode, StageName, printable


@dataclass(frozen=True, kw_only=True)
class VideoStreamInfo:
    """What the container says of the picture. Width and height are as stored, before rotation
    and pixel aspect; ``start_pts`` is in units of ``time_base``; ``reorders`` says that frames
    are shown in another order than they are stored."""

    index: int
    codec: str
    width: int
    height: int
    pixel_aspect: Fraction
    average_rate: Fraction | None
    time_base: Fraction
    start_pts: int | None
    claimed_frames: int
    reorders: bool


@dataclass(frozen=True, kw_only=True)
class AudioStreamInfo:
    """What the container says of the sound."""

    index: int
    codec: str
    sample_rate_hz: int
    channels: int
    time_base: Fraction
    start_pts: int | None


@dataclass(frozen=True, kw_only=True)
class MediaLimits:
    """How large what a file says of itself may be, before memory is set aside for it.

    ``picture_side`` is the longest side in pixels and ``picture_pixels`` the most pixels of a
    picture (the default is twice 8K), ``index_bytes`` the packet index of a file (the default
    is 100 hours at 30 frames a second), ``duration_s`` the length (a week), ``sample_rate_hz``
    the rate of sound.
    """

    picture_side: int = 16384
    picture_pixels: int = 1 << 26
    index_bytes: int = 192 << 20
    duration_s: float = 7 * 86400.0
    sample_rate_hz: int = 768_000


@dataclass(frozen=True, kw_only=True)
class MediaInfo:
    """A file and the streams chosen from it. At least one of ``video`` and ``audio`` is there.

    ``video_id`` is derived from the content alone. ``claimed_duration_s`` is the container's
    word and not to be believed; the plan measures. ``limits`` hold for all that reads the file.
    """

    path: str
    video_id: str
    size_bytes: int
    container: str
    claimed_duration_s: float | None
    video: VideoStreamInfo | None
    audio: AudioStreamInfo | None
    limits: MediaLimits = MediaLimits()


@dataclass(frozen=True, kw_only=True)
class Window:
    """The unit that is labelled: [start_s, end_s). The last of a video may be short."""

    index: int
    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class PacketPlan:
    """Which video packets a slice sends to the decoder.

    ``pts`` are the timestamps of the packets to send, in decode order, and ``is_target`` says
    of which the frame is wanted; of the others only what later frames refer to is decoded.
    ``seek_dts`` is where the first of them lies, None for the start of the file.
    """

    pts: NDArray[np.int64]
    is_target: NDArray[np.bool_]
    seek_dts: int | None


@dataclass(frozen=True, kw_only=True)
class Slice:
    """A run of windows, the unit of work.

    ``sample_pts`` has, for each picture sample from ``first_sample`` on, the timestamp of the
    frame on screen at ``sample / fps`` seconds, or ``NO_FRAME``. Neighbouring slices share
    samples; those from ``owned_from`` up to ``owned_to`` are counted by this one.
    ``packets`` is None where timestamps do not allow a plan. ``frame_pts`` are, where not every
    frame states its time, those at which frames are due on screen, in order.
    """

    index: int
    windows: tuple[Window, ...]
    first_sample: int
    sample_pts: NDArray[np.int64]
    owned_from: int
    owned_to: int
    packets: PacketPlan | None
    frame_pts: NDArray[np.int64] | None = None


NO_FRAME = np.iinfo(np.int64).min


@dataclass(frozen=True, kw_only=True)
class VideoPlan:
    """How a video is cut into slices, and what was measured on the way.

    ``origin_s`` is the timestamp at which the presentation starts; every other time counts from
    it. ``video_span_s`` and ``audio_span_s`` are where picture and sound begin and end, None
    where there is none. ``truncated`` says that the container promises much more than is there,
    ``hides_packets`` that some packets of the picture are never shown, ``has_leading_frames``
    that some are shown before the key frame that they follow in the file.
    """

    origin_s: Fraction
    duration_s: float
    fps: Fraction
    video_span_s: tuple[float, float] | None
    audio_span_s: tuple[float, float] | None
    n_windows: int
    slices: tuple[Slice, ...]
    truncated: bool
    hides_packets: bool = False
    has_leading_frames: bool = False


@dataclass(frozen=True, kw_only=True)
class DecodedFrame:
    """One frame and the samples of the grid that it is on screen for.

    ``pictures`` has, for each view asked for, uint8 RGB (height, width, 3), upright.
    ``tainted`` marks a frame that follows damage in its group of pictures.
    """

    samples: tuple[int, ...]
    pts_s: float
    pictures: dict[FrameView, NDArray[np.uint8]]
    tainted: bool


@dataclass(frozen=True, kw_only=True)
class DecodedSound:
    """Mono float32 sound in [-1, 1]; sample ``first_sample`` is at first_sample / rate seconds."""

    first_sample: int
    sample_rate_hz: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Tokens:
    """What one backbone made of a stretch of a video, in order of time.

    ``times_s`` (n,) is the middle of what each token describes, ``embeddings`` (n, dim) float32
    and ``logits`` (n, n_labels) float32 or None.
    """

    times_s: NDArray[np.float64]
    embeddings: NDArray[np.float32]
    logits: NDArray[np.float32] | None


@dataclass(frozen=True, kw_only=True)
class TaskScores:
    """The best labels of one task in one window, best first, as indices into the task's labels.

    ``peaks_s`` is, for each label, the moment in the window that spoke most for it.
    ``visual_share`` and ``audio_share`` say how much each sense contributed; they add up to 1.
    """

    indices: NDArray[np.int32]
    scores: NDArray[np.float32]
    peaks_s: NDArray[np.float64]
    visual_share: float
    audio_share: float


@dataclass(frozen=True, kw_only=True)
class WindowScores:
    """One labelled window. A task is absent where the window lacks the sense it needs."""

    window: Window
    has_video: bool
    has_audio: bool
    corrupt: bool
    tasks: dict[str, TaskScores]
    embedding: NDArray[np.float32] | None = None


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Neighbouring windows of one label: [start_s, end_s) with mean and peak score."""

    task: str
    label: str
    start_s: float
    end_s: float
    score: float
    peak_score: float
    peak_s: float
    visual_share: float
    audio_share: float


@dataclass(frozen=True, kw_only=True)
class SliceResult:
    """What a worker gives back for a slice.

    ``stage_s`` is CPU seconds by stage. Counts are over the samples that the slice owns, so
    that they add up to the same totals however a video was cut. ``decoder_fallback`` says why
    PyAV stood in for the decoder asked for, and is empty where it did not.
    """

    index: int
    windows: tuple[WindowScores, ...]
    n_frames_decoded: int
    n_frames_corrupt: int
    rotation: int
    decoded_in_full: bool
    decoder_fallback: str = ""
    stage_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a video failed, or what is wrong with one that is partial. Names are ``printable``."""

    stage: StageName
    code: ErrorCode
    message: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "message", printable(self.message))


VideoStatus = Literal["ok", "partial", "failed"]


@dataclass(frozen=True, kw_only=True)
class VideoResult:
    """Everything about one input: what the tables say of it.

    ``info`` and ``plan`` are None where the video failed before they were known. ``failure``
    says why it failed, or what is wrong with a partial one. ``decoder_fallback`` is that of the
    first slice that has one. ``processing_s`` is CPU seconds.
    """

    uri: str
    status: VideoStatus
    failure: Failure | None
    info: MediaInfo | None = None
    plan: VideoPlan | None = None
    windows: tuple[WindowScores, ...] = ()
    segments: tuple[Segment, ...] = ()
    rotation: int = 0
    n_frames_decoded: int = 0
    n_frames_corrupt: int = 0
    decoder_fallback: str = ""
    processing_s: float = 0.0
