"""Files of several streams, each made by itself, and put together without a change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from heapq import merge
from pathlib import Path

import av
from av.packet import Packet
from av.stream import Disposition, Stream
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import tone


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stream: a picture or a sound, its language, and a disposition by FFmpeg's name."""

    picture: Picture | None = None
    sound: Sound | None = None
    language: str = ""
    disposition: str = ""


def together(path: Path, *parts: Part) -> Path:
    """Write a file of these streams, in this order, and return its path."""
    files = []
    for number, part in enumerate(parts):
        # Matroska for sound, since it holds every codec; MOV for pictures, since it is exact.
        suffix = "mov" if part.picture is not None else "mkv"
        file = path.with_name(f"{number}-{path.name}.{suffix}")
        files.append(make_clip(file, picture=part.picture, sound=part.sound))
    with ExitStack() as stack:
        sources = [stack.enter_context(av.open(str(file))) for file in files]
        # By the name of M4A, FFmpeg would take no cover.
        format_name = "mp4" if path.suffix == ".m4a" else None
        target = stack.enter_context(
            av.open(str(path), "w", format=format_name, options={"fflags": "+bitexact"})
        )
        packets = []
        for part, source in zip(parts, sources, strict=True):
            stream = target.add_stream_from_template(source.streams[0])
            stream.disposition = (
                Disposition[part.disposition] if part.disposition else Disposition(0)
            )
            if part.language:
                stream.metadata["language"] = part.language
            packets.append(_packets(source.demux(0), stream))
        for _, packet in merge(*packets, key=lambda timed: timed[0]):
            target.mux(packet)
    for file in files:
        file.unlink()
    return path


def _packets(source: Iterator[Packet], stream: Stream) -> Iterator[tuple[float, Packet]]:
    for packet in source:
        if packet.size:
            time = packet.dts if packet.dts is not None else packet.pts
            packet.stream = stream
            yield float((time or 0) * packet.time_base), packet


def tone_track(number: int, *, codec: str = "pcm_s16le") -> Sound:
    """Two seconds of a tone of 1000 Hz for track 0, 2000 Hz for track 1, and so on."""
    rate_hz = 16000
    samples = tone(2, rate_hz, frequency_hz=1000 * (number + 1))
    return Sound(samples=samples, codec=codec, rate_hz=rate_hz)


def cover(width: int, height: int) -> Part:
    """A still that is attached as cover art."""
    picture = Picture(
        times=even_times(1), codec="mjpeg", pixel_format="yuvj420p", width=width, height=height
    )
    return Part(picture=picture, disposition="attached_pic")
