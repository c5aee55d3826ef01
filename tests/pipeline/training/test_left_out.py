"""A sense is left out where held-out windows are answered better without it, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from helpers.training import LABELS, make_data

from sightsound.pipeline.training.fit import fit, predict
from sightsound.pipeline.training.left_out import choose_left_out
from sightsound.pipeline.training.recipe import load_recipe
from sightsound.pipeline.training.records import Dataset
from sightsound.pipeline.training.splits import Fold

TRAIN, HELD = range(0, 36), range(36, 72)
FOLD = Fold(train=tuple(TRAIN), held=tuple(HELD))
SETTINGS = (
    "fusion.method=late",
    "fusion.dim=8",
    "training.steps=40",
    "optimiser.learning_rate=0.02",
    "optimiser.average_decay=0.9",
)


def sounding(task: str, *, misleads: bool) -> Dataset:
    """Files that all have sound; on the held-out ones it may say the opposite of what was learnt.

    The picture tells the task ``label``, the sound the task ``sound``.
    """
    dataset, features = make_data(72, with_sound=[True] * 72)
    tasks = tuple(each for each in dataset.tasks if each.name == task)
    if misleads:
        # What is heard goes with the label in training, and with another afterwards.
        files = dict(features.files)
        for number in range(72):
            shift = 0 if number in TRAIN else 1
            heard = files[f"{number}.mp4"].audio
            turned = []
            for each in heard:
                values = np.zeros_like(each.values)
                values[:, (number + shift) % len(LABELS)] = 6
                turned.append(replace(each, values=values))
            files[f"{number}.mp4"] = replace(files[f"{number}.mp4"], audio=tuple(turned))
        features = replace(features, files=files)
    return replace(dataset, tasks=tasks), features


def chosen(dataset, features, *settings):
    recipe = load_recipe(settings=[*SETTINGS, *settings])
    model = fit(recipe, dataset, features, train=TRAIN, held=(), seed=0)
    return choose_left_out(recipe, dataset, features, [FOLD], [model]), model


def accuracy(model, dataset, features, **senses) -> float:
    said = predict(model.network, dataset, features, samples=HELD, temperatures={}, **senses)
    answers = said["label"]
    right = answers.probabilities.argmax(axis=1) == answers.truth.argmax(axis=1)
    return float(right.mean())


def test_a_sound_that_misleads_is_left_out_where_there_is_a_picture():
    dataset, features = sounding("label", misleads=True)
    left_out, model = chosen(dataset, features)
    assert left_out.sense == "audio"
    assert left_out.losses["audio"] < left_out.losses[None]
    assert "sound is left out" in str(left_out)
    without = left_out.apply(model)
    by_picture = accuracy(model, dataset, features, with_audio=False)
    assert accuracy(without, dataset, features) == by_picture > accuracy(model, dataset, features)
    # Files that have nothing but sound are still answered by it.
    by_sound = accuracy(model, dataset, features, with_visual=False)
    assert accuracy(without, dataset, features, with_visual=False) == by_sound


def test_a_picture_that_says_nothing_of_what_is_heard_is_left_out():
    left_out, _ = chosen(*sounding("sound", misleads=False))
    assert left_out.sense in ("visual", None)
    assert left_out.losses["audio"] > left_out.losses[None]


@pytest.mark.parametrize(
    "setting", ["validation.leave_out=false", "fusion.method=visual", "fusion.method=audio"]
)
def test_nothing_is_left_out_unless_there_is_a_choice(setting):
    dataset, features = sounding("label", misleads=True)
    left_out, model = chosen(dataset, features, setting)
    assert (left_out.sense, dict(left_out.losses)) == (None, {})
    assert left_out.apply(model) is model


def test_files_without_sound_leave_nothing_to_choose():
    dataset, features = make_data(72, with_sound=[False] * 72)
    left_out, _ = chosen(replace(dataset, tasks=dataset.tasks[:1]), features)
    assert (left_out.sense, dict(left_out.losses)) == (None, {})
