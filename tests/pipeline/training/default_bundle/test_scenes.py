"""The regression that is added to the head of scenes."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
from helpers.bundle_samples import N_SCENES, make_network, make_samples
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sightsound.pipeline.training.default_bundle.measure import predict
from sightsound.pipeline.training.default_bundle.samples import Samples
from sightsound.pipeline.training.default_bundle.scenes import RegressionSettings, add_regression

SETTINGS = RegressionSettings(inverse_penalty=0.01, weight=2.0)


def stills_with_scenes() -> Samples:
    """Stills of which two thirds have a scene, of all scenes."""
    stills = make_samples(90, is_still=True)
    number = torch.arange(90)
    return replace(stills, scene=torch.where(number % 3 == 0, -1, number // 3 % N_SCENES))


def test_the_logits_of_the_regression_are_added_times_the_weight():
    stills = stills_with_scenes()
    network = make_network().eval()
    before = predict(network, stills)
    add_regression(network, stills, SETTINGS)
    after = predict(network, stills)
    known = stills.take(stills.scene >= 0)
    with torch.no_grad():
        seen = network.visual_norm(known.visual[:, :, 0].float()).numpy()
        asked = network.visual_norm(stills.visual[:, 0, 0].float()).numpy()
    scaler = StandardScaler().fit(seen.reshape(-1, seen.shape[2]))
    plain = LogisticRegression(C=SETTINGS.inverse_penalty, max_iter=200)
    plain.fit(scaler.transform(seen.reshape(-1, seen.shape[2])), known.scene.repeat_interleave(2))
    expected = 2.0 * plain.decision_function(scaler.transform(asked))
    np.testing.assert_allclose(
        (after["scene"] - before["scene"]).numpy(), expected, rtol=1e-3, atol=1e-3
    )


def test_actions_are_left_alone():
    stills = stills_with_scenes()
    network = make_network().eval()
    before = predict(network, stills)["action"]
    add_regression(network, stills, SETTINGS)
    assert torch.equal(predict(network, stills)["action"], before)


def test_a_scene_that_no_still_shows_keeps_its_logits():
    stills = stills_with_scenes()
    stills = stills.take(stills.scene != 1)
    network = make_network().eval()
    untouched = copy.deepcopy(network)
    add_regression(network, stills, SETTINGS)
    found, before = predict(network, stills)["scene"], predict(untouched, stills)["scene"]
    assert torch.equal(found[:, 1], before[:, 1])
    assert not torch.allclose(found[:, 0], before[:, 0])
