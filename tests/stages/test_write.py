"""Write: three tables that say what the records say, whole or absent."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from sightsound.models.bundle import Task
from sightsound.stages import tables, write
from sightsound.stages.records import (
    AudioStreamInfo,
    Failure,
    MediaInfo,
    Segment,
    TaskScores,
    VideoPlan,
    VideoResult,
    VideoStreamInfo,
    Window,
    WindowScores,
)
from sightsound.stages.write import ResultWriter

TASKS = (
    Task(name="action", kind="single", labels=("run", "jump", "swim"), sources={"fusion": 1}),
    Task(name="sound", kind="multi", labels=("bark", "bell"), sources={"ear": 1}),
)
INFO = MediaInfo(
    path="/videos/a.mp4",
    video_id="0123456789abcdef0123456789abcdef",
    size_bytes=1000,
    container="mov",
    claimed_duration_s=9.0,
    video=VideoStreamInfo(
        index=0,
        codec="h264",
        width=720,
        height=576,
        pixel_aspect=Fraction(16, 11),
        average_rate=Fraction(30000, 1001),
        time_base=Fraction(1, 90000),
        start_pts=0,
        claimed_frames=270,
        reorders=True,
    ),
    audio=AudioStreamInfo(
        index=1,
        codec="aac",
        sample_rate_hz=48000,
        channels=2,
        time_base=Fraction(1, 48000),
        start_pts=0,
    ),
)
PLAN = VideoPlan(
    origin_s=Fraction(0),
    duration_s=9.0,
    fps=Fraction(2),
    video_span_s=(0.0, 9.0),
    audio_span_s=(0.0, 9.0),
    n_windows=2,
    slices=(),
    truncated=False,
)


def scores(indices: list[int], values: list[float], visual_share: float) -> TaskScores:
    """Scores whose peaks do not matter here."""
    return TaskScores(
        indices=np.array(indices, dtype=np.int32),
        scores=np.array(values, dtype=np.float32),
        peaks_s=np.zeros(len(indices)),
        visual_share=visual_share,
        audio_share=1 - visual_share,
    )


WINDOWS = (
    WindowScores(
        window=Window(index=0, start_s=0.0, end_s=8.0),
        has_video=True,
        has_audio=True,
        corrupt=False,
        tasks={
            "action": scores([1, 0, 2], [0.5, 0.25, 0.125], 0.75),
            "sound": scores([0, 1], [0.5, 0], 0),
        },
        embedding=np.array([1, 2, 3], dtype=np.float32),
    ),
    WindowScores(
        window=Window(index=1, start_s=4.0, end_s=9.0),
        has_video=False,
        has_audio=False,
        corrupt=True,
        tasks={},
    ),
)
SEGMENT = Segment(
    task="action",
    label="jump",
    start_s=0.0,
    end_s=6.0,
    score=0.5,
    peak_score=0.75,
    peak_s=1.5,
    visual_share=0.75,
    audio_share=0.25,
)
RESULT = VideoResult(
    uri="/videos/a.mp4",
    status="partial",
    failure=Failure(stage="decode", code="damaged", message="It is damaged."),
    info=INFO,
    plan=PLAN,
    windows=WINDOWS,
    segments=(SEGMENT,),
    rotation=90,
    n_frames_decoded=18,
    n_frames_corrupt=3,
    decoder_fallback="decord cannot: PyAV decoded the picture.",
    processing_s=1.25,
)
FAILED = VideoResult(
    uri="/videos/none.mp4",
    status="failed",
    failure=Failure(stage="probe", code="not_found", message="It does not exist."),
)


def writer_to(
    folder: Path, *, top_k: int = 5, embedding: bool = False, part_bytes: int = 1 << 20
) -> ResultWriter:
    """A writer with the tasks above."""
    return ResultWriter(
        folder,
        TASKS,
        model_id="model",
        config_id="config",
        top_k=top_k,
        embedding=embedding,
        part_bytes=part_bytes,
    )


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, part after part."""
    found: list[dict[str, Any]] = []
    for path in sorted((folder / table).glob("*.parquet")):
        found += pq.read_table(path).to_pylist()
    return found


def written(folder: Path, *results: VideoResult, **options: Any) -> Path:
    """The folder with these results in it."""
    writer = writer_to(folder, **options)
    for result in results:
        writer.add(result)
    writer.close({"counts": {"ok": 1}})
    return folder


def test_a_video_is_a_row_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    (row,) = rows(written(tmp_path, RESULT), "videos")
    assert row == {
        "video_id": INFO.video_id,
        "uri": "/videos/a.mp4",
        "status": "partial",
        "error_stage": "decode",
        "error_code": "damaged",
        "error_message": "It is damaged.",
        "duration_s": 9.0,
        "width": 576,
        "height": 1047,
        "rotation": 90,
        "fps": pytest.approx(29.97, abs=0.001),
        "video_codec": "h264",
        "audio_codec": "aac",
        "has_video": True,
        "has_audio": True,
        "n_frames_decoded": 18,
        "n_frames_corrupt": 3,
        "decoder_fallback": "decord cannot: PyAV decoded the picture.",
        "n_windows": 2,
        "model_id": "model",
        "config_id": "config",
        "processing_s": 1.25,
    }


def test_a_video_that_failed_is_a_row_with_a_reason(tmp_path: Path) -> None:
    folder = written(tmp_path, FAILED)
    (row,) = rows(folder, "videos")
    assert (row["uri"], row["status"]) == ("/videos/none.mp4", "failed")
    assert (row["error_stage"], row["error_code"]) == ("probe", "not_found")
    assert row["video_id"] is None and row["duration_s"] is None and row["width"] is None
    assert (row["has_video"], row["has_audio"], row["n_windows"]) == (False, False, 0)
    assert rows(folder, "windows") == [] and rows(folder, "segments") == []


def test_a_window_has_the_best_labels_of_each_task(tmp_path: Path) -> None:
    first, _ = rows(written(tmp_path, RESULT, top_k=2), "windows")
    assert first["action"] == [
        {"label": "jump", "score": 0.5},
        {"label": "run", "score": 0.25},
    ]
    assert first["sound"] == [{"label": "bark", "score": 0.5}, {"label": "bell", "score": 0.0}]
    assert (first["window"], first["start_s"], first["end_s"]) == (0, 0.0, 8.0)
    assert (first["has_video"], first["has_audio"], first["corrupt"]) == (True, True, False)


def test_the_shares_of_a_window_are_the_mean_over_its_tasks(tmp_path: Path) -> None:
    first, second = rows(written(tmp_path, RESULT), "windows")
    assert (first["visual_share"], first["audio_share"]) == (0.375, 0.625)
    assert (second["visual_share"], second["audio_share"]) == (None, None)


def test_a_window_without_a_sense_has_nothing_for_its_tasks(tmp_path: Path) -> None:
    _, second = rows(written(tmp_path, RESULT), "windows")
    assert second["action"] is None and second["sound"] is None
    assert second["corrupt"]


def test_a_segment_is_a_row(tmp_path: Path) -> None:
    (row,) = rows(written(tmp_path, RESULT), "segments")
    assert row == {
        "video_id": INFO.video_id,
        "uri": "/videos/a.mp4",
        "task": "action",
        "label": "jump",
        "start_s": 0.0,
        "end_s": 6.0,
        "score": 0.5,
        "peak_score": 0.75,
        "peak_s": 1.5,
        "visual_share": 0.75,
        "audio_share": 0.25,
    }


@pytest.mark.parametrize("embedding", [False, True])
def test_embeddings_are_written_only_where_asked_for(tmp_path: Path, embedding: bool) -> None:
    first, second = rows(written(tmp_path, RESULT, embedding=embedding), "windows")
    assert ("embedding" in first) == embedding
    if embedding:
        assert first["embedding"] == [1, 2, 3]
        assert second["embedding"] is None


def test_a_run_without_results_still_has_three_readable_tables(tmp_path: Path) -> None:
    folder = written(tmp_path)
    for table in write.TABLES:
        (path,) = (folder / table).glob("*.parquet")
        assert pq.read_table(path).num_rows == 0
    assert pq.read_table(folder / "videos").schema == tables.VIDEOS_SCHEMA


def test_parts_are_cut_by_bytes(tmp_path: Path) -> None:
    results = [RESULT] * 20
    one, many = (
        written(tmp_path / "one", *results),
        written(tmp_path / "many", *results, part_bytes=2000),
    )

    def n_parts(folder: Path, table: str) -> int:
        return len(list((folder / table).glob("*.parquet")))

    assert [n_parts(one, table) for table in write.TABLES] == [1, 1, 1]
    assert 1 < n_parts(many, "videos") < 20
    assert 1 < n_parts(many, "windows") < 20
    for table in write.TABLES:
        assert rows(one, table) == rows(many, table)


def test_a_later_run_replaces_the_tables_and_nothing_else(tmp_path: Path) -> None:
    written(tmp_path, RESULT, FAILED)
    note = tmp_path / "windows" / "note.txt"
    note.write_text("mine")
    written(tmp_path, FAILED)
    assert [row["uri"] for row in rows(tmp_path, "videos")] == ["/videos/none.mp4"]
    assert rows(tmp_path, "windows") == [] and rows(tmp_path, "segments") == []
    assert note.read_text() == "mine"


def test_an_unfinished_run_leaves_the_earlier_tables(tmp_path: Path) -> None:
    written(tmp_path, RESULT)
    writer_to(tmp_path).add(FAILED)
    assert [row["uri"] for row in rows(tmp_path, "videos")] == ["/videos/a.mp4"]


def test_run_json_says_what_it_was_given(tmp_path: Path) -> None:
    folder = written(tmp_path, RESULT)
    assert json.loads((folder / write.RUN_FILE).read_text(encoding="utf-8")) == {
        "counts": {"ok": 1}
    }


@contextmanager
def files_up_to(n_bytes: int) -> Iterator[None]:
    """The system lets no file grow beyond so many bytes, as if the disk were full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_part_that_cannot_be_written_leaves_no_trace(tmp_path: Path) -> None:
    writer = writer_to(tmp_path)
    writer.add(RESULT)
    with files_up_to(300), pytest.raises(OSError, match="File too large"):
        writer.close({})
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_json_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    written(tmp_path, RESULT)
    earlier = (tmp_path / write.RUN_FILE).read_bytes()
    writer = writer_to(tmp_path)
    with files_up_to(50_000), pytest.raises(OSError, match="File too large"):
        writer.close({"note": "x" * 100_000})
    assert (tmp_path / write.RUN_FILE).read_bytes() == earlier
    assert list(tmp_path.rglob(".*")) == []


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OSError, match="taken"):
        writer_to(tmp_path / "taken")
