"""JPEG pictures by hand: fields that are coded by themselves, and headers of absurd size."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from media.pictures import numbered
from numpy.typing import NDArray

_WIDTH, _HEIGHT = 96, 144


def jpeg(picture: NDArray[np.uint8]) -> bytes:
    """One grey picture (h, w) as a JPEG file."""
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = picture.shape
    encoder.pix_fmt, encoder.time_base = "yuvj420p", Fraction(1, 25)
    encoder.thread_count = 1
    frame = VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuvj420p")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return b"".join(bytes(packet) for packet in [*encoder.encode(frame), *encoder.encode(None)])


def interlaced_clip(path: Path, *, n_frames: int) -> None:
    """An AVI whose frames are two JPEG pictures each, one a field.

    Each field says which it is, in the marker APP0 with the name AVI1 (Microsoft's DIB JPEG).
    """
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = _WIDTH, _HEIGHT, "yuvj420p"
        stream.time_base = Fraction(1, 25)
        container.start_encoding()
        for number in range(n_frames):
            picture = numbered(number, _WIDTH, _HEIGHT)
            fields = [_field(jpeg(picture[odd::2]), polarity=odd + 1) for odd in (0, 1)]
            packet = Packet(b"".join(fields))
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, True
            container.mux(packet)


def _field(data: bytes, *, polarity: int) -> bytes:
    marker = b"\xff\xe0" + struct.pack(">H", 16) + b"AVI1" + bytes([polarity]) + bytes(9)
    return data[:2] + marker + data[2:]


def with_claimed_size(data: bytes, *, width: int, height: int) -> bytes:
    """A JPEG file whose frame header (SOF0: ITU-T T.81, B.2.2) states another size."""
    result = bytearray(data)
    at = result.index(b"\xff\xc0")
    struct.pack_into(">HH", result, at + 5, height, width)
    return bytes(result)
