"""Made-up features whose labels can be read off them, for training without any video."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence

import numpy as np

from sightsound.pipeline.training.cache import FileFeatures
from sightsound.pipeline.training.extract import Features, SourceFeatures, Teacher
from sightsound.pipeline.training.fit import FittedModel
from sightsound.pipeline.training.records import Dataset, LabelledSample, TaskLabels
from sightsound.pipeline.training.side_by_side import FitJob, Fitter, OnProgress

VISUAL_DIM, AUDIO_DIM = 12, 6
LABELS = ("ant", "bee", "cat")


class DyingFitter(Fitter):
    """Stands for a process that the kernel kills for its memory."""

    def __call__(self, job: FitJob, on_progress: OnProgress) -> FittedModel:
        """Kill this process."""
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("a killed process goes on")


def make_data(
    n: int,
    *,
    seed: int = 0,
    n_variants: int = 2,
    duration_s: float = 3.0,
    with_sound: Sequence[bool] | None = None,
    teacher: Teacher | None = None,
) -> tuple[Dataset, Features]:
    """``n`` files in groups of two: task ``label`` is in the picture, ``sound`` in what is heard.

    Every second file has sound unless ``with_sound`` says otherwise; files without it say nothing
    of the task ``sound``. A ``teacher`` of three labels is sure of the next label.
    """
    random = np.random.default_rng(seed)
    samples, files = [], {}
    for number in range(n):
        label, noise = number % len(LABELS), (number // 3) % 2
        heard = with_sound[number] if with_sound is not None else number % 2 == 1
        labels = {"label": (LABELS[label],)}
        if heard:
            labels["sound"] = ("loud",) if noise else ()
        samples.append(
            LabelledSample(
                path=f"{number}.mp4",
                start_s=0.0,
                end_s=None,
                split=None,
                group=str(number // 2),
                labels=labels,
            )
        )
        n_visual, n_audio = int(duration_s * 2), int(duration_s * 2) if heard else 0

        def tokens(count: int, dim: int, place: int) -> FileFeatures:
            values = 0.3 * random.normal(size=(count, dim))
            values[:, place] += 3
            return FileFeatures(
                duration_s=duration_s,
                times_s=np.arange(count) / 2,
                values=values.astype(np.float16),
            )

        files[f"{number}.mp4"] = SourceFeatures(
            duration_s=duration_s,
            visual=tuple(tokens(n_visual, VISUAL_DIM, label) for _ in range(n_variants)),
            audio=tuple(tokens(n_audio, AUDIO_DIM, noise) for _ in range(n_variants)),
            teacher=tuple(
                tokens(n_visual, len(LABELS), (label + 1) % 3)
                for _ in range(n_variants if teacher else 0)
            ),
        )
    tasks = [
        TaskLabels(name="label", kind="single", labels=LABELS),
        TaskLabels(name="sound", kind="multi", labels=("loud",)),
    ]
    if teacher is not None:
        tasks.append(TaskLabels(name=teacher.task, kind=teacher.kind, labels=LABELS))
    features = Features(
        window_length_s=2.0,
        window_hop_s=1.0,
        visual_dim=VISUAL_DIM,
        audio_dim=AUDIO_DIM,
        files=files,
        failed={},
        teacher=teacher,
    )
    return Dataset(tasks=tuple(tasks), samples=tuple(samples)), features
