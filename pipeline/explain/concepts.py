"""Windows as named concepts: AudioSet's classes as heard, ImageNet's classes as seen.

Concepts come from networks that know nothing of the model's tasks: YAMNet's own scores, and
those of the ImageNet classifier that EfficientNet-lite0 was published with.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0, LITE0_WEIGHTS
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.bundle import FORMAT, MANIFEST_FILE, Bundle, Task
from sightsound.models.errors import WeightsCorruptError
from sightsound.models.pooling import mean_pool, sigmoid, softmax
from sightsound.pipeline.config import Config
from sightsound.pipeline.explain.window import make_probe
from sightsound.pipeline.slices import SliceRunner
from sightsound.stages.features import TokenBuffer
from sightsound.stages.plan import Plan
from sightsound.stages.records import Window, WindowScores

_N_SEEN = 1000
_SLICE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class ConceptTable:
    """Windows of some videos, in order, as concepts, with what the model said of them.

    ``names`` (n_concepts,) say what each column of ``values`` is: float32 (n, n_concepts) mean
    scores from 0 to 1, not a number where the window lacks the sense. ``videos`` (n,) and
    ``starts_s``, ``ends_s`` (n,) say which window a row is; ``labels`` (n,) are the best ones.
    """

    task: str
    names: tuple[str, ...]
    values: NDArray[np.float32]
    videos: NDArray[np.int64]
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    labels: tuple[str, ...]


def concept_table(
    config: Config,
    bundle: Bundle,
    uris: Sequence[str],
    *,
    task: Task,
    on_progress: Callable[[str], None] = lambda text: None,
) -> ConceptTable:
    """Label all windows of some videos and say which concepts are in them.

    Raises:
        StageError: a video cannot be read.
        ModelError: the model, or a network of the concepts, cannot be had.
    """
    has_concepts = EFFICIENTNET_LITE0 in bundle.visual and YAMNET in bundle.audio
    config = _in_float32(config)
    listener = _ConceptRunner(config) if has_concepts else _concept_runner(config, bundle)
    labeller = listener if has_concepts else SliceRunner(config)
    _use_all_cores()
    rows: list[NDArray[np.float32]] = []
    marks: list[tuple[int, float, float, str]] = []
    for number, uri in enumerate(uris):
        on_progress(uri)
        info = make_probe(config)(uri)
        labelled: dict[int, WindowScores] = {}
        listener.concepts = {}
        for runner in dict.fromkeys((listener, labeller)):
            plan = Plan(runner.grid, slice_s=_SLICE_S)(info)
            for piece in plan.slices:
                result = runner(info, plan, piece)
                labelled |= {scored.window.index: scored for scored in result.windows}
        for index, scored in sorted(labelled.items()):
            found = scored.tasks.get(task.name)
            if found is not None:
                window = scored.window
                label = task.labels[int(found.indices[0])]
                rows.append(listener.concepts[index])
                marks.append((number, window.start_s, window.end_s, label))
    names = concept_names()
    values = np.stack(rows) if rows else np.zeros((0, len(names)), dtype=np.float32)
    return ConceptTable(
        task=task.name,
        names=names,
        values=values,
        videos=np.array([mark[0] for mark in marks], dtype=np.int64),
        starts_s=np.array([mark[1] for mark in marks], dtype=np.float64),
        ends_s=np.array([mark[2] for mark in marks], dtype=np.float64),
        labels=tuple(mark[3] for mark in marks),
    )


@lru_cache(maxsize=1)
def concept_names() -> tuple[str, ...]:
    """``seen: ...`` for ImageNet's 1,000 classes, then ``heard: ...`` for AudioSet's 521."""
    from timm.data.imagenet_info import ImageNetInfo

    assert YAMNET.labels is not None
    described = list(ImageNetInfo("imagenet-1k").label_descriptions())
    return (
        *(f"seen: {name}" for name in _short_names(described)),
        *(f"heard: {name}" for name in _short_names(YAMNET.labels())),
    )


def _short_names(described: Sequence[str]) -> list[str]:
    """The first of the words for each class, or all of them where the first names two."""
    firsts = [words.split(", ")[0] for words in described]
    counts = Counter(firsts)
    return [
        first if counts[first] == 1 else f"{words} ({number})" if words == first else words
        for number, (first, words) in enumerate(zip(firsts, described, strict=True))
    ]


class _ConceptRunner(SliceRunner):
    """A :class:`SliceRunner` that keeps the concepts of each window.

    ``concepts`` is float32 (n_concepts,) by the index of the window.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.concepts: dict[int, NDArray[np.float32]] = {}
        self._weight, self._bias = _imagenet_classifier()

    def fuse(
        self, window: Window, buffers: Mapping[str, TokenBuffer], *, corrupt: bool
    ) -> WindowScores:
        """Score one window, and keep its concepts."""
        assert YAMNET.labels is not None
        seen = np.full(_N_SEEN, np.nan, dtype=np.float32)
        heard = np.full(len(YAMNET.labels()), np.nan, dtype=np.float32)
        for name, buffer in buffers.items():
            tokens = buffer.between(window.start_s, window.end_s)
            if tokens is None:
                continue
            if name == EFFICIENTNET_LITE0.name:
                seen = mean_pool(softmax(tokens.embeddings @ self._weight.T + self._bias))
            elif name == YAMNET.name and tokens.logits is not None:
                heard = mean_pool(sigmoid(tokens.logits))
        self.concepts[window.index] = np.concatenate((seen, heard))
        return super().fuse(window, buffers, corrupt=corrupt)


def _concept_runner(config: Config, bundle: Bundle) -> _ConceptRunner:
    """One for a model that lacks the networks of the concepts, on the same grid of windows.

    They are made a bundle of their own, since networks are chosen by bundle everywhere.
    """
    manifest = {
        "format": FORMAT,
        "name": "concepts",
        "fps": str(bundle.fps),
        "visual_backbones": [EFFICIENTNET_LITE0.name],
        "audio_backbones": [YAMNET.name],
        "tasks": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
        return _ConceptRunner(config.model_copy(update={"model": folder}))


def _imagenet_classifier() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head that EfficientNet-lite0's weight file has: (1000, dim) and (1000,).

    Raises:
        WeightsCorruptError: the file ends in something else.
        WeightsNotFoundError: it is nowhere.
    """
    import torch

    path = LITE0_WEIGHTS.path()
    stored = torch.load(path, map_location="cpu", weights_only=True)
    weight, bias = (tensor.float().numpy() for tensor in list(stored.values())[-2:])
    if weight.shape != (_N_SEEN, EFFICIENTNET_LITE0.embedding_dim) or bias.shape != (_N_SEEN,):
        raise WeightsCorruptError(f"{path} does not end in a classifier of {_N_SEEN} classes.")
    return weight, bias


def _in_float32(config: Config) -> Config:
    inference = config.inference.model_copy(update={"engine": "torch", "precision": "float32"})
    return config.model_copy(update={"inference": inference})


def _use_all_cores() -> None:
    import torch

    # The engine takes one thread a worker, and this is the only one.
    torch.set_num_threads(len(os.sched_getaffinity(0)))
