"""Pictures to train the looking network on: stills, and frames of clips, all of one size.

They are kept as one array on disk, which processes share and read piece by piece.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.base import FrameView
from sightsound.pipeline.decoding import decode_slice
from sightsound.pipeline.training.features import inference_plan
from sightsound.stages.decode import Decode
from sightsound.stages.probe import Probe
from sightsound.stages.records import DecodedFrame

# A little larger than what the network sees, so that crops lose nothing.
SIDE = 240
_VIEW = FrameView(width=SIDE, height=SIDE, fit="stretch")
_FILES_A_TASK = 8


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """n pictures: uint8 RGB (n, SIDE, SIDE, 3) in a .npy file at ``path``; ``file`` (n,) int64,
    the number of the file that each is of; ``time_s`` (n,) float64, when it is shown there."""

    path: Path
    file: NDArray[np.int64]
    time_s: NDArray[np.float64]


def gather_pictures(
    paths: Sequence[Path],
    folder: Path,
    *,
    fps: Fraction,
    n_processes: int,
    say: Callable[[str], None],
) -> Pictures:
    """The pictures of all files, of clips so many a second; made once for a list of files.

    Raises:
        StageError: a file cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = "\n".join(f"{path} {path.stat().st_size}" for path in paths)
    digest = hashlib.sha256(f"{SIDE} {fps}\n{facts}".encode()).hexdigest()[:16]
    pixels, places = folder / f"pictures-{digest}.npy", folder / f"pictures-{digest}.npz"
    if not places.is_file():
        _make(paths, pixels, places, fps=fps, n_processes=n_processes, say=say)
    with np.load(places) as kept:
        return Pictures(path=pixels, file=kept["number"], time_s=kept["time_s"])


def _make(
    paths: Sequence[Path],
    pixels: Path,
    places: Path,
    *,
    fps: Fraction,
    n_processes: int,
    say: Callable[[str], None],
) -> None:
    every = list(enumerate(paths))
    tasks = [(every[n : n + _FILES_A_TASK], fps) for n in range(0, len(every), _FILES_A_TASK)]
    numbers: list[int] = []
    times_s: list[float] = []
    part = pixels.with_suffix(".part")
    context = multiprocessing.get_context("spawn")
    with part.open("wb") as file, ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        for done, found in enumerate(pool.map(_look, tasks), 1):
            for number, time_s, picture in found:
                file.write(picture.tobytes())
                numbers.append(number)
                times_s.append(time_s)
            if done % 200 == 0:
                say(f"pictures: {done * _FILES_A_TASK} of {len(paths)} files")
    shape = (len(numbers), SIDE, SIDE, 3)
    kept = np.lib.format.open_memmap(pixels, mode="w+", dtype=np.uint8, shape=shape)
    kept[:] = np.memmap(part, dtype=np.uint8, mode="r", shape=shape)
    kept.flush()
    part.unlink()
    np.savez(places, number=np.array(numbers, dtype=np.int64), time_s=np.array(times_s))


def _look(
    task: tuple[list[tuple[int, Path]], Fraction],
) -> list[tuple[int, float, NDArray[np.uint8]]]:
    """Number of the file, time and pixels of each of its pictures."""
    files, fps = task
    found = []
    for number, path in files:
        info = Probe()(str(path))
        plan = inference_plan(info, fps)
        if info.video is None or plan.video_span_s is None:
            continue
        decoded = decode_slice(Decode((_VIEW,), sample_rate_hz=None), info, plan, plan.slices[0])
        found += [
            (number, event.pts_s, event.pictures[_VIEW])
            for event in decoded.events
            if isinstance(event, DecodedFrame)
        ]
    return found
