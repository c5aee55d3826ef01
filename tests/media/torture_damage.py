"""Files that are damaged: cut off, overwritten, with packets lost or swapped, with false sizes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from media.boxes import Box, change_movie, claim_size, lie_about_size
from media.damage import overwritten, truncated
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep
from media.torture import Status, Torture

_PICTURE = Picture(times=even_times(100), gop=25)
_MAYBE: tuple[Status, ...] = ("ok", "partial", "failed")
_SOME: tuple[Status, ...] = ("ok", "partial")


def _make_source(path: Path, *, first_header: bool = False, b_frames: int = 3) -> Path:
    sound = Sound(samples=sweep(4, 16000, channels=2), rate_hz=16000)
    options = {"movflags": "faststart"} if first_header else None
    picture = replace(_PICTURE, b_frames=b_frames)
    return make_clip(path, picture=picture, sound=sound, options=options)


def _damaged(
    file: str,
    ails: str,
    damage: Callable[[Path], object],
    *,
    statuses: tuple[Status, ...] = _SOME,
    first_header: bool = False,
    b_frames: int = 3,
) -> Torture:
    def make(path: Path) -> None:
        _make_source(path, first_header=first_header, b_frames=b_frames)
        damage(path)

    return Torture(kind="damage", file=file, ails=ails, make=make, statuses=statuses)


def flip_bits(
    path: Path, *, count: int, seed: int = 0, begin: float = 0.3, end: float = 0.7
) -> None:
    """Flip single bits at random between two parts of a file."""
    data = bytearray(path.read_bytes())
    chance = np.random.default_rng(seed)
    for at in chance.integers(int(len(data) * begin), int(len(data) * end), count):
        data[at] ^= 1 << int(chance.integers(8))
    path.write_bytes(data)


def punch_hole(path: Path, *, begin: float, end: float) -> None:
    """Put zeros between two parts of a file, as an interrupted download leaves them."""
    data = bytearray(path.read_bytes())
    first, last = int(len(data) * begin), int(len(data) * end)
    data[first:last] = bytes(last - first)
    path.write_bytes(data)


def rearrange(path: Path, change: Callable[[list[Packet]], list[Packet]]) -> None:
    """Write a file without B-frames again, with the packets of its picture changed."""
    source_path = path.with_name(f"source-{path.name}")
    path.rename(source_path)
    with (
        av.open(str(source_path)) as source,
        av.open(str(path), "w", options={"fflags": "+bitexact"}) as target,
    ):
        streams = {
            stream.index: target.add_stream_from_template(stream) for stream in source.streams
        }
        packets = [packet for packet in source.demux() if packet.size]
        picture = [packet for packet in packets if packet.stream.type == "video"]
        others = [packet for packet in packets if packet.stream.type != "video"]
        for packet in sorted([*change(picture), *others], key=_decoding_time):
            packet.stream = streams[packet.stream_index]
            target.mux(packet)
    source_path.unlink()


def _decoding_time(packet: Packet) -> Fraction:
    return (packet.dts or 0) * packet.time_base


def drop_key_frames(packets: list[Packet]) -> list[Packet]:
    """All but every second key frame, the first among those left out."""
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    return [packet for i, packet in enumerate(packets) if i not in keys[::2]]


def swap_packets(packets: list[Packet]) -> list[Packet]:
    """Ten packets of the second group of pictures in the opposite order, at the times of all."""
    times = [(packet.pts, packet.dts) for packet in packets]
    swapped = [*packets[:30], *reversed(packets[30:40]), *packets[40:]]
    for packet, (pts, dts) in zip(swapped, times, strict=True):
        packet.pts, packet.dts = pts, dts
    return swapped


def _movie(change: Callable[[Box], None]) -> Callable[[Path], None]:
    return lambda path: change_movie(path, path, change)


_TABLE = (b"trak", b"mdia", b"minf", b"stbl")
DAMAGE = [
    _damaged("truncated.mp4", "the last 40 % are missing, header first",
             lambda path: truncated(path, path, keep=0.6), first_header=True,
             statuses=("partial",)),
    _damaged("truncated_header_last.mp4", "the last 5 % are missing, and with them the header",
             lambda path: truncated(path, path, keep=0.95), statuses=("failed",)),
    _damaged("truncated.mkv", "the last 40 % are missing",
             lambda path: truncated(path, path, keep=0.6), statuses=("partial",)),
    _damaged("truncated.ts", "the last 40 % are missing; nothing promised them",
             lambda path: truncated(path, path, keep=0.6)),
    _damaged("truncated_start.ts", "the first 30 % are missing",
             lambda path: path.write_bytes(path.read_bytes()[int(path.stat().st_size * 0.3):])),
    _damaged("bit_flips.mp4", "40 bits flipped in the middle",
             lambda path: flip_bits(path, count=40), statuses=("partial",)),
    _damaged("bit_flips.mkv", "40 bits flipped in the middle",
             lambda path: flip_bits(path, count=40)),
    _damaged("bit_flips.ts", "40 bits flipped in the middle",
             lambda path: flip_bits(path, count=40), statuses=("partial",)),
    _damaged("bit_flips_header.mp4", "20 bits flipped in the first kilobytes",
             lambda path: flip_bits(path, count=20, begin=0.0, end=0.05), first_header=True,
             statuses=_MAYBE),
    _damaged("hole.mp4", "zeros from 40 to 60 %", lambda path: punch_hole(
        path, begin=0.4, end=0.6), first_header=True, statuses=("partial",)),
    _damaged("hole.mkv", "zeros from 40 to 60 %", lambda path: punch_hole(
        path, begin=0.4, end=0.6)),
    _damaged("overwritten.mp4", "five frames are noise",
             lambda path: overwritten(path, path, packets=(30, 31, 32, 33, 34)),
             statuses=("partial",)),
    _damaged("missing_key_frames.mkv", "every second key frame is missing, the first too",
             lambda path: rearrange(path, drop_key_frames), b_frames=0),
    _damaged("missing_key_frames.ts", "every second key frame is missing, the first too",
             lambda path: rearrange(path, drop_key_frames), b_frames=0),
    _damaged("swapped_packets.mkv", "ten frames in the opposite order",
             lambda path: rearrange(path, swap_packets), b_frames=0),
    _damaged("swapped_packets.ts", "ten frames in the opposite order",
             lambda path: rearrange(path, swap_packets), b_frames=0),
    _damaged("atom_too_long.mp4", "the table of sizes says that it is longer than its parent",
             _movie(lambda movie: lie_about_size(movie, *_TABLE, b"stsz", by_bytes=100_000)),
             statuses=_MAYBE),
    _damaged("atom_too_short.mp4", "the table of sizes says that it is shorter than it is",
             _movie(lambda movie: lie_about_size(movie, *_TABLE, b"stsz", by_bytes=-60)),
             statuses=_MAYBE),
    _damaged("atom_zero.mp4", "a box in the header says that it has no size",
             _movie(lambda movie: claim_size(movie, *_TABLE, b"stts", size=0)), statuses=_MAYBE),
    _damaged("atom_tiny.mp4", "a box says that it is shorter than its own head",
             _movie(lambda movie: claim_size(movie, *_TABLE, b"stsc", size=4)), statuses=_MAYBE),
    _damaged("garbage_behind.ts", "noise behind the end",
             lambda path: path.write_bytes(
                 path.read_bytes() + np.random.default_rng(0).bytes(50_000))),
    _damaged("garbage_before.ts", "noise before the start",
             lambda path: path.write_bytes(
                 np.random.default_rng(0).bytes(5_000) + path.read_bytes())),
]  # fmt: skip
