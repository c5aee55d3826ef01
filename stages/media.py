"""Opening a media file safely: one place for the options and for turning errors into reasons."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import av
from av.container import InputContainer

from sightsound.stages.errors import StageError, StageName
from sightsound.stages.records import MediaInfo, VideoStreamInfo
from sightsound.stages.storage import file_facts, is_remote, local_path, open_binary

Packet: TypeAlias = "av.Packet[Any]"

# Demuxers that open what a file names, or files beside it, or devices, or that run scripts.
# image2 takes %03d in a name for a sequence, and .Y for one of three files.
_REFUSED = (
    "applehttp concat dash hls image2 imf rtp rtsp sap sdp vobsub "
    "avisynth lavfi vapoursynth "
    "alsa android_camera avfoundation decklink dshow fbdev gdigrab iec61883 jack kmsgrab libcdio "
    "libdc1394 openal oss pulse sndio v4l2 vfwcap video4linux2 x11grab xcbgrab"
)
_REFUSED_DEMUXERS = frozenset(_REFUSED.split())
_STILL_SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"))
# Even so a demuxer may reach no address, and may open files only where its own is one.
_LOCAL_PROTOCOLS, _REMOTE_PROTOCOLS = "file", "none"


def open_media(uri: str, *, stage: StageName) -> InputContainer:
    """Open a media file, local or on an object store.

    A playlist, or another file through which FFmpeg would read further ones, is refused before
    anything that it names is looked at.

    Raises:
        StageError: with the code not_found, is_directory, not_readable, empty_file, not_allowed
            or not_media.
        MemoryError: there is not enough memory for it.
    """
    check_file(uri, stage=stage)
    try:
        return _open(uri)
    except MemoryError:
        raise
    except av.error.FFmpegError as error:
        if error.errno == errno.EINVAL and _is_refused(uri):
            raise StageError(
                stage,
                "not_allowed",
                f"{uri} is no recording but a playlist or a list through which FFmpeg would read "
                "other files: name the video or sound files themselves.",
            ) from error
        raise _not_media(uri, stage, error) from error
    except OSError as error:
        raise file_error(uri, stage, error) from error


def opens_by_name(uri: str) -> bool:
    """Whether FFmpeg may learn the name of a file: it is local, and no name of a still picture,
    which would be taken for that of a sequence."""
    return not is_remote(uri) and Path(local_path(uri)).suffix.lower() not in _STILL_SUFFIXES


def _open(uri: str) -> InputContainer:
    if not opens_by_name(uri):
        return av.open(
            _Nameless(open_binary(uri)),
            "r",
            container_options=_options(_REMOTE_PROTOCOLS),
            metadata_errors="ignore",
        )
    # With the prefix, names with colons or leading dashes are no protocols or options.
    return av.open(
        f"file:{local_path(uri)}",
        container_options=_options(_LOCAL_PROTOCOLS),
        metadata_errors="ignore",
    )


class _Nameless:
    """A file whose name FFmpeg does not learn."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


@lru_cache
def _options(protocols: str) -> dict[str, str]:
    """What demuxers may do. As FFmpeg has it by default, MOV may not keep its data elsewhere."""
    allowed = sorted(
        name for name in av.formats_available if not _REFUSED_DEMUXERS.intersection(name.split(","))
    )
    return {
        "protocol_whitelist": protocols,
        "format_whitelist": ",".join(allowed),
        "enable_drefs": "0",
        "use_absolute_path": "0",
    }


def _is_refused(uri: str) -> bool:
    """Whether a file's format is why FFmpeg does not open it."""
    return any("not on whitelist" in message for message in opening_log(uri))


def opening_log(uri: str) -> list[str]:
    """What FFmpeg says while it opens a file: some of its reasons are nowhere else."""
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs, contextlib.suppress(av.error.FFmpegError, OSError):
            _open(uri).close()
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skips)
    return [message for _, _, message in logs]


def check_file(uri: str, *, stage: StageName) -> int:
    """The size in bytes; a StageError where ``uri`` is not a readable file with content."""
    try:
        size_bytes = file_facts(uri).size_bytes
        if size_bytes == 0:
            raise StageError(
                stage, "empty_file", f"{uri} is empty (0 bytes): check that its copy finished."
            )
        if not is_remote(uri):
            with open_binary(uri):
                pass
    except OSError as error:
        raise file_error(uri, stage, error) from error
    except ValueError as error:  # A name that no file can have.
        raise StageError(
            stage, "not_readable", f"{uri!r} cannot be read ({error}): check its name."
        ) from error
    return size_bytes


def file_error(path: str, stage: StageName, error: OSError) -> StageError:
    """What an error of the file system means for a video."""
    if error.errno == errno.ENOENT:
        return StageError(stage, "not_found", f"{path} does not exist: check the path.")
    if error.errno == errno.EISDIR:
        return StageError(
            stage,
            "is_directory",
            f"{path} is a directory, not a video: name the files in it, such as {path}/*.mp4.",
        )
    reason = error.strerror or str(error)
    return StageError(
        stage, "not_readable", f"{path} cannot be read ({reason}): check its permissions."
    )


def _not_media(path: str, stage: StageName, error: av.error.FFmpegError) -> StageError:
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.EACCES, errno.EIO):
        return file_error(path, stage, error)
    reason = (error.strerror or type(error).__name__).rstrip(".")
    return StageError(
        stage,
        "not_media",
        f"{path} is not a media file that FFmpeg can open ({reason}): check that it is a "
        "video or sound file and complete.",
    )


def has_guessed_times(info: MediaInfo) -> bool:
    """Whether the picture's timestamps are the demuxer's guess, and wrong.

    AVI stores no times, only an order, which with reordered frames is not that of display.
    """
    return info.container == "avi" and info.video is not None and info.video.reorders


def frame_interval(stream: VideoStreamInfo) -> int:
    """How long frames stay where nothing says when they are, in units of the time base."""
    return max(1, round(1 / ((stream.average_rate or 25) * stream.time_base)))


class Demuxer:
    """The packets of some streams of a container, going on after errors.

    ``n_errors`` counts read errors: data that the container promises and that cannot be read.
    Want of memory is no such error: it is raised.
    """

    _MOST_ERRORS_IN_A_ROW = 16

    def __init__(self, container: InputContainer, stream_indices: tuple[int, ...]) -> None:
        self._container = container
        self._streams = [container.streams[index] for index in stream_indices]
        self.n_errors = 0

    def __iter__(self) -> Iterator[Packet]:
        """Yield packets that hold data, in the order of the file."""
        errors_in_a_row = 0
        while errors_in_a_row < self._MOST_ERRORS_IN_A_ROW:
            try:
                for packet in self._container.demux(self._streams):
                    if packet.size:
                        errors_in_a_row = 0
                        yield packet
                return
            except MemoryError:
                raise
            except av.error.FFmpegError:
                self.n_errors += 1
                errors_in_a_row += 1
