"""Opening a media file safely: one place for the options and for turning errors into reasons."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import av
from av.container import InputContainer

from sightsound.stages.errors import StageError, StageName
from sightsound.stages.records import MediaInfo, VideoStreamInfo

Packet: TypeAlias = "av.Packet[Any]"

# A file may name others (playlists, data references); only plain local files are read.
_OPEN_OPTIONS = {"protocol_whitelist": "file"}


def open_media(path: str, *, stage: StageName) -> InputContainer:
    """Open a local media file.

    The ``file:`` prefix keeps names with colons or leading dashes from being read as protocols
    or options.

    Raises:
        StageError: with the code not_found, is_directory, not_readable, empty_file or not_media.
    """
    check_file(path, stage=stage)
    try:
        return av.open(f"file:{path}", options=_OPEN_OPTIONS, metadata_errors="ignore")
    except av.error.FFmpegError as error:
        raise _not_media(path, stage, error) from error


def check_file(path: str, *, stage: StageName) -> None:
    """Raise a StageError where ``path`` is not a readable regular file with content."""
    file = Path(path)
    try:
        if file.is_dir():
            raise StageError(
                stage,
                "is_directory",
                f"{path} is a directory, not a video: name the files in it, such as {path}/*.mp4.",
            )
        if file.stat().st_size == 0:
            raise StageError(
                stage, "empty_file", f"{path} is empty (0 bytes): check that its copy finished."
            )
        with file.open("rb"):
            pass
    except OSError as error:
        raise _file_error(path, stage, error) from error
    except ValueError as error:  # A name that no file can have.
        raise StageError(
            stage, "not_readable", f"{path!r} cannot be read ({error}): check its name."
        ) from error


def _file_error(path: str, stage: StageName, error: OSError) -> StageError:
    if error.errno == errno.ENOENT:
        return StageError(stage, "not_found", f"{path} does not exist: check the path.")
    reason = error.strerror or str(error)
    return StageError(
        stage, "not_readable", f"{path} cannot be read ({reason}): check its permissions."
    )


def _not_media(path: str, stage: StageName, error: av.error.FFmpegError) -> StageError:
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.EACCES, errno.EIO):
        return _file_error(path, stage, error)
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
