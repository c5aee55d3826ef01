"""From labelled data to kept features: what each sample's file is to the backbones of a recipe."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sightsound.models.backbones import audio_backbone, visual_backbone
from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.bundle import TaskKind
from sightsound.models.errors import ModelError
from sightsound.pipeline.training.backbones import find_backbone, teacher_task
from sightsound.pipeline.training.cache import FeatureCache, FileFeatures, Key
from sightsound.pipeline.training.features import Extraction
from sightsound.pipeline.training.recipe import Recipe, frame_rate
from sightsound.pipeline.training.records import DataError, Dataset, LabelledSample, TaskLabels
from sightsound.stages.tokens import join_tokens


@dataclass(frozen=True, kw_only=True)
class SourceFeatures:
    """What the backbones made of one file, by variant; nothing of a sense that is not asked for."""

    duration_s: float
    visual: tuple[FileFeatures, ...]
    audio: tuple[FileFeatures, ...]
    teacher: tuple[FileFeatures, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """The task that a teacher answers, and whether it looks or listens."""

    task: str
    kind: TaskKind
    temperature: float
    is_audio: bool


@dataclass(frozen=True, kw_only=True)
class Features:
    """The features of a dataset: by path, with windows as they are to be laid.

    ``failed`` has one sentence for each sample (by name) of which there is nothing to learn.
    """

    window_length_s: float
    window_hop_s: float
    visual_dim: int
    audio_dim: int
    files: Mapping[str, SourceFeatures]
    failed: Mapping[str, str]
    teacher: Teacher | None = None


def with_teacher(dataset: Dataset, recipe: Recipe) -> Dataset:
    """The data with the teacher's task among its tasks.

    Raises:
        DataError: a column has the name of that task.
        ModelError: the backbone is unknown or has no labels.
    """
    if recipe.teacher is None:
        return dataset
    name, kind, labels = teacher_task(recipe.teacher.backbone, recipe.teacher.task)
    if any(task.name == name for task in dataset.tasks):
        raise DataError(
            f"The task {name} is both a column of the data and what {recipe.teacher.backbone} "
            "teaches: give the teacher's another name with teacher.task."
        )
    task = TaskLabels(name=name, kind=kind, labels=labels)
    return Dataset(tasks=(*dataset.tasks, task), samples=dataset.samples)


def extract_features(
    dataset: Dataset,
    recipe: Recipe,
    *,
    cache: Path,
    n_processes: int,
    on_progress: Callable[[str], None] = lambda text: None,
) -> Features:
    """Extract what the cache lacks, and load what the samples need.

    Samples of the test split have no variants but the file as it is.

    Raises:
        DataError: not one sample has features.
        ModelError: a backbone is unknown, its weights are missing, or two share a name.
    """
    wanted = {sense: _extractions(recipe, sense) for sense in ("visual", "audio", "teacher")}
    every = [extraction for of_sense in wanted.values() for extraction in of_sense]
    plain: dict[str, bool] = defaultdict(lambda: True)
    for sample in dataset.samples:
        plain[sample.path] &= sample.split == "test"
    store = FeatureCache(cache)
    filled = store.fill(
        [
            (Path(path), [_for_file(each, is_plain) for each in every])
            for path, is_plain in plain.items()
        ],
        n_processes=n_processes,
        on_progress=on_progress,
    )
    ids = {path: filled.ids[Path(path)] for path in plain if Path(path) not in filled.failed}
    names = {
        extraction.name(variant) for extraction in every for variant in range(extraction.n_variants)
    }
    found = store.load(set(ids.values()), names)
    files = {}
    for path, file_id in ids.items():
        source = _source(found, file_id, wanted)
        if source is not None:
            files[path] = source
    failed = {}
    for sample in dataset.samples:
        problem = _problem(sample, files, filled.failed)
        if problem:
            failed[sample.name] = problem
    if len(failed) == len({sample.name for sample in dataset.samples}):
        raise DataError(
            f"Not one of {len(dataset.samples)} samples has features: {next(iter(failed.values()))}"
        )
    return Features(
        window_length_s=recipe.window.length_s,
        window_hop_s=recipe.window.hop_s,
        visual_dim=sum(visual_backbone(name).embedding_dim for name in recipe.visual) or 1,
        audio_dim=audio_backbone(recipe.audio).embedding_dim if recipe.audio else 1,
        files=files,
        failed=failed,
        teacher=_teacher(recipe),
    )


def _teacher(recipe: Recipe) -> Teacher | None:
    if recipe.teacher is None:
        return None
    name, kind, _ = teacher_task(recipe.teacher.backbone, recipe.teacher.task)
    return Teacher(
        task=name,
        kind=kind,
        temperature=recipe.teacher.temperature,
        is_audio=isinstance(find_backbone(recipe.teacher.backbone), AudioBackbone),
    )


_FIND: Mapping[str, Callable[[str], VisualBackbone | AudioBackbone]] = {
    "visual": visual_backbone,
    "audio": audio_backbone,
    "teacher": find_backbone,
}


def _extractions(recipe: Recipe, sense: str) -> list[Extraction]:
    """What is wanted of each backbone of a sense; nothing of a sense that is not asked for."""
    names = {
        "visual": recipe.visual,
        "audio": (recipe.audio,) if recipe.audio else (),
        "teacher": (recipe.teacher.backbone,) if recipe.teacher else (),
    }[sense]
    backbones = [_FIND[sense](name) for name in names]
    if len({backbone.name for backbone in backbones}) < len(backbones):
        raise ModelError(
            f"{' and '.join(names)} share a name, and tokens are told apart by it: let networks of "
            "different kinds look."
        )
    # A teacher that sees motion looks at its own rate, whatever the student's is.
    own = recipe.model_copy(update={"fps": None}) if sense == "teacher" else recipe
    looking = [each for each in backbones if not isinstance(each, AudioBackbone)]
    fps = frame_rate(own, [backbone.frame_interval_s for backbone in looking])
    return [
        Extraction(
            backbone=name,
            fps=None if isinstance(backbone, AudioBackbone) else fps,
            n_variants=recipe.augmentation.n_variants,
            keeps_logits=sense == "teacher",
            picture=recipe.augmentation.picture,
            sound=recipe.augmentation.sound,
        )
        for name, backbone in zip(names, backbones, strict=True)
    ]


def _for_file(extraction: Extraction, is_plain: bool) -> Extraction:
    if not is_plain:
        return extraction
    return Extraction(**{**extraction.__dict__, "n_variants": 1})


def _source(
    found: Mapping[Key, FileFeatures], file_id: str, wanted: Mapping[str, Sequence[Extraction]]
) -> SourceFeatures | None:
    """All variants by sense, or None where the file as it is has not been seen by all."""
    by_sense: dict[str, tuple[FileFeatures, ...]] = {}
    duration_s = 0.0
    for sense, extractions in wanted.items():
        variants = []
        for variant in range(max((each.n_variants for each in extractions), default=0)):
            keys = [(file_id, each.name(variant), variant) for each in extractions]
            if all(key in found for key in keys):
                variants.append(_joined([found[key] for key in keys], extractions))
            elif variant == 0:
                return None
        by_sense[sense] = tuple(variants)
        duration_s = max([duration_s, *(each.duration_s for each in variants[:1])])
    return SourceFeatures(
        duration_s=duration_s,
        visual=by_sense["visual"],
        audio=by_sense["audio"],
        teacher=by_sense["teacher"],
    )


def _joined(parts: Sequence[FileFeatures], extractions: Sequence[Extraction]) -> FileFeatures:
    """What the backbones of a sense made of a file, joined as the fuse stage does it."""
    if len(parts) == 1:
        return parts[0]
    dims = [visual_backbone(extraction.backbone).embedding_dim for extraction in extractions]
    times_s, values = join_tokens(
        [part.times_s for part in parts],
        # Of a file without a token nothing tells the width.
        [part.values.reshape(-1, dim) for part, dim in zip(parts, dims, strict=True)],
    )
    return FileFeatures(
        duration_s=max(part.duration_s for part in parts), times_s=times_s, values=values
    )


def _problem(
    sample: LabelledSample, files: Mapping[str, SourceFeatures], failed: Mapping[Path, str]
) -> str | None:
    source = files.get(sample.path)
    if source is None:
        return failed.get(Path(sample.path), f"{sample.path} gave no features.")
    end_s = math.inf if sample.end_s is None else sample.end_s
    asked = {"picture": source.visual[:1], "sound": source.audio[:1]}
    for each in (*asked["picture"], *asked["sound"]):
        if ((each.times_s >= sample.start_s) & (each.times_s < end_s)).any():
            return None
    if not any(len(each.times_s) for plain in asked.values() for each in plain):
        lacking = " and no ".join(name for name, plain in asked.items() if plain)
        return f"{sample.path} has no {lacking}, and the recipe learns from nothing else."
    return (
        f"{sample.name} has nothing to see or hear in its span: the file is "
        f"{source.duration_s:.1f} s long."
    )
