"""Augmented batches: nothing shown that is not there, senses dropped as asked, mixing alike."""

import pytest
import torch
from helpers.training import make_data
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.training.batches import (
    draw_batch,
    mixed,
    plain_batch,
    spread_of,
    with_each_alone,
)
from sightsound.pipeline.training.recipe import AugmentationRecipe
from sightsound.pipeline.training.tensors import make_windows

PLAIN = AugmentationRecipe(
    plain_share=1.0, drop_audio=0, drop_visual=0, drop_tokens=0, mixup=0, feature_noise=0
)
DATASET, FEATURES = make_data(24)
WINDOWS = make_windows(DATASET, FEATURES, range(24))


def draw(seed, size=64, **changes):
    return draw_batch(
        WINDOWS,
        size,
        augmentation=PLAIN.model_copy(update=changes),
        spread=spread_of(WINDOWS),
        generator=torch.Generator().manual_seed(seed),
    )


@given(st.integers(0, 2**31), st.floats(0, 0.5), st.floats(0, 0.5), st.floats(0, 1))
def test_no_window_is_left_without_tokens(seed, drop_audio, drop_visual, drop_tokens):
    batch = draw(seed, drop_audio=drop_audio, drop_visual=drop_visual, drop_tokens=drop_tokens)
    assert (batch.visual_mask.any(dim=1) | batch.audio_mask.any(dim=1)).all()


@pytest.mark.parametrize(("sense", "other"), [("audio", "visual"), ("visual", "audio")])
def test_a_sense_is_dropped_as_often_as_asked_and_only_beside_the_other(sense, other):
    batch = draw(0, size=4000, **{f"drop_{sense}": 0.3})
    had_both = batch.present["sound"]  # Said of files with sound; all have pictures.
    has = getattr(batch, f"{sense}_mask").any(dim=1)
    assert float((~has[had_both]).float().mean()) == pytest.approx(0.3, abs=0.04)
    assert getattr(batch, f"{other}_mask").any(dim=1)[had_both].all()


def test_plain_batches_and_drawn_ones_without_augmentation_show_the_same_tokens():
    batch = draw(1)
    every = plain_batch(WINDOWS, torch.arange(len(WINDOWS)))
    shown = {tuple(row.flatten().tolist()) for row in every.visual}
    assert all(tuple(row.flatten().tolist()) in shown for row in batch.visual)


def test_noise_is_of_the_size_asked_and_leaves_padding_masked():
    quiet, noisy = draw(2), draw(2, feature_noise=0.5)
    moved = (noisy.visual - quiet.visual).abs().max(dim=1).values
    assert moved.max() > 0.1
    assert torch.equal(quiet.visual_mask, noisy.visual_mask)


def test_the_same_seed_draws_the_same_batch():
    changes = {"mixup": 0.5, "feature_noise": 0.3, "drop_tokens": 0.5, "plain_share": 0.5}
    first, again, other = draw(3, **changes), draw(3, **changes), draw(4, **changes)
    assert torch.equal(first.visual, again.visual)
    assert torch.equal(first.targets["label"], again.targets["label"])
    assert not torch.equal(first.targets["label"], other.targets["label"])


def test_mixed_targets_still_add_up_and_keep_their_own_label_first():
    batch = draw(5)
    blended = mixed(batch, torch.ones(64, dtype=torch.bool), torch.Generator().manual_seed(0))
    target = blended.targets["label"]
    torch.testing.assert_close(target.sum(dim=1), torch.ones(64))
    assert (target.max(dim=1).values < 1).any()
    own = batch.targets["label"].argmax(dim=1)
    assert (target.gather(1, own[:, None])[:, 0] >= 0.5).all()


def test_windows_with_different_senses_are_not_mixed():
    batch = draw(6)
    blended = mixed(batch, torch.ones(64, dtype=torch.bool), torch.Generator().manual_seed(1))
    silent = ~batch.audio_mask.any(dim=1)
    assert torch.equal(blended.targets["sound"][silent], batch.targets["sound"][silent])
    assert torch.equal(blended.audio_mask, batch.audio_mask)


def test_a_sense_can_be_masked_in_plain_batches():
    batch = plain_batch(WINDOWS, torch.arange(4), with_audio=False)
    assert not batch.audio_mask.any()
    assert batch.visual_mask.any()


@given(st.integers(0, 2**31), st.floats(0, 0.5), st.floats(0, 0.5))
def test_each_alone_adds_windows_with_both_senses_once_by_picture_and_once_by_sound(
    seed, drop_audio, drop_visual
):
    batch = draw(seed, drop_audio=drop_audio, drop_visual=drop_visual)
    whole, n = with_each_alone(batch), len(batch)
    has_both = batch.visual_mask.any(dim=1) & batch.audio_mask.any(dim=1)
    n_both = int(has_both.sum())
    assert len(whole) == n + 2 * n_both
    assert torch.equal(whole.visual_mask[:n], batch.visual_mask)
    assert torch.equal(whole.audio_mask[:n], batch.audio_mask)
    by_picture, by_sound = slice(n, n + n_both), slice(n + n_both, None)
    assert torch.equal(whole.visual_mask[by_picture], batch.visual_mask[has_both])
    assert torch.equal(whole.audio_mask[by_sound], batch.audio_mask[has_both])
    assert not whole.audio_mask[by_picture].any()
    assert not whole.visual_mask[by_sound].any()
    for task, target in batch.targets.items():
        assert torch.equal(whole.targets[task][n:], target[has_both].repeat(2, 1))
