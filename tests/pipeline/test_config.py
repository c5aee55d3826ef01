"""The configuration: where it comes from, what it refuses, and what it identifies."""

from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from sightsound.pipeline.config import Config, ConfigError, load_config

CONFIGS = Path(__file__).parents[2] / "configs"


def test_printed_configuration_loads_as_itself(tmp_path):
    config = load_config(settings=("window.length_s=10", "segments.sound.min_score=0.5"))
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml())
    assert load_config(path) == config


def test_default_preset_is_the_defaults():
    assert load_config(CONFIGS / "default.yaml") == Config()


def test_gpu_preset_asks_for_cuda():
    assert load_config(CONFIGS / "gpu.yaml").engine_options().device == "cuda"


def test_settings_go_over_the_file_and_the_model_option_over_both(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"model": "full", "window": {"length_s": 6, "hop_s": 3}}))
    config = load_config(path, ("window.hop_s=2",), model="default")
    assert (config.window.length_s, config.window.hop_s, config.model) == (6, 2, "default")


def test_one_number_of_a_rule_leaves_the_others():
    config = load_config(settings=("segments.sound.min_score=0.6",))
    assert config.segments["sound"].min_score == 0.6
    assert config.segments["sound"].keep_score == Config().segments["sound"].keep_score
    assert config.segments["action"] == Config().segments["action"]


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        ("window.lenght_s=8", "window.lenght_s is not a setting"),
        ("window.length_s=-1", "window.length_s"),
        ("window.length_s=inf", "window.length_s"),
        ("inference.engine=tensorrt", "'auto', 'openvino' or 'torch'"),
        ("window.hop_s=9", "hop_s must not exceed length_s"),
        ("window.length_s", "key=value"),
        ("model.name=x", "model"),
        ("workers.count=two", "workers.count"),
    ],
)
def test_wrong_setting_is_refused_by_name(setting, part):
    with pytest.raises(ConfigError) as caught:
        load_config(settings=(setting,))
    assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_says_which(tmp_path):
    with pytest.raises(ConfigError, match=r"absent\.yaml cannot be read"):
        load_config(tmp_path / "absent.yaml")


def test_file_that_is_no_yaml_says_so(tmp_path):
    path = tmp_path / "broken.yaml"
    path.write_text("window: [1, 2")
    with pytest.raises(ConfigError, match="is not YAML"):
        load_config(path)


def test_key_of_results_ignores_how_work_is_spread():
    spread = ("workers.count=7", "workers.slice_s=60", "output.part_bytes=2000000")
    assert load_config(settings=spread).config_id() == Config().config_id()


@pytest.mark.parametrize("setting", ["window.hop_s=2", "sampling.fps=1", "output.top_k=3"])
def test_key_of_results_changes_with_what_they_depend_on(setting):
    assert load_config(settings=(setting,)).config_id() != Config().config_id()


def test_rate_is_the_models_unless_set():
    assert Config().fps(Fraction(5, 2)) == Fraction(5, 2)
    assert load_config(settings=("sampling.fps=0.1",)).fps(Fraction(2)) == Fraction(1, 10)
