"""Whole runs of the ``evaluate`` command, as a user starts them."""

import csv
import json
from pathlib import Path

import pytest
from helpers.command import sightsound

SOUNDS = {"dog_bark": "Bark", "rooster": "Crowing, cock-a-doodle-doo", "rain": "Rain"}
ESC10 = Path(__file__).resolve().parents[2].parent / "shared" / "datasets" / "esc10"


def write(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    return path


@pytest.fixture(scope="module")
def evaluated(real_clips, tmp_path_factory):
    """Two clips, one of them twice, one label that the bundle has not, and a damaged file."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "broken.mp4").write_bytes(b"no video")
    data = write(
        folder / "clips.csv",
        [
            ("path", "label", "group", "start_s", "end_s"),
            (real_clips / "bikes.mp4", "motorcycling", "a", "", ""),
            (real_clips / "bigbuckbunny.mp4", "petting animal (not cat)", "b", "0", "2.5"),
            (real_clips / "bigbuckbunny.mp4", "petting animal (not cat)", "b", "2.5", ""),
            (real_clips / "bikes.mp4", "no such action", "c", "", ""),
            ("broken.mp4", "motorcycling", "d", "", ""),
        ],
    )
    out = folder / "report"
    done = sightsound("evaluate", data, "--out", out, "--task", "label=action", "--bootstrap", "50")
    assert done.returncode == 3, done.stderr
    return done, json.loads((out / "report.json").read_text(encoding="utf-8")), out


def test_report_has_the_accuracy_of_each_task(evaluated):
    done, report, out = evaluated
    task = report["tasks"]["label"]
    assert task["n_samples"] == 3
    assert task["accuracy"] in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1)
    assert f"{task['accuracy']:.3f}" in done.stdout
    assert {path.name for path in out.iterdir()} == {
        "figures",
        "report.html",
        "report.json",
        "report.md",
    }


def test_what_is_left_out_is_told_before_and_after(evaluated):
    done, report, _ = evaluated
    assert "1 of the labels are unknown to it (no such action); 1 of 5 rows" in done.stderr
    left_out = report["models"]["default"]["tasks"]["label"]["left_out"]
    assert [entry["n_samples"] for entry in left_out] == [1, 1]
    assert left_out[1]["samples"] == ["broken.mp4"]
    assert "cannot be read" in left_out[1]["reason"]


def test_samples_are_split_by_sound(evaluated):
    _, report, _ = evaluated
    parts = report["models"]["default"]["tasks"]["label"]["parts"]
    assert [(part["part"], part["n_samples"]) for part in parts] == [
        ("with sound", 2),
        ("with sound, picture alone", 2),
        ("without sound", 1),
    ]


def test_size_and_cost_are_measured(evaluated):
    _, report, _ = evaluated
    model = report["models"]["default"]
    assert 1e6 < model["size"]["bundle_bytes"] < 25e6
    assert model["size"]["n_parameters"] > model["size"]["n_fusion_parameters"] > 1e6
    cost = model["cost"]
    assert cost["n_files"] == 2
    assert 0 < cost["per_media_s"]["infer"]["median"] <= cost["per_media_s"]["infer"]["p95"]


def test_data_of_another_label_set_is_told_at_once(real_clips, tmp_path):
    data = write(
        tmp_path / "clips.csv",
        [("path", "label"), (real_clips / "bikes.mp4", "fight"), (real_clips / "bikes.mp4", "no")],
    )
    done = sightsound("evaluate", data, "--out", tmp_path / "report")
    assert done.returncode == 2
    assert "default is a bundle of another label set" in done.stderr
    assert "(fight, no)" in done.stderr
    assert not (tmp_path / "report").exists()


def test_folds_and_models_exclude_each_other(tmp_path):
    arguments = ("evaluate", "data.csv", "--out", tmp_path, "--folds", "5", "--model", "default")
    done = sightsound(*arguments)
    assert done.returncode == 2
    assert "leave out --model" in done.stderr


def test_sounds_of_the_default_bundle_are_evaluated(tmp_path):
    if not ESC10.is_dir():
        pytest.skip(f"there are no recordings in {ESC10}")
    rows = [("path", "sound", "group")]
    for folder, label in SOUNDS.items():
        rows += [(path, label, path.name) for path in sorted((ESC10 / folder).iterdir())[:3]]
    data = write(tmp_path / "sounds.csv", rows)
    done = sightsound("evaluate", data, "--out", tmp_path / "report", "--bootstrap", "50")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    task = report["models"]["default"]["tasks"]["sound"]
    assert task["metrics"]["kind"] == "multi"
    assert task["metrics"]["mean_average_precision"] > 0.8
    assert task["senses"] == []


@pytest.mark.slow
def test_recipe_is_cross_validated_by_the_groups_as_given(tmp_path):
    if not ESC10.is_dir():
        pytest.skip(f"there are no recordings in {ESC10}")
    rows = [("path", "label", "group")]
    for folder in SOUNDS:
        for fold in range(1, 4):
            found = sorted((ESC10 / folder).glob(f"{fold}-*"))[:4]
            rows += [(path, folder, fold) for path in found]
    data = write(tmp_path / "sounds.csv", rows)
    recipe = tmp_path / "sound-only.yaml"
    recipe.write_text(
        "visual: null\nfusion: {method: audio}\naugmentation: {n_variants: 1}\n"
        "training: {steps: 60}\n"
    )
    done = sightsound(
        *("evaluate", data, "--out", tmp_path / "report", "--folds", "3", "--recipe", recipe),
        *("--bootstrap", "50", "--features", tmp_path / "features"),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    folds = report["models"]["sound-only"]["folds"]
    assert folds["given"] and [fold["n_test"] for fold in folds["folds"]] == [12, 12, 12]
    assert report["tasks"]["label"]["accuracy"] > 0.7
