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
from sightsound.models.backbones.places365 import PLACES365
from sightsound.models.backbones.x3d import X3D_XS
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.networks import file_sha256
from sightsound.pipeline.training.cache import FeatureCache, FileFeatures, Key
from sightsound.pipeline.training.default_bundle.samples import (
    LabelSpace,
    Samples,
    SourceFile,
    TokenSource,
    list_sources,
    make_samples,
    match_places,
)
from sightsound.pipeline.training.features import WINDOW_LENGTH_S, Extraction

FPS = Fraction(2)
TEACHER_FPS = Fraction(5, 2)
PLACES_FPS = Fraction(1)
# The most tokens that a window holds, as in stages.fuse, and of the teacher's clips.
_N_VISUAL = int(WINDOW_LENGTH_S * FPS) + 1
_N_AUDIO = 18
_N_TEACHER = 6
_N_PLACES = 9


class MaterialSettings(BaseModel):
    """How many variants of each file there are, and to how many folds files are dealt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    n_variants: int
    n_folds: int


@dataclass(frozen=True, kw_only=True)
class Material:
    """All windows, stills and clips apart, with the files they are of and the folds of these.

    ``ids`` are those of the files' content. ``fold_of_file`` (n_files,) int64 is -1 for stills
    of test parts, which are never learnt from, and for clips that are learnt from in every fold.
    """

    files: list[SourceFile]
    ids: list[str]
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


def gather(
    data: Path,
    cache_folder: Path,
    settings: MaterialSettings,
    *,
    seed: int,
    n_processes: int,
    say: Callable[[str], None],
    published: str = EFFICIENTNET_LITE0.name,
    tuned: Path | None = None,
) -> Material:
    """List the files, extract what is missing and make samples of all.

    The network that looks is a ``published`` EfficientNet-lite, seeing each file as it is, or
    EfficientNet-lite0 trained further, whose weights are ``tuned``, seeing all variants.
    """
    files = list_sources(data)
    cache = FeatureCache(cache_folder)
    looks = _looks(published, tuned, settings)
    filled = cache.fill(
        [(file.path, _recipes(file, settings, looks)) for file in files],
        n_processes=n_processes,
        on_progress=say,
    )
    ids = [filled.ids[file.path] for file in files]
    taught = (X3D_XS.name, PLACES365.name, YAMNET.name)
    features = cache.load(set(ids), {looks.name(0), *taught})
    assert X3D_XS.labels is not None
    assert PLACES365.labels is not None
    scenes = tuple(sorted({file.scene for file in files if file.scene is not None}))
    labels = LabelSpace(
        actions=X3D_XS.labels(),
        scenes=scenes,
        place_of_scene=match_places(scenes, PLACES365.labels()),
    )
    stills, clips = (
        _samples(files, ids, features, labels, looks, settings, is_still=is_still)
        for is_still in (True, False)
    )
    return Material(
        files=files,
        ids=ids,
        labels=labels,
        stills=stills,
        clips=clips,
        fold_of_file=_folds(files, settings, seed=seed),
    )


def teachers_words(cache_folder: Path, ids: list[str]) -> dict[Key, FileFeatures]:
    """The logits of both teachers that are kept of some files."""
    return FeatureCache(cache_folder).load(set(ids), {X3D_XS.name, PLACES365.name})


def _looks(published: str, tuned: Path | None, settings: MaterialSettings) -> Extraction:
    if tuned is None:
        return _extraction(published, FPS, 1)
    return Extraction(
        backbone=f"{EFFICIENTNET_LITE0.name}:{tuned.absolute()}",
        fps=FPS,
        n_variants=settings.n_variants,
        fixed_name=f"{EFFICIENTNET_LITE0.name}-{file_sha256(tuned)[:16]}",
    )


def _recipes(file: SourceFile, settings: MaterialSettings, looks: Extraction) -> list[Extraction]:
    """What to extract: pictures of all, both teachers' words, sound.

    The teacher of actions is asked about photographs of scenes as well: what people do goes with
    where they are, and the more pictures it is asked about, the better the student follows it.
    The teacher of scenes is not asked where the true scene is known.
    """
    n_variants = 1 if file.is_test or file.scene is not None else settings.n_variants
    wanted = [replace(looks, n_variants=1) if file.is_test else looks]
    if file.scene is None or not file.is_test:
        wanted.append(_extraction(X3D_XS.name, TEACHER_FPS, n_variants, keeps_logits=True))
    if file.scene is None:
        wanted.append(_extraction(PLACES365.name, PLACES_FPS, 1, keeps_logits=True))
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
    looks: Extraction,
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
            visual=looks.name(0),
            visual_dim=EFFICIENTNET_LITE0.embedding_dim,
            n_visual=1 if is_still else _N_VISUAL,
            audio=YAMNET.name,
            audio_dim=YAMNET.embedding_dim,
            n_audio=1 if is_still else _N_AUDIO,
            teacher=X3D_XS.name,
            n_teacher=1 if is_still else _N_TEACHER,
            places=PLACES365.name,
            n_places=1 if is_still else _N_PLACES,
        ),
        labels=labels,
        n_variants=settings.n_variants,
    )
    return samples.renumbered(torch.tensor(chosen))


def _folds(files: list[SourceFile], settings: MaterialSettings, *, seed: int) -> torch.Tensor:
    """Clips of datasets/clips one by one; stills by turns within their label; others in none."""
    folds = torch.full((len(files),), -1, dtype=torch.int64)
    asked = [number for number, file in enumerate(files) if file.dataset == "clips"]
    random = np.random.default_rng(seed)
    folds[torch.from_numpy(random.permutation(asked))] = torch.arange(len(asked)) % settings.n_folds
    turn: Counter[tuple[str, str]] = Counter()
    for number, file in enumerate(files):
        if file.is_still and not file.is_test:
            folds[number] = turn[file.dataset, file.label] % settings.n_folds
            turn[file.dataset, file.label] += 1
    return folds
