"""Few bytes that claim to be, or become, very much: pictures made to exhaust a decoder."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
from av.packet import Packet

# FFmpeg refuses 8 * width * height from 2^31 on: this is about the most that it takes.
GIANT = 16000


def png_of_zeros(width: int, height: int) -> bytes:
    """A black grey PNG (ISO/IEC 15948), a thousandth of its decoded size, made row by row."""
    packer, rows = zlib.compressobj(9), bytes((1 + width) * 100)
    packed = b"".join(packer.compress(rows) for _ in range(height // 100))
    packed += packer.compress(bytes((1 + width) * (height % 100))) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_packets(
    path: Path, packets: list[bytes], *, codec: str, size: tuple[int, int], rate: int = 2
) -> None:
    """A file whose pictures are these packets, whatever they hold; the header states ``size``."""
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "rgb24"
        stream.time_base = Fraction(1, rate)
        container.start_encoding()
        for number, data in enumerate(packets):
            packet = Packet(data)
            packet.stream, packet.time_base = stream, Fraction(1, rate)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)


def gif_of(width: int, height: int) -> bytes:
    """A GIF (version 89a) whose screen has this size, with one frame of a single pixel."""
    screen = struct.pack("<HHBBB", width, height, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    return b"GIF89a" + screen + frame + b";"


class Bits:
    """Bits written one after the other, as H.264 writes its headers."""

    def __init__(self) -> None:
        self._bits = ""

    def fixed(self, value: int, length: int) -> Bits:
        """A number of ``length`` bits."""
        self._bits += f"{value:0{length}b}"
        return self

    def golomb(self, *values: int) -> Bits:
        """Numbers as unsigned exponential Golomb codes ue(v) (H.264, 9.1)."""
        for value in values:
            digits = f"{value + 1:b}"
            self._bits += "0" * (len(digits) - 1) + digits
        return self

    def unit(self, header: int, payload: bytes = b"") -> bytes:
        """A NAL unit with its start code, escaped (H.264, 7.4.1 and annex B).

        The bits are filled up with zeros, to be followed by a payload that has the end of the
        unit in it; without one they are ended here.
        """
        bits = self._bits + ("" if payload else "1")
        bits += "0" * (-len(bits) % 8)
        raw = int(bits, 2).to_bytes(len(bits) // 8) + payload
        escaped = bytearray()
        for byte in raw:
            if byte <= 3 and escaped[-2:] == b"\0\0":
                escaped.append(3)
            escaped.append(byte)
        return b"\0\0\0\1" + bytes([header]) + bytes(escaped)


def h264_of(width: int, height: int, *, n_skipped: int) -> bytes:
    """A bare H.264 stream: a broken first picture, then pictures that say "as before".

    Each of those takes some 20 bytes and is a whole picture of this size to a decoder.
    """
    columns, rows = width // 16, height // 16
    sequence = Bits().fixed(66, 8).fixed(0, 8).fixed(62, 8).golomb(0, 0, 2, 1).fixed(0, 1)
    sequence.golomb(columns - 1, rows - 1).fixed(0b1100, 4)
    parameters = Bits().golomb(0, 0).fixed(0, 2).golomb(0, 0, 0).fixed(0, 3)
    parameters.golomb(0, 0, 0).fixed(0, 3)
    first = Bits().golomb(0, 7, 0).fixed(0, 4).golomb(0).fixed(0, 2).golomb(0)
    units = [sequence.unit(0x67), parameters.unit(0x68), first.unit(0x65, bytes(range(1, 120)))]
    for number in range(1, n_skipped + 1):
        skipped = Bits().golomb(0, 5, 0).fixed(number % 16, 4).fixed(0, 3).golomb(0)
        units.append(skipped.golomb(columns * rows).unit(0x61))
    return b"".join(units)
