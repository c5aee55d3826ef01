"""H.264 whose fields are pictures of their own, which no free encoder makes, by hand.

Every macroblock is I_PCM: its samples, uncoded (H.264, 7.3.5). A frame is two pictures, its top
field and then its bottom field.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from media.giants import Bits
from media.pictures import numbered
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 96, 128
_I_PCM = 25
# The next macroblock after one of I_PCM: its type, and zeros up to a whole byte.
_FOLLOWING = b"\x0d\x00"


def field_coded_clip(path: Path, *, n_frames: int, each_timed: bool = False) -> None:
    """A stream of field pictures, 25 frames a second.

    A time is stated for each frame, or, where ``each_timed``, for each field.
    """
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, 50)
        container.start_encoding()
        for number in range(n_frames):
            fields = _fields(number)
            parts = fields if each_timed else [b"".join(fields)]
            for turn, part in enumerate(parts):
                packet = Packet(part)
                packet.stream, packet.time_base = stream, Fraction(1, 50)
                packet.pts = packet.dts = 2 * number + turn
                packet.duration = 1 if each_timed else 2
                packet.is_keyframe = number % 25 == 0 and turn == 0
                container.mux(packet)


def copied_fields_clip(path: Path, *, n_frames: int) -> None:
    """A stream of field pictures, copied packet by packet from a transport stream."""
    source_path = path.with_name(f"source-{path.name}.ts")
    field_coded_clip(source_path, n_frames=n_frames, each_timed=True)
    with (
        av.open(str(source_path)) as source,
        av.open(str(path), "w", options={"fflags": "+bitexact"}) as target,
    ):
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    source_path.unlink()


def _fields(number: int) -> list[bytes]:
    picture = numbered(number, _WIDTH, _HEIGHT)
    frame_number = number % 25 % 16
    fields = []
    for bottom in (0, 1):
        is_first = number % 25 == 0 and not bottom
        headers = [_sequence(), _parameters()] if is_first else []
        field = _field(picture[bottom::2], frame_number, bottom, is_idr=is_first)
        fields.append(b"".join([_delimiter(), *headers, field]))
    return fields


def _delimiter() -> bytes:
    return Bits().fixed(7, 3).unit(0x09)


def _sequence() -> bytes:
    """Main profile, level 4, order of display as decoded, field or frame pictures, no cropping."""
    bits = Bits().fixed(77, 8).fixed(0, 8).fixed(40, 8).golomb(0, 0, 2, 1).fixed(0, 1)
    # Rows are counted in pairs of macroblocks. No frame_mbs_only, no adaptive frames; 8x8 direct.
    bits.golomb(_WIDTH // 16 - 1, _HEIGHT // 32 - 1).fixed(0b00100, 5)
    return bits.unit(0x67)


def _parameters() -> bytes:
    bits = Bits().golomb(0, 0).fixed(0, 2).golomb(0, 0, 0).fixed(0, 3).golomb(0, 0, 0)
    return bits.fixed(0, 3).unit(0x68)


def _field(lines: NDArray[np.uint8], frame_number: int, bottom: int, *, is_idr: bool) -> bytes:
    bits = Bits().golomb(0, 7, 0).fixed(frame_number, 4).fixed(1, 1).fixed(bottom, 1)
    if is_idr:
        bits.golomb(0).fixed(0, 2)
    else:
        bits.fixed(0, 1)
    bits.golomb(0, _I_PCM)
    samples = []
    for top in range(0, lines.shape[0], 16):
        for left in range(0, _WIDTH, 16):
            samples.append(lines[top : top + 16, left : left + 16].tobytes() + b"\x80" * 128)
    return bits.unit(0x65 if is_idr else 0x61, _FOLLOWING.join(samples) + b"\x80")
