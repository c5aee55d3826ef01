"""What each variant of a picture is to be called: by the teacher's word on that variant."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.bundle_samples import make_samples

from sightsound.pipeline.training.cache import FileFeatures
from sightsound.pipeline.training.default_bundle.maps import Maps
from sightsound.pipeline.training.default_bundle.material import Material
from sightsound.pipeline.training.default_bundle.samples import LabelSpace, SourceFile
from sightsound.pipeline.training.default_bundle.targets import picture_targets
from sightsound.pipeline.training.default_bundle.work import load_recipe

ACTIONS = ("archery", "bowling", "curling", "diving")
RECIPE = load_recipe()


def says(*actions: str, every_s: float = 4.0) -> FileFeatures:
    """A teacher that is all but sure of one action after the other."""
    logits = np.zeros((len(actions), len(ACTIONS)), dtype=np.float16)
    logits[np.arange(len(actions)), [ACTIONS.index(action) for action in actions]] = 20
    times_s = every_s * np.arange(len(actions))
    return FileFeatures(duration_s=every_s * len(actions), times_s=times_s, values=logits)


def material() -> Material:
    """A clip and a still that shows bowling in a lobby."""
    files = [
        SourceFile(path=Path("clip"), dataset="clips", source="clips", is_still=False),
        SourceFile(
            path=Path("still"),
            dataset="stills",
            source="stills",
            is_still=True,
            actions=("bowling",),
            scene="lobby",
        ),
    ]
    nothing = make_samples(0, is_still=True)
    return Material(
        files=files,
        ids=["clip", "still"],
        labels=LabelSpace(actions=ACTIONS, scenes=("attic", "lobby"), place_of_scene=(0, -1)),
        stills=nothing,
        clips=nothing,
        fold_of_file=torch.zeros(2, dtype=torch.int64),
    )


@pytest.fixture(scope="module")
def targets():
    """Two variants of a clip's frames at 0, 4 and 8 s and of a still."""
    maps = Maps(
        values=np.zeros((4, 2, 1, 1, 1), dtype=np.float16),
        file=np.array([0, 0, 0, 1]),
        time_s=np.array([0.0, 4.0, 8.0, 0.0]),
    )
    words = {
        ("clip", "x3d_xs", 0): says("archery", "curling"),
        ("clip", "x3d_xs", 1): says("diving", "curling"),
        ("still", "x3d_xs", 0): says("archery"),
    }
    return picture_targets(material(), maps, words, settings=RECIPE.training, tuning=RECIPE.tuning)


def first(targets, picture: int, variant: int) -> str:
    return ACTIONS[int(targets.action[picture, variant].argmax())]


def test_each_variant_is_taught_what_the_teacher_says_of_it(targets):
    assert [first(targets, 0, variant) for variant in (0, 1)] == ["archery", "diving"]


def test_a_frame_is_taught_by_what_is_said_near_it(targets):
    assert [first(targets, picture, 0) for picture in (0, 1, 2)] == [
        "archery",
        "curling",
        "curling",
    ]


def test_the_true_name_counts_more_than_the_teacher(targets):
    assert first(targets, 3, 0) == "bowling"
    assert targets.action[3, 0, ACTIONS.index("archery")] > 0.2


def test_variants_that_the_teacher_was_not_asked_about_are_not_learnt(targets):
    assert targets.action_weight[3].tolist() == [1, 0]
    assert not targets.action[3, 1].any()


def test_clips_count_as_the_recipe_says(targets):
    assert (targets.action_weight[:3] == RECIPE.tuning.clip_weight).all()


def test_scenes_are_known_where_they_are_labelled_or_taught(targets):
    assert targets.scene_weight.tolist() == [0, 0, 0, 1]
    assert targets.scene[3].argmax() == 1
