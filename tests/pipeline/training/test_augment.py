"""Alterations of pictures and sound: repeatable, within bounds, and none where none is asked."""

import numpy as np
import pytest

from sightsound.pipeline.training.augment import (
    Alteration,
    PictureAugmentation,
    SoundAugmentation,
    SpecAugment,
    sound_shift_s,
)

PICTURE = np.random.default_rng(0).integers(0, 256, (90, 160, 3), dtype=np.uint8)
NOTHING = PictureAugmentation(flip=False, min_area=1.0, aspect=0.0, contrast=0.0, brightness=0.0)


def test_nothing_asked_is_nothing_changed():
    for number in range(20):
        altered = Alteration.draw(f"file-{number}", 160, 90, NOTHING)(PICTURE)
        np.testing.assert_array_equal(altered, PICTURE)


def test_pictures_are_mirrored_only_where_asked():
    flips = NOTHING.model_copy(update={"flip": True})
    drawn = [Alteration.draw(f"file-{n}", 160, 90, flips) for n in range(40)]
    mirrored = [one for one in drawn if one.is_mirrored]
    assert 5 < len(mirrored) < 35
    np.testing.assert_array_equal(mirrored[0](PICTURE), PICTURE[:, ::-1])


def test_a_quarter_turn_moves_each_corner_to_the_next():
    square = PICTURE[:, :90]
    turn = Alteration(
        top=0,
        left=0,
        height=90,
        width=90,
        is_mirrored=False,
        gain=1.0,
        lift=0.0,
        rotation_radians=np.pi / 2,
    )
    turned = turn(square).astype(int)
    assert np.abs(turned - np.rot90(square, k=-1).astype(int)).max() <= 1 or (
        np.abs(turned - np.rot90(square, k=1).astype(int)).max() <= 1
    )


def test_small_turns_keep_the_size_and_most_of_the_picture():
    smooth = np.tile(np.linspace(0, 255, 160, dtype=np.uint8)[None, :, None], (90, 1, 3))
    limits = NOTHING.model_copy(update={"rotation_degrees": 5.0})
    for number in range(10):
        turned = Alteration.draw(f"file-{number}", 160, 90, limits)(smooth)
        assert turned.shape == smooth.shape
        assert np.abs(turned.astype(int) - smooth).mean() < 10


def test_gamma_leaves_black_and_white_and_moves_grey():
    wedge = np.zeros((90, 160, 3), dtype=np.uint8)
    wedge[:, 80:] = 255
    wedge[:, 40:80] = 128
    limits = NOTHING.model_copy(update={"gamma": 0.5})
    greys = set()
    for number in range(10):
        altered = Alteration.draw(f"file-{number}", 160, 90, limits)(wedge)
        assert (altered[0, 0, 0], altered[0, 159, 0]) == (0, 255)
        greys.add(int(altered[0, 60, 0]))
    assert len(greys) > 5
    assert min(greys) < 120 < 136 < max(greys)


def test_masks_are_repeatable_and_within_their_share():
    patches = np.random.default_rng(1).normal(size=(30, 96, 64)).astype(np.float32)
    limits = SoundAugmentation(frequency_mask=0.25, time_mask=0.5, n_masks=1)
    masked = SpecAugment("file-1", limits)(patches)
    np.testing.assert_array_equal(masked, SpecAugment("file-1", limits)(patches))
    changed = masked != patches
    bands = changed.all(axis=1).sum(axis=1)
    moments = changed.all(axis=2).sum(axis=1)
    assert bands.max() <= 16
    assert moments.max() <= 48
    assert bands.max() > 4 and moments.max() > 10
    kept = ~changed
    np.testing.assert_array_equal(masked[kept], patches[kept])


def test_the_input_of_a_mask_is_left_as_it_is():
    patches = np.ones((2, 10, 8), dtype=np.float32)
    patches[:, :5] = 3
    before = patches.copy()
    SpecAugment("file", SoundAugmentation(time_mask=1.0))(patches)
    np.testing.assert_array_equal(patches, before)


@pytest.mark.parametrize("most", [0.0, 0.3])
def test_sound_is_moved_by_at_most_what_is_asked(most):
    limits = SoundAugmentation(max_shift_s=most)
    shifts = [sound_shift_s(f"file-{n}", limits) for n in range(50)]
    assert 0 <= min(shifts) <= max(shifts) <= most
    assert most == 0 or len(set(shifts)) == 50
