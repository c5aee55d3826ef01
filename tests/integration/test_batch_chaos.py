"""Everything is killed at some time: real clips and broken files, and exactly one row each.

Every test disturbs a run over the same media, lets it go on, and compares the digest with that
of a run that nothing disturbed.
"""

import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest
from helpers.batch import (
    batch,
    check_whole,
    kill_all,
    n_commits,
    rows,
    start_batch,
    wait_until,
    workers_of,
)
from helpers.real import SHARED_MEDIA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SHARED_MEDIA.exists(), reason="needs ../shared/media"),
]
OPTIONS = ("--set", "workers.stall_timeout_s=20", "--set", "batch.task_video_s=10")
N_SHORT = 40


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """40 short real clips, a long one in several slices, and ten files that are broken."""
    folder = tmp_path_factory.mktemp("media")
    demo = sorted(path for path in (SHARED_MEDIA / "demo").iterdir() if path.suffix != ".csv")
    fights = sorted((SHARED_MEDIA.parent / "datasets" / "fights" / "fight").glob("*.mp4"))
    for path in (*demo, *fights)[:N_SHORT]:
        (folder / path.name).symlink_to(path)
    edge = sorted(path for path in (SHARED_MEDIA / "edge").iterdir() if path.suffix != ".csv")
    for path in edge[::5]:
        (folder / f"edge_{path.name}").symlink_to(path)
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    return folder


@pytest.fixture(scope="module")
def calm(media, tmp_path_factory) -> tuple[str, list[str]]:
    """The digest of an undisturbed run, and the inputs that it listed."""
    out = tmp_path_factory.mktemp("calm") / "out"
    assert batch(media, "--out", out, *OPTIONS).returncode == 3
    listed = [row["uri"] for row in rows(out, "videos")]
    assert len(listed) >= N_SHORT + 8
    return check_whole(out, listed), listed


def finish(media: Path, out: Path, calm: tuple[str, list[str]], *arguments: str) -> None:
    finished = batch(media, "--out", out, *OPTIONS, *arguments)
    assert finished.returncode == 3, finished.stderr
    assert check_whole(out, calm[1]) == calm[0]


def test_driver_killed_at_three_random_moments(media, calm, tmp_path):
    out = tmp_path / "out"
    moments = random.Random(7)
    for number in range(3):
        process = start_batch(media, "--out", out, *OPTIONS)
        wait_until(lambda p=process: workers_of(p.pid), "workers")
        time.sleep(moments.uniform(1, 9))
        if number == 2:  # Something must have been done before it is lost.
            wait_until(lambda: n_commits(out) >= 1, "the first commit")
        assert process.poll() is None
        kill_all(process)
    assert n_commits(out) >= 1
    finish(media, out, calm)


def test_nothing_of_a_killed_driver_goes_on(media, tmp_path):
    process = start_batch(media, "--out", tmp_path / "out", *OPTIONS)
    workers = wait_until(lambda: workers_of(process.pid), "workers")
    kill_all(process)
    # Ray's own agents notice later.
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []


def test_random_workers_killed(media, calm, tmp_path):
    out = tmp_path / "out"
    process = start_batch(media, "--out", out, *OPTIONS, "--set", "workers.attempts=10")
    chance = random.Random(3)
    n_killed = 0
    while process.poll() is None:
        time.sleep(chance.uniform(2, 4))
        if n_killed < 8 and (found := workers_of(process.pid)):
            chance.choice(found).kill()
            n_killed += 1
    assert n_killed >= 4
    assert process.returncode == 3, process.stderr and process.stderr.read()
    assert check_whole(out, calm[1]) == calm[0]


def test_node_of_a_cluster_lost(media, calm, tmp_path):
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
    out = tmp_path / "out"
    try:
        process = start_batch(media, "--out", out, "--address", cluster.address, *OPTIONS)
        wait_until(lambda: n_commits(out) >= 1, "the first commit")
        cluster.remove_node(nodes[0], allow_graceful=False)
        _, errors = process.communicate(timeout=400)
        assert process.returncode == 3, errors
    finally:
        cluster.shutdown()
    assert check_whole(out, calm[1]) == calm[0]


def test_output_disk_full(media, calm, tmp_path):
    out = tmp_path / "disk"
    out.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(out)], check=False
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        failed = batch(media, "--out", out, *OPTIONS)
        assert failed.returncode == 1
        assert "No space left on device" in failed.stderr
        assert "Traceback" not in failed.stderr
        subprocess.run(["mount", "-o", "remount,size=64m", str(out)], check=True)
        finish(media, out, calm)
    finally:
        subprocess.run(["umount", str(out)], check=True)


@pytest.mark.parametrize("n_times", [1, 2])
def test_interrupted(media, calm, tmp_path, n_times):
    out = tmp_path / "out"
    process = start_batch(media, "--out", out, *OPTIONS)
    wait_until(lambda: n_commits(out) >= 1, "the first commit")
    for _ in range(n_times):
        os.killpg(process.pid, signal.SIGINT)
        time.sleep(0.3)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in errors
    finish(media, out, calm)


def test_media_that_changed_meanwhile_is_labelled_anew(media, tmp_path):
    mine = tmp_path / "media"
    mine.mkdir()
    names = sorted(path.name for path in media.iterdir())[:3]
    for name in names:
        shutil.copy(media / name, mine / name)
    out = tmp_path / "out"
    batch(mine, "--out", out, *OPTIONS)
    shutil.copy(media / "dancing.mp4", mine / names[0])
    again = batch(mine, "--out", out, *OPTIONS)
    assert "1 to do" in again.stderr
    check_whole(out, [str(mine / name) for name in names])
    new = next(row for row in rows(out, "videos") if row["uri"] == str(mine / names[0]))
    assert new["status"] == "ok" and new["duration_s"] == pytest.approx(12, abs=0.1)
