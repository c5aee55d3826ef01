"""Which task of a bundle answers which task of the data."""

from fractions import Fraction
from pathlib import Path

import pytest

from sightsound.models.bundle import Bundle, Task
from sightsound.pipeline.evaluation.matching import describe, match_tasks
from sightsound.pipeline.training.records import DataError, Dataset, LabelledSample, TaskLabels


def bundle(**labels):
    tasks = [
        Task(name=name, kind=kind, labels=tuple(names), sources={"fusion": 1.0})
        for name, (kind, *names) in labels.items()
    ]
    return Bundle(
        name="toy", path=Path(), visual=(), audio=(), fps=Fraction(2), tasks=tuple(tasks), fusion={}
    )


def dataset(*labels, task="label", kind="single"):
    samples = tuple(
        LabelledSample(
            path=f"{i}.mp4", start_s=0, end_s=None, split=None, group=str(i), labels={task: found}
        )
        for i, found in enumerate(labels)
    )
    names = tuple(sorted({label for found in labels for label in found}))
    return Dataset(tasks=(TaskLabels(name=task, kind=kind, labels=names),), samples=samples)


TOY = bundle(
    action=("single", "run", "jump"), scene=("single", "park"), sound=("multi", "bark", "run")
)


def test_task_of_the_same_name_answers():
    (match,) = match_tasks(dataset(("park",), task="scene"), TOY)
    assert (match.task.name, match.kind, match.unknown_labels) == ("scene", "single", ())


def test_task_that_knows_most_labels_answers_a_column_of_another_name():
    (match,) = match_tasks(dataset(("run",), ("jump",)), TOY)
    assert match.task.name == "action"


def test_given_task_answers():
    (match,) = match_tasks(dataset(("run",)), TOY, {"label": "sound"})
    assert (match.task.name, match.kind) == ("sound", "multi")


def test_two_tasks_that_know_as_much_must_be_chosen_from():
    with pytest.raises(DataError, match="--task label=action or --task label=sound"):
        match_tasks(dataset(("run",)), TOY)


def test_another_label_set_is_told_with_both_sides():
    with pytest.raises(DataError) as error:
        match_tasks(dataset(("fight",), ("no fight",)), TOY)
    message = str(error.value)
    assert "bundle of another label set" in message
    assert "fight, no fight" in message and "action: run, jump" in message


def test_task_of_the_same_name_with_other_labels_is_another_label_set():
    with pytest.raises(DataError, match="knows none of the 1 labels of scene"):
        match_tasks(dataset(("beach",), task="scene"), TOY)


@pytest.mark.parametrize("given", [{"nothing": "action"}, {"label": "nothing"}])
def test_unknown_names_of_tasks_are_told(given):
    with pytest.raises(DataError, match="has no task nothing, but"):
        match_tasks(dataset(("run",)), TOY, given)


def test_rows_with_unknown_labels_are_counted():
    data = dataset(("run",), ("fly",), ("fly",), ("jump",))
    (match,) = match_tasks(data, TOY)
    assert [match.knows(sample) for sample in data.samples] == [True, False, False, True]
    assert describe(match, data, model="toy") == (
        "toy: label is answered by its task action. 1 of the labels are unknown to it (fly); "
        "2 of 4 rows are left out for that."
    )


def test_multi_label_row_is_kept_for_the_labels_that_are_known():
    data = dataset(("bark", "moo"), ("moo",), (), task="sound", kind="multi")
    (match,) = match_tasks(data, TOY)
    assert [match.knows(sample) for sample in data.samples] == [True, False, True]
