"""The engine of a batch, broken off in the midst of its work."""

import threading
from contextlib import closing

import pyarrow as pa
import pytest

from sightsound.pipeline.config import Config
from sightsound.pipeline.ray_engine import RayEngine

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def engine():
    with RayEngine(Config()) as engine:
        yield engine


@pytest.fixture
def blocks(tmp_path) -> list[pa.Table]:
    paths = [tmp_path / f"{number}.mp4" for number in range(12)]
    for path in paths:
        path.write_text("not a video")
    return [
        pa.table({"position": [position], "uri": [str(path)], "size_bytes": [11]})
        for position, path in enumerate(paths)
    ]


def threads_of_ray_data() -> list[str]:
    names = [thread.name for thread in threading.enumerate()]
    return [name for name in names if name.startswith(("StreamingExecutor", "ray-data"))]


@pytest.mark.parametrize("n_taken", [0, 1], ids=["before anything came", "after some came"])
def test_a_run_broken_off_leaves_no_thread_that_uses_ray(engine, blocks, n_taken):
    n_seen = 0
    with closing(engine.run(blocks, stored={})) as groups:
        for group in groups:
            n_seen += len(group or ())
            if n_seen >= n_taken:
                break
        assert threads_of_ray_data()
    assert not threads_of_ray_data()


def test_a_whole_run_after_one_broken_off_loses_nothing(engine, blocks):
    with closing(engine.run(blocks, stored={})) as groups:
        next(groups)
    ends = [end for group in engine.run(blocks, stored={}) for end in group or ()]
    assert sorted(end.position for end in ends) == list(range(12))
