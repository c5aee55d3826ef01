"""The ``analyze`` command: files in, a table or JSON out, and the result tables on disk."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as ProgressBar

from sightsound.models.bundle import Bundle, load_bundle
from sightsound.pipeline.config import Config
from sightsound.pipeline.identity import identity
from sightsound.pipeline.local import LocalEngine, Progress
from sightsound.pipeline.manifests import absolute_uri
from sightsound.pipeline.output import OutputError
from sightsound.pipeline.prepare import prepare
from sightsound.pipeline.show import result_json, show_result, terminal_json
from sightsound.stages.errors import printable
from sightsound.stages.records import VideoResult
from sightsound.stages.write import ResultWriter

_PLAIN_PROGRESS_EVERY_S = 5.0
EXIT_OK = 0
EXIT_SOME_FAILED = 3


def analyze(
    inputs: list[str], config: Config, *, out: Path | None, output: Literal["table", "json"]
) -> int:
    """Analyse files and show what was found.

    Returns:
        The exit status: 0 all ok, 3 some partial or failed.

    Raises:
        ModelError: the model cannot be had.
        OutputError: ``out`` holds the results of a batch.
        OSError: the result tables cannot be written.
    """
    notes = Console(stderr=True)
    bundle = load_bundle(config.model)
    uris = [absolute_uri(item) for item in inputs]
    writer = _writer(out, bundle, config) if out is not None else None
    prepare(config, bundle, say=lambda text: notes.print(text, highlight=False))
    started = datetime.now(UTC)
    counts: Counter[str] = Counter()
    show = _shower(output, bundle, config)
    engine = LocalEngine(config, bundle)
    with _progress(notes) as on_progress:
        for result in engine.run(uris, on_progress=on_progress):
            counts[result.status] += 1
            show(result)
            if writer is not None:
                writer.add(result)
    show(None)
    if writer is not None:
        writer.close(run_record(config, bundle, started=started, n_inputs=len(uris), counts=counts))
    _summarise(notes, counts, out)
    return EXIT_OK if counts["ok"] == len(uris) else EXIT_SOME_FAILED


def run_record(
    config: Config, bundle: Bundle, *, started: datetime, n_inputs: int, counts: Counter[str]
) -> dict[str, Any]:
    """What ``run.json`` says: configuration, model, versions, times and counts."""
    return {
        "command": "analyze",
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": n_inputs,
        "counts": {status: counts[status] for status in ("ok", "partial", "failed")},
        **identity(config, bundle),
    }


def _writer(out: Path, bundle: Bundle, config: Config) -> ResultWriter:
    if (out / "ledger").is_dir():
        raise OutputError(
            f"{out} holds the results of 'batch', which would be replaced: choose another --out."
        )
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"{out} cannot be used for results ({error.strerror}): choose another --out."
        ) from error
    return ResultWriter(
        out,
        bundle.tasks,
        model_id=bundle.model_id,
        config_id=config.config_id(),
        top_k=config.output.top_k,
        embedding=config.output.embedding,
        part_bytes=config.output.part_bytes,
    )


def _shower(
    output: Literal["table", "json"], bundle: Bundle, config: Config
) -> Callable[[VideoResult | None], None]:
    """What shows a result on standard output; called with None at the end."""
    if output == "table":
        width = None if sys.stdout.isatty() else 110
        console = Console(width=width, highlight=False)

        def show_table(result: VideoResult | None) -> None:
            if result is not None:
                show_result(console, result, bundle.tasks)

        return show_table
    separator = ['{"videos": [\n']

    def show_json(result: VideoResult | None) -> None:
        if result is None:
            sys.stdout.write("\n]}\n" if separator[0] == ",\n" else '{"videos": []}\n')
        else:
            found = result_json(
                result,
                bundle.tasks,
                model_id=bundle.model_id,
                config_id=config.config_id(),
                top_k=config.output.top_k,
            )
            sys.stdout.write(separator[0] + terminal_json(found))
            separator[0] = ",\n"
        sys.stdout.flush()

    return show_json


@contextlib.contextmanager
def _progress(notes: Console) -> Iterator[Callable[[Progress], None]]:
    """A bar on a terminal, otherwise a line every few seconds; nothing for short runs."""
    if notes.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[video]}"),
            TimeElapsedColumn(),
        )
        with ProgressBar(*columns, console=notes, transient=True) as bar:
            task = bar.add_task("analysing", total=None, video="")

            def show_bar(progress: Progress) -> None:
                bar.update(
                    task,
                    total=progress.n_inputs,
                    completed=progress.n_done,
                    video=f"{progress.video_s:.0f} of {progress.of_video_s:.0f} s of video",
                )

            yield show_bar
        return
    last = [time.monotonic()]

    def show_line(progress: Progress) -> None:
        if time.monotonic() - last[0] >= _PLAIN_PROGRESS_EVERY_S:
            last[0] = time.monotonic()
            notes.print(
                f"{progress.n_done} of {progress.n_inputs} inputs done, "
                f"{progress.video_s:.0f} of {progress.of_video_s:.0f} s of video",
                highlight=False,
            )

    yield show_line


def _summarise(notes: Console, counts: Counter[str], out: Path | None) -> None:
    total = sum(counts.values())
    parts = [f"{counts[status]} {status}" for status in ("ok", "partial", "failed")]
    plural = "input" if total == 1 else "inputs"
    notes.print(f"{total} {plural}: {', '.join(parts)}.", highlight=False)
    if out is not None:
        where = printable(str(out))
        notes.print(
            f"Tables: {where}/videos, windows and segments (Parquet).",
            highlight=False,
            markup=False,
        )
