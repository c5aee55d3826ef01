"""The material of the default bundle: every file of the shared data as samples, in folds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.pipeline.training.cache import FeatureCache, FileFeatures, Key
from sightsound.pipeline.training.default_bundle.measure import deal_folds, merge_look_alikes
from sightsound.pipeline.training.default_bundle.samples import (
    LabelSpace,
    Samples,
    SourceFile,
    TokenSource,
    list_sources,
    make_samples,
)
from sightsound.pipeline.training.features import WINDOW_LENGTH_S, Extraction
from sightsound.stages.probe import content_id

FPS = Fraction(2)
TEACHER_FPS = Fraction(5, 2)
# The most tokens that a window holds, as in stages.fuse, and of the teacher's clips.
_N_VISUAL = int(WINDOW_LENGTH_S * FPS) + 1
_N_AUDIO = 18
_N_TEACHER = 6


class MaterialSettings(BaseModel):
    """How many variants of each file there are, and how files are dealt to folds.

    Clips whose mean features have a cosine above ``least_cosine`` count as the same.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_variants: int
    n_folds: int
    least_cosine: float


@dataclass(frozen=True, kw_only=True)
class Material:
    """All windows, stills and clips apart, with the files they are of and the folds of these.

    ``fold_of_file`` (n_files,) int64 is -1 for stills of test parts, which are never learnt
    from, and for clips that are learnt from in every fold.
    """

    files: list[SourceFile]
    labels: LabelSpace
    stills: Samples
    clips: Samples
    fold_of_file: torch.Tensor

    def marks(self, samples: Samples, wanted: Callable[[SourceFile], bool]) -> torch.Tensor:
        """Which samples are of files that are wanted, (n,) bool."""
        return torch.tensor([wanted(self.files[number]) for number in samples.file.tolist()])

    def test_stills(self, dataset: str) -> Samples:
        """The test part of a dataset of stills."""
        return self.stills.take(
            self.marks(self.stills, lambda file: file.dataset == dataset and file.is_test)
        )


def dealt_by_clip(material: Material, *, n_folds: int, seed: int) -> Material:
    """The same material with clips dealt to folds one by one, whatever their source."""
    folds = material.fold_of_file.clone()
    asked = [n for n, file in enumerate(material.files) if file.dataset == "clips"]
    for number, file in enumerate(material.files):
        if not file.is_still:
            folds[number] = -1
    dealt = deal_folds(range(len(asked)), [True] * len(asked), n_folds=n_folds, seed=seed)
    folds[torch.tensor(asked)] = torch.from_numpy(dealt)
    return replace(material, fold_of_file=folds)


def gather(
    data: Path,
    cache_folder: Path,
    settings: MaterialSettings,
    *,
    seed: int,
    n_processes: int,
    say: Callable[[str], None],
) -> Material:
    """List the files, extract what is missing and make samples of all."""
    files = list_sources(data)
    cache = FeatureCache(cache_folder)
    cache.fill(
        [(file.path, _recipes(file, settings)) for file in files],
        n_processes=n_processes,
        on_progress=say,
    )
    ids = [content_id(str(file.path)) for file in files]
    features = cache.load(set(ids))
    assert X3D_XS.labels is not None
    labels = LabelSpace(
        actions=X3D_XS.labels(),
        scenes=tuple(sorted({file.scene for file in files if file.scene is not None})),
    )
    stills = _samples(files, ids, features, labels, settings, is_still=True)
    clips = _samples(files, ids, features, labels, settings, is_still=False)
    return Material(
        files=files,
        labels=labels,
        stills=stills,
        clips=clips,
        fold_of_file=_folds(files, clips, settings, seed=seed),
    )


def _recipes(file: SourceFile, settings: MaterialSettings) -> list[Extraction]:
    """What to extract: pictures of all, the teacher's word on all but scenes to test with, sound.

    The teacher is asked about photographs of scenes as well: what people do goes with where
    they are, and the more pictures it is asked about, the better the student follows it.
    """
    n_variants = 1 if file.is_test else settings.n_variants
    wanted = [_extraction(EFFICIENTNET_LITE0.name, FPS, n_variants)]
    if file.scene is None or not file.is_test:
        wanted.append(_extraction(X3D_XS.name, TEACHER_FPS, n_variants, keeps_logits=True))
    if not file.is_still:
        wanted.append(_extraction(YAMNET.name, None, 1))
    return wanted


def _extraction(
    backbone: str, fps: Fraction | None, n_variants: int, *, keeps_logits: bool = False
) -> Extraction:
    """What is kept under the backbone's own name: these settings never change."""
    return Extraction(
        backbone=backbone,
        fps=fps,
        n_variants=n_variants,
        keeps_logits=keeps_logits,
        fixed_name=backbone,
    )


def _samples(
    files: list[SourceFile],
    ids: list[str],
    features: dict[Key, FileFeatures],
    labels: LabelSpace,
    settings: MaterialSettings,
    *,
    is_still: bool,
) -> Samples:
    chosen = [number for number, file in enumerate(files) if file.is_still == is_still]
    samples = make_samples(
        [files[number] for number in chosen],
        [ids[number] for number in chosen],
        features,
        tokens=TokenSource(
            visual=EFFICIENTNET_LITE0.name,
            visual_dim=EFFICIENTNET_LITE0.embedding_dim,
            n_visual=1 if is_still else _N_VISUAL,
            audio=YAMNET.name,
            audio_dim=YAMNET.embedding_dim,
            n_audio=1 if is_still else _N_AUDIO,
            teacher=X3D_XS.name,
            n_teacher=1 if is_still else _N_TEACHER,
        ),
        labels=labels,
        n_variants=settings.n_variants,
    )
    return samples.renumbered(torch.tensor(chosen))


def _folds(
    files: list[SourceFile], clips: Samples, settings: MaterialSettings, *, seed: int
) -> torch.Tensor:
    """Clips by source and look; stills by turns within their label; test parts in none.

    Only those of datasets/clips are asked about, so folds are of a size in these, and a group
    that has none of them is in no fold.
    """
    folds = torch.full((len(files),), -1, dtype=torch.int64)
    numbers = torch.unique(clips.file)
    means = []
    for number in numbers:
        rows = clips.take(clips.file == number)
        means.append(rows.visual[:, 0].float()[rows.visual_mask].mean(dim=0).numpy())
    groups = merge_look_alikes(
        [files[number].source for number in numbers.tolist()],
        np.stack(means),
        least_cosine=settings.least_cosine,
    )
    is_asked = [files[number].dataset == "clips" for number in numbers.tolist()]
    dealt = deal_folds(groups, is_asked, n_folds=settings.n_folds, seed=seed)
    folds[numbers] = torch.from_numpy(dealt)
    turn: Counter[tuple[str, str]] = Counter()
    for number, file in enumerate(files):
        if file.is_still and not file.is_test:
            folds[number] = turn[file.dataset, file.label] % settings.n_folds
            turn[file.dataset, file.label] += 1
    return folds
