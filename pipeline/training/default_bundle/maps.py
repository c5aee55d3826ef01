"""What the fixed blocks make of every picture, kept: float16 feature maps of some views of each.

Computing them again in every epoch, and for every fold, would cost more than the training.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0, LITE0_WEIGHTS
from sightsound.pipeline.training.default_bundle.pictures import Pictures
from sightsound.pipeline.training.default_bundle.split_network import Trunk, new_network
from sightsound.pipeline.training.default_bundle.views import altered, whole

_BATCH = 16
_PICTURES_A_TASK = 256


def gather_maps(
    pictures: Pictures,
    *,
    n_fixed: int,
    n_views: int,
    seed: int,
    n_processes: int,
    say: Callable[[str], None],
) -> NDArray[np.float16]:
    """Maps (n, n_views, channels, height, width), on disk; the first view is the whole picture."""
    facts = f"{pictures.path.name} {n_fixed} {n_views} {seed} {LITE0_WEIGHTS.sha256}"
    digest = hashlib.sha256(facts.encode()).hexdigest()[:16]
    path = pictures.path.with_name(f"maps-{digest}.npy")
    if not path.is_file():
        part = path.with_suffix(".part")
        n = len(pictures.file)
        probe = _maps(n_fixed)(np.zeros((_BATCH, *_shape()), dtype=np.uint8))
        shape = (n, n_views, *probe.shape[1:])
        np.lib.format.open_memmap(part, mode="w+", dtype=np.float16, shape=shape).flush()
        tasks = [
            (pictures.path, part, start, min(start + _PICTURES_A_TASK, n), n_fixed, seed)
            for start in range(0, n, _PICTURES_A_TASK)
        ]
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
            for done, _ in enumerate(pool.map(_fill, tasks), 1):
                if done % 8 == 0:
                    say(f"maps of pictures: {min(n, done * _PICTURES_A_TASK)} of {n}")
        part.replace(path)
    kept: NDArray[np.float16] = np.load(path, mmap_mode="r")
    return kept


def _fill(task: tuple[Path, Path, int, int, int, int]) -> None:
    source, target, start, stop, n_fixed, seed = task
    torch.set_num_threads(1)
    pixels = np.load(source, mmap_mode="r")
    maps = np.lib.format.open_memmap(target, mode="r+")
    random = np.random.default_rng((seed, start))
    run = _maps(n_fixed)
    size = EFFICIENTNET_LITE0.view.width
    for first in range(start, stop, _BATCH):
        last = min(first + _BATCH, stop)
        chosen = np.array(pixels[first:last])
        for view in range(maps.shape[1]):
            seen = altered(chosen, size=size, random=random) if view else whole(chosen, size=size)
            padded = np.zeros((_BATCH, *_shape()), dtype=np.uint8)
            padded[: len(seen)] = seen
            maps[first:last, view] = run(padded)[: len(seen)]
    maps.flush()


def _shape() -> tuple[int, int, int]:
    return EFFICIENTNET_LITE0.view.height, EFFICIENTNET_LITE0.view.width, 3


@lru_cache(maxsize=1)
def _maps(n_fixed: int) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """The fixed blocks in OpenVINO, on one thread: that many blocks, at one size of batch."""
    trunk = Trunk(new_network(), n_fixed=n_fixed).eval()
    example = torch.zeros((_BATCH, *_shape()), dtype=torch.uint8)
    model = openvino.convert_model(trunk, example_input=(example,), input=[tuple(example.shape)])
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    request = openvino.Core().compile_model(model, "CPU", options).create_infer_request()
    return lambda pixels: np.array(request.infer([pixels])[0])
