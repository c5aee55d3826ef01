"""What training learns from: lists of labelled and unlabelled files, and their windows as tensors.

Folders are those of the shared data: ``datasets/<name>/labels.csv`` for stills and short clips,
``datasets/clips/clips.csv`` and ``media/demo/demo.csv`` for clips without labels.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sightsound.models.pooling import softmax
from sightsound.pipeline.training.cache import FileFeatures, Key
from sightsound.pipeline.training.features import WINDOW_HOP_S, WINDOW_LENGTH_S
from sightsound.stages.plan import lay_windows


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """A file to learn from.

    ``source`` is where it comes from: files of one source are alike, so they share a weight and
    never lie on both sides of a split. ``is_test`` keeps it out of training. ``actions`` are
    the names that are known, any of which may be true; ``scene`` is a name or None.
    """

    path: Path
    dataset: str
    source: str
    is_still: bool
    is_test: bool = False
    label: str = ""
    actions: tuple[str, ...] = ()
    scene: str | None = None


def list_sources(data: Path) -> list[SourceFile]:
    """Every file of the shared data that the default bundle learns from or is measured on."""
    datasets = data / "datasets"
    names = _known_actions(datasets / "kinetics_names.csv")
    files = []
    for row in _rows(datasets / "clips" / "clips.csv"):
        path = datasets / "clips" / row["file"]
        files.append(_clip(path, "clips", row["source_repository"]))
    for row in _rows(data / "media" / "demo" / "demo.csv"):
        files.append(_clip(data / "media" / "demo" / row["file"], "demo", "demo"))
    for row in _rows(datasets / "fights" / "labels.csv"):
        files.append(_clip(datasets / "fights" / row["path"], "fights", "fights"))
    for dataset in ("stills", "sports100", "places100"):
        for row in _rows(datasets / dataset / "labels.csv"):
            files.append(
                SourceFile(
                    path=datasets / dataset / row["path"],
                    dataset=dataset,
                    source=row.get("source_repository", dataset),
                    is_still=True,
                    is_test=row.get("split") == "test",
                    label=row["label"],
                    actions=names.get((dataset, row["label"]), ()),
                    scene=row["label"] if dataset == "places100" else None,
                )
            )
    return files


def _clip(path: Path, dataset: str, source: str) -> SourceFile:
    return SourceFile(path=path, dataset=dataset, source=source, is_still=False)


def _known_actions(path: Path) -> dict[tuple[str, str], tuple[str, ...]]:
    return {
        (row["dataset"], row["label"]): tuple(row["kinetics"].split(";")) for row in _rows(path)
    }


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True, kw_only=True)
class Samples:
    """n windows as tensors, padded and masked. K variants, V, A and C tokens of each kind.

    ``visual`` (n, K, V, visual_dim) and ``audio`` (n, A, audio_dim) are float16; times are
    seconds from the window's start, ``visual_times`` (n, V), ``audio_times`` (n, A),
    ``teacher_times`` (n, C); masks are True where there is a token. ``teacher`` (n, K, C,
    n_actions) float16 holds the probabilities of each of the teacher's own clips.
    ``actions`` (n, n_actions) bool marks the names that may be true, ``scene`` (n,) int64 is
    -1 where there is none. ``places`` (n, n_scenes) float16 is what the teacher of scenes says
    of those that it knows, of all its places: a row adds up to less than 1. ``weight`` (n,)
    float32, ``file`` (n,) int64 into the list of files.
    """

    visual: torch.Tensor
    visual_times: torch.Tensor
    visual_mask: torch.Tensor
    audio: torch.Tensor
    audio_times: torch.Tensor
    audio_mask: torch.Tensor
    teacher: torch.Tensor
    teacher_times: torch.Tensor
    teacher_mask: torch.Tensor
    actions: torch.Tensor
    scene: torch.Tensor
    places: torch.Tensor
    weight: torch.Tensor
    file: torch.Tensor

    def __len__(self) -> int:
        return len(self.file)

    def renumbered(self, numbers: torch.Tensor) -> Samples:
        """The same windows, of file ``numbers[file]``."""
        return replace(self, file=numbers[self.file])

    def take(self, rows: torch.Tensor) -> Samples:
        """Some of the windows, by number or by mask."""
        return Samples(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def joined(parts: Sequence[Samples]) -> Samples:
    """Samples one after the other."""
    return Samples(
        **{
            field.name: torch.cat([getattr(part, field.name) for part in parts])
            for field in fields(Samples)
        }
    )


@dataclass(frozen=True, kw_only=True)
class LabelSpace:
    """Names of actions and scenes, in the order of the logits.

    ``place_of_scene`` is, for each scene, its number among the labels of the teacher of scenes,
    -1 for those that this does not know.
    """

    actions: tuple[str, ...]
    scenes: tuple[str, ...]
    place_of_scene: tuple[int, ...]

    def known_places(self, logits: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
        """Mean probabilities of the scenes, (n_scenes,), from that teacher's logits (m, places)."""
        chosen = np.array(self.place_of_scene)
        mean = softmax(logits.astype(np.float32)).mean(axis=0)
        return np.where(chosen >= 0, mean[chosen], 0).astype(np.float32)


# Those that the two lists call by different names.
_SAME_PLACES = {"temple_east_asia": "temple_asia"}


def match_places(scenes: Sequence[str], places: Sequence[str]) -> tuple[int, ...]:
    """For each scene its number among ``places``, or -1. Places365 writes ``church/outdoor``."""
    numbers = {place.replace("/", "_"): number for number, place in enumerate(places)}
    return tuple(numbers.get(_SAME_PLACES.get(scene, scene), -1) for scene in scenes)


@dataclass(frozen=True, kw_only=True)
class TokenSource:
    """Which backbone gives which tokens, and the most that a window holds of each."""

    visual: str
    visual_dim: int
    n_visual: int
    audio: str
    audio_dim: int
    n_audio: int
    teacher: str
    n_teacher: int
    places: str
    n_places: int


def make_samples(
    files: Sequence[SourceFile],
    ids: Sequence[str],
    features: Mapping[Key, FileFeatures],
    *,
    tokens: TokenSource,
    labels: LabelSpace,
    n_variants: int,
) -> Samples:
    """The windows of ``files``, whose content ids are ``ids``; files without tokens are left out.

    A file that has fewer variants repeats its first. Sources weigh by the root of their size, and
    a file's weight is shared by its windows.
    """
    per_source = Counter(file.source for file in files)
    columns: dict[str, list[NDArray[np.generic]]] = defaultdict(list)
    for number, (file, file_id) in enumerate(zip(files, ids, strict=True)):
        plain = features.get((file_id, tokens.visual, 0))
        if plain is None or not len(plain.times_s):
            continue
        windows = lay_windows(plain.duration_s, length_s=WINDOW_LENGTH_S, hop_s=WINDOW_HOP_S)
        weight = (1.0 if file.is_still else per_source[file.source] ** -0.5) / len(windows)
        actions = np.isin(labels.actions, file.actions)
        scene = labels.scenes.index(file.scene) if file.scene is not None else -1
        for window in windows:
            span = (window.start_s, window.end_s)
            variants = [
                _cut(
                    features, (file_id, tokens.visual, k), span, tokens.n_visual, tokens.visual_dim
                )
                for k in range(n_variants)
            ]
            taught = [
                _cut(features, (file_id, tokens.teacher, k), span, tokens.n_teacher, len(actions))
                for k in range(n_variants)
            ]
            heard = _cut(
                features, (file_id, tokens.audio, 0), span, tokens.n_audio, tokens.audio_dim
            )
            if not variants[0].mask.any():
                continue
            placed = _cut(
                features,
                (file_id, tokens.places, 0),
                span,
                tokens.n_places,
                max(labels.place_of_scene) + 1,
            )
            row = {
                "visual": np.stack([cut.values for cut in variants]),
                "visual_times": variants[0].times_s,
                "visual_mask": variants[0].mask,
                "audio": heard.values,
                "audio_times": heard.times_s,
                "audio_mask": heard.mask,
                "teacher": np.stack([_probabilities(cut) for cut in taught]),
                "teacher_times": taught[0].times_s,
                "teacher_mask": taught[0].mask,
                "actions": actions,
                "scene": np.int64(scene),
                "places": _places(placed, labels),
                "weight": np.float32(weight),
                "file": np.int64(number),
            }
            for name, value in row.items():
                columns[name].append(np.asarray(value))
    return Samples(**{name: torch.from_numpy(np.stack(values)) for name, values in columns.items()})


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """Tokens of one window, padded: values (length, dim), times_s (length,), mask (length,)."""

    values: NDArray[np.float16]
    times_s: NDArray[np.float32]
    mask: NDArray[np.bool_]


def _cut(
    features: Mapping[Key, FileFeatures],
    key: Key,
    span: tuple[float, float],
    length: int,
    dim: int,
) -> _Cut:
    found = features.get(key) or features.get((*key[:2], 0))
    if found is not None and len(found.times_s):
        dim = found.values.shape[1]
    values = np.zeros((length, dim), dtype=np.float16)
    times_s = np.zeros(length, dtype=np.float32)
    mask = np.zeros(length, dtype=bool)
    if found is not None and len(found.times_s):
        chosen = np.flatnonzero((found.times_s >= span[0]) & (found.times_s < span[1]))[:length]
        values[: len(chosen)] = found.values[chosen]
        times_s[: len(chosen)] = found.times_s[chosen] - span[0]
        mask[: len(chosen)] = True
    return _Cut(values=values, times_s=times_s, mask=mask)


def _probabilities(cut: _Cut) -> NDArray[np.float16]:
    probabilities = softmax(cut.values.astype(np.float32))
    return np.where(cut.mask[:, None], probabilities, 0).astype(np.float16)


def _places(cut: _Cut, labels: LabelSpace) -> NDArray[np.float16]:
    if not cut.mask.any():
        return np.zeros(len(labels.scenes), dtype=np.float16)
    return labels.known_places(cut.values[cut.mask]).astype(np.float16)
