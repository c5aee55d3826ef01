"""Calibration: temperatures that undo overconfidence, thresholds that leave no bad half."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.training.calibrate import calibrated_loss, fit_temperature, fit_threshold


def test_overconfident_single_labels_are_cooled():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((4000, 5), generator=generator)
    truth = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    target = torch.nn.functional.one_hot(truth, 5).float()
    assert fit_temperature(3 * logits, target) == pytest.approx(3, rel=0.1)


def test_overconfident_multi_labels_are_cooled():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn((3000, 4), generator=generator)
    target = (torch.rand((3000, 4), generator=generator) < torch.sigmoid(logits)).float()
    assert fit_temperature(2 * logits, target, kind="multi") == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize("kind", ["single", "multi"])
@given(sureness=st.floats(0.3, 3))
def test_the_calibrated_loss_does_not_depend_on_how_sure_a_network_is(kind, sureness):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((400, 4), generator=generator)
    truth = torch.multinomial(torch.softmax(logits, dim=1), 1, generator=generator)[:, 0]
    target = torch.nn.functional.one_hot(truth, 4).float()
    expected = calibrated_loss(logits, target, kind=kind)
    assert calibrated_loss(sureness * logits, target, kind=kind) == pytest.approx(
        expected, abs=1e-4
    )


def test_the_calibrated_loss_of_one_who_knows_nothing_is_that_of_chance():
    target = torch.eye(4).repeat(50, 1)
    noise = torch.randn((200, 4), generator=torch.Generator().manual_seed(0))
    assert calibrated_loss(noise, target) == pytest.approx(np.log(4), abs=0.02)
    assert calibrated_loss(target, target) < 0.01


def test_a_bad_low_end_is_doubted():
    scores = np.concatenate([np.linspace(0.1, 0.3, 20), np.linspace(0.31, 0.9, 80)])
    is_right = np.concatenate([np.zeros(20, dtype=bool), np.ones(80, dtype=bool)])
    # 20 wrong below 0.31, and as many right above, make one half.
    assert fit_threshold(scores, is_right) == pytest.approx(np.sort(scores)[40], abs=1e-4)


def test_answers_that_are_mostly_right_are_never_doubted():
    scores = np.linspace(0.1, 0.9, 50)
    assert fit_threshold(scores, np.ones(50, dtype=bool)) == 0


def test_a_few_wrong_answers_are_no_evidence():
    scores = np.linspace(0.1, 0.9, 9)
    assert fit_threshold(scores, np.zeros(9, dtype=bool)) == 0


def test_a_threshold_never_exceeds_one_half():
    scores = np.linspace(0.5, 0.99, 60)
    assert fit_threshold(scores, np.zeros(60, dtype=bool)) == 0.5


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=60))
def test_answers_below_the_threshold_are_right_at_most_half_the_time(answers):
    scores = np.array([score for score, _ in answers])
    is_right = np.array([right for _, right in answers], dtype=bool)
    threshold = fit_threshold(scores, is_right)
    assert 0 <= threshold <= 0.5
    below = scores < threshold
    if 0 < threshold < 0.5:
        # Rounding down may leave out answers within 0.0001 of it, so the law is of those and these.
        whole = scores < threshold + 1e-4
        assert is_right[below].sum() * 2 <= whole.sum()
