"""Opening a media file safely: one place for the options and for turning errors into reasons."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any, TypeAlias

import av
from av.container import InputContainer

from sightsound.stages.errors import StageError, StageName
from sightsound.stages.records import MediaInfo, VideoStreamInfo
from sightsound.stages.storage import file_facts, is_remote, local_path, open_binary

Packet: TypeAlias = "av.Packet[Any]"

# A file may name others (playlists, data references). One that is local may name local files;
# one that came through an object store may name nothing.
_LOCAL_OPTIONS = {"protocol_whitelist": "file"}
_REMOTE_OPTIONS = {"protocol_whitelist": "none"}


def open_media(uri: str, *, stage: StageName) -> InputContainer:
    """Open a media file, local or on an object store.

    The ``file:`` prefix keeps names with colons or leading dashes from being read as protocols
    or options.

    Raises:
        StageError: with the code not_found, is_directory, not_readable, empty_file or not_media.
    """
    check_file(uri, stage=stage)
    try:
        if is_remote(uri):
            return av.open(open_binary(uri), "r", options=_REMOTE_OPTIONS, metadata_errors="ignore")
        path = f"file:{local_path(uri)}"
        return av.open(path, options=_LOCAL_OPTIONS, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise _not_media(uri, stage, error) from error
    except OSError as error:
        raise file_error(uri, stage, error) from error


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
            except av.error.FFmpegError:
                self.n_errors += 1
                errors_in_a_row += 1
