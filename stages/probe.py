"""Probe: open a file, choose its streams, say who it is. Reads headers and the bytes once."""

from __future__ import annotations

import hashlib
from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from sightsound.stages.errors import StageError
from sightsound.stages.media import check_file, open_media
from sightsound.stages.records import AudioStreamInfo, MediaInfo, VideoStreamInfo
from sightsound.stages.storage import open_binary

_HASH_BLOCK_BYTES = 1 << 20


class Probe:
    """path -> MediaInfo.

    Of several streams FFmpeg's own choice is taken (default disposition, most pixels, most
    packets). Cover art is not a picture. A stream without a decoder counts as missing.
    """

    def __call__(self, path: str) -> MediaInfo:
        """Probe one file.

        Raises:
            StageError: the file cannot be opened or holds nothing that can be decoded.
        """
        size_bytes = check_file(path, stage="probe")
        with open_media(path, stage="probe") as container:
            video = _choose_video(container)
            audio = _choose_audio(container)
            if video is None and audio is None:
                raise _nothing_usable(path, container)
            duration = container.duration
            return MediaInfo(
                path=path,
                video_id=content_id(path),
                size_bytes=size_bytes,
                container=container.format.name,
                claimed_duration_s=duration / 1e6 if duration else None,
                video=_video_info(video) if video is not None else None,
                audio=_audio_info(audio) if audio is not None else None,
            )


def content_id(path: str) -> str:
    """The first 32 hex digits of the SHA-256 of a file's bytes: the same content, the same id."""
    digest = hashlib.sha256()
    with open_binary(path) as file:
        while block := file.read(_HASH_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()[:32]


def _choose_video(container: InputContainer) -> VideoStream | None:
    """FFmpeg's choice, or the first other stream that is a picture with a decoder and a size."""
    for stream in (container.streams.best("video"), *container.streams.video):
        if not isinstance(stream, VideoStream) or stream.codec_context is None:
            continue
        if Disposition.attached_pic in stream.disposition:
            continue
        if stream.codec_context.width and stream.codec_context.height and stream.time_base:
            return stream
    return None


def _choose_audio(container: InputContainer) -> AudioStream | None:
    """FFmpeg's choice, or the first other stream of sound with a decoder."""
    for stream in (container.streams.best("audio"), *container.streams.audio):
        if not isinstance(stream, AudioStream) or stream.codec_context is None:
            continue
        if stream.codec_context.sample_rate and stream.time_base:
            return stream
    return None


def _video_info(stream: VideoStream) -> VideoStreamInfo:
    context = stream.codec_context
    assert stream.time_base is not None
    return VideoStreamInfo(
        index=stream.index,
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
        pixel_aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
        average_rate=stream.average_rate or None,
        time_base=stream.time_base,
        start_pts=stream.start_time,
        claimed_frames=stream.frames,
        reorders=bool(context.has_b_frames),
    )


def _audio_info(stream: AudioStream) -> AudioStreamInfo:
    context = stream.codec_context
    assert stream.time_base is not None
    return AudioStreamInfo(
        index=stream.index,
        codec=context.codec.canonical_name,
        sample_rate_hz=context.sample_rate,
        channels=context.layout.nb_channels,
        time_base=stream.time_base,
        start_pts=stream.start_time,
    )


def _nothing_usable(path: str, container: InputContainer) -> StageError:
    kinds = sorted({stream.type for stream in container.streams if stream.type})
    playable = [stream for stream in container.streams if stream.type in ("video", "audio")]
    cover_only = all(Disposition.attached_pic in stream.disposition for stream in playable)
    if not playable or cover_only:
        held = f"only {' and '.join(kinds)}" if kinds else "no streams"
        return StageError(
            "probe",
            "no_stream",
            f"{path} holds {held}, neither picture nor sound: there is nothing to label.",
        )
    return StageError(
        "probe",
        "no_decoder",
        f"{path} holds {' and '.join(sorted({s.type for s in playable}))} in a codec that this "
        "FFmpeg has no decoder for: convert it, for example to H.264 and AAC.",
    )
