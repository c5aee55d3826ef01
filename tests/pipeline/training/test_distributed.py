"""Two processes that share the gradient, through Ray Train."""

import numpy as np
import pytest
from helpers.training import make_data

from sightsound.pipeline.training.checkpoints import CheckpointFile
from sightsound.pipeline.training.fit import fit, predict
from sightsound.pipeline.training.recipe import load_recipe

SETTINGS = (
    "fusion.dim=16",
    "fusion.n_heads=2",
    "fusion.hidden=16",
    "training.batch_size=32",
    "training.steps=60",
    "training.checkpoint_every=30",
    "optimiser.learning_rate=0.01",
    "optimiser.average_decay=0.9",
)
TRAIN, HELD = range(0, 40), range(40, 60)


@pytest.mark.slow
def test_two_workers_learn_what_one_does(tmp_path):
    dataset, features = make_data(60)

    def said(n_workers):
        model = fit(
            load_recipe(settings=SETTINGS),
            dataset,
            features,
            train=TRAIN,
            held=HELD,
            seed=1,
            n_workers=n_workers,
            checkpoint=CheckpointFile(path=tmp_path / f"{n_workers}.pt", fingerprint="this"),
        )
        assert [progress.step for progress in model.history] == [10, 20, 30, 40, 50, 60]
        found = predict(model.network, dataset, features, samples=HELD, temperatures={})
        return found["label"]

    alone, together = said(1), said(2)
    best = together.probabilities.argmax(axis=1)
    assert together.truth[np.arange(len(best)), best].mean() > 0.9
    assert np.abs(alone.probabilities - together.probabilities).mean() < 0.1
