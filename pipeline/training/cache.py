"""Features of frozen networks, kept: Parquet parts keyed by content, backbone and variant.

Networks that never change need to see a picture once; training reads what they made of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sightsound.pipeline.training.features import Extraction, Job, extract, load_networks
from sightsound.pipeline.workers import (
    WORKER_ENVIRONMENT,
    Handler,
    Limits,
    Outcome,
    WorkerPool,
)
from sightsound.stages.errors import StageError
from sightsound.stages.probe import content_id

_JOBS_A_PART = 64
_PART_BYTES = 64 << 20
_LIMITS = Limits(stall_s=120.0, deadline_s=7200.0)

_SCHEMA = pa.schema(
    [
        ("content_id", pa.string()),
        ("backbone", pa.string()),
        ("variant", pa.int32()),
        ("duration_s", pa.float64()),
        ("times_s", pa.list_(pa.float64())),
        ("values", pa.binary()),
    ]
)


@dataclass(frozen=True, kw_only=True)
class FileFeatures:
    """Tokens of one file by one backbone in one variant.

    ``times_s`` (n,) seconds from the start; ``values`` (n, dim) float16, embeddings or logits.
    """

    duration_s: float
    times_s: NDArray[np.float64]
    values: NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What came of filling a cache: content ids of the files read, a sentence for each failed."""

    ids: dict[Path, str]
    failed: dict[Path, str]


# Content id, the name of an extraction, variant.
Key = tuple[str, str, int]


class FeatureCache:
    """A folder of Parquet parts. Parts are written whole and never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keys(self) -> set[Key]:
        """What is there."""
        found: set[Key] = set()
        for path in sorted(self.folder.glob("*.parquet")):
            table = pq.read_table(path, columns=["content_id", "backbone", "variant"])
            columns = (column.to_pylist() for column in table.columns)
            found.update(zip(*columns, strict=True))
        return found

    def write(self, rows: list[dict[str, Any]]) -> None:
        """Add a part."""
        names = "\n".join(f"{r['content_id']} {r['backbone']} {r['variant']}" for r in rows)
        name = hashlib.sha256(names.encode()).hexdigest()[:24]
        part = self.folder / f".{name}.{os.getpid()}"
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), part, compression="zstd")
        part.replace(self.folder / f"{name}.parquet")

    def load(self, wanted: set[str], names: set[str] | None = None) -> dict[Key, FileFeatures]:
        """Everything kept for the content ids that are ``wanted``, under ``names`` or any name."""
        found: dict[Key, FileFeatures] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                if row["content_id"] not in wanted:
                    continue
                if names is not None and row["backbone"] not in names:
                    continue
                times_s = np.array(row["times_s"], dtype=np.float64)
                values = np.frombuffer(row["values"], dtype=np.float16)
                found[row["content_id"], row["backbone"], row["variant"]] = FileFeatures(
                    duration_s=row["duration_s"],
                    times_s=times_s,
                    values=values.reshape(len(times_s), -1) if len(times_s) else values,
                )
        return found

    def fill(
        self,
        wanted: Iterable[tuple[Path, Sequence[Extraction]]],
        *,
        n_processes: int = 2,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> Filled:
        """Extract what is missing, in processes of one thread each.

        A file that fails, or that a process dies of, costs itself alone.

        Raises:
            ModelError: weights are missing, or a network cannot be exported.
        """
        filled = Filled(ids={}, failed={})
        jobs = list(_missing(wanted, self.keys(), filled))
        for message in filled.failed.values():
            on_progress(f"left out: {message}")
        if not jobs:
            return filled
        _prepare(jobs)
        # A training in this process keeps its threads; workers have one each.
        environment = dict(os.environ)
        os.environ.update(WORKER_ENVIRONMENT)
        try:
            self._extract(jobs, filled.failed, n_processes=n_processes, on_progress=on_progress)
        finally:
            os.environ.clear()
            os.environ.update(environment)
        return filled

    def _extract(
        self,
        jobs: Sequence[Job],
        failed: dict[Path, str],
        *,
        n_processes: int,
        on_progress: Callable[[str], None],
    ) -> None:
        rows: list[dict[str, Any]] = []
        done = n_bytes = 0
        with WorkerPool(_make_handler, n_processes) as pool:
            for outcome in _outcomes(pool, jobs):
                done += 1
                if outcome.kind == "done":
                    rows += outcome.value
                    n_bytes += sum(len(row["values"]) for row in outcome.value)
                elif outcome.task.path not in failed:
                    failed[outcome.task.path] = _problem(outcome)
                    on_progress(f"left out: {failed[outcome.task.path]}")
                if len(rows) >= _JOBS_A_PART or n_bytes >= _PART_BYTES:
                    self.write(rows)
                    rows, n_bytes = [], 0
                    on_progress(f"features: {done} of {len(jobs)}")
        if rows:
            self.write(rows)
        on_progress(f"features: {done} of {len(jobs)}")


def _missing(
    wanted: Iterable[tuple[Path, Sequence[Extraction]]], known: set[Key], filled: Filled
) -> Iterator[Job]:
    seen: set[Key] = set(known)
    for path, extractions in wanted:
        try:
            file_id = content_id(str(path))
        except (StageError, OSError) as error:
            filled.failed[path] = f"{path} cannot be read ({error})."
            continue
        filled.ids[path] = file_id
        for extraction in extractions:
            keys = {v: (file_id, extraction.name(v), v) for v in range(extraction.n_variants)}
            variants = tuple(variant for variant, key in keys.items() if key not in seen)
            seen.update(keys.values())
            if variants:
                yield Job(path=path, content_id=file_id, extraction=extraction, variants=variants)


def _prepare(jobs: Sequence[Job]) -> None:
    """Export networks in a process of its own, so that no worker ever imports torch."""
    names = tuple(sorted({job.extraction.backbone for job in jobs}))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        pool.submit(load_networks, names).result()


def _make_handler() -> Handler:
    return _handle


def _handle(job: Job, alive: Callable[[], None]) -> list[dict[str, object]]:
    return extract(job, alive)


def _outcomes(pool: WorkerPool, jobs: Sequence[Job]) -> Iterator[Outcome]:
    waiting = list(reversed(jobs))
    while waiting or pool.n_busy:
        while waiting and pool.n_idle:
            pool.submit(waiting.pop(), _LIMITS)
        yield from pool.wait()


def _problem(outcome: Outcome) -> str:
    if outcome.error is not None:
        return outcome.error.message
    return f"{outcome.task.path} gave no features: {outcome.reason}."
