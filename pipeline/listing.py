"""Listing: the inputs of a run, each once, with what tells whether one was done before.

The rows lie in a temporary file that has no name, so that a killed run leaves nothing behind; in
memory is what is searched: 32 bytes an input.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sightsound.pipeline.keys import KEY, KeyIndex, Keys, make_keys
from sightsound.pipeline.manifests import SourceError
from sightsound.stages.storage import file_facts, is_remote, local_path

UNKNOWN = -1

# A store is asked for one file at a time, and most of that is waiting.
_STORE_THREADS = 16
_OWN_COLUMNS = frozenset(("uri", "id", "size_bytes", "modified_ns"))


class Listing:
    """The inputs of one run, in order, each once; made by ``build``. Close it, or use ``with``.

    Attributes:
        keys: one an input, from its ``uri``.
        size_bytes: int64; ``UNKNOWN`` where it is no file or cannot be reached.
        modified_ns: int64, nanoseconds since 1970; ``UNKNOWN`` as well where a store keeps none.
        n_repeated: how many inputs were named more than once and left out.
        passthrough: the columns that manifests brought, ``id`` first where there are any.
    """

    def __init__(self) -> None:
        self.keys: Keys = np.empty(0, KEY)
        self.size_bytes: NDArray[np.int64] = np.empty(0, np.int64)
        self.modified_ns: NDArray[np.int64] = np.empty(0, np.int64)
        self.n_repeated = 0
        self.passthrough: pa.Schema = pa.schema([])
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close.
        # Where each batch lies in the file, in bytes, and its first row among all that were named.
        self._spans: list[tuple[int, int]] = []
        self._starts = [0]
        # The rows, among all that were named, that are inputs.
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)

    @classmethod
    def build(
        cls,
        batches: Iterator[pa.RecordBatch],
        *,
        on_progress: Callable[[int], None] = lambda n_named: None,
    ) -> Listing:
        """List what ``read_sources`` gives.

        ``on_progress`` is told after each batch how many inputs were named so far.

        Raises:
            SourceError: a source cannot be read, or manifests disagree on a column's type.
            OSError: the temporary file cannot be written.
        """
        listing = cls()
        try:
            listing._fill(batches, on_progress)
        except BaseException:
            listing.close()
            raise
        return listing

    def __len__(self) -> int:
        return len(self._rows)

    def __enter__(self) -> Listing:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the temporary file back."""
        self._file.close()

    def batches(self, mask: NDArray[np.bool_] | None = None) -> Iterator[pa.RecordBatch]:
        """The inputs of which a mask is true, in order; all without one.

        The columns are position (among all inputs), uri, id, size_bytes, modified_ns and those of
        ``passthrough``. Several threads may read at once.

        Raises:
            ValueError: the mask has another length than the listing.
        """
        positions = np.arange(len(self)) if mask is None else np.flatnonzero(mask)
        if mask is not None and len(mask) != len(self):
            raise ValueError(f"The mask has {len(mask)} values for {len(self)} inputs.")
        rows = self._rows[positions]
        bounds = np.searchsorted(rows, self._starts)
        for index, (offset, length) in enumerate(self._spans):
            some = slice(bounds[index], bounds[index + 1])
            if some.start < some.stop:
                stored = pa.ipc.open_stream(os.pread(self._file.fileno(), length, offset))
                batch = stored.read_next_batch().take(pa.array(rows[some] - self._starts[index]))
                yield self._output(batch, positions[some])

    def _output(self, batch: pa.RecordBatch, positions: NDArray[np.int64]) -> pa.RecordBatch:
        columns = {
            "position": pa.array(positions, pa.int64()),
            "uri": batch["uri"],
            "id": batch["id"],
            "size_bytes": pa.array(self.size_bytes[positions]),
            "modified_ns": pa.array(self.modified_ns[positions]),
        }
        for field in self.passthrough:
            found = field.name in batch.schema.names
            values = batch[field.name] if found else pa.nulls(batch.num_rows)
            columns[field.name] = values.cast(field.type)
        return pa.record_batch(columns)

    def _fill(self, batches: Iterator[pa.RecordBatch], on_progress: Callable[[int], None]) -> None:
        keys: list[Keys] = []
        facts: list[NDArray[np.int64]] = []
        fields: dict[str, pa.DataType] = {}
        has_ids = False
        with ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="facts") as pool:
            for batch in batches:
                _unify(fields, batch.schema)
                keys.append(make_keys(batch["uri"].to_pylist()))
                has_ids |= batch["id"].null_count < batch.num_rows
                facts.append(_facts(batch, pool))
                self._store(batch)
                on_progress(self._starts[-1])
        named = np.concatenate([self.keys, *keys])
        found = np.concatenate([np.empty((2, 0), np.int64), *facts], axis=1)
        # The last in reverse is the first.
        self._rows = np.flatnonzero(KeyIndex(named[::-1]).is_last()[::-1])
        self.keys = named[self._rows]
        self.size_bytes, self.modified_ns = found[:, self._rows]
        self.n_repeated = len(named) - len(self._rows)
        ids = [("id", pa.string())] if has_ids else []
        self.passthrough = pa.schema([*ids, *fields.items()])

    def _store(self, batch: pa.RecordBatch) -> None:
        kept = [name for name in batch.schema.names if name not in ("size_bytes", "modified_ns")]
        batch = batch.select(kept)
        sink = pa.BufferOutputStream()
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(sink, batch.schema, options=options) as writer:
            writer.write_batch(batch)
        data = sink.getvalue()
        self._spans.append((self._file.tell(), data.size))
        self._file.write(data)
        # Batches are read by pread, which does not see what Python still holds.
        self._file.flush()
        self._starts.append(self._starts[-1] + batch.num_rows)


def _unify(fields: dict[str, pa.DataType], schema: pa.Schema) -> None:
    """Add a manifest's columns to those known."""
    for field in schema:
        if field.name in _OWN_COLUMNS:
            continue
        known = fields.setdefault(field.name, field.type)
        if pa.types.is_null(known):
            fields[field.name] = field.type
        elif field.type != known and not pa.types.is_null(field.type):
            raise SourceError(
                f"Column {field.name} is {known} in one manifest and {field.type} in another: "
                "give it one type, or rename it in one of them."
            )


def _facts(batch: pa.RecordBatch, pool: ThreadPoolExecutor) -> NDArray[np.int64]:
    """Size in bytes and time in nanoseconds of each input, shape (2, n)."""
    facts = np.full((2, batch.num_rows), UNKNOWN, np.int64)
    known = np.zeros(batch.num_rows, np.bool_)
    if "size_bytes" in batch.schema.names:
        known = batch["size_bytes"].is_valid().to_numpy(zero_copy_only=False)
        for row, name in enumerate(("size_bytes", "modified_ns")):
            facts[row] = pc.fill_null(batch[name], UNKNOWN).to_numpy()
    missing = np.flatnonzero(~known)
    remote = []
    for index, uri in zip(missing, batch["uri"].take(pa.array(missing)).to_pylist(), strict=True):
        if uri.startswith("/"):
            facts[:, index] = _local_facts(uri)
        elif is_remote(uri):
            remote.append((index, uri))
        else:
            facts[:, index] = _file_uri_facts(uri)
    found = pool.map(_remote_facts, [uri for _, uri in remote])
    for (index, _), pair in zip(remote, found, strict=True):
        facts[:, index] = pair
    return facts


def _local_facts(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return UNKNOWN, UNKNOWN
    if stat.S_ISREG(status.st_mode):
        return status.st_size, status.st_mtime_ns
    return UNKNOWN, UNKNOWN


def _file_uri_facts(uri: str) -> tuple[int, int]:
    try:
        return _local_facts(local_path(uri))
    except ValueError:
        return UNKNOWN, UNKNOWN


def _remote_facts(uri: str) -> tuple[int, int]:
    try:
        facts = file_facts(uri)
    except (OSError, ValueError):
        return UNKNOWN, UNKNOWN
    return facts.size_bytes, UNKNOWN if facts.modified_ns is None else facts.modified_ns
