"""Write: results to Parquet parts, each complete or absent.

A part is written under a temporary name, flushed to disk and renamed. Parts are cut by bytes,
not by video. Rows wait in memory as Arrow tables, at most ``part_bytes`` a table.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sightsound.models.bundle import Task
from sightsound.stages.records import VideoResult
from sightsound.stages.storage import write_whole
from sightsound.stages.tables import TABLES, result_rows, table_schemas

RUN_FILE = "run.json"


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
        self._schemas = table_schemas(tasks, embedding=embedding)
        for name in TABLES:
            (folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, result: VideoResult) -> None:
        """Take the rows of one video; write a part where enough have gathered."""
        video, windows, segments = result_rows(
            result,
            self._tasks,
            model_id=self._model_id,
            config_id=self._config_id,
            top_k=self._top_k,
            embedding=self._embedding,
        )
        for name, found in zip(TABLES, ([video], windows, segments), strict=True):
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
        write_whole(self.folder / RUN_FILE, lambda path: path.write_text(text, encoding="utf-8"))
        for name in TABLES:
            for path in (self.folder / name).glob("*.parquet"):
                if not path.name.startswith(self._run):
                    path.unlink()

    def _write_part(self, name: str) -> None:
        schema = self._schemas[name]
        tables = self._waiting[name] or [schema.empty_table()]
        table = pa.concat_tables(tables)
        path = self.folder / name / f"{self._run}-{self._n_parts:05d}.parquet"
        write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))
        self._n_parts += 1
        self._waiting[name] = []
