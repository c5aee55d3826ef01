"""The ``train`` command on made clips, and its bundle in ``analyze``."""

import json
import os
import signal
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers.batch import wait_until
from helpers.command import COMMAND, sightsound
from media.make import Picture, Sound, even_times, make_clip

from sightsound.models.bundle import load_bundle

SETTINGS = (
    "augmentation.n_variants=2",
    "fusion.dim=32",
    "fusion.hidden=32",
    "training.steps=60",
    "training.batch_size=16",
    "validation.folds=2",
)


def stripes(number, width, height):
    """Moving upright stripes."""
    x = np.arange(width)[None, :].repeat(height, axis=0)
    return ((x // 6 + number) % 2 * 200 + 20).astype(np.uint8)


def discs(number, width, height):
    """A bright disc on red that grows."""
    x, y = np.arange(width)[None, :] - width / 2, np.arange(height)[:, None] - height / 2
    inside = x**2 + y**2 < (10 + number) ** 2
    return np.where(inside[..., None], 250, np.array([180, 20, 20])).astype(np.uint8)


def tone(frequency_hz, loudness):
    time = np.arange(2 * 16000) / 16000
    return (loudness * np.sin(2 * np.pi * frequency_hz * time))[:, None].astype(np.float32)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Twelve clips of 2 s in two classes, a still picture, a sound file and one that is damaged."""
    folder = tmp_path_factory.mktemp("labelled")
    rows = ["path,label,group"]
    for number in range(12):
        label, draw = (("stripes", stripes), ("discs", discs))[number % 2]
        pitch = 300 + 20 * number if label == "stripes" else 2500 + 50 * number
        make_clip(
            folder / f"{number}.mp4",
            picture=Picture(
                times=even_times(20, 10),
                rate=Fraction(10),
                draw=lambda n, w, h, draw=draw, shift=number: draw(n + shift, w, h),
            ),
            sound=Sound(samples=tone(pitch, 0.3), rate_hz=16000) if number % 4 < 2 else None,
        )
        rows.append(f"{number}.mp4,{label},{number // 2}")
    make_clip(folder / "still.mkv", picture=Picture(times=(Fraction(0),), draw=stripes))
    make_clip(
        folder / "heard.flac", sound=Sound(samples=tone(400, 0.3), codec="flac", rate_hz=16000)
    )
    (folder / "broken.mp4").write_bytes(b"this is no video at all" * 50)
    rows += ["still.mkv,stripes,s", "heard.flac,stripes,h", "broken.mp4,discs,b"]
    (folder / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A training that has run to its end, its bundle and the folder of its features."""
    folder = tmp_path_factory.mktemp("trained")
    options = [part for setting in SETTINGS for part in ("--set", setting)]
    command = ["train", data / "labels.csv", "--features", folder / "features", *options]
    return sightsound(*command, "--out", folder / "mine"), folder / "mine", command


def test_a_file_that_cannot_be_read_is_named_and_counted(trained):
    done, _, _ = trained
    assert done.returncode == 3, done.stderr
    assert "15 samples: 14 used, 1 left out." in done.stderr
    assert done.stderr.count("broken.mp4") >= 1


def test_the_bundle_says_what_it_was_trained_on_and_how_good_it_is(trained):
    _, bundle, _ = trained
    loaded = load_bundle(str(bundle))
    (task,) = loaded.tasks
    assert (task.name, task.kind, task.labels) == ("label", "single", ("discs", "stripes"))
    card = loaded.card
    assert card["trained_on"][0]["labels"] == {"label": {"discs": 7, "stripes": 8}}
    assert card["trained_on"][0]["left_out"] == 1
    numbers = card["measured"][0]["numbers"]
    assert numbers["samples"] == 14
    assert numbers["samples_with_sound"] == 7
    assert numbers["fused"] >= 0.75
    assert card["seed"] == 0
    assert card["recipe"]["training"]["steps"] == 60


def test_checkpoints_are_gone_when_the_bundle_is_there(trained):
    _, bundle, _ = trained
    assert not bundle.with_name("mine.checkpoints").exists()


def test_analyze_labels_a_clip_with_the_bundle(trained, data):
    _, bundle, _ = trained
    clips = [data / "0.mp4", data / "1.mp4", data / "3.mp4"]
    done = sightsound("analyze", *clips, "--model", bundle, "--format", "json")
    assert done.returncode == 0, done.stderr
    found = {
        Path(video["uri"]).name: video["windows"][0]["label"][0]["label"]
        for video in json.loads(done.stdout)["videos"]
    }
    assert found == {"0.mp4": "stripes", "1.mp4": "discs", "3.mp4": "discs"}


def test_evaluate_tells_what_goes_with_each_sense(trained, data, tmp_path):
    _, bundle, _ = trained
    out = tmp_path / "report"
    arguments = ("evaluate", data / "labels.csv", "--model", bundle, "--bootstrap", "50")
    done = sightsound(*arguments, "--out", out)
    assert done.returncode == 3, done.stderr
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    losses = report["models"]["mine"]["tasks"]["label"]["senses"]
    assert [(loss["left_out"], loss["n_samples"]) for loss in losses] == [
        ("sound", 6),
        ("picture", 6),
    ]
    for loss in losses:
        # Half of what is left is right by chance alone.
        assert loss["loss"] <= 0.5
        assert loss["interval"]["low"] <= loss["loss"] <= loss["interval"]["high"]
        assert f"{loss['loss']:+.3f}" in done.stdout


@pytest.mark.slow
def test_a_training_by_sound_alone_speaks_of_no_other_sense(trained, tmp_path):
    _, _, command = trained
    done = sightsound(*command, "--set", "visual=null", "--out", tmp_path / "ears")
    assert done.returncode == 3, done.stderr
    assert "audio only" in done.stdout
    assert "visual" not in done.stdout and "fused" not in done.stdout
    assert "15 samples: 7 used, 8 left out." in done.stderr
    assert "has no sound, and the recipe learns from nothing else." in done.stderr
    assert load_bundle(str(tmp_path / "ears")).visual == ()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_training_cut_short_ends_whole_and_goes_on_to_the_same_weights(trained, tmp_path, sent):
    _, _, command = trained
    longer = ("--set", "training.steps=400", "--set", "training.patience=100")
    often = ("--set", "training.checkpoint_every=20")
    whole = [*command, *longer, *often]
    assert sightsound(*whole, "--out", tmp_path / "undisturbed").returncode == 3
    process = subprocess.Popen(
        [*COMMAND, *map(str, whole), "--out", str(tmp_path / "cut")],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    checkpoints = tmp_path / "cut.checkpoints"
    wait_until(lambda: len(list(checkpoints.glob("*.pt"))) == 2, "a checkpoint of both folds")
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # As a terminal does.
    else:
        process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    wait_until(lambda: not members_of(process.pid), "the end of all its processes", timeout_s=20)
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert said.rstrip().endswith("run the same command with --resume to go on.")
        assert "Traceback" not in said
    resumed = sightsound(*whole, "--resume", "--out", tmp_path / "cut")
    assert resumed.returncode == 3, resumed.stderr
    first = (tmp_path / "undisturbed" / "model.safetensors").read_bytes()
    assert (tmp_path / "cut" / "model.safetensors").read_bytes() == first
    assert not checkpoints.exists()


def members_of(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


@pytest.mark.slow
def test_the_same_command_gives_the_same_weights(trained, tmp_path):
    _, bundle, command = trained
    again = sightsound(*command, "--out", tmp_path / "again")
    assert again.returncode == 3, again.stderr
    first = (bundle / "model.safetensors").read_bytes()
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == first


def test_wrong_data_is_told_before_anything_is_made(data, tmp_path):
    (data / "wrong.csv").write_text("path,lable\n0.mp4,a\n", encoding="utf-8")
    done = sightsound("train", data / "wrong.csv", "--out", tmp_path / "none")
    assert done.returncode == 2
    assert done.stderr.startswith("sightsound: ")
    assert "rename 'lable' to 'label'" in done.stderr
    assert not (tmp_path / "none").exists()


@pytest.mark.slow
def test_two_networks_that_look_are_trained_told_and_explained_as_one_stream(data, tmp_path):
    settings = (
        "visual=[efficientnet_lite0, efficientnet_lite1]",
        "augmentation.n_variants=1",
        "fusion.method=gated",
        "fusion.dim=16",
        "training.steps=40",
        "validation.folds=1",
        "validation.refit=false",
    )
    options = [part for setting in settings for part in ("--set", setting)]
    command = ("train", data / "labels.csv", "--features", tmp_path / "features", *options)
    done = sightsound(*command, "--out", tmp_path / "two")
    assert done.returncode == 3, done.stderr
    assert len(load_bundle(str(tmp_path / "two")).visual) == 2
    asked = (data / "1.mp4", "--model", tmp_path / "two", "--format", "json")
    told = json.loads(sightsound("analyze", *asked).stdout)["videos"][0]["windows"][0]
    why = json.loads(sightsound("explain", *asked, "--at", "1").stdout)
    assert why["label"] == told["label"][0]["label"] == "discs"
    assert why["probability"] == pytest.approx(told["label"][0]["score"], abs=0.05)
    attributions = why["attributions"]
    assert attributions["completeness"]["holds"]
    named = [each["backbone"] for each in attributions["tokens"]]
    assert named == ["efficientnet_lite0", "efficientnet_lite1", "yamnet"]
