"""H.264 whose fields are pictures of their own, which no free encoder makes, by hand.

Every macroblock is I_PCM: its samples, uncoded (H.264, 7.3.5). A frame is two pictures, its top
field and then its bottom field, in one packet or each in one.
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


def field_coded_clip(path: Path, *, n_frames: int) -> None:
    """A transport stream of field pictures, 25 frames a second."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuv420p"
        stream.time_base = Fraction(1, 25)
        container.start_encoding()
        for number in range(n_frames):
            packet = Packet(_frame(number))
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, number % 25 == 0
            container.mux(packet)


def _frame(number: int) -> bytes:
    picture = numbered(number, _WIDTH, _HEIGHT)
    frame_number = number % 25 % 16
    units = [_delimiter()]
    if number % 25 == 0:
        units += [_sequence(), _parameters()]
    for bottom in (0, 1):
        is_first = number % 25 == 0 and not bottom
        units.append(_field(picture[bottom::2], frame_number, bottom, is_idr=is_first))
    return b"".join(units)


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
