"""The boxes of MP4 and MOV files (ISO/IEC 14496-12, 4.2): taken apart, changed, put together."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_NESTED = frozenset((b"moov", b"trak", b"edts", b"mdia", b"minf", b"dinf", b"stbl"))
_GIGABYTE = 1 << 30
_BILLION = 1_000_000_000


@dataclass
class Box:
    """A box: its own data, or the boxes in it. ``claimed_size`` is written for its true size."""

    kind: bytes
    data: bytes = b""
    children: list[Box] = field(default_factory=list)
    claimed_size: int | None = None

    def __bytes__(self) -> bytes:
        body = self.data + b"".join(map(bytes, self.children))
        size = 8 + len(body) if self.claimed_size is None else self.claimed_size
        return struct.pack(">I", size) + self.kind + body

    def find(self, *path: bytes) -> Box:
        """The first box at a path of kinds below this one."""
        if not path:
            return self
        child = next(child for child in self.children if child.kind == path[0])
        return child.find(*path[1:])

    def drop(self, kind: bytes) -> None:
        """Leave out the children of a kind."""
        self.children = [child for child in self.children if child.kind != kind]


def read_boxes(data: bytes) -> list[Box]:
    """The boxes of a file, or of a box's data."""
    boxes, position = [], 0
    while position < len(data):
        size, kind = struct.unpack_from(">I4s", data, position)
        assert size >= 8, "boxes of 64-bit or open size are not taken apart"
        body = data[position + 8 : position + size]
        nested = kind in _NESTED
        boxes.append(Box(kind, b"" if nested else body, read_boxes(body) if nested else []))
        position += size
    return boxes


def change_movie(source: Path, path: Path, change: Callable[[Box], None]) -> None:
    """A copy whose ``moov`` was changed; it lies behind the data, which so stays where it was."""
    boxes = read_boxes(source.read_bytes())
    assert [box.kind for box in boxes].index(b"moov") > [box.kind for box in boxes].index(b"mdat")
    change(next(box for box in boxes if box.kind == b"moov"))
    path.write_bytes(b"".join(map(bytes, boxes)))


def set_edits(movie: Box, edits: list[tuple[int, int]]) -> None:
    """Give the first track an edit list of (length in movie units, start in media units)."""
    entries = b"".join(struct.pack(">IiI", length, start, 1 << 16) for length, start in edits)
    data = struct.pack(">II", 0, len(edits)) + entries
    track = movie.find(b"trak")
    track.drop(b"edts")
    track.children.insert(1, Box(b"edts", children=[Box(b"elst", data)]))


def shift_composition(movie: Box, *, by_ticks: int) -> None:
    """Show every frame earlier, the first before 0, and have no edit list that hides those.

    A composition offset below 0 is allowed from version 1 of ``ctts`` on (8.6.1.3).
    """
    track = movie.find(b"trak")
    track.drop(b"edts")
    offsets = track.find(b"mdia", b"minf", b"stbl", b"ctts")
    (count,) = struct.unpack_from(">I", offsets.data, 4)
    entries = [struct.unpack_from(">II", offsets.data, 8 + 8 * i) for i in range(count)]
    data = b"".join(struct.pack(">Ii", n, offset - by_ticks) for n, offset in entries)
    offsets.data = struct.pack(">II", 1 << 24, count) + data


def claim_a_billion_frames(movie: Box) -> None:
    """Say that the one chunk holds 10^9 frames of a byte each: the index would take 24 GB."""
    table = movie.find(b"trak", b"mdia", b"minf", b"stbl")
    for kind in (b"ctts", b"stss", b"sdtp"):
        table.drop(kind)
    table.find(b"stsz").data = struct.pack(">III", 0, 1, _BILLION)
    table.find(b"stts").data = struct.pack(">IIII", 0, 1, _BILLION, 1)
    table.find(b"stsc").data = struct.pack(">IIIII", 0, 1, 1, _BILLION, 1)


def claim_gigabyte_of_tags(movie: Box) -> None:
    """Add a title that claims to be a gigabyte long, in a few bytes."""
    name = b"\xa9nam"
    title = struct.pack(">I4s", _GIGABYTE - 64, b"data") + bytes(8) + b"long"
    item = struct.pack(">I4s", _GIGABYTE - 56, name) + title
    handler = Box(b"hdlr", bytes(8) + b"mdir" + b"appl" + bytes(9))
    items = struct.pack(">I4s", _GIGABYTE - 48, b"ilst") + item
    meta = struct.pack(">I4s", _GIGABYTE - 8, b"meta") + bytes(4) + bytes(handler) + items
    movie.drop(b"udta")
    movie.children.append(Box(b"udta", meta, claimed_size=_GIGABYTE))


def refer_to_another_file(movie: Box, *, target: str) -> None:
    """Say that the data of the first track lies in another file (QuickTime's alias record)."""
    alias = bytearray(150)
    struct.pack_into(">H", alias, 4, len(alias))
    volume, name = b"disk", Path(target).name.encode()[:63]
    alias[10] = len(volume)
    alias[11 : 11 + len(volume)] = volume
    alias[50] = len(name)
    alias[51 : 51 + len(name)] = name
    struct.pack_into(">hh", alias, 130, 1, 1)
    where = target.encode()
    absolute = struct.pack(">hH", 2, len(where)) + where + bytes(len(where) % 2)
    record = bytes(alias) + absolute + struct.pack(">hH", -1, 0)
    entry = struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record
    references = movie.find(b"trak", b"mdia", b"minf", b"dinf", b"dref")
    references.data = struct.pack(">II", 0, 1) + entry


def lie_about_size(movie: Box, *path: bytes, by_bytes: int) -> None:
    """Have a box state another size than it has."""
    box = movie.find(*path)
    box.claimed_size = len(bytes(box)) + by_bytes


def claim_size(movie: Box, *path: bytes, size: int) -> None:
    """Have a box state this size."""
    movie.find(*path).claimed_size = size
