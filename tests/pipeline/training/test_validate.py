"""What is said of a training: the senses that are there, each asked of samples that have it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sightsound.pipeline.evaluation.records import TaskPredictions
from sightsound.pipeline.training.recipe import load_recipe, senses_of
from sightsound.pipeline.training.validate import join, predictions_by_sense, summarise, ways_of

SEEN = (True, True, True, False)
HEARD = (True, True, False, True)


def said(*right: bool, seen=SEEN, heard=HEARD) -> TaskPredictions:
    """Of four samples, of which the first label is true; ``right`` says which are answered so."""
    return TaskPredictions(
        task="label",
        kind="single",
        labels=("ant", "bee"),
        probabilities=np.array([(0.9, 0.1) if each else (0.1, 0.9) for each in right]),
        truth=np.tile([True, False], (len(right), 1)),
        samples=tuple(f"{n}.mp4" for n in range(len(right))),
        groups=tuple(f"{n}" for n in range(len(right))),
        has_audio=np.array(heard),
        has_visual=np.array(seen),
    )


ANSWERS = {
    (True, True): {"label": said(True, True, True, False)},
    (True, False): {"label": said(False, True, True, True)},
    (False, True): {"label": said(False, False, True, True)},
}


def summary_of(*senses):
    return summarise(predictions_by_sense(lambda *masks: ANSWERS[masks], senses=senses))["label"]


def test_each_sense_alone_is_asked_of_the_samples_that_have_it():
    assert summary_of("visual", "audio") == {
        "measure": "accuracy",
        "samples": 4,
        "samples_with_sound": 3,
        "fused": 0.75,
        "visual_only": pytest.approx(2 / 3, abs=1e-4),
        "with_sound_fused": pytest.approx(2 / 3, abs=1e-4),
        "with_sound_visual_only": 0.5,
        "with_sound_audio_only": pytest.approx(1 / 3, abs=1e-4),
        "without_sound_fused": 1.0,
    }


def test_a_network_of_one_sense_is_not_said_to_fuse():
    assert summary_of("audio") == {
        "measure": "accuracy",
        "samples": 4,
        "samples_with_sound": 3,
        "audio_only": 0.75,
    }


def test_a_teachers_word_is_not_called_the_truth():
    answers = {"visual_only": ANSWERS[True, True]}
    summary = summarise(answers, taught="label")["label"]
    assert summary["measure"] == "accuracy, the teacher taken as true"
    assert summarise(answers, taught="sound")["label"]["measure"] == "accuracy"


def test_what_no_sample_can_tell_is_left_out():
    silent = {"label": said(True, True, heard=(False, False), seen=(True, True))}
    summary = summarise(dict.fromkeys(ways_of(("visual", "audio")), silent))["label"]
    assert summary == {
        "measure": "accuracy",
        "samples": 2,
        "samples_with_sound": 0,
        "fused": 1.0,
        "visual_only": 1.0,
        "without_sound_fused": 1.0,
    }


@pytest.mark.parametrize(
    ("settings", "senses"),
    [
        ((), ("visual", "audio")),
        (("visual=null",), ("audio",)),
        (("audio=null",), ("visual",)),
        (("fusion.method=audio",), ("audio",)),
        (("fusion.method=visual",), ("visual",)),
    ],
)
def test_senses_are_those_that_the_network_answers_from(settings, senses):
    assert senses_of(load_recipe(settings=settings)) == senses


def test_joined_parts_keep_their_rows_in_order():
    first, second = said(True, False, True, False), said(False, True, True, True)
    twice = join([first, replace(second, has_visual=None)])
    assert twice.samples == first.samples + second.samples
    assert twice.has_visual.tolist() == [*SEEN, True, True, True, True]
    np.testing.assert_array_equal(
        twice.probabilities, np.concatenate([first.probabilities, second.probabilities])
    )
