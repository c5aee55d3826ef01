"""The ``explain`` command on real clips: the scores of ``analyze``, explained."""

import json

import pytest
import typer
from helpers.command import sightsound
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep
from typer.testing import CliRunner

from sightsound.pipeline.cli_explain import add_commands

BFLOAT16_TOLERANCE = 0.05


@pytest.fixture(scope="module")
def command() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    add_commands(app)
    return app


def run(command: typer.Typer, *arguments: object):
    return CliRunner().invoke(command, ["explain", *map(str, arguments)])


@pytest.fixture(scope="module")
def drawn(command, real_clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("explain") / "why.png"
    clip = real_clips / "bigbuckbunny.mp4"
    return run(command, clip, "--at", 2, "--out", out, "--format", "json"), out


@pytest.fixture(scope="module")
def told(real_clips):
    done = sightsound("analyze", real_clips / "bigbuckbunny.mp4", "--format", "json")
    (video,) = json.loads(done.stdout)["videos"]
    return video["windows"][0]


def test_the_score_explained_is_the_one_told(drawn, told):
    done, _ = drawn
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["task"], found["rank"]) == ("action", 1)
    assert (found["start_s"], found["end_s"]) == (told["start_s"], told["end_s"])
    best = told["action"][0]
    assert found["label"] == best["label"]
    assert found["probability"] == pytest.approx(best["score"], abs=BFLOAT16_TOLERANCE)


def test_attributions_of_a_real_window_are_complete(drawn):
    attributions = json.loads(drawn[0].stdout)["attributions"]
    assert attributions["completeness"]["holds"]
    assert [each["sense"] for each in attributions["tokens"]] == ["visual", "audio"]
    total = sum(sum(each["weights"]) for each in attributions["tokens"])
    assert total == pytest.approx(attributions["completeness"]["total"], abs=1e-3)
    assert all(each["completeness"]["holds"] for each in attributions["regions"])
    assert len(attributions["regions"][0]["cells"]) == 3


def test_what_is_being_done_is_told_where_there_is_no_terminal(drawn):
    lines = drawn[0].stderr.splitlines()
    assert lines[0] == "Looking and listening ..."
    assert any(line.startswith("Attributing: ") for line in lines)


def test_both_kinds_of_contribution_are_told(drawn):
    parts = json.loads(drawn[0].stdout)["contributions"]
    assert sum(parts["attention_share"].values()) == pytest.approx(1, abs=1e-4)
    assert set(parts["leave_one_out"]) == {"visual", "audio"}


def test_the_picture_is_a_png_of_1600_across(drawn):
    data = drawn[1].read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(data[16:20], "big") == 1600


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two seconds without sound, and two seconds of sound alone."""
    folder = tmp_path_factory.mktemp("small")
    silent = make_clip(folder / "silent.mp4", picture=Picture(times=even_times(50)))
    unseen = make_clip(
        folder / "unseen.m4a", sound=Sound(samples=sweep(2, 16000, channels=1), rate_hz=16000)
    )
    return silent, unseen


def test_a_silent_video_is_explained_by_what_is_seen(command, small, tmp_path):
    done = run(command, small[0], "--at", 1, "--out", tmp_path / "a.png", "--format", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["contributions"]["probability_without"] == {"visual": None}
    assert [each["sense"] for each in found["attributions"]["tokens"]] == ["visual"]
    assert (tmp_path / "a.png").is_file()


def test_sound_alone_is_explained_by_what_is_heard(command, small, tmp_path):
    done = run(command, small[1], "--at", 1, "--out", tmp_path / "b.png", "--format", "json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["task"] == "sound"
    assert found["contributions"]["attention_share"] is None
    assert found["attributions"]["completeness"]["holds"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--at", 99), 2, "is not in"),
        (("--at", 1, "--task", "colour"), 2, "has no task colour"),
        (("--at", 1, "--label", "no such thing"), 2, "has no label"),
        (("--at", 1, "--task", "sound"), 1, "it has no sound"),
        ((), 2, "--at SECONDS, or --rules"),
        (("--at", 1, "--out", "why.pdf"), 2, "ends in .png"),
        (("--rules", "--label", "a"), 2, "goes with a moment"),
        (("--rules",), 1, "at least 8 windows"),
    ],
)
def test_what_cannot_be_explained_is_told_in_one_sentence(
    command, small, arguments, status, message
):
    done = run(command, small[0], *arguments)
    assert done.exit_code == status
    *progress, line = done.stderr.strip().splitlines()
    assert line.startswith("sightsound: ") and message in line
    assert all(each.endswith(" ...") for each in progress)


def test_a_file_that_cannot_be_read_is_told(command, tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    done = run(command, tmp_path / "a.mp4", "--at", 1)
    assert done.exit_code == 1
    assert done.stderr.startswith("sightsound: ") and "a.mp4" in done.stderr
