"""A plain classifier of scenes, added to the head of a trained fusion.

The network that looks has learnt its training photographs by heart, and the fusion, trained on what
it sees of the same ones, trusts it too much. A logistic regression under a strong penalty does not,
and puts more of the right scenes among the first five.
"""

from __future__ import annotations

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from sightsound.models.fusion.bottleneck import BottleneckFusion
from sightsound.pipeline.training.default_bundle.fusion import SCENE
from sightsound.pipeline.training.default_bundle.samples import Samples


class RegressionSettings(BaseModel):
    """``inverse_penalty`` is scikit-learn's C. The regression's logits are added to the fusion's
    times ``weight``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    inverse_penalty: float
    weight: float


@torch.no_grad()
def add_regression(
    network: BottleneckFusion, stills: Samples, settings: RegressionSettings
) -> None:
    """Fit the regression on the stills whose scene is known, and add it to the network in place.

    It takes what the head of scenes that is linear in the picture takes, of which a still has one
    token, so that the sum is again such a head.
    """
    known = stills.take(stills.scene >= 0)
    seen = network.visual_norm(known.visual[:, :, 0].float())
    scaler = StandardScaler()
    states = scaler.fit_transform(seen.flatten(0, 1).numpy())
    regression = LogisticRegression(C=settings.inverse_penalty, max_iter=200)
    regression.fit(states, known.scene.repeat_interleave(seen.shape[1]).numpy())
    weight = regression.coef_ / scaler.scale_
    bias = regression.intercept_ - weight @ scaler.mean_
    head = network.visual_heads[SCENE]
    assert isinstance(head, nn.Linear)
    rows = torch.from_numpy(regression.classes_)
    for parameter, change in ((head.weight, weight), (head.bias, bias)):
        parameter[rows] += settings.weight * torch.from_numpy(change.astype(np.float32))
