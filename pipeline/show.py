"""What a person sees: segments as a table, a summary of a run, results as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightsound.models.bundle import Task
from sightsound.pipeline.timeline import clock_time
from sightsound.stages.errors import printable
from sightsound.stages.picture import shown_size
from sightsound.stages.records import Segment, VideoResult
from sightsound.stages.tables import segment_row, top_labels, video_row, window_shares

_BAR_WIDTH = 12
# Best of its window, yet more likely wrong than right: shown without the weight of the others.
_WEAK_SCORE = 0.3
_TASK_STYLE = {"action": "cyan", "scene": "green", "sound": "magenta"}
_STATUS_STYLE = {"ok": "green", "partial": "yellow", "failed": "red"}


def show_result(console: Console, result: VideoResult, tasks: Sequence[Task]) -> None:
    """Print one video: a line of facts, then its segments as a table."""
    console.print(_heading(result))
    if result.failure is not None:
        console.print(Text(f"  {result.failure.message}", style=_STATUS_STYLE[result.status]))
    if result.decoder_fallback:
        console.print(Text(f"  {result.decoder_fallback}", style="yellow"))
    if result.status == "failed":
        console.print()
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    for name in ("from", "to"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("task", no_wrap=True)
    table.add_column("label")
    table.add_column("confidence", no_wrap=True)
    table.add_column("carried by", no_wrap=True)
    for segment in result.segments:
        table.add_row(*_segment_cells(segment))
    if result.segments:
        console.print(table)
    quiet = [task.name for task in tasks if _is_quiet(result, task)]
    if quiet:
        console.print(Text(f"  nothing certain enough to tell: {', '.join(quiet)}", style="dim"))
    console.print()


def _is_quiet(result: VideoResult, task: Task) -> bool:
    scored = any(task.name in window.tasks for window in result.windows)
    return scored and not any(segment.task == task.name for segment in result.segments)


def _heading(result: VideoResult) -> Text:
    text = Text(printable(Path(result.uri).name), style="bold")
    text.append(f"  {result.status}", style=_STATUS_STYLE[result.status])
    if result.info is None or result.plan is None:
        return text
    facts = [clock_time(result.plan.duration_s)]
    video, audio = result.info.video, result.info.audio
    if video is not None:
        width, height = shown_size(video.width, video.height, video.pixel_aspect, result.rotation)
        facts.append(f"{width}x{height} {video.codec}")
    facts.append(f"{audio.codec} sound" if audio is not None else "no sound")
    if video is None:
        facts.append("no picture")
    return text.append(f"  {', '.join(facts)}", style="dim")


def _segment_cells(segment: Segment) -> tuple[str | Text, ...]:
    bar = Text(score_bar(segment.score), style=_TASK_STYLE.get(segment.task, ""))
    weight = "dim" if segment.score < _WEAK_SCORE else "default"
    bar.append(f" {segment.score:.2f}", style=weight)
    return (
        clock_time(segment.start_s),
        clock_time(segment.end_s),
        Text(segment.task, style=_TASK_STYLE.get(segment.task, "")),
        Text(segment.label, style=weight),
        bar,
        carried_by(segment.visual_share),
    )


def score_bar(score: float) -> str:
    """A bar of block characters, an eighth of a cell fine, padded to its full width."""
    eighths = round(max(0.0, min(1.0, score)) * _BAR_WIDTH * 8)
    full, part = divmod(eighths, 8)
    bar = "█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")
    return bar.ljust(_BAR_WIDTH)


def carried_by(visual_share: float) -> str:
    """Which sense carried a label, in words."""
    if visual_share >= 0.995:
        return "picture"
    if visual_share <= 0.005:
        return "sound"
    return f"picture {visual_share:.0%}, sound {1 - visual_share:.0%}"


def terminal_json(value: object) -> str:
    """JSON on one line that holds no control characters, not even those that JSON allows."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", text)


def result_json(
    result: VideoResult, tasks: Sequence[Task], *, model_id: str, config_id: str, top_k: int
) -> dict[str, Any]:
    """One video as JSON: its row of the videos table, its segments and its windows."""
    row = video_row(result, model_id=model_id, config_id=config_id)
    drop = ("video_id", "uri")
    segments = [
        {key: value for key, value in segment_row(result, segment).items() if key not in drop}
        for segment in result.segments
    ]
    windows = []
    for scored in result.windows:
        visual_share, audio_share = window_shares(scored)
        windows.append(
            {
                "window": scored.window.index,
                "start_s": scored.window.start_s,
                "end_s": scored.window.end_s,
                "corrupt": scored.corrupt,
                **{
                    task.name: top_labels(task, scored.tasks.get(task.name), top_k)
                    for task in tasks
                },
                "visual_share": visual_share,
                "audio_share": audio_share,
            }
        )
    return {**row, "segments": segments, "windows": windows}
