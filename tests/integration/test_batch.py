"""``sightsound batch`` on one machine: the same results as ``analyze``, and nothing lost."""

import json
import os
import shutil
import signal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers.batch import (
    batch,
    check_whole,
    faulty_batch,
    kill_all,
    n_commits,
    rows,
    start_batch,
    wait_until,
)
from helpers.command import read_table, sightsound
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.pipeline.batch_steps import SMALL_BYTES

pytestmark = pytest.mark.alone

FINISHED_SOME_FAILED = 3


@pytest.fixture(scope="module")
def media(real_clips, long_clip, tmp_path_factory) -> Path:
    """Clips with and without sound, a long one, a large one, a copy, a link, and two no media."""
    folder = tmp_path_factory.mktemp("media")
    for name in ("bikes.mp4", "bigbuckbunny.mp4"):
        shutil.copy(real_clips / name, folder / name)
    shutil.copy(long_clip, folder / "long.mp4")
    (folder / "deep").mkdir()
    shutil.copy(folder / "bikes.mp4", folder / "deep" / "same_bikes.mp4")
    (folder / "deep" / "link.mp4").symlink_to(folder / "bigbuckbunny.mp4")
    make_large(real_clips / "bikes.mp4", folder / "large.mp4")
    (folder / "text.mp4").write_text("not a video")
    (folder / "deep" / "empty.mkv").touch()
    (folder / "notes.md").write_text("not listed")
    return folder


def make_large(clip: Path, path: Path) -> None:
    """A clip with a box that nobody reads: inspected apart from being labelled."""
    padding = SMALL_BYTES.to_bytes(4, "big") + b"free" + bytes(SMALL_BYTES - 8)
    path.write_bytes(clip.read_bytes() + padding)


def uris_of(media: Path) -> list[str]:
    return [str(path) for path in media.rglob("*") if path.is_file() and path.suffix != ".md"]


@pytest.fixture(scope="module")
def done(media, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("done") / "out"
    finished = batch(media, "--out", out, "--set", "workers.count=2")
    assert finished.returncode == FINISHED_SOME_FAILED, finished.stderr
    return out


def test_every_input_has_one_row_and_the_digest_is_that_of_the_tables(media, done):
    check_whole(done, uris_of(media))


def test_tables_are_those_of_analyze_however_the_work_is_spread(media, done, tmp_path):
    uris = uris_of(media)
    sightsound("analyze", *uris, "--out", tmp_path / "local")
    other = batch(
        media,
        "--out",
        tmp_path / "other",
        *(
            "--set",
            "workers.count=1",
            "--set",
            "workers.slice_s=8",
            "--set",
            "batch.task_video_s=1",
        ),
    )
    assert other.returncode == FINISHED_SOME_FAILED
    for table in ("videos", "windows", "segments"):
        local = read_table(tmp_path / "local", table)
        for out in (done, tmp_path / "other"):
            found = read_table(out, table)
            for row in (*found, *local):
                row.pop("processing_s", None)
            assert found == local


def test_tables_are_the_same_where_decoding_is_apart_from_inference(media, done, tmp_path):
    options = ("batch.split=true", "workers.count=4", "workers.slice_s=20")
    settings = [word for option in options for word in ("--set", option)]
    apart = batch(media, "--out", tmp_path / "out", *settings)
    assert apart.returncode == FINISHED_SOME_FAILED, apart.stderr
    assert check_whole(tmp_path / "out", uris_of(media)) == check_whole(done, uris_of(media))


@pytest.mark.slow
def test_order_in_which_work_ends_does_not_matter(media, done, tmp_path):
    shuffled = faulty_batch("make_shuffled", media, tmp_path / "out", "workers.count=4")
    assert shuffled.returncode == FINISHED_SOME_FAILED, shuffled.stderr
    assert check_whole(tmp_path / "out", uris_of(media)) == check_whole(done, uris_of(media))


@pytest.mark.slow
def test_video_that_kills_what_decodes_it_costs_itself_only(real_clips, tmp_path):
    names = ("a.mp4", "b.mp4", "c.mp4", "crash.mp4", "hang.mp4", "once.mp4", "actor.mp4")
    (tmp_path / "media").mkdir()
    for number, name in enumerate(names):
        # So that none is a copy of another.
        data = (real_clips / "bikes.mp4").read_bytes() + bytes(number + 1)
        (tmp_path / "media" / name).write_bytes(data)
    finished = faulty_batch(
        "make_sabotaged", tmp_path / "media", tmp_path / "out", "workers.stall_timeout_s=5"
    )
    assert finished.returncode == FINISHED_SOME_FAILED, finished.stderr
    found = {Path(row["uri"]).name: row for row in rows(tmp_path / "out", "videos")}
    assert {name: row["error_code"] for name, row in found.items()} == {
        **dict.fromkeys(("a.mp4", "b.mp4", "c.mp4", "once.mp4")),
        "crash.mp4": "crashed",
        "hang.mp4": "timeout",
        "actor.mp4": "crashed",
    }
    assert "SIGSEGV" in found["crash.mp4"]["error_message"]
    assert "the worker that had it was lost 2 times" in found["actor.mp4"]["error_message"]
    assert {row["status"] for row in found.values()} == {"ok", "failed"}


def test_same_content_is_decoded_once_and_has_a_row_for_each_path(media, done):
    record = json.loads((done / "run.json").read_text())
    assert record["this_run"]["duplicates"] == 2
    videos = {row["uri"]: row for row in rows(done, "videos")}
    copy, link = videos[str(media / "deep/same_bikes.mp4")], videos[str(media / "deep/link.mp4")]
    originals = videos[str(media / "bikes.mp4")], videos[str(media / "bigbuckbunny.mp4")]
    assert [row["video_id"] for row in originals] == [copy["video_id"], link["video_id"]]
    assert sum(row["processing_s"] == 0 for row in (copy, link, *originals)) == 2


@pytest.mark.slow
def test_same_content_of_much_data_is_found_by_the_workers(real_clips, tmp_path):
    (tmp_path / "media").mkdir()
    for name in ("one.mp4", "two.mp4"):
        make_large(real_clips / "bikes.mp4", tmp_path / "media" / name)
    assert batch(tmp_path / "media", "--out", tmp_path / "out").returncode == 0
    check_whole(tmp_path / "out", uris_of(tmp_path / "media"))
    one, two = rows(tmp_path / "out", "videos")
    assert one["video_id"] == two["video_id"]
    assert min(one["processing_s"], two["processing_s"]) == 0


def test_finished_run_is_not_repeated(media, done):
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*.parquet")}
    again = batch(media, "--out", done)
    assert again.returncode == FINISHED_SOME_FAILED
    assert "8 done before, 0 to do" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in done.rglob("*.parquet")} == before


@pytest.mark.slow
def test_moved_folder_is_known_by_its_content(media, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    shutil.copytree(media, tmp_path / "moved", symlinks=False)
    moved = batch(tmp_path / "moved", "--out", tmp_path / "out")
    assert moved.returncode == FINISHED_SOME_FAILED
    record = json.loads((tmp_path / "out/run.json").read_text())
    # Of what is no media the content is not taken down.
    assert record["this_run"]["duplicates"] == 5
    assert record["this_run"]["video_s"] == 0


@pytest.mark.slow
def test_changed_configuration_is_said_and_replaces_the_results(media, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    changed = batch(media, "--out", tmp_path / "out", "--set", "window.hop_s=8")
    assert "7 of them were labelled with another model or configuration" in changed.stderr
    check_whole(tmp_path / "out", uris_of(media))
    config_ids = {row["config_id"] for row in rows(tmp_path / "out", "videos")}
    assert config_ids == {json.loads((tmp_path / "out/run.json").read_text())["config_id"]}
    assert config_ids.isdisjoint(row["config_id"] for row in rows(done, "videos"))


def test_retry_failed_does_just_those_again(media, done, tmp_path):
    shutil.copytree(done, tmp_path / "out")
    again = batch(media, "--out", tmp_path / "out", "--retry-failed")
    assert "6 done before, 2 to do" in again.stderr
    assert check_whole(tmp_path / "out", uris_of(media)) == check_whole(done, uris_of(media))


def test_manifest_brings_its_columns_into_the_videos_table(media, tmp_path):
    manifest = tmp_path / "list.csv"
    manifest.write_text(
        f"path,id,camera\n{media / 'bikes.mp4'},a1,3\n{media / 'missing.mp4'},a2,4\n"
        f"{media / 'bikes.mp4'},a3,5\n"
    )
    finished = batch(manifest, "--out", tmp_path / "out")
    assert "2 inputs (1 named again, which count once)" in finished.stderr
    found = {row["id"]: row for row in rows(tmp_path / "out", "videos")}
    assert {key: (row["camera"], row["status"]) for key, row in found.items()} == {
        "a1": (3, "ok"),
        "a2": (4, "failed"),
    }
    assert found["a2"]["error_code"] == "not_found"


def test_too_many_failures_stop_the_run_and_are_grouped(tmp_path):
    (tmp_path / "bad").mkdir()
    for number in range(30):
        (tmp_path / "bad" / f"{number}.mp4").write_text(f"text {number}")
    stopped = batch(tmp_path / "bad", "--out", tmp_path / "out", "--max-failed", "10%")
    assert stopped.returncode == 1
    assert "failed: not_media (probe), such as: " in stopped.stderr
    assert "more than --max-failed allows (10 % of those finished)" in stopped.stderr
    assert not (tmp_path / "out" / "run.json").exists()


def test_no_media_at_all_is_a_wrong_command_line(tmp_path):
    (tmp_path / "empty").mkdir()
    refused = batch(tmp_path / "empty", "--out", tmp_path / "out")
    assert refused.returncode == 2
    assert "No media files in" in refused.stderr


def test_two_runs_do_not_write_to_one_place(media, tmp_path):
    import fcntl

    (tmp_path / "out/ledger").mkdir(parents=True)
    with open(tmp_path / "out/ledger/lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        refused = batch(media, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "Another run is writing" in refused.stderr


def test_analyze_and_batch_do_not_write_over_each_others_tables(media, done, tmp_path):
    clip = media / "bigbuckbunny.mp4"
    refused = sightsound("analyze", clip, "--out", done)
    assert refused.returncode == 1
    assert "holds the results of 'batch'" in refused.stderr
    sightsound("analyze", clip, "--out", tmp_path / "out")
    refused = batch(clip, "--out", tmp_path / "out")
    assert refused.returncode == 1
    assert "holds tables that 'analyze' or others have written" in refused.stderr
    assert len(rows(tmp_path / "out", "videos")) == 1


def make_many(folder: Path, count: int) -> Path:
    """Small clips that differ."""
    folder.mkdir()
    for number in range(count):
        make_clip(
            folder / f"{number:02d}.mp4",
            picture=Picture(times=even_times(60 + number, 10), gop=30),
            sound=Sound(samples=sweep(5, 16000, channels=1), rate_hz=16000),
        )
    return folder


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    return make_many(tmp_path_factory.mktemp("many") / "clips", 16)


@pytest.fixture(scope="module")
def calm(many, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("calm") / "out"
    assert batch(many, "--out", out).returncode == 0
    return out


@pytest.fixture(scope="module")
def calm_digest(many, calm) -> str:
    return check_whole(calm, uris_of(many))


@pytest.mark.slow
def test_killed_driver_loses_nothing(many, calm_digest, tmp_path):
    out = tmp_path / "out"
    process = start_batch(many, "--out", out)
    wait_until(lambda: n_commits(out) >= 1, "the first commit")
    kill_all(process)
    assert 0 < len(rows(out, "videos")) < 16
    resumed = batch(many, "--out", out)
    assert "done before" in resumed.stderr
    assert check_whole(out, uris_of(many)) == calm_digest


@pytest.mark.slow
def test_ctrl_c_commits_what_is_finished(many, calm_digest, tmp_path):
    out = tmp_path / "out"
    process = start_batch(many, "--out", out)
    wait_until(lambda: n_commits(out) >= 1, "the first commit")
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to go on" in errors
    assert "Traceback" not in errors
    assert batch(many, "--out", out).returncode == 0
    assert check_whole(out, uris_of(many)) == calm_digest


@pytest.mark.slow
def test_parts_are_few_at_the_end(calm):
    assert n_commits(calm) == 1
    assert pq.read_schema(next((calm / "videos").iterdir())).field("n_windows").type == pa.int32()
