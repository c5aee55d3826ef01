"""What each sense is worth."""

from dataclasses import replace

import numpy as np
import pytest

from sightsound.pipeline.evaluation.compare import take
from sightsound.pipeline.evaluation.senses import part_scores, sense_losses

RESAMPLING = {"n_resamples": 50, "seed": 0}


def test_loss_is_over_the_samples_that_have_both_senses(make_predictions):
    seen = np.arange(60) < 40
    complete = replace(make_predictions(knowledge=9.0), has_visual=seen)
    reduced = make_predictions(knowledge=0.0, seed=1)
    sound, picture = sense_losses(
        complete, without_sound=reduced, without_picture=None, **RESAMPLING
    )
    assert (sound.left_out, sound.n_samples) == ("sound", 20)
    rows = take(reduced, np.flatnonzero(seen & complete.has_audio))
    right = (rows.probabilities.argmax(axis=1) == rows.truth.argmax(axis=1)).mean()
    assert sound.loss == pytest.approx(1 - right)
    assert sound.interval.low <= sound.loss <= sound.interval.high
    assert (picture.loss, picture.note) == (None, "nothing is answered without picture")


def test_unanswered_samples_are_counted_apart(make_predictions):
    complete = make_predictions()
    reduced = take(complete, np.arange(20))
    sound, _ = sense_losses(complete, without_sound=reduced, without_picture=None, **RESAMPLING)
    assert (sound.n_samples, sound.loss) == (10, 0.0)
    assert sound.note == "20 more are not answered without sound"


def test_silent_data_has_no_sense_to_lose(make_predictions):
    silent = replace(make_predictions(), has_audio=np.zeros(60, dtype=bool))
    assert sense_losses(silent, without_sound=silent, without_picture=None, **RESAMPLING) == ()


def test_parts_split_by_sound(make_predictions):
    complete = make_predictions()
    parts = part_scores(complete, without_sound=complete, without_picture=None, **RESAMPLING)
    assert [(part.part, part.n_samples) for part in parts] == [
        ("with sound", 30),
        ("with sound, picture alone", 30),
        ("without sound", 30),
    ]
    whole = (complete.probabilities.argmax(axis=1) == complete.truth.argmax(axis=1)).mean()
    assert (parts[0].accuracy + parts[2].accuracy) / 2 == pytest.approx(whole)
