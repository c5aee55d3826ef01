"""The recipe of the default bundle, to be run as a module (the README has the command).

Extracts what is missing of the features, cross-validates the fusion and a linear student over
the real clips, trains the fusion on everything but the test parts, and writes the bundle with a
card of what was measured. The same data, configuration and machine give the same weights.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sightsound.models.backbones.efficientnet import EFFICIENTNET_LITE0
from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.bundle import save_bundle
from sightsound.models.fusion.bottleneck import BottleneckFusion
from sightsound.pipeline.training.default_bundle.card import (
    BY_FOLD,
    STUDENT,
    VISUAL_FILE,
    fitted_temperatures,
    make_card,
    make_manifest,
    tested,
    validated,
)
from sightsound.pipeline.training.default_bundle.fusion import ACTION, SCENE, train
from sightsound.pipeline.training.default_bundle.material import Material
from sightsound.pipeline.training.default_bundle.measure import LinearStudent, agreement
from sightsound.pipeline.training.default_bundle.scenes import add_regression
from sightsound.pipeline.training.default_bundle.validate import joined_folds, validate_fold
from sightsound.pipeline.training.default_bundle.work import (
    CONFIG,
    DefaultRecipe,
    Work,
    load_recipe,
    prepare_pictures,
    say,
    tuned_network,
)

_COMMAND = (
    "python -m sightsound.pipeline.training.default_bundle.recipe "
    "--data ../shared --out models/bundles/default"
)


def task_sizes(material: Material) -> dict[str, int]:
    """Number of labels of the tasks that the fusion answers."""
    return {ACTION: len(material.labels.actions), SCENE: len(material.labels.scenes)}


def new_fusion(material: Material, recipe: DefaultRecipe) -> BottleneckFusion:
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
    parser.add_argument("--config", type=Path, default=CONFIG)
    parser.add_argument("--features", type=Path, default=Path(".features"))
    parser.add_argument("--processes", type=int, default=2, help="of one thread each")
    options = parser.parse_args(arguments)
    work = Work(data=options.data, features=options.features, recipe=load_recipe(options.config))
    recipe, n_processes = work.recipe, options.processes
    plain = work.gather(n_processes=n_processes)
    folds: list[int | None] = [*range(recipe.n_asked_folds), None]
    prepare_pictures(work, plain, n_processes=n_processes)
    # One thread a training: two side by side take less time than two threads of one.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        tuned = dict(zip(folds, pool.map(partial(tuned_network, work), folds), strict=True))
    for path in tuned.values():
        material = work.gather(tuned=path, n_processes=n_processes)
    jobs = [(tuned[fold], fold) for fold in folds] + [(None, fold) for fold in folds[:-1]]
    with ProcessPoolExecutor(n_processes, mp_context=context) as pool:
        results = list(pool.map(partial(_run_job, work), jobs))
    held = {
        BY_FOLD: joined_folds(results[: recipe.n_asked_folds]),
        STUDENT: joined_folds(results[recipe.n_asked_folds + 1 :]),
    }
    network = new_fusion(material, recipe)
    network.load_state_dict(results[recipe.n_asked_folds])
    temperatures = fitted_temperatures(held[BY_FOLD])
    measured = {name: validated(said, fitted_temperatures(said)) for name, said in held.items()}
    measured["test"] = tested(network, material, temperatures)
    card = make_card(
        material,
        measured,
        command=_COMMAND,
        n_folds=recipe.material.n_folds,
        n_asked=recipe.n_asked_folds,
    )
    manifest = make_manifest(material, fusion=recipe.fusion, temperatures=temperatures, card=card)
    save_bundle(options.out, manifest, network.state_dict())
    final = tuned[None]
    shutil.copyfile(final, options.out / VISUAL_FILE)
    json.dump(measured, sys.stdout, indent=1)
    sys.stdout.write("\n")


def _run_job(work: Work, job: tuple[Path | None, int | None]) -> Any:
    """One fold's validation, or the weights of the fusion that is shipped, which has no fold."""
    tuned, fold = job
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(1)
    recipe = work.recipe
    material = work.gather(tuned=tuned, n_processes=1)
    if fold is None:
        say("training the bundle itself")
        return train_on_all(material, recipe).eval().state_dict()
    is_student = tuned is None
    say(f"fold {fold}{' of the linear student' if is_student else ''}")
    if is_student:
        held = validate_fold(
            material,
            partial(new_student, material, recipe),
            recipe.student_training,
            seed=recipe.seed,
            fold=fold,
        )
    else:
        held = validate_fold(
            material,
            partial(new_fusion, material, recipe),
            recipe.training,
            finish=partial(add_regression, settings=recipe.scene_regression),
            seed=recipe.seed,
            fold=fold,
        )
    found = agreement(held.logits[ACTION], held.clips)
    name = "linear student" if is_student else "fusion"
    say(f"{name}, fold {fold}: agreement {found.top1:.3f}, in the top 5 {found.top5:.3f}")
    return held


def train_on_all(material: Material, recipe: DefaultRecipe) -> nn.Module:
    """The network that is shipped: trained on all but the test parts."""
    stills = material.stills.take(material.fold_of_file[material.stills.file] >= 0)
    torch.manual_seed(recipe.seed)
    network = train(
        new_fusion(material, recipe),
        stills,
        material.clips,
        settings=recipe.training,
        seed=recipe.seed,
        on_progress=say,
    )
    add_regression(network, stills, recipe.scene_regression)
    return network


if __name__ == "__main__":
    main()
