"""Damage as it happens to files, each kind from a clip and a source of chance: bytes to bytes."""

from __future__ import annotations

import io
import random
import re
import struct
from collections.abc import Callable

import av

Mutation = Callable[[bytes, random.Random], bytes]

# Boxes of MP4 whose sizes or counts say how much is to come, chunks of AVI and elements of
# Matroska (segment, cluster, block group, simple block, cues, tracks).
_BOXES = re.compile(
    rb"moov|trak|mdia|minf|stbl|stsd|stts|ctts|stsc|stsz|stco|co64|mdat|moof|traf|trun|elst"
    rb"|RIFF|LIST|movi|idx1|strf|\x18\x53\x80\x67|\x1f\x43\xb6\x75|\xa0|\xa3|\x1c\x53\xbb\x6b"
    rb"|\x16\x54\xae\x6b"
)
_ODD_SIZES = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def bit_flips(data: bytes, chance: random.Random) -> bytes:
    """Up to 64 bits turned, all over the file."""
    changed = bytearray(data)
    for _ in range(2 ** chance.randint(0, 6)):
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def truncation(data: bytes, chance: random.Random) -> bytes:
    """The end is missing, or a stretch in the middle."""
    at = chance.randrange(1, len(data))
    if chance.random() < 0.5:
        return data[:at]
    return data[:at] + data[min(len(data), at + chance.randrange(1, 65536)) :]


def wrong_sizes(data: bytes, chance: random.Random) -> bytes:
    """One to three boxes, chunks or elements that lie about their size or their contents."""
    changed = bytearray(data)
    places = [match.span() for match in _BOXES.finditer(data)]
    if not places:
        return bit_flips(data, chance)
    # The heads of containers are few among the elements that look like one by chance.
    early = [span for span in places if span[0] < 4096] or places
    for _ in range(chance.randint(1, 3)):
        begin, end = chance.choice(chance.choice((places, early)))
        size = chance.choice((*_ODD_SIZES, chance.getrandbits(32), chance.getrandbits(16)))
        # Before the name lies the size of a box; behind it its first fields, or an element's size.
        at = chance.choice((begin - 4, end, end + 4, end + 8))
        if 0 <= at <= len(changed) - 4:
            struct.pack_into(">I", changed, at, size)
    return bytes(changed)


def swapped_packets(data: bytes, chance: random.Random) -> bytes:
    """Some packets of a stream in each other's place."""
    places = _packets(data)
    if len(places) < 2:
        return bit_flips(data, chance)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 8)):
        (first, first_size, _), (second, second_size, _) = chance.sample(places, 2)
        size = min(first_size, second_size)
        if abs(first - second) < size:
            continue
        one, two = changed[first : first + size], changed[second : second + size]
        changed[first : first + size], changed[second : second + size] = two, one
    return bytes(changed)


def lost_key_frames(data: bytes, chance: random.Random) -> bytes:
    """Some key frames are not there, in a file that is otherwise in order; else are zeros."""
    dropped = _without_key_frames(data, chance)
    if dropped is not None:
        return dropped
    keys = [place for place in _packets(data) if place[2]]
    if not keys:
        return bit_flips(data, chance)
    changed = bytearray(data)
    for at, size, _ in chance.sample(keys, chance.randint(1, len(keys))):
        changed[at : at + size] = bytes(size)
    return bytes(changed)


def noise(data: bytes, chance: random.Random) -> bytes:
    """A stretch of a sector or more is random."""
    changed = bytearray(data)
    at = chance.randrange(len(changed))
    length = min(len(changed) - at, 512 * chance.randint(1, 64))
    changed[at : at + length] = chance.randbytes(length)
    return bytes(changed)


MUTATIONS: dict[str, Mutation] = {
    "bit flips": bit_flips,
    "truncation": truncation,
    "wrong sizes": wrong_sizes,
    "swapped packets": swapped_packets,
    "lost key frames": lost_key_frames,
    "noise": noise,
}


def _packets(data: bytes) -> list[tuple[int, int, bool]]:
    """Position, size and whether it is a key frame, of the packets of picture, else of sound."""
    try:
        with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
            streams = container.streams.video or container.streams.audio
            if not streams:
                return []
            return [
                (packet.pos, packet.size, packet.is_keyframe)
                for packet in container.demux(streams[0])
                if packet.size and packet.pos is not None and packet.pos >= 0
                if packet.pos + packet.size <= len(data)
            ]
    except (av.error.FFmpegError, ValueError):
        return []


def _without_key_frames(data: bytes, chance: random.Random) -> bytes | None:
    """The streams in a new container of the same kind; None where it cannot be written."""
    out = io.BytesIO()
    share = chance.uniform(0.2, 1)
    try:
        with av.open(io.BytesIO(data), metadata_errors="ignore") as old:
            wanted = [stream for stream in old.streams if stream.type in ("video", "audio")]
            if not wanted:
                return None
            with av.open(out, "w", format=old.format.name.split(",")[0]) as new:
                copies = {s.index: new.add_stream_from_template(s) for s in wanted}
                for packet in old.demux(wanted):
                    if not packet.size or packet.dts is None:
                        continue
                    is_key = packet.is_keyframe and packet.stream.type == "video"
                    if not (is_key and chance.random() < share):
                        packet.stream = copies[packet.stream_index]
                        new.mux(packet)
    except (av.error.FFmpegError, ValueError):
        return None
    return out.getvalue() or None
