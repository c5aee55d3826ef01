"""Write: results to Parquet parts, each complete or absent.

A part is written under a temporary name, flushed to disk and renamed. Parts are cut by bytes,
not by video. Rows wait in memory as Arrow tables, at most ``part_bytes`` a table.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sightsound.models.bundle import Task
from sightsound.stages.picture import shown_size
from sightsound.stages.records import Segment, TaskScores, VideoResult, WindowScores

TABLES = ("videos", "windows", "segments")
RUN_FILE = "run.json"

_LABELS = pa.list_(pa.struct([("label", pa.string()), ("score", pa.float32())]))

VIDEOS_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("status", pa.string()),
        ("error_stage", pa.string()),
        ("error_code", pa.string()),
        ("error_message", pa.string()),
        ("duration_s", pa.float64()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("rotation", pa.int32()),
        ("fps", pa.float64()),
        ("video_codec", pa.string()),
        ("audio_codec", pa.string()),
        ("has_video", pa.bool_()),
        ("has_audio", pa.bool_()),
        ("n_frames_decoded", pa.int64()),
        ("n_frames_corrupt", pa.int64()),
        ("n_windows", pa.int32()),
        ("model_id", pa.string()),
        ("config_id", pa.string()),
        ("processing_s", pa.float64()),
    ]
)
SEGMENTS_SCHEMA = pa.schema(
    [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("task", pa.string()),
        ("label", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("score", pa.float32()),
        ("peak_score", pa.float32()),
        ("peak_s", pa.float64()),
        ("visual_share", pa.float32()),
        ("audio_share", pa.float32()),
    ]
)


def windows_schema(tasks: Sequence[Task], *, embedding: bool) -> pa.Schema:
    """The schema of the windows table: a list of label and score for each task."""
    fields = [
        ("video_id", pa.string()),
        ("uri", pa.string()),
        ("window", pa.int32()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("has_video", pa.bool_()),
        ("has_audio", pa.bool_()),
        ("corrupt", pa.bool_()),
        *((task.name, _LABELS) for task in tasks),
        ("visual_share", pa.float32()),
        ("audio_share", pa.float32()),
    ]
    if embedding:
        fields.append(("embedding", pa.list_(pa.float32())))
    return pa.schema(fields)


class ResultWriter:
    """VideoResult, one after the other -> the three tables under one folder.

    The folder holds one run: parts of an earlier one are removed once the new are complete.
    Other files in it are left alone.
    """

    def __init__(
        self,
        folder: Path,
        tasks: Sequence[Task],
        *,
        model_id: str,
        config_id: str,
        top_k: int,
        embedding: bool,
        part_bytes: int,
    ) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made or written.
        """
        self.folder = folder
        self._tasks = tasks
        self._model_id = model_id
        self._config_id = config_id
        self._top_k = top_k
        self._embedding = embedding
        self._part_bytes = part_bytes
        self._run = uuid.uuid4().hex[:12]
        self._n_parts = 0
        self._waiting: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        self._schemas = {
            "videos": VIDEOS_SCHEMA,
            "windows": windows_schema(tasks, embedding=embedding),
            "segments": SEGMENTS_SCHEMA,
        }
        for name in TABLES:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, result: VideoResult) -> None:
        """Take the rows of one video; write a part where enough have gathered."""
        rows = {
            "videos": [video_row(result, model_id=self._model_id, config_id=self._config_id)],
            "windows": [self._window_row(result, window) for window in result.windows],
            "segments": [segment_row(result, segment) for segment in result.segments],
        }
        for name, found in rows.items():
            if found:
                self._waiting[name].append(pa.Table.from_pylist(found, schema=self._schemas[name]))
                if sum(table.nbytes for table in self._waiting[name]) >= self._part_bytes:
                    self._write_part(name)

    def close(self, run: dict[str, Any]) -> None:
        """Write what waits, then ``run.json``, then remove an earlier run's parts."""
        for name in TABLES:
            if self._waiting[name] or not any((self.folder / name).glob(f"{self._run}-*.parquet")):
                self._write_part(name)
        text = json.dumps(run, indent=1, ensure_ascii=False) + "\n"
        _replace(self.folder / RUN_FILE, lambda path: path.write_text(text, encoding="utf-8"))
        for name in TABLES:
            for path in (self.folder / name).glob("*.parquet"):
                if not path.name.startswith(self._run):
                    path.unlink()

    def _write_part(self, name: str) -> None:
        schema = self._schemas[name]
        tables = self._waiting[name] or [schema.empty_table()]
        table = pa.concat_tables(tables)
        path = self.folder / name / f"{self._run}-{self._n_parts:05d}.parquet"
        _replace(path, lambda part: pq.write_table(table, part, compression="zstd"))
        self._n_parts += 1
        self._waiting[name] = []

    def _window_row(self, result: VideoResult, scored: WindowScores) -> dict[str, Any]:
        assert result.info is not None
        row: dict[str, Any] = {
            "video_id": result.info.video_id,
            "uri": result.uri,
            "window": scored.window.index,
            "start_s": scored.window.start_s,
            "end_s": scored.window.end_s,
            "has_video": scored.has_video,
            "has_audio": scored.has_audio,
            "corrupt": scored.corrupt,
        }
        for task in self._tasks:
            row[task.name] = top_labels(task, scored.tasks.get(task.name), self._top_k)
        row["visual_share"], row["audio_share"] = window_shares(scored)
        if self._embedding and scored.embedding is not None:
            row["embedding"] = scored.embedding
        return row


def top_labels(task: Task, scores: TaskScores | None, top_k: int) -> list[dict[str, Any]] | None:
    """The best labels with their scores, best first; None where the window lacks the sense."""
    if scores is None:
        return None
    return [
        {"label": task.labels[index], "score": float(score)}
        for index, score in zip(scores.indices[:top_k], scores.scores[:top_k], strict=True)
    ]


def window_shares(scored: WindowScores) -> tuple[float | None, float | None]:
    """The mean share of each sense over the window's tasks."""
    if not scored.tasks:
        return None, None
    visual = sum(scores.visual_share for scores in scored.tasks.values()) / len(scored.tasks)
    return visual, 1 - visual


def video_row(result: VideoResult, *, model_id: str, config_id: str) -> dict[str, Any]:
    """The row of the videos table."""
    info, plan, failure = result.info, result.plan, result.failure
    video = info.video if info else None
    width = height = None
    if video is not None:
        width, height = shown_size(video.width, video.height, video.pixel_aspect, result.rotation)
    return {
        "video_id": info.video_id if info else None,
        "uri": result.uri,
        "status": result.status,
        "error_stage": failure.stage if failure else None,
        "error_code": failure.code if failure else None,
        "error_message": failure.message if failure else None,
        "duration_s": plan.duration_s if plan else None,
        "width": width,
        "height": height,
        "rotation": result.rotation if video else None,
        "fps": float(video.average_rate) if video and video.average_rate else None,
        "video_codec": video.codec if video else None,
        "audio_codec": info.audio.codec if info and info.audio else None,
        "has_video": video is not None,
        "has_audio": info is not None and info.audio is not None,
        "n_frames_decoded": result.n_frames_decoded,
        "n_frames_corrupt": result.n_frames_corrupt,
        "n_windows": len(result.windows),
        "model_id": model_id,
        "config_id": config_id,
        "processing_s": result.processing_s,
    }


def segment_row(result: VideoResult, segment: Segment) -> dict[str, Any]:
    """One row of the segments table."""
    assert result.info is not None
    return {
        "video_id": result.info.video_id,
        "uri": result.uri,
        "task": segment.task,
        "label": segment.label,
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "score": segment.score,
        "peak_score": segment.peak_score,
        "peak_s": segment.peak_s,
        "visual_share": segment.visual_share,
        "audio_share": segment.audio_share,
    }


def _replace(path: Path, write: Any) -> None:
    """Write a file so that it is whole or absent, whatever happens meanwhile."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
