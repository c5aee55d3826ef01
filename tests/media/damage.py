"""Surgery on the bytes of clips: cut short, overwritten, or lying about themselves."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np


def truncated(source: Path, path: Path, *, keep: float) -> Path:
    """A copy of the first part of a file, ``keep`` of it by bytes."""
    data = source.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    return path


def packet_places(path: Path, *, kind: str = "video") -> list[tuple[int, int, bool]]:
    """Of each packet of the first stream of a kind: position in the file, size, is key."""
    with av.open(str(path)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert all(packet.pos is not None for packet in packets)
        return [(packet.pos or 0, packet.size, packet.is_keyframe) for packet in packets]


def overwritten(
    source: Path, path: Path, *, packets: Sequence[int], kind: str = "video", spare: int = 8
) -> Path:
    """A copy with the data of some packets replaced by noise, all but their first bytes."""
    data = bytearray(source.read_bytes())
    places = packet_places(source, kind=kind)
    noise = np.random.default_rng(0)
    for number in packets:
        position, size, _ = places[number]
        length = max(0, size - spare)
        data[position + spare : position + size] = noise.bytes(length)
    path.write_bytes(data)
    return path


def with_hidden_frames(source: Path, path: Path, *, packets: Sequence[int]) -> Path:
    """A copy of a VP8 file some of whose frames others refer to, but nobody is shown.

    Bit 4 of a frame's first byte says whether it is shown: RFC 6386, 9.1.
    """
    data = bytearray(source.read_bytes())
    places = packet_places(source)
    for number in packets:
        position, size, _ = places[number]
        # The position is that of the block around the frame, some bytes before it.
        frame = data.index(_packet_bytes(source, number), position)
        assert frame - position < 16 and size > 0
        data[frame] &= ~(1 << 4)
    path.write_bytes(data)
    return path


def _packet_bytes(path: Path, number: int) -> bytes:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        return bytes(packets[number])


def with_early_cues(source: Path, path: Path, *, by_ms: int) -> Path:
    """A copy of a Matroska file whose index says that everything is earlier than it is.

    A seek then lands too late. CuePoint (0xBB) begins with CueTime (0xB3): RFC 9559, 5.1.5.
    """
    data = bytearray(source.read_bytes())
    at = data.rindex(b"\x1c\x53\xbb\x6b")
    n_changed = 0
    while (at := data.find(b"\xb3", at + 1)) >= 0:
        if data[at - 2] == 0xBB and data[at + 1] in (0x81, 0x82):
            length = data[at + 1] & 0x7F
            time = int.from_bytes(data[at + 2 : at + 2 + length])
            data[at + 2 : at + 2 + length] = max(0, time - by_ms).to_bytes(length)
            n_changed += 1
    assert n_changed >= 2
    path.write_bytes(data)
    return path


def with_matroska_duration(source: Path, path: Path, *, seconds: float) -> Path:
    """A copy of a Matroska file whose header states another duration, in its usual ms.

    The element Duration (0x4489) holds a float of 8 bytes: RFC 9559, 5.1.2.10.
    """
    data = bytearray(source.read_bytes())
    assert data.count(b"\x44\x89\x88") == 1
    struct.pack_into(">d", data, data.index(b"\x44\x89\x88") + 3, seconds * 1000)
    path.write_bytes(data)
    return path


def with_stated_duration(source: Path, path: Path, *, seconds: int) -> Path:
    """A copy of an MP4 file whose headers (mvhd, tkhd, mdhd) state another duration.

    For boxes of version 0: ISO/IEC 14496-12, 8.2.2, 8.3.2 and 8.4.2. The edit list goes, since
    it would limit what is shown.
    """
    data = bytearray(source.read_bytes())
    movie_scale = struct.unpack_from(">I", data, data.index(b"mvhd") + 16)[0]
    for name, scale_at, duration_at in ((b"mvhd", 16, 20), (b"tkhd", None, 24), (b"mdhd", 16, 20)):
        at = data.find(name)
        while at >= 0:
            assert data[at + 4] == 0
            scale = movie_scale
            if scale_at is not None:
                scale = struct.unpack_from(">I", data, at + scale_at)[0]
            struct.pack_into(">I", data, at + duration_at, min(seconds * scale, 0xFFFFFFFE))
            at = data.find(name, at + 4)
    data = data.replace(b"edts", b"free")
    path.write_bytes(data)
    return path
