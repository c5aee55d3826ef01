"""Sources: files, folders, globs, manifests and URIs -> inputs, as a stream of record batches.

Every batch has ``uri`` and ``id`` (null where none was given). Those of a listing have
``size_bytes`` and ``modified_ns`` too where it told them, those of a manifest its other columns.

In globs ``*`` and ``**`` leave out what starts with a dot, as a shell does. In a URI ``?`` begins
the options and is no glob character.
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import posixpath
from collections import deque
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote

import pyarrow as pa
from pyarrow import fs

from sightsound.pipeline.manifests import (
    BATCH_ROWS,
    MANIFEST_SUFFIXES,
    SourceError,
    absolute_uri,
    read_manifest,
    reason_of,
    suffix_of,
)
from sightsound.stages.storage import is_remote, local_path, locate

_SUFFIXES = (
    ".264 .265 .3g2 .3gp .aac .ac3 .aif .aiff .amr .ape .asf .avi .caf .divx .dts .dv .eac3 .f4v "
    ".flac .flv .gif .h264 .h265 .hevc .ivf .m1v .m2p .m2t .m2ts .m2v .m4a .m4b .m4v .mjpeg .mka "
    ".mkv .mov .mp2 .mp3 .mp4 .mpe .mpeg .mpg .mpv .mts .mxf .nut .oga .ogg .ogm .ogv .opus .qt "
    ".rm .rmvb .ts .tta .vob .w64 .wav .webm .wma .wmv .wtv .wv .y4m"
)
MEDIA_SUFFIXES = frozenset(_SUFFIXES.split())


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file or folder of a listing; size and time where the listing told them."""

    path: str
    is_folder: bool = False
    is_link: bool = False
    size_bytes: int | None = None
    modified_ns: int | None = None

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


class _Place(Protocol):
    """Where files lie: the local file system or a store."""

    def look(self, path: str) -> _Entry | None: ...

    def entries(self, folder: str) -> list[_Entry]: ...

    def identity(self, folder: str) -> Hashable: ...

    def uri(self, path: str) -> str: ...


def read_sources(sources: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """The inputs that sources name, in their order, in batches of at most ``BATCH_ROWS``.

    A source is a file, a folder (its media files, at any depth), a glob, a manifest (.csv, .tsv,
    .parquet or .txt; also a glob that ends so) or a URI of one of these. A file that does not
    exist is an input, too.

    Raises:
        SourceError: a source cannot be read, or all together name no input.
    """
    n_inputs = 0
    for are_manifests, group in itertools.groupby(sources, _is_manifest):
        found = itertools.chain.from_iterable(map(_find, group))
        read = (
            map(read_manifest, (entry.path for entry in found))
            if are_manifests
            else [_batches(found)]
        )
        for batch in itertools.chain.from_iterable(read):
            n_inputs += batch.num_rows
            yield batch
    if not n_inputs:
        named = ", ".join(sources[:3]) + (f" and {len(sources) - 3} more" * (len(sources) > 3))
        raise SourceError(
            f"No media files in {named or 'no sources'}: name files, a folder that holds some, "
            "or a manifest that lists some."
        )


class _Local:
    def look(self, path: str) -> _Entry | None:
        return _Entry(path, is_folder=os.path.isdir(path)) if os.path.lexists(path) else None

    def entries(self, folder: str) -> list[_Entry]:
        found = []
        with os.scandir(folder) as scan:
            for item in scan:
                is_link = item.is_symlink()
                # Not through item.is_dir(): it raises for a link that leads to itself.
                is_folder = os.path.isdir(item.path) if is_link else item.is_dir()
                if is_folder or is_link or item.is_file():
                    found.append(_Entry(item.path, is_folder=is_folder, is_link=is_link))
        return found

    def identity(self, folder: str) -> Hashable:
        status = os.stat(folder)
        return status.st_dev, status.st_ino

    def uri(self, path: str) -> str:
        try:
            path.encode()
        except UnicodeEncodeError:  # A name in another encoding, which no table can hold.
            return "file://" + quote(os.fsencode(path))
        return path


class _Store:
    """An object store; its paths are URIs without the options that follow ``?``."""

    def __init__(self, options: str) -> None:
        self._options = options

    def look(self, path: str) -> _Entry | None:
        system, inner = locate(self.uri(path))
        return self._entry(path, system.get_file_info(inner))

    def entries(self, folder: str) -> list[_Entry]:
        system, inner = locate(self.uri(folder))
        infos = system.get_file_info(fs.FileSelector(inner, allow_not_found=True))
        if any(info.path == inner for info in infos):
            # So pyarrow shows keys such as a//b, which it cannot open.
            raise ValueError("it holds keys with // in them, which have to be renamed")
        found = (self._entry(posixpath.join(folder, info.base_name), info) for info in infos)
        return [entry for entry in found if entry is not None]

    def identity(self, folder: str) -> Hashable:
        return folder

    def uri(self, path: str) -> str:
        return path + self._options

    def _entry(self, path: str, info: fs.FileInfo) -> _Entry | None:
        if info.type == fs.FileType.NotFound:
            return None
        is_folder = info.type == fs.FileType.Directory
        return _Entry(path, is_folder, size_bytes=info.size, modified_ns=info.mtime_ns)


def _find(source: str) -> Iterator[_Entry]:
    """The files that a source names, each under the URI by which it is opened."""
    place, name, root = _place(source)
    try:
        entry = place.look(root)
    except (OSError, ValueError) as error:
        # A store may refuse to say whether a file is there, and the file's row will say so.
        if isinstance(error, ValueError) or suffix_of(root) not in MEDIA_SUFFIXES:
            raise SourceError(
                f"{source} cannot be looked up ({reason_of(error)}): check its name and that you "
                "may read it."
            ) from error
        entry = _Entry(root)
    if entry is None and _is_glob(name):
        found = _glob(place, name)
        first = next(found, None)
        if first is None:
            raise SourceError(f"{source} matches no files: check the pattern.")
        found = itertools.chain([first], found)
    elif entry is not None and entry.is_folder:
        found = _media(place, root)
    else:
        found = iter([entry or _Entry(root)])
    for entry in found:
        yield _Entry(
            place.uri(entry.path), size_bytes=entry.size_bytes, modified_ns=entry.modified_ns
        )


def _place(source: str) -> tuple[_Place, str, str]:
    """Where a source lies, its name there, and that name made absolute."""
    if not source:
        raise SourceError("A source has an empty name: name a file, a folder or a manifest.")
    if is_remote(source):
        name, question, options = source.partition("?")
        return _Store(question + options), name, name.rstrip("/")
    try:
        name = local_path(source)
    except ValueError as error:
        raise SourceError(
            f"{source} is no file URI ({reason_of(error)}): write file:///folder/name or a path."
        ) from error
    return _Local(), name, absolute_uri(name)


def _walk(place: _Place, root: str) -> Iterator[tuple[str, list[_Entry]]]:
    """Every folder from a root down, once, with its entries; hidden ones are left out.

    Links wait until all else is walked, so that a file has its real path where it has one.
    """
    seen: set[Hashable] = set()
    waiting, linked = [root], deque[str]()
    while waiting or linked:
        folder = waiting.pop() if waiting else linked.popleft()
        entries = _entries(place, folder, seen)
        if entries is None:
            continue
        yield folder, entries
        folders = [entry for entry in entries if entry.is_folder and not _is_hidden(entry.name)]
        waiting.extend(entry.path for entry in reversed(folders) if not entry.is_link)
        linked.extend(entry.path for entry in folders if entry.is_link)


def _entries(place: _Place, folder: str, seen: set[Hashable]) -> list[_Entry] | None:
    """What is in a folder, by name; None where it is gone or was seen."""
    try:
        identity = place.identity(folder)
        if identity in seen:
            return None
        seen.add(identity)
        return sorted(place.entries(folder), key=lambda entry: entry.path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder} cannot be listed ({reason_of(error)}): mend that, or name other folders."
        ) from error


def _media(place: _Place, root: str) -> Iterator[_Entry]:
    for _, entries in _walk(place, root):
        for entry in entries:
            name = entry.name
            if not entry.is_folder and not _is_hidden(name) and suffix_of(name) in MEDIA_SUFFIXES:
                yield entry


def _glob(place: _Place, pattern: str) -> Iterator[_Entry]:
    parts = pattern.split("/")
    first = next(index for index, part in enumerate(parts) if _is_glob(part))
    base, rest = "/".join(parts[:first]), tuple(part for part in parts[first:] if part)
    if isinstance(place, _Local):
        base = absolute_uri(base) if base or not first else "/"
    elif first < 3:
        raise SourceError(f"{pattern} leaves the bucket open: write its name without wildcards.")
    for entry in _match(place, base, rest):
        if not entry.is_folder:
            yield entry
        elif "**" not in rest:  # Such a pattern says itself how deep it goes.
            yield from _media(place, entry.path)


def _match(
    place: _Place, folder: str, parts: tuple[str, ...], entries: list[_Entry] | None = None
) -> Iterator[_Entry]:
    """The entries below a folder that match a pattern, given by its components."""
    head, rest = parts[0], parts[1:]
    if head == "**":
        for inner, found in _walk(place, folder):
            yield from _match(place, inner, rest or ("*",), found)
    elif rest and not _is_glob(head):
        yield from _match(place, posixpath.join(folder, head), rest)
    else:
        for entry in (_entries(place, folder, set()) or ()) if entries is None else entries:
            if not fnmatch.fnmatchcase(entry.name, head):
                continue
            if _is_hidden(entry.name) and not _is_hidden(head):
                continue
            if not rest:
                yield entry
            elif entry.is_folder:
                yield from _match(place, entry.path, rest)


def _is_glob(name: str) -> bool:
    return any(character in name for character in "*?[")


def _is_hidden(name: str) -> bool:
    return name.startswith(".")


def _batches(found: Iterator[_Entry]) -> Iterator[pa.RecordBatch]:
    while rows := list(itertools.islice(found, BATCH_ROWS)):
        yield pa.record_batch(
            {
                "uri": pa.array((row.path for row in rows), pa.string()),
                "id": pa.nulls(len(rows), pa.string()),
                "size_bytes": pa.array((row.size_bytes for row in rows), pa.int64()),
                "modified_ns": pa.array((row.modified_ns for row in rows), pa.int64()),
            }
        )


def _is_manifest(source: str) -> bool:
    name = source.partition("?")[0] if is_remote(source) else source
    # A folder may be called so as well, as those are that Spark writes.
    return suffix_of(name) in MANIFEST_SUFFIXES and not os.path.isdir(name)
