"""What the steps of the recipe share: its numbers, its folders, the networks trained further."""

from __future__ import annotations

import hashlib
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from sightsound.models.backbones.efficientnet_network import save_efficientnet
from sightsound.pipeline.training.default_bundle.batches import TrainSettings
from sightsound.pipeline.training.default_bundle.maps import gather_maps
from sightsound.pipeline.training.default_bundle.material import (
    Material,
    MaterialSettings,
    gather,
    teachers_words,
)
from sightsound.pipeline.training.default_bundle.pictures import Pictures, gather_pictures
from sightsound.pipeline.training.default_bundle.scenes import RegressionSettings
from sightsound.pipeline.training.default_bundle.targets import picture_targets
from sightsound.pipeline.training.default_bundle.tune import TuneSettings, look, tune

CONFIG = Path(__file__).parents[3] / "configs" / "train_default.yaml"


class DefaultRecipe(BaseModel):
    """The numbers of ``configs/train_default.yaml``.

    Of the folds, the first ``n_asked_folds`` are asked about: each costs two trainings.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    n_asked_folds: int
    material: MaterialSettings
    tuning: TuneSettings
    fusion: dict[str, int]
    dropout: float
    hidden_dropout: float
    training: TrainSettings
    scene_regression: RegressionSettings
    student_dropout: float
    student_training: TrainSettings


def load_recipe(path: Path = CONFIG) -> DefaultRecipe:
    """Read the recipe from YAML."""
    return DefaultRecipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@dataclass(frozen=True, kw_only=True)
class Work:
    """Where the data lies, where features are kept, and the numbers."""

    data: Path
    features: Path
    recipe: DefaultRecipe

    def gather(self, *, n_processes: int, tuned: Path | None = None) -> Material:
        """The material, as the network with the weights ``tuned`` or as published sees it."""
        return gather(
            self.data,
            self.features,
            self.recipe.material,
            seed=self.recipe.seed,
            n_processes=n_processes,
            say=say,
            tuned=tuned,
        )


def say(text: str) -> None:
    """Tell progress on stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def prepare_pictures(
    work: Work, material: Material, *, n_processes: int
) -> tuple[Pictures, NDArray[np.float16]]:
    """The pictures that the network is trained on, and what its fixed blocks make of them."""
    tuning = work.recipe.tuning
    pictures = gather_pictures(
        [file.path for file in material.files],
        work.features,
        fps=Fraction(tuning.clip_fps),
        n_processes=n_processes,
        say=say,
    )
    maps = gather_maps(
        pictures,
        n_fixed=tuning.n_fixed_blocks,
        n_views=tuning.n_views,
        seed=work.recipe.seed,
        n_processes=n_processes,
        say=say,
    )
    return pictures, maps


def tuned_network(work: Work, fold: int | None) -> Path:
    """The weights of the looking network trained further without a fold, made once.

    Of test parts, and of the fold's clips and stills with a scene, nothing is learnt.
    """
    recipe = work.recipe
    depends_on = recipe.model_dump_json(include={"seed", "material", "tuning", "training"})
    digest = hashlib.sha256(f"{fold} {depends_on}".encode()).hexdigest()[:16]
    path = work.features / f"tuned-{digest}.safetensors"
    if path.is_file():
        return path
    torch.set_num_threads(1)
    material = work.gather(n_processes=1)
    pictures, maps = prepare_pictures(work, material, n_processes=1)
    targets = picture_targets(
        material,
        pictures,
        teachers_words(work.features, material.ids),
        settings=recipe.training,
        tuning=recipe.tuning,
        n_variants=recipe.material.n_variants,
    )
    files = [material.files[number] for number in pictures.file]
    is_test = np.array([file.is_test for file in files])
    can_be_held = np.array([not file.is_still or file.scene is not None for file in files])
    in_fold = material.fold_of_file[torch.from_numpy(pictures.file)].numpy() == fold
    is_held = in_fold & can_be_held if fold is not None else np.zeros(len(files), dtype=bool)
    name = "the bundle's network" if fold is None else f"network without fold {fold}"
    network, tail = tune(
        maps,
        np.flatnonzero(~is_test & ~is_held),
        targets,
        settings=recipe.tuning,
        seed=recipe.seed + (recipe.material.n_folds if fold is None else fold),
        say=lambda text: say(f"{name}: {text}"),
    )
    tested = np.flatnonzero(is_test & np.array([file.scene is not None for file in files]))
    scenes = look(tail, maps, tested)[1].argmax(dim=1)
    right = scenes == targets.scene[torch.from_numpy(tested)].argmax(dim=1)
    say(f"{name}, its own head: scenes of the test part {float(right.float().mean()):.3f}")
    part = path.with_suffix(".part")
    save_efficientnet(network, part)
    part.replace(path)
    return path
