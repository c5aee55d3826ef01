"""Cross-validation on features that are made up, with the real training."""

import numpy as np
import pytest

from sightsound.pipeline.evaluation.folds import cross_validate, make_folds
from sightsound.pipeline.training.cache import FileFeatures
from sightsound.pipeline.training.extract import Features, SourceFeatures
from sightsound.pipeline.training.recipe import Recipe
from sightsound.pipeline.training.records import DataError, Dataset, LabelledSample, TaskLabels

N_SAMPLES, DIM = 36, 8
LABELS = ("left", "right")


def dataset(n_groups):
    return Dataset(
        tasks=(TaskLabels(name="label", kind="single", labels=LABELS),),
        samples=tuple(
            LabelledSample(
                path=f"{i}.mp4",
                start_s=0,
                end_s=None,
                split=None,
                group=f"group {i % n_groups}",
                labels={"label": (LABELS[(i // n_groups) % 2],)},
            )
            for i in range(N_SAMPLES)
        ),
    )


def tokens(random, mean, *, n_tokens=4):
    return FileFeatures(
        duration_s=4.0,
        times_s=np.arange(n_tokens, dtype=np.float64),
        values=(random.normal(size=(n_tokens, DIM)) + mean).astype(np.float16),
    )


@pytest.fixture(scope="module")
def features():
    """The picture tells the labels apart, the sound of every second sample is not there."""
    random = np.random.default_rng(0)
    means = {label: 3 * random.normal(size=DIM) for label in LABELS}
    files = {}
    for i, sample in enumerate(dataset(6).samples):
        looks = tokens(random, means[sample.labels["label"][0]])
        sounds = tokens(random, 0.0, n_tokens=4 * (i % 2))
        files[sample.path] = SourceFeatures(duration_s=4.0, visual=(looks,), audio=(sounds,))
    return Features(
        window_length_s=8.0,
        window_hop_s=4.0,
        visual_dim=DIM,
        audio_dim=DIM,
        files=files,
        failed={},
    )


@pytest.fixture(scope="module")
def found(features):
    recipe = Recipe.model_validate(
        {
            "fusion": {"method": "late", "dim": 8, "hidden": 8},
            "augmentation": {"n_variants": 1},
            "optimiser": {"learning_rate": 0.02},
            "training": {"steps": 40, "batch_size": 16, "evaluate_every": 20},
        }
    )
    return cross_validate(recipe, dataset(6), features, samples=range(N_SAMPLES), n_folds=3, seed=0)


def test_groups_as_many_as_folds_are_the_folds():
    folds, given = make_folds(dataset(5), range(N_SAMPLES), n_folds=5, seed=0)
    assert given
    for number, fold in enumerate(folds):
        assert fold.held == tuple(range(number, N_SAMPLES, 5))
        assert sorted(fold.train + fold.held) == list(range(N_SAMPLES))


def test_no_group_is_on_both_sides():
    data = dataset(9)
    folds, given = make_folds(data, range(N_SAMPLES), n_folds=4, seed=0)
    assert not given
    for fold in folds:
        sides = [{data.samples[n].group for n in side} for side in (fold.train, fold.held)]
        assert sides[0].isdisjoint(sides[1])
    assert sorted(n for fold in folds for n in fold.held) == list(range(N_SAMPLES))


def test_fewer_groups_than_folds_are_told():
    with pytest.raises(DataError, match="ask for at most 3 folds"):
        make_folds(dataset(3), range(N_SAMPLES), n_folds=5, seed=0)


def test_every_sample_is_answered_once_by_a_model_that_learnt(found):
    answers = found.by_senses["both"]["label"]
    assert sorted(answers.samples) == sorted(f"{i}.mp4" for i in range(N_SAMPLES))
    right = answers.probabilities.argmax(axis=1) == answers.truth.argmax(axis=1)
    assert right.mean() > 0.9


def test_answers_say_what_there_was_to_see_and_hear(found):
    answers = found.by_senses["both"]["label"]
    assert answers.has_visual.all()
    by_name = dict(zip(answers.samples, answers.has_audio, strict=True))
    assert by_name["1.mp4"] and not by_name["2.mp4"]


def test_mean_over_folds_is_that_of_their_scores(found):
    report = found.report
    assert (report.n_folds, [fold.n_test for fold in report.folds]) == (3, [12, 12, 12])
    scores = [fold.scores["label"]["accuracy"] for fold in report.folds]
    spread = report.spread["label"]["accuracy"]
    assert spread.mean == pytest.approx(np.mean(scores))
    assert spread.deviation == pytest.approx(np.std(scores, ddof=1))
