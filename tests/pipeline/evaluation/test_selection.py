"""Which samples are asked about, and what they are called."""

from pathlib import Path

import pytest

from sightsound.pipeline.evaluation.selection import (
    choose_samples,
    model_names,
    part_of,
    recipe_names,
    short_names,
)
from sightsound.pipeline.training.records import DataError, Dataset, LabelledSample, TaskLabels


def dataset(*splits):
    samples = tuple(
        LabelledSample(
            path=f"/data/clips/{i}.mp4",
            start_s=0,
            end_s=None,
            split=split,
            group=str(i),
            labels={"label": (f"label {i}",)},
        )
        for i, split in enumerate(splits)
    )
    labels = tuple(f"label {i}" for i in range(len(splits)))
    return Dataset(tasks=(TaskLabels(name="label", kind="single", labels=labels),), samples=samples)


def test_split_test_is_asked_about_where_there_is_one():
    assert choose_samples(dataset("train", "test"), split=None, takes_all=False) == ([1], "test")


def test_all_rows_are_asked_about_where_there_is_no_split_test():
    assert choose_samples(dataset("train", None), split=None, takes_all=False) == ([0, 1], None)


def test_cross_validation_takes_all_rows():
    assert choose_samples(dataset("train", "test"), split=None, takes_all=True) == ([0, 1], None)


def test_split_without_rows_is_told():
    with pytest.raises(DataError, match="no row of the split val; it has test, train"):
        choose_samples(dataset("train", "test"), split="val", takes_all=False)


def test_part_has_only_its_own_labels():
    part = part_of(dataset(None, None, None), [0, 2])
    assert part.tasks[0].labels == ("label 0", "label 2")
    assert [sample.group for sample in part.samples] == ["0", "2"]


def test_names_start_from_the_folder_of_the_data_and_differ():
    twice = dataset(None)
    twice = Dataset(tasks=twice.tasks, samples=twice.samples * 2)
    assert short_names(twice, Path("/data")) == ["clips/0.mp4", "clips/0.mp4 (2)"]


def test_models_are_called_by_their_folder_unless_two_share_it():
    assert model_names(["default", "runs/a"]) == {"default": "default", "a": "runs/a"}
    assert list(model_names(["x/a", "y/a"])) == ["x/a", "y/a"]
    with pytest.raises(DataError, match="named twice"):
        model_names(["default", "default"])


def test_recipes_are_called_by_their_file_unless_two_share_it():
    assert recipe_names([Path("a/fast.yaml"), Path("b/slow.yaml")]) == {
        "fast": Path("a/fast.yaml"),
        "slow": Path("b/slow.yaml"),
    }
    assert list(recipe_names([Path("a/x.yaml"), Path("b/x.yaml")])) == ["a/x.yaml", "b/x.yaml"]
    with pytest.raises(DataError, match="give each --recipe once"):
        recipe_names([Path("x.yaml"), Path("x.yaml")])
