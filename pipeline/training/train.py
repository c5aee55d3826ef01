"""The ``train`` command: labelled files to a bundle that ``analyze --model`` takes."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightsound.models.bundle import MANIFEST_FILE
from sightsound.pipeline.training.card import make_card, make_manifest, write_bundle
from sightsound.pipeline.training.checkpoints import CheckpointFile, fingerprint
from sightsound.pipeline.training.dataset import check_trainable, read_dataset
from sightsound.pipeline.training.extract import Features, extract_features, with_teacher
from sightsound.pipeline.training.fit import FittedModel, predict, typical_steps
from sightsound.pipeline.training.left_out import choose_left_out
from sightsound.pipeline.training.loop import Progress, check_network
from sightsound.pipeline.training.recipe import Recipe, senses_of
from sightsound.pipeline.training.records import DataError, Dataset
from sightsound.pipeline.training.side_by_side import FitJob, Fitter, fit_side_by_side
from sightsound.pipeline.training.splits import Fold, validation_folds
from sightsound.pipeline.training.validate import (
    calibrate,
    held_predictions,
    predictions_by_sense,
    summarise,
)


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a training is run. Its result does not depend on ``features`` or ``n_processes``."""

    data: Path
    out: Path
    features: Path
    n_workers: int = 1
    n_processes: int = 1
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class TrainReport:
    """What came of it: by task what was measured, held out and on the test split if there is
    one, and a sentence for each sample that was left out."""

    held_out: dict[str, dict[str, object]]
    test: dict[str, dict[str, object]] | None
    failed: dict[str, str]
    n_samples: int
    seconds: float


def train(recipe: Recipe, options: TrainOptions, *, say: Callable[[str], None]) -> TrainReport:
    """Train a bundle and write it.

    Raises:
        DataError: the data cannot be used, or ``options.out`` holds something else.
        FusionError: the fusion cannot be built so, or not for a task of that name.
        ModelError: a backbone is unknown or its weights are missing.
        CheckpointError: ``options.resume`` finds another training's checkpoints.
        TrainingWorkersError: a process that trains died, or those of Ray failed.
    """
    started = time.monotonic()
    _check_out(options.out)
    labelled = read_dataset(
        options.data, tasks=recipe.tasks, may_lack_labels=recipe.teacher is not None
    )
    learnable = [n for n, sample in enumerate(labelled.samples) if sample.split != "test"]
    if not learnable:
        raise DataError(f"{options.data}: every row has the split test; nothing is left to learn.")
    check_trainable(labelled, learnable)
    dataset = with_teacher(labelled, recipe)
    check_network(recipe, dataset.tasks)
    folds = validation_folds(dataset, learnable, recipe.validation, seed=recipe.seed)
    say(f"{len(dataset.samples)} samples, {_describe(dataset)}")
    features = extract_features(
        dataset,
        recipe,
        cache=options.features,
        n_processes=options.n_processes,
        on_progress=say,
    )
    features_s = time.monotonic() - started
    trainer = _Trainer(recipe, options, dataset, features, say)
    whole_models = trainer.fit_all(folds)
    left_out = choose_left_out(recipe, dataset, features, folds, whole_models)
    if left_out.losses:
        say(str(left_out))
    models = [left_out.apply(model) for model in whole_models]
    calibration = calibrate(dataset, features, folds, models)
    senses = senses_of(recipe)
    taught = features.teacher.task if features.teacher is not None else None
    held_out = summarise(
        held_predictions(dataset, features, folds, models, calibration.temperatures, senses=senses),
        taught=taught,
    )
    fitted, n_steps = whole_models[0], models[0].best_step
    if recipe.validation.refit:
        n_steps = typical_steps(models)
        whole = Fold(train=tuple(learnable), held=())
        fitted = trainer.fit("the bundle", whole, stop_at=n_steps)
    network = left_out.apply(fitted).network
    asked = [n for n, sample in enumerate(dataset.samples) if sample.split == "test"]
    test = None
    if asked:
        test = summarise(
            predictions_by_sense(
                lambda with_visual, with_audio: predict(
                    network,
                    dataset,
                    features,
                    samples=asked,
                    temperatures=calibration.temperatures,
                    with_visual=with_visual,
                    with_audio=with_audio,
                ),
                senses=senses,
            ),
            taught=taught,
        )
    report = TrainReport(
        held_out=held_out,
        test=test,
        failed=dict(features.failed),
        n_samples=len(dataset.samples),
        seconds=round(time.monotonic() - started, 1),
    )
    card = make_card(
        recipe,
        dataset,
        features,
        data_name=options.data.name,
        n_folds=len(folds),
        n_steps=n_steps,
        n_workers=options.n_workers,
        left_out=left_out,
        held_out=held_out,
        test=test,
        seconds={"features": round(features_s, 1), "all": report.seconds},
    )
    manifest = make_manifest(
        recipe,
        dataset,
        features,
        name=options.out.name,
        calibration=calibration,
        left_out=left_out,
        card=card,
    )
    write_bundle(options.out, manifest, fitted.network.state_dict())
    trainer.forget()
    return report


class _Trainer:
    """Fits with checkpoints of their own beside the bundle, so that --resume goes on in each."""

    def __init__(
        self,
        recipe: Recipe,
        options: TrainOptions,
        dataset: Dataset,
        features: Features,
        say: Callable[[str], None],
    ) -> None:
        self._options, self._say = options, say
        self._fitter = Fitter(recipe, dataset, features, n_workers=options.n_workers)
        self._depends_on: dict[str, Any] = {
            "recipe": recipe.model_dump_json(),
            "data": _digest(options.data),
            "failed": sorted(features.failed),
            "workers": options.n_workers,
        }
        self._folder = options.out.with_name(f"{options.out.name}.checkpoints")
        if not options.resume:
            self.forget()

    def fit_all(self, folds: Sequence[Fold]) -> list[FittedModel]:
        """Fit a network to each fold, some side by side where there are cores for it."""
        jobs = [self._job(f"fold {i + 1} of {len(folds)}", fold) for i, fold in enumerate(folds)]
        n_processes = min(self._options.n_processes, len(folds))
        if n_processes == 1 or self._options.n_workers > 1:
            return [self._fitter(job, self._tell) for job in jobs]
        return fit_side_by_side(self._fitter, jobs, n_processes=n_processes, on_progress=self._tell)

    def fit(self, name: str, fold: Fold, *, stop_at: int | None = None) -> FittedModel:
        """Fit one network; ``name`` says which in progress and in the checkpoint's name."""
        return self._fitter(self._job(name, fold, stop_at=stop_at), self._tell)

    def _tell(self, name: str, progress: Progress) -> None:
        self._say(f"{name}: {progress}")

    def _job(self, name: str, fold: Fold, *, stop_at: int | None = None) -> FitJob:
        parts = {
            **self._depends_on,
            "train": fold.train,
            "held": fold.held,
            "stop_at": stop_at,
        }
        return FitJob(
            name=name,
            train=fold.train,
            held=fold.held,
            stop_at=stop_at,
            checkpoint=CheckpointFile(
                path=self._folder / f"{name.replace(' ', '-')}.pt",
                fingerprint=fingerprint(*(f"{key}={value}" for key, value in parts.items())),
            ),
            resume=self._options.resume,
        )

    def forget(self) -> None:
        """Delete the checkpoints: the bundle is written, or an earlier training is given up."""
        if self._folder.is_dir():
            shutil.rmtree(self._folder)


def _digest(data: Path) -> str:
    return hashlib.sha256(data.read_bytes()).hexdigest()


def _describe(dataset: Dataset) -> str:
    tasks: Sequence[str] = [f"{task.name} with {len(task.labels)} labels" for task in dataset.tasks]
    return "; ".join(tasks)


def _check_out(out: Path) -> None:
    """Refuse to write a bundle over anything but a bundle."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file: choose another --out.")
    if out.is_dir() and any(out.iterdir()) and not (out / MANIFEST_FILE).is_file():
        raise DataError(f"{out} holds something that is no bundle: choose another --out.")
