"""Tables: the schemas of the result tables, and the rows that a VideoResult makes.

Numbers that a table keeps as float32 are rounded to it here, so that a row is the same before
it is written and after it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from sightsound.models.bundle import Task
from sightsound.stages.picture import shown_size
from sightsound.stages.records import Segment, TaskScores, VideoResult, WindowScores

TABLES = ("videos", "windows", "segments")

# The rows of one input in each of them.
ResultRows = tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]

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
        ("decoder_fallback", pa.string()),
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


def table_schemas(
    tasks: Sequence[Task], *, embedding: bool, extra: pa.Schema | None = None
) -> dict[str, pa.Schema]:
    """The schema of each table; ``extra`` are columns of the videos table beside its own."""
    return {
        "videos": pa.schema([*VIDEOS_SCHEMA, *(extra or ())]),
        "windows": windows_schema(tasks, embedding=embedding),
        "segments": SEGMENTS_SCHEMA,
    }


def result_rows(
    result: VideoResult,
    tasks: Sequence[Task],
    *,
    model_id: str,
    config_id: str,
    top_k: int,
    embedding: bool,
) -> ResultRows:
    """All that the tables say of one input."""
    return (
        video_row(result, model_id=model_id, config_id=config_id),
        [
            window_row(result, scored, tasks, top_k=top_k, embedding=embedding)
            for scored in result.windows
        ],
        [segment_row(result, segment) for segment in result.segments],
    )


def window_row(
    result: VideoResult, scored: WindowScores, tasks: Sequence[Task], *, top_k: int, embedding: bool
) -> dict[str, Any]:
    """One row of the windows table."""
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
    for task in tasks:
        row[task.name] = top_labels(task, scored.tasks.get(task.name), top_k)
    row["visual_share"], row["audio_share"] = window_shares(scored)
    if embedding:
        vector = scored.embedding
        row["embedding"] = None if vector is None else vector.astype(np.float32).tolist()
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
    return _float32(visual), _float32(1 - visual)


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
        "decoder_fallback": result.decoder_fallback or None,
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
        "score": _float32(segment.score),
        "peak_score": _float32(segment.peak_score),
        "peak_s": segment.peak_s,
        "visual_share": _float32(segment.visual_share),
        "audio_share": _float32(segment.audio_share),
    }


def _float32(value: float) -> float:
    return float(np.float32(value))
