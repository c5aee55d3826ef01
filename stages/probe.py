"""Probe: open a file, choose its streams, say who it is. Reads headers and the bytes once."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from fractions import Fraction

from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from sightsound.stages.errors import StageError
from sightsound.stages.media import check_file, open_media, opening_log
from sightsound.stages.records import AudioStreamInfo, MediaInfo, MediaLimits, VideoStreamInfo
from sightsound.stages.storage import open_binary

_HASH_BLOCK_BYTES = 1 << 20
# A shape of pixels beyond this is a broken header; real ones are within 1:3 and 3:1.
_MOST_PIXEL_ASPECT = 20
# Of a picture that is too large for it FFmpeg says no size but in this message.
_REFUSED_SIZE = re.compile(r"Picture size (\d+x\d+) is invalid")


class Probe:
    """path -> MediaInfo.

    Of several streams FFmpeg's own choice is taken (default disposition, most pixels, most
    packets). Cover art is not a picture. A stream without a decoder counts as missing.
    ``audio_track`` chooses another track of sound: by its number among those of the file, from
    0 on, or by its language as the file writes it.
    """

    def __init__(
        self, *, limits: MediaLimits | None = None, audio_track: int | str | None = None
    ) -> None:
        self.limits = limits or MediaLimits()
        self.audio_track = audio_track

    def __call__(self, path: str) -> MediaInfo:
        """Probe one file.

        Raises:
            StageError: the file cannot be opened, holds nothing that can be decoded, lacks the
                track of sound that is wanted, or states a size beyond the limits.
        """
        size_bytes = check_file(path, stage="probe")
        with open_media(path, stage="probe") as container:
            video = _choose_video(container)
            if self.audio_track is None:
                audio = _choose_audio(container)
            else:
                audio = _audio_track(path, container.streams.audio, self.audio_track)
            if video is None and audio is None:
                raise _nothing_usable(path, container)
            _check_sizes(path, video, audio, self.limits)
            duration = container.duration
            return MediaInfo(
                path=path,
                video_id=content_id(path),
                size_bytes=size_bytes,
                container=container.format.name,
                claimed_duration_s=duration / 1e6 if duration else None,
                video=_video_info(video) if video is not None else None,
                audio=_audio_info(audio) if audio is not None else None,
                limits=self.limits,
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
        if isinstance(stream, AudioStream) and _is_decodable(stream):
            return stream
    return None


def _is_decodable(stream: AudioStream) -> bool:
    context = stream.codec_context
    return context is not None and bool(context.sample_rate and stream.time_base)


def _audio_track(path: str, tracks: Sequence[AudioStream], wanted: int | str) -> AudioStream:
    """The track with this number, or the first of this language, the default one before others."""
    if isinstance(wanted, int):
        found = [track for number, track in enumerate(tracks) if number == wanted]
    else:
        found = [track for track in tracks if _language(track).lower() == wanted.lower()]
        found.sort(key=lambda track: Disposition.default not in track.disposition)
    usable = [track for track in found if _is_decodable(track)]
    if usable:
        return usable[0]
    if found:
        raise StageError(
            "probe",
            "no_decoder",
            f"{path} has the sound track {wanted} in a codec that this FFmpeg has no decoder for: "
            "choose another streams.audio_track, or convert the file.",
        )
    held = ", ".join(f"{number} ({_language(track)})" for number, track in enumerate(tracks))
    raise StageError(
        "probe",
        "no_track",
        f"{path} has no sound track {wanted}, only {held or 'none at all'}: choose another "
        "streams.audio_track, or leave it unset for the default one.",
    )


def _language(track: AudioStream) -> str:
    return track.language or "und"


def _check_sizes(
    path: str, video: VideoStream | None, audio: AudioStream | None, limits: MediaLimits
) -> None:
    """Refuse sizes for which memory would be set aside as soon as something is decoded."""
    if video is not None:
        width, height = video.codec_context.width, video.codec_context.height
        if max(width, height) > limits.picture_side or width * height > limits.picture_pixels:
            raise StageError(
                "probe",
                "too_large",
                f"{path} has pictures of {width}x{height}, more than {limits.picture_side} on a "
                f"side or {limits.picture_pixels} pixels: scale it down, or raise "
                "limits.picture_side and limits.picture_pixels.",
            )
    if audio is not None and audio.codec_context.sample_rate > limits.sample_rate_hz:
        raise StageError(
            "probe",
            "too_large",
            f"{path} states a sample rate of {audio.codec_context.sample_rate} Hz, more than "
            f"{limits.sample_rate_hz}: resample it, or raise limits.sample_rate_hz.",
        )


def _video_info(stream: VideoStream) -> VideoStreamInfo:
    context = stream.codec_context
    assert stream.time_base is not None
    return VideoStreamInfo(
        index=stream.index,
        codec=context.codec.canonical_name,
        width=context.width,
        height=context.height,
        pixel_aspect=_pixel_aspect(stream),
        average_rate=stream.average_rate or None,
        time_base=stream.time_base,
        start_pts=stream.start_time,
        claimed_frames=stream.frames,
        reorders=bool(context.has_b_frames),
    )


def _pixel_aspect(stream: VideoStream) -> Fraction:
    aspect = Fraction(stream.sample_aspect_ratio or 1)
    return aspect if 1 / _MOST_PIXEL_ASPECT <= aspect <= _MOST_PIXEL_ASPECT else Fraction(1)


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
    refused = (_REFUSED_SIZE.search(message) for message in opening_log(path))
    if (size := next(filter(None, refused), None)) is not None:
        return StageError(
            "probe",
            "too_large",
            f"{path} has pictures of {size[1]}, more than FFmpeg can decode: scale it down.",
        )
    return StageError(
        "probe",
        "no_decoder",
        f"{path} holds {' and '.join(sorted({s.type for s in playable}))} in a codec that this "
        "FFmpeg has no decoder for: convert it, for example to H.264 and AAC.",
    )
