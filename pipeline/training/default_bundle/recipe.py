"""The recipe of the default bundle, to be run as a module (the README has the command).

Extracts what is missing of the features, cross-validates the fusion and a linear student over
the real clips, trains the fusion on everything but the test parts, and writes the bundle with a
card of what was measured. The same data, configuration and machine give the same weights.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict
from torch import nn

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.bundle import save_bundle
from sightsound.models.fusion.bottleneck import BottleneckFusion
from sightsound.pipeline.training.default_bundle.batches import TrainSettings
from sightsound.pipeline.training.default_bundle.card import (
    fitted_temperatures,
    make_card,
    make_manifest,
    tested,
    validated,
)
from sightsound.pipeline.training.default_bundle.fusion import ACTION, SCENE, train
from sightsound.pipeline.training.default_bundle.material import (
    Material,
    MaterialSettings,
    dealt_by_clip,
    gather,
)
from sightsound.pipeline.training.default_bundle.measure import LinearStudent
from sightsound.pipeline.training.default_bundle.validate import Held, cross_validate

_COMMAND = (
    "python -m sightsound.pipeline.training.default_bundle.recipe "
    "--data ../shared --out models/bundles/default"
)
_CONFIG = Path(__file__).parents[3] / "configs" / "train_default.yaml"


class DefaultRecipe(BaseModel):
    """The numbers of ``configs/train_default.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int
    material: MaterialSettings
    asked_by_source: int
    asked_by_clip: int
    fusion: dict[str, int]
    dropout: float
    hidden_dropout: float
    training: TrainSettings
    student_dropout: float
    student_training: TrainSettings


def load_recipe(path: Path = _CONFIG) -> DefaultRecipe:
    """Read the recipe from YAML."""
    return DefaultRecipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def task_sizes(material: Material) -> dict[str, int]:
    """Number of labels of the tasks that the fusion answers."""
    return {ACTION: len(material.labels.actions), SCENE: len(material.labels.scenes)}


def new_fusion(material: Material, recipe: DefaultRecipe) -> nn.Module:
    """An untrained fusion."""
    return BottleneckFusion(
        visual_dim=EFFICIENTNET_LITE0.embedding_dim,
        audio_dim=YAMNET.embedding_dim,
        tasks=task_sizes(material),
        dropout=recipe.dropout,
        hidden_dropout=recipe.hidden_dropout,
        **recipe.fusion,
    )


def new_student(material: Material, recipe: DefaultRecipe) -> nn.Module:
    """An untrained linear student."""
    return LinearStudent(
        visual_dim=EFFICIENTNET_LITE0.embedding_dim,
        tasks=task_sizes(material),
        dropout=recipe.student_dropout,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the default bundle and write it."""
    parser = argparse.ArgumentParser(prog="train_default", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with datasets/ and media/")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--config", type=Path, default=_CONFIG)
    parser.add_argument("--features", type=Path, default=Path(".features"))
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    options = parser.parse_args(arguments)
    recipe = load_recipe(options.config)
    material = _gather(options.data, options.features, recipe, options.processes)
    jobs = [(name, options.data, options.features, recipe) for name in (*_VALIDATIONS, _FINAL)]
    # One thread a training: two side by side take less time than two threads of one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, mp_context=context) as pool:
        results = dict(zip((*_VALIDATIONS, _FINAL), pool.map(_run_job, jobs), strict=True))
    network = new_fusion(material, recipe)
    network.load_state_dict(results.pop(_FINAL))
    held: dict[str, Held] = results
    temperatures = fitted_temperatures(held["fusion by source"])
    measured = {name: validated(said, fitted_temperatures(said)) for name, said in held.items()}
    measured["test"] = tested(network, material, temperatures)
    card = make_card(
        material,
        measured,
        command=_COMMAND,
        least_cosine=recipe.material.least_cosine,
        n_folds=recipe.material.n_folds,
    )
    manifest = make_manifest(material, fusion=recipe.fusion, temperatures=temperatures, card=card)
    save_bundle(options.out, manifest, network.state_dict())
    json.dump(measured, sys.stdout, indent=1)
    sys.stdout.write("\n")


_FINAL = "the bundle itself"
_VALIDATIONS = ("fusion by clip", "fusion by source", "student by clip")


def _gather(data: Path, features: Path, recipe: DefaultRecipe, n_processes: int) -> Material:
    return gather(
        data, features, recipe.material, seed=recipe.seed, n_processes=n_processes, say=say
    )


def _run_job(job: tuple[str, Path, Path, DefaultRecipe]) -> Any:
    """One validation or the final training, in a process of its own."""
    name, data, features, recipe = job
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    material = _gather(data, features, recipe, 1)
    if name == _FINAL:
        say(f"training {name}")
        return train_on_all(material, recipe).eval().state_dict()
    return validate(material, recipe, name)


def validate(material: Material, recipe: DefaultRecipe, name: str) -> Held:
    """What networks say of clips left out: by source, which is strict, or clip by clip."""
    by_source = name == "fusion by source"
    n_folds = recipe.material.n_folds
    dealt = material if by_source else dealt_by_clip(material, n_folds=n_folds, seed=recipe.seed)
    is_student = name == "student by clip"
    n_asked = recipe.asked_by_source if by_source else recipe.asked_by_clip
    say(f"{name}: {n_asked} of {n_folds} folds")
    return cross_validate(
        dealt,
        partial(new_student if is_student else new_fusion, dealt, recipe),
        recipe.student_training if is_student else recipe.training,
        seed=recipe.seed,
        n_asked=n_asked,
        say=lambda text: say(f"{name}: {text}"),
    )


def say(text: str) -> None:
    """Tell progress on stderr."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def train_on_all(material: Material, recipe: DefaultRecipe) -> nn.Module:
    """The network that is shipped: trained on all but the test parts."""
    stills = material.stills
    torch.manual_seed(recipe.seed)
    return train(
        new_fusion(material, recipe),
        stills.take(material.fold_of_file[stills.file] >= 0),
        material.clips,
        n_scenes=len(material.labels.scenes),
        settings=recipe.training,
        seed=recipe.seed,
        on_progress=say,
    )


if __name__ == "__main__":
    main()
