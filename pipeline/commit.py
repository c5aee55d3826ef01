"""Results on their way into the tables: gathered, then committed together.

Memory: rows wait as Arrow tables until there are ``part_bytes`` of them or ``commit_s`` have
passed; at most ``_CHUNK`` results wait as Python objects.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from sightsound.models.bundle import Task
from sightsound.pipeline.config import OutputConfig
from sightsound.pipeline.digest import video_digest
from sightsound.pipeline.keys import KEY, keys_from_hex
from sightsound.pipeline.ledger import ENTRY, STATUSES, Entries, Ledger, Part
from sightsound.stages.records import VideoResult
from sightsound.stages.tables import TABLES, result_rows, table_schemas

_CHUNK = 256


@dataclass(frozen=True, kw_only=True)
class Input:
    """One input of a run: where it is, how it was when the run began, and what came with it.

    ``content_id`` is given where it had to be known beforehand; ``extra`` are the values of the
    manifest's other columns.
    """

    position: int
    uri: str
    key: np.void
    size_bytes: int = -1
    modified_ns: int = -1
    content_id: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Committer:
    """Takes results and commits them to the ledger in good time."""

    def __init__(
        self,
        ledger: Ledger,
        tasks: Sequence[Task],
        output: OutputConfig,
        *,
        extra: pa.Schema,
        commit_s: float,
    ) -> None:
        self._ledger = ledger
        self._tasks = tasks
        self._options = output
        self._commit_s = commit_s
        self._schemas = table_schemas(tasks, embedding=output.embedding, extra=extra)
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
        self._tables: dict[str, list[pa.Table]] = {name: [] for name in TABLES}
        self._held_bytes = dict.fromkeys(TABLES, 0)
        self._entries: list[Entries] = []
        self._first_at = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._entries

    def add(self, source: Input, result: VideoResult) -> None:
        """Take one result; commit if enough have gathered.

        Raises:
            OSError: the commit cannot be written.
        """
        run = self._ledger.run
        rows = result_rows(
            result,
            self._tasks,
            model_id=run.model_id,
            config_id=run.config_id,
            top_k=self._options.top_k,
            embedding=self._options.embedding,
        )
        self.add_rows(source, *rows)

    def add_rows(
        self,
        source: Input,
        video: dict[str, Any],
        windows: list[dict[str, Any]],
        segments: list[dict[str, Any]],
    ) -> None:
        """Take the rows of one result; commit if enough have gathered.

        Raises:
            OSError: the commit cannot be written.
        """
        if self.is_empty:
            self._first_at = time.monotonic()
        content_id = video["video_id"] or source.content_id
        entry = np.zeros(1, dtype=ENTRY)
        entry["key"] = source.key
        entry["size_bytes"], entry["modified_ns"] = source.size_bytes, source.modified_ns
        if content_id is not None:
            entry["content"] = keys_from_hex([content_id])
            entry["has_content"] = True
        entry["status"] = STATUSES.index(video["status"])
        entry["digest"] = np.frombuffer(video_digest(video, windows, segments), dtype=KEY)
        self._entries.append(entry)
        self._rows["videos"].append(video | source.extra)
        self._rows["windows"] += windows
        self._rows["segments"] += segments
        if len(self._rows["videos"]) >= _CHUNK or len(self._rows["windows"]) >= 16 * _CHUNK:
            self._convert()
        self.commit_if_due()

    def commit_if_due(self) -> None:
        """Commit if the first result has waited long enough, or there is a part's worth.

        Raises:
            OSError: the commit cannot be written.
        """
        if self.is_empty:
            return
        most = max(self._held_bytes.values())
        if most >= self._options.part_bytes or time.monotonic() - self._first_at > self._commit_s:
            self.commit()

    def commit(self) -> None:
        """Commit what has gathered.

        Raises:
            OSError: the commit cannot be written.
        """
        if self.is_empty:
            return
        self._convert()
        parts = {
            name: Part(self._schemas[name], found, self._held_bytes[name])
            for name, found in self._tables.items()
            if found
        }
        self._ledger.commit(np.concatenate(self._entries), parts)
        self._entries = []
        self._tables = {name: [] for name in TABLES}
        self._held_bytes = dict.fromkeys(TABLES, 0)

    def _convert(self) -> None:
        for name, rows in self._rows.items():
            if rows:
                table = pa.Table.from_pylist(rows, schema=self._schemas[name])
                self._tables[name].append(table)
                self._held_bytes[name] += table.nbytes
        self._rows = {name: [] for name in TABLES}
