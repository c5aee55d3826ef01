"""Folds fitted in processes of their own: the same networks, told as they learn, none lost."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.training import DyingFitter, make_data

from sightsound.pipeline.training.checkpoints import CheckpointError, CheckpointFile
from sightsound.pipeline.training.loop import TrainingWorkersError
from sightsound.pipeline.training.recipe import load_recipe
from sightsound.pipeline.training.records import DataError
from sightsound.pipeline.training.side_by_side import FitJob, Fitter, fit_side_by_side

RECIPE = load_recipe(
    settings=(
        "fusion.dim=16",
        "fusion.n_layers=1",
        "fusion.n_heads=2",
        "fusion.hidden=16",
        "training.steps=20",
        "training.evaluate_every=10",
    )
)
DATASET, FEATURES = make_data(30)
FITTER = Fitter(RECIPE, DATASET, FEATURES)


def job(folder, number, **changes) -> FitJob:
    held = tuple(range(number * 10, number * 10 + 10))
    made = FitJob(
        name=f"fold {number}",
        train=tuple(n for n in range(30) if n not in held),
        held=held,
        checkpoint=CheckpointFile(path=folder / f"{number}.pt", fingerprint=f"{number}"),
        resume=False,
    )
    return replace(made, **changes)


def silent(name, progress):
    pass


def test_networks_are_those_fitted_one_after_the_other(tmp_path):
    jobs = [job(tmp_path, number) for number in range(3)]
    told = []
    models = fit_side_by_side(
        FITTER, jobs, n_processes=2, on_progress=lambda *each: told.append(each)
    )
    alone = [FITTER(each, silent) for each in jobs]
    for model, other in zip(models, alone, strict=True):
        assert model.best_step == other.best_step
        ours, theirs = model.network.state_dict(), other.network.state_dict()
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    for each, other in zip(jobs, alone, strict=True):
        assert [progress for name, progress in told if name == each.name] == list(other.history)


def test_data_that_cannot_be_learnt_from_is_told_as_such(tmp_path):
    with pytest.raises(DataError, match="None of the samples to learn from"):
        fit_side_by_side(
            FITTER, [job(tmp_path, 0, train=())] * 2, n_processes=2, on_progress=silent
        )


def test_a_checkpoint_of_another_training_is_told_as_such(tmp_path):
    CheckpointFile(path=tmp_path / "0.pt", fingerprint="another").save({})
    with pytest.raises(CheckpointError, match="of a training with other data"):
        fit_side_by_side(
            FITTER, [job(tmp_path, 0, resume=True)] * 2, n_processes=2, on_progress=silent
        )


def test_a_process_that_is_killed_ends_the_training_with_a_sentence(tmp_path):
    dying = DyingFitter(RECIPE, DATASET, FEATURES)
    with pytest.raises(TrainingWorkersError, match=r"fold 0 was given up .*SIGKILL.*--resume"):
        fit_side_by_side(dying, [job(tmp_path, 0)] * 2, n_processes=2, on_progress=silent)
