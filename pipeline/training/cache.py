"""Features of frozen networks, kept: Parquet parts keyed by content, backbone and variant.

Networks that never change need to see a picture once; training reads what they made of it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sightsound.pipeline.training.features import Job, Recipe, extract
from sightsound.stages.errors import StageError
from sightsound.stages.probe import content_id

_FILES_A_PART = 64

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


Key = tuple[str, str, int]


class FeatureCache:
    """A folder of Parquet parts. Parts are written whole and never changed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def keys(self) -> set[Key]:
        """What is there: (content id, backbone, variant)."""
        found: set[Key] = set()
        for path in sorted(self.folder.glob("*.parquet")):
            table = pq.read_table(path, columns=["content_id", "backbone", "variant"])
            columns = (column.to_pylist() for column in table.columns)
            found.update(zip(*columns, strict=True))
        return found

    def write(self, rows: list[dict[str, object]]) -> None:
        """Add a part."""
        names = "\n".join(f"{r['content_id']} {r['backbone']} {r['variant']}" for r in rows)
        name = hashlib.sha256(names.encode()).hexdigest()[:24]
        part = self.folder / f".{name}.{os.getpid()}"
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), part, compression="zstd")
        part.replace(self.folder / f"{name}.parquet")

    def load(self, wanted: set[str]) -> dict[Key, FileFeatures]:
        """Everything kept for the content ids that are ``wanted``."""
        found: dict[Key, FileFeatures] = {}
        for path in sorted(self.folder.glob("*.parquet")):
            for row in pq.read_table(path).to_pylist():
                if row["content_id"] not in wanted:
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
        wanted: Iterable[tuple[Path, Sequence[Recipe]]],
        *,
        n_processes: int = 2,
        on_progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Extract what is missing, in processes of one thread each."""
        jobs = list(_missing(wanted, self.keys()))
        parts = [jobs[i : i + _FILES_A_PART] for i in range(0, len(jobs), _FILES_A_PART)]
        if not parts:
            return
        with ProcessPoolExecutor(n_processes, mp_context=get_context("spawn")) as pool:
            running = [pool.submit(_extract_part, self.folder, part) for part in parts]
            for done, future in enumerate(as_completed(running), start=1):
                for problem in future.result():
                    on_progress(problem)
                on_progress(f"features: part {done} of {len(parts)}")


def _missing(wanted: Iterable[tuple[Path, Sequence[Recipe]]], known: set[Key]) -> Iterator[Job]:
    for path, recipes in wanted:
        file_id = content_id(str(path))
        for recipe in recipes:
            variants = tuple(
                variant
                for variant in range(recipe.n_variants)
                if (file_id, recipe.backbone, variant) not in known
            )
            if variants:
                yield Job(path=path, content_id=file_id, recipe=recipe, variants=variants)


def _extract_part(folder: Path, jobs: Sequence[Job]) -> list[str]:
    """Extract some files and write them as one part; return what went wrong."""
    rows: list[dict[str, object]] = []
    problems = []
    for job in jobs:
        try:
            rows += extract(job)
        except StageError as error:
            problems.append(f"left out: {error}")
    FeatureCache(folder).write(rows)
    return problems
