"""Windows of labelled samples as tensors: tokens one after the other, targets with masks.

Windows overlap and variants differ in length, so tokens are kept once, end to end, and a window
is a place in them; a batch pads what it takes (see ``batches``).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from sightsound.models.pooling import sigmoid, softmax
from sightsound.pipeline.training.cache import FileFeatures
from sightsound.pipeline.training.extract import Features, SourceFeatures, Teacher
from sightsound.pipeline.training.records import Dataset, LabelledSample, TaskLabels
from sightsound.stages.plan import lay_windows
from sightsound.stages.records import Window


@dataclass(frozen=True, kw_only=True)
class TokenStream:
    """Tokens of one sense, end to end, and where the n windows' are, by variant (K).

    ``values`` (n_tokens, dim) float16 and ``times_s`` (n_tokens,) float32, from the start of the
    file; window i in variant k has the ``count[i, k]`` tokens from ``first[i, k]``, int64.
    """

    values: torch.Tensor
    times_s: torch.Tensor
    first: torch.Tensor
    count: torch.Tensor


@dataclass(frozen=True, kw_only=True)
class Windows:
    """n windows. ``sample`` (n,) int64 is the sample's number in the dataset.

    ``targets`` are by task (n, K or 1, n_labels) float32: 1.0 for labels that are true, or what a
    teacher says of each variant; ``present`` (n,) bool is False where nothing is known.
    ``start_s`` (n,) float32; ``weight`` (n,) float32 is how likely a window is to be drawn.
    """

    visual: TokenStream
    audio: TokenStream
    start_s: torch.Tensor
    sample: torch.Tensor
    weight: torch.Tensor
    targets: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]

    def __len__(self) -> int:
        return len(self.sample)


def make_windows(
    dataset: Dataset, features: Features, samples: Sequence[int], *, class_balance: float = 0.0
) -> Windows:
    """The windows of some samples; samples without tokens have none.

    The windows of a sample's span are laid from its start as those of a whole file are, and
    share its weight.

    Args:
        dataset: the samples and tasks.
        features: of their files.
        samples: numbers in ``dataset.samples``.
        class_balance: 0 weighs samples alike; 1 labels of the single-label tasks, whose
            samples then weigh by the inverse of their label's frequency.
    """
    visual, audio = _Tokens(features.visual_dim), _Tokens(features.audio_dim)
    balance = _balance(dataset, samples, class_balance)
    columns: dict[str, list[float]] = defaultdict(list)
    answers: dict[str, list[tuple[NDArray[np.float32], bool]]] = defaultdict(list)
    for number in samples:
        sample = dataset.samples[number]
        source = features.files.get(sample.path)
        if source is None:
            continue
        spans = [
            (window.start_s, window.end_s)
            for window in _windows(sample, source, features)
            if _has_tokens(source, window)
        ]
        for start_s, end_s in spans:
            visual.add(source.visual, start_s, end_s)
            audio.add(source.audio, start_s, end_s)
            columns["start_s"].append(start_s)
            columns["sample"].append(number)
            columns["weight"].append(balance[number] / len(spans))
            for task in dataset.tasks:
                answers[task.name].append(
                    _target(task, sample, source, features.teacher, start_s, end_s)
                )
        visual.end_file()
        audio.end_file()
    return Windows(
        visual=visual.stream(),
        audio=audio.stream(),
        start_s=torch.tensor(columns["start_s"], dtype=torch.float32),
        sample=torch.tensor(columns["sample"], dtype=torch.int64),
        weight=torch.tensor(columns["weight"], dtype=torch.float32),
        targets={task.name: _stacked(task, answers[task.name]) for task in dataset.tasks},
        present={
            task.name: torch.tensor([known for _, known in answers[task.name]], dtype=torch.bool)
            for task in dataset.tasks
        },
    )


class _Tokens:
    """Gathers the tokens of file after file, each variant once, and the windows' places."""

    def __init__(self, dim: int) -> None:
        self._dim = dim
        self._values: list[NDArray[np.float16]] = []
        self._times: list[NDArray[np.float64]] = []
        self._places: list[list[tuple[int, int]]] = []
        self._n_tokens = 0
        self._offsets: list[int] | None = None

    def add(self, variants: Sequence[FileFeatures], start_s: float, end_s: float) -> None:
        """Add a window of the present file."""
        if self._offsets is None:
            self._offsets = []
            for each in variants:
                self._offsets.append(self._n_tokens)
                if len(each.times_s):
                    self._values.append(each.values)
                    self._times.append(each.times_s)
                    self._n_tokens += len(each.times_s)
        places = []
        for offset, each in zip(self._offsets, variants, strict=True):
            first, stop = np.searchsorted(each.times_s, (start_s, end_s))
            places.append((offset + int(first), int(stop - first)))
        self._places.append(places or [(0, 0)])

    def end_file(self) -> None:
        """The next window is of another file, or of another sample of the same."""
        self._offsets = None

    def stream(self) -> TokenStream:
        """All of it. A file with fewer variants repeats its first."""
        n_variants = max((len(places) for places in self._places), default=1)
        full = [places + places[:1] * (n_variants - len(places)) for places in self._places]
        table = torch.tensor(full, dtype=torch.int64).reshape(len(full), n_variants, 2)
        values = self._values or [np.zeros((0, self._dim), dtype=np.float16)]
        times = self._times or [np.zeros(0)]
        return TokenStream(
            values=torch.from_numpy(np.concatenate(values)),
            times_s=torch.from_numpy(np.concatenate(times).astype(np.float32)),
            first=table[:, :, 0],
            count=table[:, :, 1],
        )


def _windows(
    sample: LabelledSample, source: SourceFeatures, features: Features
) -> tuple[Window, ...]:
    end_s = source.duration_s if sample.end_s is None else min(sample.end_s, source.duration_s)
    laid = lay_windows(
        max(0.0, end_s - sample.start_s),
        length_s=features.window_length_s,
        hop_s=features.window_hop_s,
    )
    return tuple(
        Window(
            index=window.index,
            start_s=sample.start_s + window.start_s,
            end_s=sample.start_s + window.end_s,
        )
        for window in laid
    )


def _has_tokens(source: SourceFeatures, window: Window) -> bool:
    return any(
        len(_inside(variants[0], window.start_s, window.end_s))
        for variants in (source.visual, source.audio)
        if variants
    )


def _inside(features: FileFeatures, start_s: float, end_s: float) -> NDArray[np.intp]:
    return np.flatnonzero((features.times_s >= start_s) & (features.times_s < end_s))


def _balance(dataset: Dataset, samples: Sequence[int], share: float) -> dict[int, float]:
    """Each sample's weight; of several tasks the mean."""
    parts: dict[int, list[float]] = {number: [] for number in samples}
    for task in dataset.tasks:
        if task.kind != "single" or not share:
            continue
        labels = {n: dataset.samples[n].labels.get(task.name) for n in samples}
        count = Counter(found[0] for found in labels.values() if found)
        for number, found in labels.items():
            if found:
                even = sum(count.values()) / len(count)
                parts[number].append((even / count[found[0]]) ** share)
    return {number: sum(each) / len(each) if each else 1.0 for number, each in parts.items()}


def _target(
    task: TaskLabels,
    sample: LabelledSample,
    source: SourceFeatures,
    teacher: Teacher | None,
    start_s: float,
    end_s: float,
) -> tuple[NDArray[np.float32], bool]:
    """What is true of a window, (K or 1, n_labels), and whether anything is known."""
    if teacher is not None and task.name == teacher.task:
        return _taught(task, source.teacher, teacher, start_s, end_s)
    found = sample.labels.get(task.name)
    target = np.zeros((1, len(task.labels)), dtype=np.float32)
    for label in found or ():
        target[0, task.labels.index(label)] = 1.0
    return target, found is not None


def _taught(
    task: TaskLabels,
    variants: Sequence[FileFeatures],
    teacher: Teacher,
    start_s: float,
    end_s: float,
) -> tuple[NDArray[np.float32], bool]:
    """The mean of what the teacher says of its tokens in the window, softened, by variant."""
    scores = np.zeros((len(variants), len(task.labels)), dtype=np.float32)
    known = False
    for k, each in enumerate(variants):
        inside = _inside(each, start_s, end_s)
        if len(inside):
            logits = each.values[inside].astype(np.float32)
            squash = sigmoid if teacher.kind == "multi" else softmax
            mean = squash(logits).mean(axis=0)
            if teacher.kind == "single":
                mean = mean ** (1 / teacher.temperature)
                mean = mean / mean.sum()
            scores[k] = mean
            known = known or k == 0
        else:
            scores[k] = scores[0]
    return scores, known


def _stacked(task: TaskLabels, answers: Sequence[tuple[NDArray[np.float32], bool]]) -> torch.Tensor:
    n_variants = max((len(target) for target, _ in answers), default=1)
    full = [
        np.concatenate([target, np.repeat(target[:1], n_variants - len(target), axis=0)])
        for target, _ in answers
    ]
    if not full:
        return torch.zeros((0, 1, len(task.labels)))
    return torch.from_numpy(np.stack(full))
