"""Clips from nothing: pictures and sounds into any container that PyAV can write.

Everything is deterministic: the same call gives the same bytes, with one version of PyAV. What a
file holds is stated by a :class:`Picture` and a :class:`Sound`; :func:`make_clip` writes it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from heapq import merge
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from media.pictures import numbered
from numpy.typing import NDArray

Draw = Callable[[int, int, int], NDArray[np.uint8]]


def even_times(n_frames: int, rate: Fraction | int = 25) -> tuple[Fraction, ...]:
    """Times of ``n_frames`` at a constant rate, from 0."""
    return tuple(i / Fraction(rate) for i in range(n_frames))


def uneven_times(n_frames: int) -> tuple[Fraction, ...]:
    """Times of a variable frame rate: runs of short and long frames and a still of 1.3 s.

    Multiples of 1/250 s, which every container here can state exactly.
    """
    steps = [Fraction(step, 250) for step in (5, 5, 10, 25, 7, 8, 60, 10, 10, 3)]
    times, time = [], Fraction(0)
    for i in range(n_frames):
        times.append(time)
        time += Fraction(13, 10) if i == n_frames // 3 else steps[i % len(steps)]
    return tuple(times)


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A video stream. Frame ``i`` is shown at ``start_s + times[i]`` and drawn by ``draw(i)``.

    ``draw`` gives grey (h, w) or RGB (h, w, 3). ``gop`` None leaves the encoder's default.
    ``rotation`` is what a player must turn the stored picture by, counter-clockwise.
    ``start_s`` below 0 makes an edit list skip what is before 0. ``colours`` are primaries,
    transfer and matrix by the numbers of ITU-T H.273.
    """

    times: tuple[Fraction, ...]
    codec: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)
    gop: int | None = None
    b_frames: int | None = None
    width: int = 96
    height: int = 72
    pixel_format: str = "yuv420p"
    time_base: Fraction = Fraction(1, 12000)
    rate: Fraction = Fraction(25)
    start_s: Fraction = Fraction(0)
    pixel_aspect: Fraction = Fraction(1)
    rotation: int = 0
    colours: tuple[int, int, int] | None = None
    draw: Draw = numbered


@dataclass(frozen=True, kw_only=True)
class Sound:
    """A sound stream: ``samples`` (n, channels) float32, the first at ``start_s``."""

    samples: NDArray[np.float32]
    codec: str = "aac"
    rate_hz: int = 48000
    start_s: Fraction = Fraction(0)
    options: Mapping[str, str] = field(default_factory=dict)


def make_clip(
    path: Path,
    *,
    picture: Picture | None = None,
    sound: Sound | None = None,
    options: Mapping[str, str] | None = None,
    format_name: str | None = None,
) -> Path:
    """Write one clip and return its path; ``options`` are the muxer's."""
    # Else muxers write random numbers that name the file.
    every = {"fflags": "+bitexact", **(options or {})}
    with (
        _scheduling_kept(),
        av.open(str(path), "w", format=format_name, options=every) as container,
    ):
        streams = []
        if picture is not None:
            streams.append(_picture_packets(container, picture))
        if sound is not None:
            streams.append(_sound_packets(container, sound))
        container.start_encoding()
        for _, packet in merge(*streams, key=lambda timed: timed[0]):
            container.mux(packet)
    return path


@contextmanager
def _scheduling_kept() -> Iterator[None]:
    """For root, SVT-AV1 makes the thread that opens it a real-time one, before which all that runs
    afterwards on its core would have to wait."""
    if sys.platform != "linux":
        yield
        return
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _picture_packets(
    container: OutputContainer, picture: Picture
) -> Iterator[tuple[float, Packet]]:
    options = dict(picture.options)
    if picture.codec == "libx264":
        # Its quick routines may give other bytes from one run to the next.
        parts = (options.get("x264-params"), "cpu-independent=1")
        options["x264-params"] = ":".join(part for part in parts if part)
    stream = container.add_stream(picture.codec, rate=picture.rate, options=options)
    context = stream.codec_context
    context.width, context.height = picture.width, picture.height
    context.pix_fmt = picture.pixel_format
    context.time_base = stream.time_base = picture.time_base
    context.sample_aspect_ratio = picture.pixel_aspect
    context.thread_count = 1
    if picture.gop is not None:
        context.gop_size = picture.gop
    if picture.b_frames is not None:
        context.max_b_frames = picture.b_frames
    if picture.colours is not None:
        context.color_primaries, context.color_trc, context.colorspace = picture.colours
    if picture.rotation:
        stream.set_display_rotation(picture.rotation)

    def packets() -> Iterator[tuple[float, Packet]]:
        time = 0.0
        for frame in _frames(picture):
            for packet in stream.encode(frame):
                time = _shift(packet, picture.start_s)
                yield time, packet
        for packet in stream.encode(None):
            time = _shift(packet, picture.start_s)
            yield time, packet

    return packets()


def _frames(picture: Picture) -> Iterator[VideoFrame]:
    for number, time in enumerate(picture.times):
        drawn = picture.draw(number, picture.width, picture.height)
        frame = VideoFrame.from_ndarray(drawn, format="gray" if drawn.ndim == 2 else "rgb24")
        frame = frame.reformat(format=picture.pixel_format)
        ticks = time / picture.time_base
        assert ticks.denominator == 1, "the time base cannot state this time"
        frame.pts, frame.time_base = int(ticks), picture.time_base
        yield frame


def _sound_packets(container: OutputContainer, sound: Sound) -> Iterator[tuple[float, Packet]]:
    channels = sound.samples.shape[1]
    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[channels]
    # FFmpeg's own Vorbis encoder counts as experimental.
    options = {"strict": "experimental", **sound.options}
    stream = container.add_stream(sound.codec, rate=sound.rate_hz, options=options)
    stream.codec_context.layout = layout
    context = stream.codec_context

    def packets() -> Iterator[tuple[float, Packet]]:
        context.open(strict=False)
        size = context.frame_size or 1024
        resampler = av.AudioResampler(format=context.format.name, layout=layout, rate=sound.rate_hz)
        for begin in range(0, len(sound.samples), size):
            part = np.ascontiguousarray(sound.samples[begin : begin + size].reshape(1, -1))
            frame = AudioFrame.from_ndarray(part, format="flt", layout=layout)
            frame.sample_rate = sound.rate_hz
            frame.pts, frame.time_base = begin, Fraction(1, sound.rate_hz)
            for converted in resampler.resample(frame):
                for packet in stream.encode(converted):
                    yield _shift(packet, sound.start_s), packet
        for packet in stream.encode(None):
            yield _shift(packet, sound.start_s), packet

    return packets()


def _shift(packet: Packet, start_s: Fraction) -> float:
    """Move a packet by the stream's start; return its decoding time in seconds."""
    ticks = round(start_s / packet.time_base)
    assert packet.pts is not None
    packet.pts += ticks
    if packet.dts is not None:
        packet.dts += ticks
    return float((packet.dts if packet.dts is not None else packet.pts) * packet.time_base)
