"""Labels videos as a competent user would with the usual libraries: the yardstick of analyze.py.

Takes files and writes one JSON line of window labels for each. For every file it

* takes 2 frames a second by decord (default reader, one thread, ``get_batch`` of 16 indices),
  resizes them to 224 x 224 by torchvision and runs EfficientNet-lite0 in eager torch, float32;
* loads the sound by librosa as 16 kHz mono, makes log-mel patches by librosa with YAMNet's
  settings (0.96 s every 0.48 s), and runs YAMNet in eager torch, float32;
* averages the features over windows of 8 s every 4 s, and scores 400 and 100 labels by linear
  heads (of random weights: their cost is what matters here) and 521 sounds by YAMNet's own.

The networks and their weights are the same as sightsound's. Everything uses one thread.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import decord
import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.functional import resize

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.yamnet import YAMNET

FPS = 2.0
WINDOW_S, HOP_S = 8.0, 4.0
FRAME_BATCH, PATCH_BATCH = 16, 64
RATE_HZ = 16000
PATCH_FRAMES, PATCH_HOP_FRAMES = 96, 48
N_ACTIONS, N_SCENES = 400, 100

Features = tuple[NDArray[np.float64], torch.Tensor]


def frame_features(path: Path, network: torch.nn.Module) -> Features:
    """Times (n,) and EfficientNet features (n, 1280) of the frames at 2 a second."""
    reader = decord.VideoReader(str(path), ctx=decord.cpu(0), num_threads=1)
    step = reader.get_avg_fps() / FPS
    indices = np.arange(0, len(reader), step).astype(int)
    features = []
    for start in range(0, len(indices), FRAME_BATCH):
        batch = reader.get_batch(indices[start : start + FRAME_BATCH].tolist()).asnumpy()
        pictures = torch.from_numpy(batch).permute(0, 3, 1, 2)
        small = resize(pictures, [224, 224], antialias=True).permute(0, 2, 3, 1)
        features.append(network(small[:, None])[0])
    return np.arange(len(indices)) / FPS, torch.cat(features)


def load_sound(path: Path) -> NDArray[np.float32] | None:
    """The sound as 16 kHz mono; None where there is none."""
    try:
        return librosa.load(path, sr=RATE_HZ, mono=True)[0]
    except Exception:  # noqa: BLE001 - librosa passes on the errors of several libraries
        pass  # No ffmpeg for librosa to call, or no sound in the file.
    try:
        sound = decord.AudioReader(str(path), ctx=decord.cpu(0), sample_rate=RATE_HZ)
    except decord.DECORDError:
        return None
    return sound[:].asnumpy()[0]


def log_mel_patches(samples: NDArray[np.float32]) -> Iterator[torch.Tensor]:
    """Batches of YAMNet's log-mel patches, float32 (batch, 96, 64)."""
    mel = librosa.feature.melspectrogram(
        y=samples,
        sr=RATE_HZ,
        n_fft=512,
        win_length=400,
        hop_length=160,
        center=False,
        power=1.0,
        n_mels=64,
        fmin=125.0,
        fmax=7500.0,
        htk=True,
        norm=None,
    )
    log_mel = torch.from_numpy(np.log(mel + 0.001).T.astype(np.float32))
    patches = log_mel.unfold(0, PATCH_FRAMES, PATCH_HOP_FRAMES).transpose(1, 2)
    yield from patches.split(PATCH_BATCH)


def sound_scores(path: Path, network: torch.nn.Module) -> Features | None:
    """Times (n,) and YAMNet's scores (n, 521) of the patches, every 0.48 s."""
    samples = load_sound(path)
    if samples is None or len(samples) < RATE_HZ:
        return None
    scores = [torch.sigmoid(network(patches)[1]) for patches in log_mel_patches(samples)]
    joined = torch.cat(scores)
    return (np.arange(len(joined)) + 1) * PATCH_HOP_FRAMES * 160 / RATE_HZ, joined


def window_mean(features: Features | None, start_s: float) -> torch.Tensor | None:
    """The mean of the features in the window that starts then."""
    if features is None:
        return None
    times, values = features
    chosen = (times >= start_s) & (times < start_s + WINDOW_S)
    return values[torch.from_numpy(chosen)].mean(dim=0) if chosen.any() else None


def label_video(
    path: Path,
    visual: torch.nn.Module,
    audio: torch.nn.Module,
    heads: dict[str, torch.nn.Module],
) -> list[dict[str, float | int]]:
    """The best label of each task for every window of one file."""
    seen = frame_features(path, visual)
    heard = sound_scores(path, audio)
    windows = []
    for start_s in np.arange(0, max(HOP_S, seen[0][-1] - HOP_S), HOP_S):
        window: dict[str, float | int] = {"start_s": float(start_s)}
        picture, sound = window_mean(seen, start_s), window_mean(heard, start_s)
        for task, head in heads.items():
            if picture is not None:
                window[task] = int(torch.softmax(head(picture), dim=0).argmax())
        if sound is not None:
            window["sound"] = int(sound.argmax())
        windows.append(window)
    return windows


def main(paths: list[Path]) -> None:
    """Label the files and print their windows."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    visual, audio = EFFICIENTNET_LITE0.build(), YAMNET.build()
    heads: dict[str, torch.nn.Module] = {
        "action": torch.nn.Linear(1280, N_ACTIONS),
        "scene": torch.nn.Linear(1280, N_SCENES),
    }
    with torch.inference_mode():
        for path in paths:
            windows = label_video(path, visual, audio, heads)
            print(json.dumps({"file": path.name, "windows": windows}))


if __name__ == "__main__":
    main([Path(argument) for argument in sys.argv[1:]])
