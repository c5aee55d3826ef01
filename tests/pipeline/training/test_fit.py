"""Fitting on made-up data: it learns, repeats, stops, resumes, and masks what is not known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from helpers.training import make_data

from sightsound.models.fusion import METHODS
from sightsound.pipeline.training.answers import window_logits
from sightsound.pipeline.training.batches import plain_batch
from sightsound.pipeline.training.calibrate import calibrated_loss
from sightsound.pipeline.training.checkpoints import CheckpointError, CheckpointFile
from sightsound.pipeline.training.extract import Teacher
from sightsound.pipeline.training.fit import fit, predict
from sightsound.pipeline.training.losses import task_losses
from sightsound.pipeline.training.recipe import load_recipe
from sightsound.pipeline.training.records import DataError
from sightsound.pipeline.training.tensors import make_windows

SMALL = (
    "fusion.dim=16",
    "fusion.n_layers=1",
    "fusion.n_heads=2",
    "fusion.hidden=16",
    "training.batch_size=32",
    "training.steps=60",
    "training.evaluate_every=10",
    "training.checkpoint_every=5",
    "optimiser.learning_rate=0.01",
    "optimiser.average_decay=0.9",
)
TRAIN, HELD = range(0, 40), range(40, 60)
DATASET, FEATURES = make_data(60)


def recipe(*settings: str):
    return load_recipe(settings=[*SMALL, *settings])


def fit_small(*settings: str, held=HELD, **options):
    return fit(recipe(*settings), DATASET, FEATURES, train=TRAIN, held=held, seed=1, **options)


def weights(model) -> dict[str, torch.Tensor]:
    return model.network.state_dict()


def same(first, second) -> bool:
    return all(torch.equal(first[name], second[name]) for name in first)


def accuracy(said) -> float:
    best = said.probabilities.argmax(axis=1)
    return float(said.truth[np.arange(len(best)), best].mean())


@pytest.fixture(scope="module")
def fitted():
    return fit_small()


def test_what_can_be_seen_and_heard_is_learnt(fitted):
    said = predict(
        fitted.network, DATASET, FEATURES, samples=HELD, temperatures=fitted.temperatures
    )
    assert accuracy(said["label"]) > 0.9
    sound = said["sound"]
    assert len(sound.samples) == 10
    assert ((sound.probabilities > 0.5) == sound.truth).mean() > 0.9


def test_what_is_seen_is_answered_without_sound_and_not_without_picture(fitted):
    ask = {"samples": HELD, "temperatures": fitted.temperatures}
    seen = predict(fitted.network, DATASET, FEATURES, with_audio=False, **ask)
    heard = predict(fitted.network, DATASET, FEATURES, with_visual=False, **ask)
    assert accuracy(seen["label"]) > 0.9
    assert accuracy(heard["label"]) < 0.8


def test_predictions_are_distributions_in_the_order_of_the_data(fitted):
    order = [59, 41, 44]
    said = predict(fitted.network, DATASET, FEATURES, samples=order, temperatures={})["label"]
    assert said.samples == tuple(DATASET.samples[n].name for n in order)
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1)
    assert said.has_audio.tolist() == [True, True, False]


def test_the_same_seed_gives_the_same_weights(fitted):
    assert same(weights(fitted), weights(fit_small()))


def test_history_tells_losses_and_held_out_accuracy(fitted):
    seen = []
    fit_small("training.steps=20", on_progress=seen.append)
    assert [progress.step for progress in seen] == [10, 20]
    assert all(set(p.losses) == set(p.held_accuracy) == {"label", "sound"} for p in seen)
    assert fitted.history[-1].held_loss < fitted.history[0].held_loss


def test_the_held_out_loss_is_that_of_calibrated_answers(fitted):
    windows = make_windows(DATASET, FEATURES, HELD)
    logits = window_logits(fitted.network, DATASET.tasks, windows)
    losses = []
    for task in DATASET.tasks:
        known = windows.present[task.name]
        scaled = logits[task.name][known] / fitted.temperatures[task.name]
        target = windows.targets[task.name][known, 0]
        losses.append(calibrated_loss(scaled, target, kind=task.kind))
    (best,) = [p.held_loss for p in fitted.history if p.step == fitted.best_step]
    assert best == pytest.approx(sum(losses), abs=1e-3)
    assert best == min(progress.held_loss for progress in fitted.history)


@pytest.mark.parametrize(("steps", "evaluations"), [(40, 4), (330, 30)])
def test_evaluations_are_spread_over_the_steps(steps, evaluations):
    model = fit_small(
        f"training.steps={steps}", "training.evaluate_every=null", "training.patience=100"
    )
    assert len(model.history) == evaluations


def test_it_stops_when_the_held_out_loss_no_longer_falls():
    settings = ("training.steps=4000", "training.patience=2", "training.evaluate_every=2")
    model = fit_small(*settings, "optimiser.learning_rate=5", "optimiser.name=sgd")
    assert model.history[-1].step < 400
    assert model.best_step <= model.history[-1].step - 4


@pytest.mark.parametrize("method", METHODS)
def test_without_held_out_samples_all_steps_are_made(method):
    model = fit_small(f"fusion.method={method}", held=(), stop_at=15)
    assert model.best_step == 15
    assert model.temperatures == {"label": 1.0, "sound": 1.0}


def test_a_disturbed_run_goes_on_to_the_same_weights(tmp_path, fitted):
    checkpoint = CheckpointFile(path=tmp_path / "fold.pt", fingerprint="this")

    class DisturbanceError(Exception):
        pass

    def disturb(progress):
        if progress.step == 30:
            raise DisturbanceError

    with pytest.raises(DisturbanceError):
        fit_small(on_progress=disturb, checkpoint=checkpoint)
    assert checkpoint.load()["step"] == 25
    resumed = fit_small(checkpoint=checkpoint, resume=True)
    assert same(weights(fitted), weights(resumed))
    assert resumed.history == fitted.history


def test_a_finished_run_is_not_trained_again(tmp_path):
    checkpoint = CheckpointFile(path=tmp_path / "fold.pt", fingerprint="this")
    first = fit_small("training.steps=20", checkpoint=checkpoint)
    steps = []
    again = fit_small(
        "training.steps=20", checkpoint=checkpoint, resume=True, on_progress=steps.append
    )
    assert steps == []
    assert same(weights(first), weights(again))


def test_without_resume_an_old_checkpoint_is_not_used(tmp_path):
    checkpoint = CheckpointFile(path=tmp_path / "fold.pt", fingerprint="other data")
    fit_small("training.steps=5", checkpoint=checkpoint)
    other = CheckpointFile(path=tmp_path / "fold.pt", fingerprint="this")
    assert fit_small("training.steps=5", checkpoint=other).best_step == 5


def test_another_trainings_checkpoint_is_refused(tmp_path):
    CheckpointFile(path=tmp_path / "fold.pt", fingerprint="other").save({"step": 3})
    with pytest.raises(CheckpointError, match="other data, another recipe"):
        CheckpointFile(path=tmp_path / "fold.pt", fingerprint="this").load()


def test_a_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "fold.pt"
    CheckpointFile(path=path, fingerprint="this").save({"step": 3})
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot be read"):
        CheckpointFile(path=path, fingerprint="this").load()


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "fold.pt"
    torch.save({"fingerprint": "this", "network": make_data}, path)
    with pytest.raises(CheckpointError, match="cannot be read"):
        CheckpointFile(path=path, fingerprint="this").load()


def test_a_save_that_fails_leaves_the_checkpoint_before(tmp_path):
    checkpoint = CheckpointFile(path=tmp_path / "fold.pt", fingerprint="this")
    checkpoint.save({"step": 3})
    with pytest.raises((AttributeError, TypeError, RuntimeError)):
        checkpoint.save({"step": 4, "broken": lambda: None})
    assert checkpoint.load()["step"] == 3


@pytest.mark.parametrize("optimiser", ["adam", "rmsprop", "sgd"])
def test_every_optimiser_lowers_the_loss(optimiser):
    rate = {"adam": 0.01, "rmsprop": 0.002, "sgd": 0.05}[optimiser]
    model = fit_small(f"optimiser.name={optimiser}", f"optimiser.learning_rate={rate}")
    assert model.history[-1].held_loss < 0.6  # Of 1.8 for one who knows nothing.


def test_one_sense_alone_is_trained():
    model = fit_small("fusion.method=visual", "audio=null", "training.steps=30")
    said = predict(model.network, DATASET, FEATURES, samples=HELD, temperatures={})
    assert accuracy(said["label"]) > 0.9


def test_a_teacher_is_followed():
    teacher = Teacher(task="action", kind="single", temperature=1.0, is_audio=False)
    dataset, features = make_data(60, teacher=teacher)
    model = fit(recipe(), dataset, features, train=TRAIN, held=HELD, seed=1)
    said = predict(model.network, dataset, features, samples=HELD, temperatures={})
    assert accuracy(said["action"]) > 0.9
    assert accuracy(said["label"]) > 0.9


def test_a_task_learns_nothing_from_windows_without_its_label():
    windows = make_windows(DATASET, FEATURES, TRAIN)
    batch = plain_batch(windows, torch.arange(len(windows)))
    logits = {
        "label": torch.zeros((len(windows), 3), requires_grad=True),
        "sound": torch.zeros((len(windows), 1), requires_grad=True),
    }
    task_losses(logits, batch, DATASET.tasks)["sound"].backward()
    gradient = logits["sound"].grad.abs().sum(dim=1)
    assert (gradient[~batch.present["sound"]] == 0).all()
    assert (gradient[batch.present["sound"]] > 0).all()


def test_smoothed_cross_entropy_is_that_of_the_smoothed_target():
    windows = make_windows(DATASET, FEATURES, [0])
    batch = plain_batch(windows, torch.tensor([0]))
    logits = {"label": torch.tensor([[2.0, 1.0, 0.0]])}
    found = task_losses(logits, batch, DATASET.tasks[:1], label_smoothing=0.3)["label"]
    target = torch.tensor([[0.8, 0.1, 0.1]])
    assert float(found) == pytest.approx(
        float(torch.nn.functional.cross_entropy(logits["label"], target))
    )


def test_nothing_to_learn_from_is_said():
    with pytest.raises(DataError, match="None of the samples to learn from has features"):
        fit(recipe(), DATASET, FEATURES, train=(), held=HELD, seed=0)
