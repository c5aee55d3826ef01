"""What is asked for is found, or what there is is told."""

import pytest

from sightsound.models.bundle import Task, load_bundle
from sightsound.pipeline.explain.errors import ExplainError, ExplainUsageError
from sightsound.pipeline.explain.explanation import check_task, choose_task, find_label

TASK = Task(name="action", kind="single", labels=("riding a bike", "Diving", "diving"), sources={})


def test_labels_are_found_in_whatever_case():
    assert find_label(TASK, "Riding A Bike") == 0
    assert find_label(TASK, "diving") == 2


def test_labels_spelt_alike_are_suggested():
    with pytest.raises(ExplainUsageError, match="no label rding bike: did you mean riding a bike"):
        find_label(TASK, "rding bike")


def test_a_task_that_the_bundle_lacks_is_refused_with_those_it_has():
    with pytest.raises(ExplainUsageError, match="no task colour: it has action, scene, sound"):
        check_task(load_bundle("default"), "colour")


def test_a_window_without_the_sense_says_so():
    from types import SimpleNamespace

    from sightsound.stages.records import Window, WindowScores

    window = Window(index=0, start_s=0.0, end_s=8.0)
    scores = WindowScores(window=window, has_video=True, has_audio=False, corrupt=False, tasks={})
    found = SimpleNamespace(window=window, scores=scores)
    with pytest.raises(ExplainError, match=r"no answer for sound: it has no sound\."):
        choose_task(load_bundle("default"), found, "sound", uri="a.mp4")
