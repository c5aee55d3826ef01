"""Training on small made-up data: masks, dropout of senses, learning, and repeatability."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.bundle_samples import N_ACTIONS, N_SCENES, VISUAL_DIM, make_network, make_samples

from sightsound.pipeline.training.augment import Alteration
from sightsound.pipeline.training.calibrate import fit_temperature
from sightsound.pipeline.training.default_bundle.batches import (
    Batch,
    TrainSettings,
    action_targets,
    draw_batch,
    scene_targets,
)
from sightsound.pipeline.training.default_bundle.fusion import task_losses, train
from sightsound.pipeline.training.default_bundle.measure import (
    accuracy,
    agreement,
    predict,
    scene_agreement,
)
from sightsound.pipeline.training.default_bundle.recipe import load_recipe
from sightsound.pipeline.training.default_bundle.samples import Samples

SETTINGS = load_recipe().training.model_copy(
    update={"steps": 120, "stills_a_step": 32, "windows_a_step": 32, "learning_rate": 0.01}
)


def draw(samples: Samples, *, settings: TrainSettings = SETTINGS, seed: int = 0) -> Batch:
    return draw_batch(
        samples,
        torch.arange(len(samples)),
        settings=settings,
        spread=torch.ones(VISUAL_DIM),
        generator=torch.Generator().manual_seed(seed),
    )


@pytest.mark.parametrize("is_still", [True, False])
def test_no_sample_is_left_without_tokens(is_still):
    settings = SETTINGS.model_copy(update={"drop_audio_chance": 0.5, "drop_visual_chance": 0.5})
    samples = make_samples(60, is_still=is_still)
    for seed in range(50):
        batch = draw(samples, settings=settings, seed=seed)
        has_visual, has_audio = batch.visual_mask.any(dim=1), batch.audio_mask.any(dim=1)
        assert (has_visual | has_audio).all()
        had_audio = samples.audio_mask.any(dim=1)
        assert has_visual[~had_audio].all()
        assert not has_audio[~had_audio].any()


def test_senses_are_dropped_as_often_as_asked():
    samples = make_samples(400, is_still=False)
    batches = [draw(samples, seed=seed) for seed in range(10)]
    had_audio = samples.audio_mask.any(dim=1)
    silent = torch.cat([~batch.audio_mask.any(dim=1)[had_audio] for batch in batches])
    unseen = torch.cat([~batch.visual_mask.any(dim=1)[had_audio] for batch in batches])
    # Cutting in time may leave sound of a window out as well, so that it is silent more often.
    assert silent.float().mean() >= SETTINGS.drop_audio_chance - 0.03
    assert float(unseen.float().mean()) == pytest.approx(SETTINGS.drop_visual_chance, abs=0.02)


def test_a_batch_never_shows_tokens_that_are_not_there():
    samples = make_samples(60, is_still=False)
    absent = torch.where(samples.visual_mask, 0.0, 1000.0)
    samples = replace(samples, visual=samples.visual + absent[:, None, :, None].half())
    for seed in range(20):
        batch = draw(samples, seed=seed)
        assert batch.visual[batch.visual_mask].abs().max() < 100
        assert not (batch.audio_mask & ~samples.audio_mask).any()


def test_windows_of_one_token_and_of_all_occur():
    samples = make_samples(60, is_still=False)
    counts = torch.cat([draw(samples, seed=seed).visual_mask.sum(dim=1) for seed in range(20)])
    assert {1, 6} <= set(counts.tolist())


def test_stretches_of_time_keep_their_teacher():
    settings = SETTINGS.model_copy(update={"crop_in_time_chance": 1.0})
    for seed in range(20):
        batch = draw(make_samples(60, is_still=False), settings=settings, seed=seed)
        assert (batch.has_action == 1).all()
        torch.testing.assert_close(batch.action.sum(dim=1), torch.ones(60))


@pytest.mark.parametrize("task", ["action", "scene"])
def test_a_task_learns_nothing_from_samples_without_its_label(task):
    batch = draw(make_samples(30, is_still=True))
    present = batch.has_action if task == "action" else batch.has_scene
    assert 0 < present.sum() < len(present)
    logits = {
        name: torch.zeros((30, n), requires_grad=True)
        for name, n in (("action", N_ACTIONS), ("scene", N_SCENES))
    }
    losses = dict(zip(("action", "scene"), task_losses(logits, batch), strict=True))
    losses[task].backward()
    gradient = logits[task].grad.abs().sum(dim=1)
    assert (gradient[present == 0] == 0).all()


def test_a_batch_without_any_label_has_no_loss():
    samples = make_samples(4, is_still=False)
    batch = draw(samples)
    logits = {"action": torch.randn(4, N_ACTIONS), "scene": torch.randn(4, N_SCENES)}
    assert float(task_losses(logits, batch)[1]) == 0.0


def test_true_names_are_mixed_in_and_share_as_the_teacher_says():
    taught = torch.tensor([[[0.1, 0.3, 0.6, 0.0]], [[0.1, 0.3, 0.6, 0.0]]])
    names = torch.tensor([[True, True, False, False], [False] * 4])
    settings = SETTINGS.model_copy(update={"teacher_temperature": 1.0, "true_name_share": 0.8})
    target, has_target = action_targets(taught, torch.ones((2, 1)) > 0, names, settings=settings)
    assert has_target.tolist() == [1, 1]
    np.testing.assert_allclose(target[0], [0.02 + 0.2, 0.06 + 0.6, 0.12, 0], atol=1e-6)
    np.testing.assert_allclose(target[1], taught[1, 0], atol=1e-6)


def test_a_teacher_that_says_nothing_makes_no_target():
    target, has_target = action_targets(
        torch.rand((1, 2, 4)),
        torch.zeros((1, 2), dtype=torch.bool),
        torch.zeros((1, 4), dtype=torch.bool),
        settings=SETTINGS,
    )
    assert has_target.tolist() == [0]
    assert not target.any()


def test_true_scenes_are_smoothed_and_others_are_the_teachers_as_far_as_it_knows():
    places = torch.tensor([[0.0, 0.3, 0.0, 0.1], [0.0, 0.3, 0.0, 0.1], [0.0] * 4])
    target, weight = scene_targets(
        torch.tensor([1, -1, -1]), places, smoothing=0.2, places_weight=0.5
    )
    np.testing.assert_allclose(
        target, [[0.05, 0.85, 0.05, 0.05], [0, 0.75, 0, 0.25], [0] * 4], atol=1e-6
    )
    np.testing.assert_allclose(weight, [1, 0.2, 0], atol=1e-6)


def test_agreement_on_scenes_leaves_aside_what_the_teacher_does_not_know():
    samples = make_samples(4, is_still=False)
    places = torch.zeros((4, 8))
    places[:, 2] = 0.01  # Of all its places little, of those that both know the most.
    samples = replace(samples, places=places.half())
    logits = torch.zeros((4, 8))
    logits[0, 2], logits[1] = 5.0, torch.tensor([9.0, 8, 0, 7, 6, 5, 1, 1])
    logits[2, 0], logits[2, 2], logits[3, 2] = 9.0, 8.0, 1.0
    found = scene_agreement(logits, samples)
    assert (found.top1, found.top5, found.n_files) == (0.5, 0.75, 4)


def test_a_separable_problem_is_learnt():
    stills, clips = make_samples(240, is_still=True), make_samples(120, is_still=False)
    network = train(make_network(), stills, clips, settings=SETTINGS, seed=1)
    unseen = make_samples(60, is_still=False, seed=5)
    said = predict(network, unseen)
    assert accuracy_of(said["action"], torch.arange(60) % N_ACTIONS) > 0.95
    labelled = make_samples(60, is_still=True, seed=6)
    labelled = labelled.take(labelled.scene >= 0)
    assert accuracy_of(predict(network, labelled)["scene"], labelled.scene) > 0.95


def accuracy_of(logits: torch.Tensor, truth: torch.Tensor) -> float:
    return float((logits.argmax(dim=1) == truth).float().mean())


def test_the_same_seed_gives_the_same_weights():
    settings = SETTINGS.model_copy(update={"steps": 5})

    def weights(seed: int) -> dict[str, torch.Tensor]:
        stills, clips = make_samples(40, is_still=True), make_samples(40, is_still=False)
        network = train(make_network(), stills, clips, settings=settings, seed=seed)
        return network.state_dict()

    first, again, other = weights(3), weights(3), weights(4)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_agreement_is_counted_by_file():
    samples = make_samples(8, is_still=False)
    samples = samples.renumbered(torch.tensor([0, 1, 2, 3, 0, 1, 2, 3]))
    logits = torch.cat((8 * samples.teacher[:, 0, 0].float(), torch.zeros((8, 3))), dim=1)
    # One window of the last file is sure of something else, and outweighs the other.
    logits[7] = torch.tensor([0.0, 0, 0, 0, 20, 0, 0])
    found = agreement(logits, samples)
    assert found.n_files == 4
    assert found.top1 == 0.75
    assert found.top5 == 1.0


def test_any_of_several_true_labels_counts():
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4], [9.0, 8, 7, 6, 5, 4]])
    truth = torch.tensor([[False, True, False, False, False, True], [False] * 5 + [True]])
    assert accuracy(logits, truth) == (0.0, 0.5)
    assert accuracy(logits, torch.tensor([0, 4])) == (0.5, 1.0)


def test_the_temperature_of_overconfident_logits_is_found():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((4000, 5), generator=generator)
    truth = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    target = torch.nn.functional.one_hot(truth, 5).float()
    assert fit_temperature(3 * logits, target) == pytest.approx(3, rel=0.1)


def test_an_alteration_is_repeatable_and_lies_within_the_picture():
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    sizes = set()
    for number in range(30):
        one = Alteration.draw(f"file-{number}", 160, 90)
        assert one == Alteration.draw(f"file-{number}", 160, 90)
        crop = one(picture)
        assert crop.shape == (one.height, one.width, 3)
        assert one.top + one.height <= 90
        assert one.left + one.width <= 160
        assert math.prod(crop.shape[:2]) >= 48 * 48
        sizes.add(crop.shape)
    assert len(sizes) > 20
