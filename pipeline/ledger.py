"""The ledger: which inputs are done, and in which parts of the tables their rows are.

    OUT/ledger/00000042.parquet     one row for each input of commit 42
    OUT/videos/00000042.parquet     and likewise windows and segments: the rows of those inputs

A commit is there when its file in the ledger is: that is written last. Parts without one are
what a killed run left, and are deleted when the ledger is opened. Of an input that was committed
several times (tried again, or with another configuration) the last counts; ``pipeline.compact``
removes the rows of the others.

Memory: 96 bytes an entry, 96 MB for a million.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from sightsound.pipeline.keys import KEY, KeyIndex, Keys
from sightsound.pipeline.manifests import SourceError
from sightsound.pipeline.output import Output, OutputError
from sightsound.stages.tables import TABLES

STATUSES = ("ok", "partial", "failed")
FAILED = STATUSES.index("failed")
FOLDER = "ledger"
_META = b"sightsound"

ENTRY = np.dtype(
    [
        ("key", KEY),
        ("size_bytes", "<i8"),
        ("modified_ns", "<i8"),
        ("content", KEY),
        ("has_content", "?"),
        ("status", "i1"),
        ("digest", KEY),
        ("run", "<i4"),
        ("commit", "<i4"),
    ]
)
Entries = NDArray[np.void]


@dataclass(frozen=True)
class RunKey:
    """What results depend on beside the content: model and configuration."""

    model_id: str
    config_id: str


@dataclass(frozen=True)
class Part:
    """The rows of a table that a commit writes, in pieces; ``size_bytes`` is before compression."""

    schema: pa.Schema
    tables: Iterable[pa.Table]
    size_bytes: int


class Ledger:
    """The commits in one output. One process at a time may have it open for writing."""

    def __init__(self, output: Output, run: RunKey) -> None:
        """Read the ledger and remove what killed runs have left.

        Raises:
            OutputError: it holds tables that are not of a ledger.
            OSError: the output cannot be read or written.
        """
        self.output = output
        self.run = run
        self.runs: list[RunKey] = [run]
        self.n_removed = 0
        self._chunks: list[Entries] = []
        self._index: KeyIndex | None = None
        self.commit_bytes: dict[int, int] = {}
        self.next_number = 1
        self._load()

    @property
    def entries(self) -> Entries:
        """All entries, oldest first."""
        if len(self._chunks) != 1:
            self._chunks = [np.concatenate([np.empty(0, dtype=ENTRY), *self._chunks])]
        return self._chunks[0]

    @property
    def index(self) -> KeyIndex:
        """Where the last entry of each input is."""
        if self._index is None:
            self._index = KeyIndex(self.entries["key"])
        return self._index

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """The place in ``entries`` of each input's last entry of this run's key, or -1."""
        entries, places = self.entries, self.index.find(keys)
        of_this_run = np.zeros(len(places), dtype=bool)
        there = places >= 0
        of_this_run[there] = entries["run"][places[there]] == 0
        return np.where(of_this_run, places, -1)

    def find_contents(self, contents: Keys) -> NDArray[np.int64]:
        """The place of an entry of this run's key with each content, or -1."""
        entries = self.entries
        usable = np.flatnonzero(
            entries["has_content"] & (entries["run"] == 0) & self.index.is_last()
        )
        # Where one went wrong and one did not, the one that did not.
        failed = entries["status"][usable] == FAILED
        usable = np.concatenate([usable[failed], usable[~failed]])
        found = KeyIndex(entries["content"][usable]).find(contents)
        places = np.full(len(contents), -1, dtype=np.int64)
        places[found >= 0] = usable[found[found >= 0]]
        return places

    def n_of_other_runs(self, keys: Keys) -> int:
        """How many of the inputs were last done with another model or configuration."""
        places = self.index.find(keys)
        return int(np.count_nonzero(self.entries["run"][places[places >= 0]] != 0))

    def check_columns(self, passthrough: pa.Schema) -> None:
        """See that the columns of a manifest have the types that earlier runs gave them.

        Raises:
            SourceError: one has another, so that the parts would not go together.
            OSError: the output cannot be read.
        """
        for number in self.commit_bytes if len(passthrough) else ():
            schema = self.output.schema(part_name("videos", number))
            for field in passthrough:
                known = schema.field(field.name).type if field.name in schema.names else field.type
                if not known.equals(field.type) and not pa.types.is_null(known):
                    raise SourceError(
                        f"Column {field.name} of the manifest is {field.type}, but {known} in the "
                        f"results of {self.output.root}: rename it, or choose another --out."
                    )

    def commit(
        self,
        entries: Entries,
        tables: Mapping[str, Part],
        *,
        replaces: tuple[int, ...] = (),
    ) -> int:
        """Write the rows of some inputs and then, as the last step, their entries.

        ``run`` of the entries is an index into ``runs``; ``commit`` is filled in here.

        Raises:
            OSError: it cannot be written; nothing of it counts then.
        """
        number = self.next_number
        # Taken even if this fails: parts of a commit that failed must not become another's.
        self.next_number = number + 1
        entries = entries.copy()
        entries["commit"] = number
        size = max((part.size_bytes for part in tables.values()), default=0)
        try:
            for name, part in tables.items():
                self.output.write_tables(part_name(name, number), part.schema, part.tables)
            self.output.write_table(
                part_name(FOLDER, number),
                self._to_table(entries, {"replaces": replaces, "bytes": size}),
            )
        except OSError:
            with contextlib.suppress(OSError):  # The next to open the ledger removes them.
                self._delete_commit(number)
            raise
        self.commit_bytes[number] = size
        self._chunks.append(entries)
        self._index = None
        if replaces:
            self.forget(replaces)
        return number

    def forget(self, replaced: tuple[int, ...]) -> None:
        """Delete commits whose rows are elsewhere or no longer count.

        Raises:
            OSError: the output cannot be written.
        """
        for number in replaced:
            self._delete_commit(number)
            self.commit_bytes.pop(number, None)
        kept = self.entries[~np.isin(self.entries["commit"], replaced)]
        self._chunks = [kept[np.argsort(kept["commit"], kind="stable")]]
        self._index = None

    def _load(self) -> None:
        numbers = _numbers(self.output, FOLDER)
        meta = {
            number: json.loads(self.output.schema(part_name(FOLDER, number)).metadata[_META])
            for number in numbers
        }
        replaced = {old for item in meta.values() for old in item["replaces"]}
        for number in sorted(replaced & set(numbers)):
            self.output.delete(part_name(FOLDER, number))
        alive = sorted(set(numbers) - replaced)
        self.commit_bytes = {number: meta[number]["bytes"] for number in alive}
        self._chunks = [
            self._from_table(self.output.read_table(part_name(FOLDER, number)), number)
            for number in alive
        ]
        n_videos = len(self.output.names("videos", suffix=".parquet"))
        if n_videos != len(_numbers(self.output, "videos")):
            raise OutputError(
                f"{self.output.root} holds tables that 'analyze' or others have written: choose "
                "another --out, or delete them."
            )
        self.n_removed = self.output.remove_temporary_files()
        for table in TABLES:
            for number in set(_numbers(self.output, table)) - set(self.commit_bytes):
                self.output.delete(part_name(table, number))
                self.n_removed += 1
        self.next_number = max([*numbers, 0]) + 1

    def _delete_commit(self, number: int) -> None:
        for folder in (FOLDER, *TABLES):
            self.output.delete(part_name(folder, number))

    def _to_table(self, entries: Entries, meta: dict[str, Any]) -> pa.Table:
        columns = {
            "input_key": _to_binary(entries["key"]),
            "size_bytes": pa.array(entries["size_bytes"]),
            "modified_ns": pa.array(entries["modified_ns"]),
            "content_id": _to_binary(entries["content"], mask=~entries["has_content"]),
            "status": pa.DictionaryArray.from_arrays(
                pa.array(entries["status"]), pa.array(STATUSES)
            ),
            "digest": _to_binary(entries["digest"]),
            "model_id": self._of_runs(entries, [run.model_id for run in self.runs]),
            "config_id": self._of_runs(entries, [run.config_id for run in self.runs]),
        }
        return pa.table(columns).replace_schema_metadata({_META: json.dumps(meta).encode()})

    @staticmethod
    def _of_runs(entries: Entries, values: list[str]) -> pa.Array:
        # No index of a dictionary may have a value twice.
        names = list(dict.fromkeys(values))
        places = np.array([names.index(value) for value in values], dtype=np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(places[entries["run"]]), pa.array(names))

    def _from_table(self, table: pa.Table, number: int) -> Entries:
        entries = np.zeros(table.num_rows, dtype=ENTRY)
        if not len(entries):
            return entries
        entries["key"] = _from_binary(table["input_key"])
        entries["size_bytes"] = table["size_bytes"].to_numpy()
        entries["modified_ns"] = table["modified_ns"].to_numpy()
        entries["has_content"] = table["content_id"].is_valid().to_numpy()
        entries["content"] = _from_binary(table["content_id"].fill_null(bytes(KEY.itemsize)))
        entries["status"] = _codes(table["status"].cast(pa.string()), list(STATUSES))
        entries["digest"] = _from_binary(table["digest"])
        entries["commit"] = number
        models = table["model_id"].cast(pa.string()).combine_chunks().dictionary_encode()
        configs = table["config_id"].cast(pa.string()).combine_chunks().dictionary_encode()
        pairs = np.stack([models.indices.to_numpy(), configs.indices.to_numpy()])
        for model, config in np.unique(pairs, axis=1).T:
            run = RunKey(models.dictionary[model].as_py(), configs.dictionary[config].as_py())
            if run not in self.runs:
                self.runs.append(run)
            entries["run"][(pairs == [[model], [config]]).all(axis=0)] = self.runs.index(run)
        return entries


def part_name(folder: str, number: int) -> str:
    """The part of a commit in a table or, in ``FOLDER``, the ledger's own."""
    return f"{folder}/{number:08d}.parquet"


def _numbers(output: Output, folder: str) -> list[int]:
    """The commits that have a file in a folder. Files of other names are not the ledger's."""
    names = (name.removesuffix(".parquet") for name in output.names(folder, suffix=".parquet"))
    return [int(name) for name in names if name.isdigit()]


def _codes(column: pa.ChunkedArray, names: list[str]) -> NDArray[np.int8]:
    codes: NDArray[np.int8] = (
        pc.index_in(column, value_set=pa.array(names)).to_numpy().astype(np.int8)
    )
    return codes


def _to_binary(keys: Keys, *, mask: NDArray[np.bool_] | None = None) -> pa.Array:
    data = pa.py_buffer(np.ascontiguousarray(keys).tobytes())
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(KEY.itemsize), len(keys), [None, data])
    if mask is None:
        return array
    return pc.if_else(pa.array(mask), pa.scalar(None, array.type), array)


def _from_binary(column: pa.ChunkedArray) -> Keys:
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0)
    start = array.offset * KEY.itemsize
    data = array.buffers()[1][start : start + len(array) * KEY.itemsize]
    return np.frombuffer(data, dtype=KEY)
