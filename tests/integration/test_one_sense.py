"""A model that needs a sense, on files without it: failed with the reason, not damaged."""

import json
import shutil
from pathlib import Path

import pytest
from helpers.batch import batch
from helpers.command import read_table, sightsound
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.models.bundle import bundle_path

SOME_FAILED = 3


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """Two seconds without sound, and two seconds of sound alone."""
    folder = tmp_path_factory.mktemp("media")
    make_clip(folder / "silent.mp4", picture=Picture(times=even_times(50)))
    make_clip(
        folder / "unseen.m4a", sound=Sound(samples=sweep(2, 16000, channels=1), rate_hz=16000)
    )
    return folder


@pytest.fixture(scope="module")
def listens(tmp_path_factory) -> Path:
    """A bundle that hears what YAMNet hears, and has nothing that looks."""
    folder = tmp_path_factory.mktemp("bundles") / "listens"
    folder.mkdir()
    manifest = {
        "format": 1,
        "name": "listens",
        "fps": 2.0,
        "visual_backbones": [],
        "audio_backbones": ["yamnet"],
        "tasks": {"sound": {"kind": "multi", "sources": {"yamnet": 1.0}}},
    }
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def looks(tmp_path_factory) -> Path:
    """The default bundle without its task of sounds: the others need the picture."""
    folder = tmp_path_factory.mktemp("bundles") / "looks"
    shutil.copytree(bundle_path("default"), folder)
    manifest = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
    del manifest["tasks"]["sound"]
    (folder / "bundle.json").write_text(json.dumps(manifest), encoding="utf-8")
    return folder


def videos_of(out: Path) -> dict[str, dict]:
    return {Path(row["uri"]).name: row for row in read_table(out, "videos", drop=("processing_s",))}


@pytest.mark.alone
@pytest.mark.parametrize(
    ("model", "answered", "refused", "code"),
    [
        ("listens", "unseen.m4a", "silent.mp4", "no_sound"),
        pytest.param(*("looks", "silent.mp4", "unseen.m4a", "no_picture"), marks=pytest.mark.slow),
    ],
)
def test_analyze_and_batch_refuse_what_the_model_cannot_answer(
    request, media, tmp_path, model, answered, refused, code
):
    bundle = request.getfixturevalue(model)
    done = sightsound(
        "analyze", *sorted(media.iterdir()), "--model", bundle, "--out", tmp_path / "local"
    )
    assert done.returncode == SOME_FAILED, done.stderr
    local = videos_of(tmp_path / "local")
    assert local[answered]["status"] == "ok"
    row = local[refused]
    assert (row["status"], row["error_stage"], row["error_code"]) == ("failed", "plan", code)
    assert row["error_message"].startswith(f"{media / refused} has no ")
    assert "says nothing: choose another --model" in row["error_message"]
    finished = batch(media, "--out", tmp_path / "batch", "--model", bundle)
    assert finished.returncode == SOME_FAILED, finished.stderr
    assert videos_of(tmp_path / "batch") == local


def test_explain_says_which_sense_is_missing(media, listens):
    done = sightsound("explain", media / "silent.mp4", "--at", "1", "--model", listens)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "silent.mp4 has no sound, without which the model listens says nothing" in done.stderr
