"""What the fixed blocks of the looking network make of stills and of frames of clips, kept.

Computing these feature maps again in every epoch, and for every fold, would cost more than the
training. The variants of a picture are those that the teacher of actions is asked about.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0, LITE0_WEIGHTS
from sightsound.pipeline.decoding import decode_slice
from sightsound.pipeline.training.augment import PictureAugmentation
from sightsound.pipeline.training.default_bundle.split_network import Trunk, new_network
from sightsound.pipeline.training.features import inference_plan
from sightsound.pipeline.training.variants import PictureVariants
from sightsound.stages.decode import Decode
from sightsound.stages.probe import Probe
from sightsound.stages.records import DecodedFrame

_BATCH = 16
_FILES_A_TASK = 32


@dataclass(frozen=True, kw_only=True)
class Maps:
    """Feature maps of n pictures: float16 (n, n_variants, channels, height, width), on disk.

    ``file`` (n,) int64 is the number of the file that each is of; ``time_s`` (n,) float64 when it
    is shown there.
    """

    values: NDArray[np.float16]
    file: NDArray[np.int64]
    time_s: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class MapSettings:
    """How many frames a second are taken of clips, in how many variants, and which blocks stay."""

    fps: Fraction
    n_variants: int
    n_fixed_blocks: int


def gather_maps(
    files: Sequence[tuple[Path, str]],
    folder: Path,
    settings: MapSettings,
    *,
    n_processes: int,
    say: Callable[[str], None],
) -> Maps:
    """The maps of all files, each a path and its content id; made once for a list of files.

    Raises:
        StageError: a file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = "\n".join(content_id for _, content_id in files)
    facts = f"{settings} {LITE0_WEIGHTS.sha256} {PictureAugmentation()}\n{facts}"
    digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
    values, places = folder / f"maps-{digest}.npy", folder / f"maps-{digest}.npz"
    if not places.is_file():
        _make(files, values, places, settings, n_processes=n_processes, say=say)
    with np.load(places) as kept:
        return Maps(
            values=np.load(values, mmap_mode="r"), file=kept["number"], time_s=kept["time_s"]
        )


def _make(
    files: Sequence[tuple[Path, str]],
    values: Path,
    places: Path,
    settings: MapSettings,
    *,
    n_processes: int,
    say: Callable[[str], None],
) -> None:
    every = [(number, path, content_id) for number, (path, content_id) in enumerate(files)]
    tasks = [every[n : n + _FILES_A_TASK] for n in range(0, len(every), _FILES_A_TASK)]
    numbers: list[int] = []
    times_s: list[float] = []
    map_shape: tuple[int, ...] = ()
    part = values.with_suffix(".part")
    context = multiprocessing.get_context("spawn")
    with part.open("wb") as file, ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        for done, found in enumerate(pool.map(partial(_look, settings), tasks), 1):
            for number, time_s, maps in found:
                file.write(maps.tobytes())
                numbers.append(number)
                times_s.append(time_s)
                map_shape = maps.shape
            if done % 50 == 0:
                say(f"maps of pictures: {done * _FILES_A_TASK} of {len(files)} files")
    shape = (len(numbers), *map_shape)
    kept = np.lib.format.open_memmap(values, mode="w+", dtype=np.float16, shape=shape)
    kept[:] = np.memmap(part, dtype=np.float16, mode="r", shape=shape)
    kept.flush()
    part.unlink()
    np.savez(places, number=np.array(numbers, dtype=np.int64), time_s=np.array(times_s))


def _look(
    settings: MapSettings, files: Sequence[tuple[int, Path, str]]
) -> list[tuple[int, float, NDArray[np.float16]]]:
    """Number of the file, time and maps (n_variants, ...) of each of its pictures."""
    places: list[tuple[int, float]] = []
    pictures: list[NDArray[np.uint8]] = []
    for number, path, content_id in files:
        info = Probe()(str(path))
        plan = inference_plan(info, settings.fps)
        if info.video is None or plan.video_span_s is None:
            continue
        variants = PictureVariants(
            content_id,
            info.video,
            EFFICIENTNET_LITE0.view,
            variants=range(settings.n_variants),
            augmentation=PictureAugmentation(),
        )
        decoded = decode_slice(
            Decode(variants.views, sample_rate_hz=None), info, plan, plan.slices[0]
        )
        for event in decoded.events:
            if isinstance(event, DecodedFrame):
                places.append((number, event.pts_s))
                pictures += variants(event).values()
    if not pictures:
        return []
    maps = _through_fixed_blocks(pictures, n_fixed=settings.n_fixed_blocks)
    each = maps.reshape(len(places), settings.n_variants, *maps.shape[1:])
    return [(number, time_s, each[row]) for row, (number, time_s) in enumerate(places)]


def _through_fixed_blocks(
    pictures: Sequence[NDArray[np.uint8]], *, n_fixed: int
) -> NDArray[np.float16]:
    run = _fixed_blocks(n_fixed)
    parts = []
    for start in range(0, len(pictures), _BATCH):
        seen = np.stack(pictures[start : start + _BATCH])
        padded = np.zeros((_BATCH, *seen.shape[1:]), dtype=np.uint8)
        padded[: len(seen)] = seen
        parts.append(run(padded)[: len(seen)].astype(np.float16))
    return np.concatenate(parts)


@lru_cache(maxsize=1)
def _fixed_blocks(n_fixed: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The fixed blocks in OpenVINO, on one thread: that many blocks, at one size of batch."""
    torch.set_num_threads(1)
    trunk = Trunk(new_network(), n_fixed=n_fixed).eval()
    view = EFFICIENTNET_LITE0.view
    example = torch.zeros((_BATCH, view.height, view.width, 3), dtype=torch.uint8)
    model = openvino.convert_model(trunk, example_input=(example,), input=[tuple(example.shape)])
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda pixels: np.array(request.infer([pixels])[0])
