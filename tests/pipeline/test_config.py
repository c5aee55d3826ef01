"""The configuration: where it comes from, what it refuses, and what it identifies."""

from fractions import Fraction
from pathlib import Path

import pytest
import yaml

from sightsound.pipeline.config import Config, ConfigError, load_config
from sightsound.pipeline.media_config import audio_track_setting
from sightsound.stages.records import MediaLimits

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
        ("streams.audio_track=-1", "streams.audio_track"),
        ("limits.memory_bytes=1000", "limits.memory_bytes"),
        ("limits.picture_pixels=0", "limits.picture_pixels"),
        ("decode.backend=opencv", "'pyav', 'decord' or 'torchcodec'"),
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
    spread = (
        "workers.count=7",
        "workers.slice_s=60",
        "output.part_bytes=2000000",
        "limits.memory_bytes=null",
        "limits.duration_s=60",
    )
    assert load_config(settings=spread).config_id() == Config().config_id()


@pytest.mark.parametrize(
    "setting",
    [
        "window.hop_s=2",
        "sampling.fps=1",
        "output.top_k=3",
        "streams.audio_track=0",
        "decode.backend=decord",
    ],
)
def test_key_of_results_changes_with_what_they_depend_on(setting):
    assert load_config(settings=(setting,)).config_id() != Config().config_id()


@pytest.mark.parametrize(
    ("option", "track"), [("1", 1), ("eng", "eng"), ("no", "no"), ("pt-BR", "pt-BR"), ("0", 0)]
)
def test_track_of_sound_is_a_number_or_a_language(option, track):
    found = load_config(settings=(audio_track_setting(option),)).streams.audio_track
    assert (found, type(found)) == (track, type(track))


def test_norwegian_is_a_language_though_yaml_takes_it_for_false():
    assert load_config(settings=("streams.audio_track=no",)).streams.audio_track == "no"


def test_defaults_of_the_limits_are_those_of_the_stages():
    assert Config().limits.media_limits() == MediaLimits()


@pytest.mark.parametrize(
    ("settings", "has_ceiling"),
    [
        (("inference.device=cuda",), False),
        (("inference.device=cpu",), True),
        (("inference.engine=openvino",), True),
        (("inference.device=cpu", "limits.memory_bytes=null"), False),
    ],
)
def test_worker_on_a_gpu_has_no_ceiling_of_memory(settings, has_ceiling):
    assert (load_config(settings=settings).worker_memory_bytes() is not None) == has_ceiling


def test_rate_is_the_models_unless_set():
    assert Config().fps(Fraction(5, 2)) == Fraction(5, 2)
    assert load_config(settings=("sampling.fps=0.1",)).fps(Fraction(2)) == Fraction(1, 10)
