"""Whole runs of the ``analyze`` command on real files, as a user starts them."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from fractions import Fraction

import av
import psutil
import pytest
from helpers.command import COMMAND, command_line, read_table, sightsound, without_weights
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

HOW_IT_RAN = ("processing_s",)


@pytest.fixture(scope="module")
def demo(real_clips, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    clips = [real_clips / "bigbuckbunny.mp4", real_clips / "bikes.mp4"]
    return sightsound("analyze", *clips, "--out", out), out


def test_two_real_clips_are_labelled_and_shown(demo):
    done, out = demo
    assert done.returncode == 0, done.stderr
    assert "bigbuckbunny.mp4  ok  0:05.3, 1280x720 h264, aac sound" in done.stdout
    assert "bikes.mp4  ok  0:10.0, 640x272 h264, no sound" in done.stdout
    assert "2 inputs: 2 ok, 0 partial, 0 failed." in done.stderr
    assert str(out) in done.stderr


def test_each_input_has_one_row_and_its_windows(demo):
    _, out = demo
    videos = {os.path.basename(row["uri"]): row for row in read_table(out, "videos")}
    assert sorted(videos) == ["bigbuckbunny.mp4", "bikes.mp4"]
    assert {row["status"] for row in videos.values()} == {"ok"}
    bikes = videos["bikes.mp4"]
    assert (bikes["width"], bikes["height"], bikes["n_windows"]) == (640, 272, 2)
    assert (bikes["has_video"], bikes["has_audio"]) == (True, False)
    assert bikes["n_frames_decoded"] == 20
    windows = [row for row in read_table(out, "windows") if row["uri"] == bikes["uri"]]
    assert [(row["start_s"], row["end_s"]) for row in windows] == [(0.0, 8.0), (4.0, 10.0)]
    assert all(row["video_id"] == bikes["video_id"] for row in windows)


def test_missing_sense_is_not_faked(demo):
    _, out = demo
    by_name = {(os.path.basename(row["uri"])): row for row in read_table(out, "windows")}
    assert by_name["bikes.mp4"]["sound"] is None
    assert by_name["bikes.mp4"]["audio_share"] == 0
    assert len(by_name["bigbuckbunny.mp4"]["sound"]) == 5


def test_bikes_are_seen_on_bikes(demo):
    """The one thing that a person sees at once in the clip."""
    _, out = demo
    actions = {
        entry["label"]
        for row in read_table(out, "windows")
        if row["uri"].endswith("bikes.mp4")
        for entry in row["action"]
    }
    assert any("bik" in label or "cycl" in label or "scooter" in label for label in actions)


def test_segments_lie_within_their_video(demo):
    _, out = demo
    ends = {row["uri"]: row["duration_s"] for row in read_table(out, "videos")}
    segments = read_table(out, "segments")
    assert segments
    for row in segments:
        assert 0 <= row["start_s"] < row["end_s"] <= ends[row["uri"]]
        assert row["start_s"] <= row["peak_s"] <= row["end_s"] or row["score"] < row["peak_score"]
        assert 0 < row["score"] <= row["peak_score"] <= 1
        assert row["visual_share"] + row["audio_share"] == pytest.approx(1)


def test_run_record_accounts_for_every_input(demo):
    _, out = demo
    record = json.loads((out / "run.json").read_text())
    assert record["inputs"] == 2
    assert record["counts"] == {"ok": 2, "partial": 0, "failed": 0}
    (model_id,) = {row["model_id"] for row in read_table(out, "videos")}
    assert record["model_id"] == model_id


def test_json_is_the_only_thing_on_standard_output(real_clips):
    done = sightsound("analyze", real_clips / "bikes.mp4", "/absent.mp4", "--format", "json")
    found = {video["uri"]: video for video in json.loads(done.stdout)["videos"]}
    assert found["/absent.mp4"]["error_code"] == "not_found"
    bikes = found[str(real_clips / "bikes.mp4")]
    assert [window["window"] for window in bikes["windows"]] == [0, 1]
    assert bikes["windows"][0]["action"][0]["score"] > 0
    assert done.returncode == 3


@pytest.mark.parametrize(
    ("name", "code", "part"),
    [
        ("text.mp4", "not_media", "is not a media file"),
        ("empty.mp4", "empty_file", "is empty (0 bytes)"),
        ("folder.mp4", "is_directory", "is a directory"),
        ("absent.mp4", "not_found", "does not exist"),
    ],
)
def test_bad_input_is_a_failed_row_with_one_sentence(tmp_path, name, code, part):
    (tmp_path / "text.mp4").write_text("This is no video.\n" * 100)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    done = sightsound("analyze", tmp_path / name, "--out", tmp_path / "out")
    assert done.returncode == 3
    (row,) = read_table(tmp_path / "out", "videos")
    assert (row["status"], row["error_code"]) == ("failed", code)
    assert part in row["error_message"]
    assert row["error_message"].count(". ") == 0
    assert part in " ".join(done.stdout.split())
    assert "Traceback" not in done.stdout + done.stderr
    assert read_table(tmp_path / "out", "windows") == []


def test_how_a_video_is_cut_and_by_how_many_workers_changes_nothing(long_clip, tmp_path):
    tables = []
    for workers, slice_s in ((1, 300), (2, 300), (2, 13), (1, 4)):
        out = tmp_path / f"{workers}-{slice_s}"
        settings = (f"workers.count={workers}", f"workers.slice_s={slice_s}")
        done = sightsound(
            "analyze", long_clip, "--out", out, *(f"--set={setting}" for setting in settings)
        )
        assert done.returncode == 0, done.stderr
        names = ("videos", "windows", "segments")
        tables.append(
            [read_table(out, name, drop=HOW_IT_RAN[: name == "videos"]) for name in names]
        )
    assert len(tables[0][1]) == 17
    assert all(table == tables[0] for table in tables[1:])


@pytest.mark.parametrize(
    ("name", "clip", "senses", "n_windows"),
    [
        ("sound.wav", {"sound": Sound(samples=sweep(3, 16000), codec="pcm_s16le", rate_hz=16000)},
         (False, True), 1),
        ("silent.mp4", {"picture": Picture(times=even_times(50))}, (True, False), 1),
        ("moment.mp4",
         {"picture": Picture(times=even_times(3, 30), rate=Fraction(30)),
          "sound": Sound(samples=sweep(0.1, 48000))}, (True, True), 1),
        ("frame.mp4", {"picture": Picture(times=even_times(1))}, (True, False), 1),
    ],
)  # fmt: skip
def test_odd_clip_is_labelled_from_what_it_has(tmp_path, name, clip, senses, n_windows):
    path = make_clip(tmp_path / name, **clip)
    done = sightsound("analyze", path, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = read_table(tmp_path / "out", "videos")
    assert (row["has_video"], row["has_audio"], row["n_windows"]) == (*senses, n_windows)
    (window,) = read_table(tmp_path / "out", "windows")
    assert (window["has_video"], window["has_audio"]) == senses
    assert (window["action"] is not None, window["sound"] is not None) == senses
    assert 0 < window["end_s"] == row["duration_s"]


def test_portrait_clip_is_upright_in_the_row(tmp_path):
    path = make_clip(
        tmp_path / "phone.mp4",
        picture=Picture(times=even_times(25), width=192, height=108, rotation=-90),
    )
    sightsound("analyze", path, "--out", tmp_path / "out")
    (row,) = read_table(tmp_path / "out", "videos")
    assert (row["width"], row["height"], row["rotation"]) == (108, 192, 270)


def test_header_that_claims_four_hours_is_not_believed(tmp_path):
    path = make_clip(tmp_path / "liar.mkv", picture=Picture(times=even_times(25)))
    content = bytearray(path.read_bytes())
    # Matroska's Duration (RFC 9559, 5.1.2.10): ID 0x4489, eight bytes, milliseconds here.
    at = content.index(b"\x44\x89\x88") + 3
    content[at : at + 8] = struct.pack(">d", 4 * 3600 * 1000)
    path.write_bytes(content)
    with av.open(str(path)) as container:
        assert container.duration == 4 * 3600 * 1_000_000
    assert sightsound("analyze", path, "--out", tmp_path / "out").returncode == 0
    (row,) = read_table(tmp_path / "out", "videos")
    assert (row["status"], row["duration_s"], row["n_windows"]) == ("ok", 1.0, 1)


def test_second_run_into_the_same_folder_replaces_the_first(real_clips, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for clip in ("bikes.mp4", "bigbuckbunny.mp4"):
        assert sightsound("analyze", real_clips / clip, "--out", tmp_path).returncode == 0
    (row,) = read_table(tmp_path, "videos")
    assert row["uri"].endswith("bigbuckbunny.mp4")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not list(tmp_path.rglob("*.tmp"))


def test_wrong_setting_is_status_2_with_its_name(real_clips):
    done = sightsound("analyze", real_clips / "bikes.mp4", "--set", "window.lenght_s=3")
    assert done.returncode == 2
    assert "window.lenght_s is not a setting" in done.stderr


def test_unknown_model_is_status_2_with_the_known_ones(real_clips):
    done = sightsound("analyze", real_clips / "bikes.mp4", "--model", "best")
    assert done.returncode == 2
    assert "default, full" in done.stderr


def test_missing_weights_are_status_1_with_the_remedy(real_clips):
    done = sightsound("analyze", real_clips / "bikes.mp4", "--model", "full")
    assert done.returncode == 1
    assert "SIGHTSOUND_WEIGHTS" in done.stderr
    assert "Traceback" not in done.stderr


def test_output_folder_that_cannot_be_made_is_status_1(real_clips, tmp_path):
    (tmp_path / "file").touch()
    done = sightsound("analyze", real_clips / "bikes.mp4", "--out", tmp_path / "file" / "out")
    assert done.returncode == 1
    assert "file" in done.stderr
    assert "Traceback" not in done.stderr


def test_ctrl_c_ends_the_run_and_its_workers(long_clip):
    process = subprocess.Popen(
        [*COMMAND, "analyze", str(long_clip)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=without_weights(),
        start_new_session=True,
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    children = wait_for_workers(process.pid)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Interrupted" in errors
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert len(gone) >= 2
    assert not alive


def test_killed_worker_costs_time_and_nothing_else(long_clip, tmp_path):
    command = [*COMMAND, "analyze", str(long_clip), "--set", "workers.slice_s=8", "--out"]
    subprocess.run([*command, str(tmp_path / "calm")], check=True, capture_output=True)
    process = subprocess.Popen(
        [*command, str(tmp_path / "killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=without_weights(),
    )
    children = wait_for_workers(process.pid)
    time.sleep(0.5)
    children[0].kill()
    assert process.wait(timeout=120) == 0
    for name in ("windows", "segments"):
        assert read_table(tmp_path / "killed", name) == read_table(tmp_path / "calm", name)


def wait_for_workers(pid: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = [
            child for child in psutil.Process(pid).children() if "spawn_main" in command_line(child)
        ]
        if len(found) >= 2:
            return found
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def test_command_line_imports_nothing_heavy():
    script = (
        "import sys; import sightsound.pipeline.cli\n"
        "print({'torch', 'ray', 'av', 'pyarrow', 'openvino', 'numpy'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_stages_never_import_ray_and_the_run_never_torch(real_clips):
    """torch costs half a gigabyte a process; ray has no place in a stage."""
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from sightsound.pipeline.analyze import analyze\n"
        "from sightsound.pipeline.config import load_config\n"
        "from sightsound.pipeline.slices import SliceRunner\n"
        "from sightsound.stages.plan import Plan\n"
        "from sightsound.stages.probe import Probe\n"
        "runner = SliceRunner(load_config(settings=('inference.device=cpu',)))\n"
        "info = Probe()(sys.argv[1])\n"
        "plan = Plan(runner.grid, slice_s=300)(info)\n"
        "print(len(runner(info, plan, plan.slices[0]).windows))\n"
        "print({'torch', 'ray', 'timm', 'librosa'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(real_clips / "bikes.mp4")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split("\n")[:2] == ["2", "set()"]
