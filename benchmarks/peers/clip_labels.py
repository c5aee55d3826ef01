"""What both peers do with one clip, written plainly; needs av, numpy, Pillow and OpenVINO only.

The networks are the very files that sightsound exported, compiled with the same properties.
sightsound's EfficientNet has no classifier, so the best five of its mean features stand for
labels: the network's cost is the same. There are no windows, no fusion and no segments.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
import openvino
from numpy.typing import NDArray
from PIL import Image

FPS = 2
SIZE = 224
RATE_HZ = 16000
PATCH_SAMPLES, HOP_SAMPLES = 15600, 7680
TOP = 5


@dataclass(frozen=True, kw_only=True)
class Networks:
    """Where the exported networks are and how they are compiled."""

    frames: str
    log_mel: str
    sounds: str
    precision: str
    compiled: str


def arguments(description: str) -> tuple[list[str], str, int, Networks]:
    """The command line of a peer: inputs, folder of results, workers, networks."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("manifest", type=Path, help="a path a line")
    parser.add_argument("out", help="folder for the Parquet files")
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--frames", required=True, help="IR of EfficientNet-lite0")
    parser.add_argument("--log-mel", required=True, help="IR of YAMNet's front end")
    parser.add_argument("--sounds", required=True, help="IR of YAMNet")
    parser.add_argument("--precision", choices=("bf16", "f32"), required=True)
    parser.add_argument("--compiled", required=True, help="OpenVINO's cache of compiled networks")
    given = parser.parse_args()
    networks = Networks(
        frames=given.frames,
        log_mel=given.log_mel,
        sounds=given.sounds,
        precision=given.precision,
        compiled=given.compiled,
    )
    return given.manifest.read_text().splitlines(), given.out, given.workers, networks


class ClipLabels:
    """Labels clips; loads the networks once."""

    def __init__(self, networks: Networks) -> None:
        core = openvino.Core()

        def load(path: str, precision: str) -> Any:
            properties = {
                "INFERENCE_NUM_THREADS": 1,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": precision,
                "CACHE_DIR": networks.compiled,
            }
            return core.compile_model(path, "CPU", properties).create_infer_request()

        self._frames = load(networks.frames, networks.precision)
        self._log_mel = load(networks.log_mel, "f32")
        self._sounds = load(networks.sounds, networks.precision)

    def __call__(self, path: str) -> dict[str, Any]:
        """The best five of the mean over frames and of the mean over sound patches."""
        features = [self._frames.infer([p[None, None]])[0][0].copy() for p in pictures(path)]
        frames = np.mean(features, axis=0)
        scores = [self._score(patch) for patch in sound_patches(path)]
        best_frames = _best(frames)
        sounds = np.mean(scores, axis=0) if scores else np.zeros(0, dtype=np.float32)
        best_sounds = _best(sounds)
        return {
            "n_frames": len(features),
            "n_patches": len(scores),
            "frame_labels": best_frames.tolist(),
            "frame_scores": frames[best_frames].tolist(),
            "sound_labels": best_sounds.tolist(),
            "sound_scores": sounds[best_sounds].tolist(),
        }

    def _score(self, patch: NDArray[np.float32]) -> NDArray[np.float32]:
        log_mel = self._log_mel.infer([patch[None]])[0]
        logits = self._sounds.infer([log_mel])[1][0]
        return 1 / (1 + np.exp(-logits))


def pictures(path: str) -> Iterator[NDArray[np.uint8]]:
    """The frames nearest to every half second, small; everything is decoded."""
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        number, before = 0, None
        for frame in container.decode(stream):
            while frame.time >= number / FPS:
                wanted = number / FPS
                nearer = before is not None and wanted - before.time < frame.time - wanted
                yield _small(before if nearer else frame)
                number += 1
            before = frame


def _small(frame: Any) -> NDArray[np.uint8]:
    picture = Image.fromarray(frame.to_ndarray(format="rgb24"))
    return np.asarray(picture.resize((SIZE, SIZE), Image.Resampling.BILINEAR))


def sound_patches(path: str) -> list[NDArray[np.float32]]:
    """YAMNet's patches of the whole file as 16 kHz mono; none where it has no sound."""
    with av.open(path) as container:
        if not container.streams.audio:
            return []
        stream = container.streams.audio[0]
        stream.thread_count = 1
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=RATE_HZ)
        parts = [
            part.to_ndarray()[0]
            for frame in (*container.decode(stream), None)
            for part in resampler.resample(frame)
        ]
    if not parts:
        return []
    samples = np.concatenate(parts)
    samples = np.pad(samples, (0, max(0, PATCH_SAMPLES - len(samples))))
    starts = range(0, len(samples) - PATCH_SAMPLES + 1, HOP_SAMPLES)
    return [samples[start : start + PATCH_SAMPLES] for start in starts]


def _best(values: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.argsort(-values)[:TOP]
