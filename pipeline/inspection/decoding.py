"""Trying a file's decoders: some key frames, and the start of the sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sightsound.pipeline.inspection.records import PictureSize
from sightsound.stages.measure import Measured
from sightsound.stages.media import Demuxer, Packet, open_media
from sightsound.stages.records import MediaInfo, VideoStreamInfo

# Key frames to decode, spread over the file; packets to try where none of them decodes.
_MOST_KEY_FRAMES, _MOST_TRIED_PACKETS = 64, 200


@dataclass
class Trial:
    """What came out of the decoders: the first frame of each sense, and the sizes on the way."""

    frame: VideoFrame | None = None
    sound: AudioFrame | None = None
    sizes: list[PictureSize] = field(default_factory=list)
    n_tried: int = 0
    n_decoded: int = 0

    def add(self, frame: VideoFrame, time_s: float) -> None:
        """Note an intact frame."""
        self.n_decoded += 1
        self.frame = self.frame or frame
        size = (frame.width, frame.height)
        if not self.sizes or (self.sizes[-1].width, self.sizes[-1].height) != size:
            self.sizes.append(PictureSize(start_s=time_s, width=size[0], height=size[1]))


def try_decoding(
    container: InputContainer,
    info: MediaInfo,
    measured: Measured,
    alive: Callable[[], None],
) -> Trial:
    """Decode up to 64 key frames, spread over the file, and the sound up to its first frame.

    Where no key frame decodes, one picture from the file's first packets is tried for.
    """
    trial = Trial()
    decoders = _open_decoders(container, info)
    chosen = _spread(np.flatnonzero(measured.index.is_key), _MOST_KEY_FRAMES)
    number = -1
    n_sound_tried = 0
    tried: list[Packet] = []
    for packet in Demuxer(container, tuple(decoders)):
        alive()
        decoder = decoders[packet.stream_index]
        if info.video is not None and packet.stream_index == info.video.index:
            number += 1
            if tried:
                if number in measured.index.second_fields:
                    tried.append(packet)
                _try_key_frame(container, tried, trial, info.video, measured.origin_s)
                tried = []
            # What an edit list hides gives no frame.
            if number in chosen and not packet.is_discard:
                tried = [packet]
        elif isinstance(decoder, AudioCodecContext) and trial.sound is None:
            n_sound_tried += 1
            if n_sound_tried <= _MOST_TRIED_PACKETS:
                trial.sound = next(iter(_sounds(decoder, packet)), None)
    if info.video is not None:
        if tried:
            _try_key_frame(container, tried, trial, info.video, measured.origin_s)
        if not trial.n_decoded:
            _try_from_the_start(info, trial, measured.origin_s)
    return trial


def _open_decoders(
    container: InputContainer, info: MediaInfo
) -> dict[int, VideoCodecContext | AudioCodecContext]:
    decoders: dict[int, VideoCodecContext | AudioCodecContext] = {}
    for chosen in (info.video, info.audio):
        if chosen is None:
            continue
        context = container.streams[chosen.index].codec_context
        assert isinstance(context, VideoCodecContext | AudioCodecContext)
        context.thread_count = 1
        if isinstance(context, VideoCodecContext):
            most_pixels = str(info.limits.picture_pixels)
            context.options = {"err_detect": "explode", "max_pixels": most_pixels}
        decoders[chosen.index] = context
    return decoders


def _spread(positions: NDArray[np.int64], most: int) -> set[int]:
    """At most so many of some positions, evenly spread, with the first and the last."""
    if len(positions) <= most:
        return {int(position) for position in positions}
    return {int(positions[i]) for i in np.linspace(0, len(positions) - 1, most).round().astype(int)}


def _try_key_frame(
    container: InputContainer,
    packets: Sequence[Packet],
    trial: Trial,
    stream: VideoStreamInfo,
    origin_s: Fraction,
) -> None:
    """Decode a key frame of one packet, or of two where each is a field."""
    decoder = container.streams[stream.index].codec_context
    assert isinstance(decoder, VideoCodecContext)
    trial.n_tried += 1
    frames: list[VideoFrame] = []
    try:
        for packet in (*packets, None):
            frames += decoder.decode(packet)
    except MemoryError:
        raise
    except av.error.FFmpegError:
        frames = []
    decoder.flush_buffers()
    whole = next((frame for frame in frames if not frame.is_corrupt), None)
    if whole is not None:
        first = packets[0]
        time = first.pts if first.pts is not None else first.dts
        trial.add(whole, float((time or 0) * stream.time_base - origin_s))


def _try_from_the_start(info: MediaInfo, trial: Trial, origin_s: Fraction) -> None:
    """One frame, from whatever the first packets give: key frames may be missing or gradual."""
    assert info.video is not None
    with open_media(info.path, stage="decode") as container:
        decoder = container.streams[info.video.index].codec_context
        assert isinstance(decoder, VideoCodecContext)
        decoder.thread_count = 1
        packets = iter(Demuxer(container, (info.video.index,)))
        for _, packet in zip(range(_MOST_TRIED_PACKETS), packets, strict=False):
            try:
                frames = decoder.decode(packet)
            except MemoryError:
                raise
            except av.error.FFmpegError:
                continue
            for frame in frames:
                if not frame.is_corrupt:
                    time_s = (frame.pts or 0) * info.video.time_base - origin_s
                    trial.add(frame, float(time_s))
                    return


def _sounds(decoder: AudioCodecContext, packet: Packet) -> list[AudioFrame]:
    try:
        return decoder.decode(packet)
    except MemoryError:
        raise
    except (av.error.FFmpegError, ValueError):
        return []
