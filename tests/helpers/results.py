"""Results of made-up videos, and the parts of a batch run that take them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pyarrow import fs

from sightsound.models.bundle import Task
from sightsound.pipeline.commit import Committer, Input
from sightsound.pipeline.config import OutputConfig
from sightsound.pipeline.keys import make_keys
from sightsound.pipeline.ledger import Ledger, RunKey
from sightsound.pipeline.output import Output
from sightsound.stages import storage
from sightsound.stages.plan import Grid
from sightsound.stages.records import (
    Failure,
    MediaInfo,
    Segment,
    Slice,
    SliceResult,
    TaskScores,
    VideoPlan,
    VideoResult,
    VideoStreamInfo,
    Window,
    WindowScores,
)
from sightsound.stages.segment import SegmentRule, Segments
from sightsound.stages.tables import TABLES

RUN = RunKey("model", "config")
TASKS = (
    Task(name="action", kind="single", labels=("run", "jump", "swim"), sources={"fusion": 1}),
    Task(name="sound", kind="multi", labels=("bark", "bell"), sources={"ear": 1}),
)
GRID = Grid(fps=Fraction(2), length_s=8.0, hop_s=4.0)
SEGMENTS = Segments(
    TASKS,
    {
        task.name: SegmentRule(min_score=0.25, keep_score=0.25, switch_margin=0.125)
        for task in TASKS
    },
    GRID,
)
DAMAGED = Failure(stage="decode", code="damaged", message="It is damaged.")


def content_of(name: str) -> str:
    """A content id: 32 hexadecimal digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


def window(index: int) -> Window:
    return Window(index=index, start_s=4.0 * index, end_s=4.0 * index + 8)


def scored(index: int, *, score: float = 0.5) -> WindowScores:
    """A window with a score for every label, the first best."""
    return WindowScores(
        window=window(index),
        has_video=True,
        has_audio=True,
        corrupt=False,
        tasks={
            task.name: TaskScores(
                indices=np.arange(len(task.labels), dtype=np.int32),
                scores=(score / np.arange(1, len(task.labels) + 1)).astype(np.float32),
                peaks_s=np.full(len(task.labels), 4.0 * index + 1),
                visual_share=0.75,
                audio_share=0.25,
            )
            for task in TASKS
        },
    )


def media_info(uri: str, content: str | None = None) -> MediaInfo:
    """A file with a picture; its content id is that of its name unless another is given."""
    return MediaInfo(
        path=uri,
        video_id=content or content_of(uri),
        size_bytes=1000,
        container="mov",
        claimed_duration_s=12.0,
        video=VideoStreamInfo(
            index=0,
            codec="h264",
            width=64,
            height=48,
            pixel_aspect=Fraction(1),
            average_rate=Fraction(30000, 1001),
            time_base=Fraction(1, 90000),
            start_pts=0,
            claimed_frames=360,
            reorders=True,
        ),
        audio=None,
    )


def piece(index: int, first: int, stop: int) -> Slice:
    """A slice of the windows from ``first`` up to ``stop``."""
    return Slice(
        index=index,
        windows=tuple(window(number) for number in range(first, stop)),
        first_sample=8 * first,
        sample_pts=np.zeros(0, dtype=np.int64),
        owned_from=8 * first,
        owned_to=8 * stop,
        packets=None,
    )


def video_plan(*slices: Slice, n_windows: int | None = None) -> VideoPlan:
    count = sum(len(item.windows) for item in slices) if n_windows is None else n_windows
    return VideoPlan(
        origin_s=Fraction(0),
        duration_s=4.0 * count + 4,
        fps=Fraction(2),
        video_span_s=(0.0, 4.0 * count + 4),
        audio_span_s=None,
        n_windows=count,
        slices=slices,
        truncated=False,
    )


def slice_result(item: Slice, *, score: float = 0.5) -> SliceResult:
    return SliceResult(
        index=item.index,
        windows=tuple(scored(number.index, score=score) for number in item.windows),
        n_frames_decoded=8 * len(item.windows),
        n_frames_corrupt=item.index,
        rotation=0,
        decoded_in_full=False,
        stage_s={"decode": 0.1 * (item.index + 1), "fuse": 0.01},
    )


def labelled(
    uri: str, *, n_windows: int = 2, score: float = 0.5, content: str | None = None
) -> VideoResult:
    """A video that is ok. Another ``score`` makes another result."""
    windows = tuple(scored(index, score=score) for index in range(n_windows))
    return VideoResult(
        uri=uri,
        status="ok",
        failure=None,
        info=media_info(uri, content),
        plan=video_plan(n_windows=n_windows),
        windows=windows,
        segments=tuple(SEGMENTS(windows)),
        n_frames_decoded=8 * n_windows,
        processing_s=1.25,
    )


def failed(uri: str, code: Any = "not_media") -> VideoResult:
    return VideoResult(
        uri=uri,
        status="failed",
        failure=Failure(stage="probe", code=code, message=f"{uri} is no media file."),
    )


def source(uri: str, position: int = 0, **facts: Any) -> Input:
    return Input(position=position, uri=uri, key=make_keys([uri])[0], **facts)


def open_ledger(folder: Path, run: RunKey = RUN) -> Ledger:
    return Ledger(Output(str(folder)), run)


def committer(ledger: Ledger, *, extra: pa.Schema | None = None, **options: Any) -> Committer:
    """One that commits only when told to, unless ``options`` say otherwise."""
    output = OutputConfig().model_copy(update={"part_bytes": 1 << 40} | options)
    return Committer(ledger, TASKS, output, extra=extra or pa.schema([]), commit_s=1e9)


def commit(
    ledger: Ledger,
    *results: VideoResult,
    sources: Iterable[Input] | None = None,
    extra: pa.Schema | None = None,
) -> int:
    """Commit results together; the number of the commit."""
    waiting = committer(ledger, extra=extra)
    inputs = sources or [source(result.uri) for result in results]
    for item, result in zip(inputs, results, strict=True):
        waiting.add(item, result)
    waiting.commit()
    return ledger.next_number - 1


def rows(folder: Path, table: str) -> list[dict[str, Any]]:
    """All rows of a table, as a reader of the output sees them."""
    found: list[dict[str, Any]] = []
    for path in sorted((folder / table).glob("*.parquet")):
        found += pq.read_table(path).to_pylist()
    return found


def all_rows(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of all tables in an order that does not depend on how they were written."""
    keys = ("uri", "window", "task", "label", "start_s")
    return {
        table: sorted(rows(folder, table), key=lambda row: [str(row.get(key)) for key in keys])
        for table in TABLES
    }


def files(folder: Path) -> list[str]:
    """All files below a folder, by their path in it."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class StandInListing:
    """What a run knows of its inputs, without files: (uri, size) or (uri, size, time) each."""

    def __init__(self, *inputs: tuple[Any, ...]) -> None:
        self.uris = [item[0] for item in inputs]
        self.keys = make_keys(self.uris)
        self.size_bytes = np.array([item[1] for item in inputs], dtype=np.int64)
        self.modified_ns = np.array([(*item, 0)[2] for item in inputs], dtype=np.int64)
        self.passthrough = pa.schema([])
        self.n_repeated = 0

    def __len__(self) -> int:
        return len(self.uris)

    def batches(self, mask: Any = None) -> Iterator[pa.RecordBatch]:
        """Two inputs at a time, as a listing gives thousands."""
        chosen = np.arange(len(self)) if mask is None else np.flatnonzero(mask)
        for start in range(0, len(chosen), 2):
            positions = chosen[start : start + 2]
            yield pa.record_batch(
                {
                    "position": pa.array(positions, pa.int64()),
                    "uri": pa.array([self.uris[index] for index in positions], pa.string()),
                    "size_bytes": pa.array(self.size_bytes[positions]),
                    "modified_ns": pa.array(self.modified_ns[positions]),
                }
            )


def fail_write_table(patch: pytest.MonkeyPatch, nth: int) -> None:
    """Let the n-th table from now on fail to be written, as on a full disk."""
    real, calls = Output.write_tables, [0]

    def write_tables(
        self: Output, name: str, schema: pa.Schema, tables: Iterable[pa.Table]
    ) -> None:
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(28, "No space left on device", name)
        real(self, name, schema, tables)

    patch.setattr(Output, "write_tables", write_tables)


@pytest.fixture(scope="module", autouse=True)
def no_flush() -> Iterator[None]:
    """Nothing here loses power, and waiting for the disk takes most of the time.

    For modules that import it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(storage.os, "fsync", lambda descriptor: None)
        yield


class KilledError(BaseException):
    """Stands for the end of the process: nothing catches it."""


def kill_at(patch: pytest.MonkeyPatch, nth: int) -> None:
    """Let the n-th change of the output from now on be the last, and be done only by half."""
    write, delete, left = Output.write, Output.delete, [nth]

    def is_last() -> bool:
        left[0] -= 1
        return left[0] <= 0

    def dying_write(self: Output, name: str, data: Any) -> None:
        if is_last():
            folder, _, base = name.rpartition("/")
            half = bytes(data)[: len(data) // 2]
            write(self, f"{folder}/.{base}{storage.TEMPORARY_SUFFIX}", half)
            raise KilledError
        write(self, name, data)

    def dying_delete(self: Output, name: str) -> None:
        if is_last():
            raise KilledError
        delete(self, name)

    patch.setattr(Output, "write", dying_write)
    patch.setattr(Output, "delete", dying_delete)


def use_store(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """A store whose bucket is a folder; URIs begin with store://bucket."""
    (folder / "bucket").mkdir(parents=True)
    system = fs.SubTreeFileSystem(str(folder), fs.LocalFileSystem())
    real = storage._file_system

    def file_system(root: str) -> tuple[fs.FileSystem, str]:
        if not root.startswith("store://"):
            return real(root)
        return system, root.removeprefix("store://").partition("?")[0]

    patch.setattr(storage, "_file_system", file_system)


def plain(value: Any) -> Any:
    """A record as what can be compared, with the types of its arrays."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tolist()
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


# Strategies

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
FLOATS32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
SHARES = st.floats(0, 1)


@st.composite
def task_scores(draw: st.DrawFn, n_labels: int) -> TaskScores:
    return TaskScores(
        indices=np.array(draw(st.permutations(range(n_labels))), dtype=np.int32),
        scores=draw(npst.arrays(np.float32, n_labels, elements=FLOATS32)),
        peaks_s=draw(npst.arrays(np.float64, n_labels, elements=FLOATS)),
        visual_share=draw(SHARES),
        audio_share=draw(SHARES),
    )


@st.composite
def window_scores(draw: st.DrawFn, index: int, n_labels: dict[str, int]) -> WindowScores:
    """Any scores; which tasks there are differs from window to window."""
    names = draw(st.lists(st.sampled_from(sorted(n_labels)), unique=True))
    embedding = draw(st.none() | npst.arrays(np.float32, 3, elements=FLOATS32))
    return WindowScores(
        window=Window(index=index, start_s=draw(FLOATS), end_s=draw(FLOATS)),
        has_video=draw(st.booleans()),
        has_audio=draw(st.booleans()),
        corrupt=draw(st.booleans()),
        tasks={name: draw(task_scores(n_labels[name])) for name in names},
        embedding=embedding,
    )


@st.composite
def segments(draw: st.DrawFn) -> Segment:
    return Segment(
        task=draw(st.sampled_from(("action", "sound"))),
        label=draw(st.sampled_from(("run", "Läuten", "bell"))),
        start_s=draw(FLOATS),
        end_s=draw(FLOATS),
        score=draw(FLOATS32),
        peak_score=draw(FLOATS32),
        peak_s=draw(FLOATS),
        visual_share=draw(SHARES),
        audio_share=draw(SHARES),
    )
