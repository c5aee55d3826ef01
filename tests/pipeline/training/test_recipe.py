"""The recipe: defaults that a file states, settings over it, and errors that name the key."""

from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.training.recipe import Recipe, RecipeError, frame_rate, load_recipe

CONFIGS = Path(__file__).parents[3] / "configs"


def test_the_commented_file_states_every_default():
    stated = yaml.safe_load((CONFIGS / "train.yaml").read_text(encoding="utf-8"))
    assert stated == Recipe().model_dump(mode="json")


@pytest.mark.parametrize(
    "name", ["train.yaml", "train_fights.yaml", "train_esc10.yaml", "train_sports100.yaml"]
)
def test_recipes_of_the_repository_load(name):
    load_recipe(CONFIGS / name)


def test_a_recipe_prints_itself_as_yaml_that_loads_again(tmp_path):
    recipe = load_recipe(settings=["training.steps=7", "audio=null", "fusion.method=visual"])
    path = tmp_path / "recipe.yaml"
    path.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(path) == recipe
    assert recipe.training.steps == 7


def test_overrides_win_over_settings_and_these_over_the_file(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("seed: 1\ntraining: {steps: 5, batch_size: 8}\n", encoding="utf-8")
    recipe = load_recipe(path, ["training.steps=6", "seed=2"], overrides={"seed": 3})
    assert (recipe.seed, recipe.training.steps, recipe.training.batch_size) == (3, 6, 8)


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("training.stpes=5", "training.stpes is not a setting"),
        ("training.steps=-1", "training.steps: input should be greater than or equal to 1"),
        ("fusion.method=magic", "fusion.method: input should be 'bottleneck', 'late'"),
        ("visual=null", "fusion.method visual needs a backbone"),
        ("visual=[x3d_xs, x3d_xs]", "visual names a backbone twice"),
        ("window.hop_s=9", "hop_s must not exceed length_s"),
        ("augmentation.drop_audio=0.9", "must not add up to more than 1"),
        ("steps", "write KEY=VALUE"),
    ],
)
def test_errors_name_the_key_and_what_it_allows(setting, said):
    with pytest.raises(RecipeError) as error:
        load_recipe(settings=["fusion.method=visual", setting])
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("setting", "names"),
    [
        ("visual=x3d_xs", ("x3d_xs",)),
        ("visual=[efficientnet_lite0, x3d_xs]", ("efficientnet_lite0", "x3d_xs")),
        ("visual=null", ()),
    ],
)
def test_one_backbone_or_several_may_look(setting, names):
    assert load_recipe(settings=[setting]).visual == names


def test_neither_sense_is_refused():
    with pytest.raises(RecipeError, match="must not both be null"):
        load_recipe(settings=["visual=null", "audio=null"])


def test_a_file_that_is_no_mapping_is_refused(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("- steps\n", encoding="utf-8")
    with pytest.raises(RecipeError, match="settings by name"):
        load_recipe(path)


def test_the_rate_is_the_recipes_or_the_backbones_or_two():
    assert frame_rate(Recipe(fps=3), [0.4]) == 3
    assert frame_rate(Recipe(), [None, 0.4, 0.1]) == Fraction(5, 2)
    assert frame_rate(Recipe(), [None]) == 2


@given(fps=st.integers(1, 60), divisor=st.sampled_from((1, 1001 / 1000)))
def test_an_interval_and_a_rate_of_the_same_pace_are_the_same_fraction(fps, divisor):
    rate = frame_rate(Recipe(fps=fps / divisor), [])
    assert rate == (fps if divisor == 1 else Fraction(1000 * fps, 1001))
    assert frame_rate(Recipe(), [divisor / fps]) == rate
