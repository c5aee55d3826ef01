"""Native code that crashes or hangs in a worker costs its own video, and the row says so."""

import shutil

import pytest
from helpers.faulty import make_sabotaged

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.config import load_config
from sightsound.pipeline.local import LocalEngine

pytestmark = pytest.mark.alone

CONFIG = load_config(settings=("workers.stall_timeout_s=4", "workers.count=2"))


@pytest.fixture
def copies(real_clips, tmp_path):
    """Copies of one real clip under names that decide what happens to them."""

    def copy(*names: str) -> list[str]:
        for name in names:
            shutil.copy(real_clips / "bikes.mp4", tmp_path / name)
        return [str(tmp_path / name) for name in names]

    return copy


def run(paths):
    engine = LocalEngine(CONFIG, load_bundle("default"), make_handler=make_sabotaged)
    return {result.uri.rsplit("/", 1)[1]: result for result in engine.run(paths)}


def test_crash_costs_its_video_only(copies):
    results = run(copies("a.mp4", "crash.mp4", "b.mp4", "c.mp4"))
    assert {name: result.status for name, result in results.items()} == {
        "a.mp4": "ok",
        "b.mp4": "ok",
        "c.mp4": "ok",
        "crash.mp4": "failed",
    }
    failure = results["crash.mp4"].failure
    assert failure is not None
    assert (failure.stage, failure.code) == ("decode", "crashed")
    assert "SIGSEGV" in failure.message


def test_hang_costs_its_video_only(copies):
    results = run(copies("a.mp4", "hang.mp4", "b.mp4"))
    assert results["a.mp4"].status == results["b.mp4"].status == "ok"
    failure = results["hang.mp4"].failure
    assert failure is not None
    assert failure.code == "timeout"
    assert "no progress for 4 s" in failure.message


def test_worker_that_dies_once_is_replaced_and_nothing_is_lost(copies):
    results = run(copies("once.mp4", "a.mp4"))
    assert {result.status for result in results.values()} == {"ok"}
    tops = [
        [(scored.window.index, scored.tasks["action"].scores.tolist()) for scored in result.windows]
        for result in results.values()
    ]
    assert tops[0] == tops[1]


def test_same_content_has_the_same_identity_under_any_name(copies):
    results = run(copies("a.mp4", "b.mp4"))
    assert len({result.info.video_id for result in results.values() if result.info}) == 1
