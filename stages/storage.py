"""Where bytes lie: local paths and URIs of object stores, behind ``pyarrow.fs``.

A remote file is read in blocks, of which the last few are kept, so that a demuxer that goes
back and forth between picture and sound does not ask for the same bytes again.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote

from fsspec.caching import BlockCache
from pyarrow import fs

# At most this much of each open remote file is in memory: 16 MiB.
_BLOCK_BYTES, _MOST_BLOCKS = 2 << 20, 8

TEMPORARY_SUFFIX = ".tmp"

_SCHEME = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True)
class FileFacts:
    """What tells a file that was changed: its size, and its time (None where none is kept)."""

    size_bytes: int
    modified_ns: int | None


def is_remote(uri: str) -> bool:
    """Whether a name is a URI and not a local path. ``file://`` counts as local."""
    return bool(_SCHEME.match(uri)) and not uri.lower().startswith("file://")


def local_path(uri: str) -> str:
    """The path of a local file, given as path or ``file://`` URI.

    Raises:
        ValueError: the URI names another host.
    """
    if not _SCHEME.match(uri):
        return uri
    host, path = uri[len("file://") :].partition("/")[::2]
    if host not in ("", "localhost"):
        raise ValueError(f"{uri} names the host {host}: write file:///folder/name")
    # Names that are not UTF-8 come as %-escapes of their bytes.
    return os.fsdecode("/" + unquote(path, "utf-8", "surrogateescape"))


def locate(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system of a local path or URI, and the path in it.

    An S3 URI may carry ``?endpoint_override=HOST:PORT&scheme=http&region=NAME``, as
    ``pyarrow.fs`` takes it.

    Raises:
        ValueError: no file system is known for the URI.
    """
    if not is_remote(uri):
        return fs.LocalFileSystem(), local_path(uri)
    scheme, _, rest = uri.partition("://")
    place, question, options = rest.partition("?")
    bucket, slash, key = place.partition("/")
    system, base = _file_system(f"{scheme}://{bucket}{question}{options}")
    # Not through from_uri: it would decode %20 and the like, which a key may contain as such.
    return (system, f"{base}/{key}") if slash else (system, base)


@lru_cache(maxsize=16)
def _file_system(root: str) -> tuple[fs.FileSystem, str]:
    import pyarrow as pa

    try:
        system, path = fs.FileSystem.from_uri(root)
    except pa.ArrowInvalid as error:
        raise ValueError(f"{root} is no place that pyarrow can read: {error}") from None
    return system, path.rstrip("/")


def file_facts(uri: str) -> FileFacts:
    """Size and time of a file.

    Raises:
        FileNotFoundError, IsADirectoryError, OSError: it is not a file that can be read.
        ValueError: no file system is known for the URI.
    """
    if not is_remote(uri):
        # Not through pyarrow, which refuses names that are not UTF-8 or hold a colon.
        found = os.stat(local_path(uri))
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), uri)
        return FileFacts(found.st_size, found.st_mtime_ns)
    system, path = locate(uri)
    info = system.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    if info.type == fs.FileType.Directory:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), uri)
    return FileFacts(info.size or 0, info.mtime_ns)


def open_binary(uri: str) -> BinaryIO:
    """Open a file for reading and seeking, wherever it lies.

    Raises:
        OSError: it cannot be opened.
        ValueError: no file system is known for the URI.
    """
    if not is_remote(uri):
        return open(local_path(uri), "rb")
    return io.BufferedReader(_RemoteFile(uri), buffer_size=1 << 16)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Have ``write`` make a local file so that it is whole or absent, whatever happens meanwhile.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    temporary = path.with_name(f".{path.name}{TEMPORARY_SUFFIX}")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _RemoteFile(io.RawIOBase):
    """A remote file as Python reads files, its blocks cached by fsspec."""

    def __init__(self, uri: str) -> None:
        system, path = locate(uri)
        self.name = uri
        self._file = system.open_input_file(path)
        self._size: int = self._file.size()
        self._position = 0
        self._cache = BlockCache(_BLOCK_BYTES, self._fetch, self._size, maxblocks=_MOST_BLOCKS)

    def _fetch(self, start: int, end: int) -> bytes:
        data: bytes = self._file.read_at(end - start, start)
        return data

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The position, in bytes."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a position, as files do."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, start + offset)
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer from the position on; the number of bytes that were there."""
        stop = min(self._position + len(buffer), self._size)
        if stop <= self._position:
            return 0
        data: bytes = self._cache._fetch(self._position, stop)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the connection."""
        if not self.closed:
            self._file.close()
        super().close()
