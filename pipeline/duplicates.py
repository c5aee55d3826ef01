"""Inputs with the same content: decoded once, and a row for each.

Only files of equal size can be equal, so only those are read beforehand to find out. Content
that the ledger knows already, from a file since moved or touched, is not decoded again either.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sightsound.pipeline.batch_steps import input_block
from sightsound.pipeline.commit import Input
from sightsound.pipeline.keys import KEY, KeyIndex, keys_from_hex, make_keys, rows_of_inputs
from sightsound.pipeline.ledger import FAILED, Ledger, part_name
from sightsound.pipeline.listing import Listing
from sightsound.stages.errors import printable
from sightsound.stages.tables import TABLES, ResultRows

_BLOCK_BYTES, _MOST_IN_BLOCK = 64 << 20, 256


class Duplicates:
    """Which inputs of a run are copies of others, or of what the ledger has.

    ``is_copy`` is known after ``resolve``. Memory: 24 bytes an input.
    """

    def __init__(
        self, ledger: Ledger, listing: Listing, todo: NDArray[np.bool_], *, retry_failed: bool
    ) -> None:
        self._ledger = ledger
        self._listing = listing
        self._retry_failed = retry_failed
        self.is_copy = np.zeros(len(listing), dtype=bool)
        self._has_content = np.zeros(len(listing), dtype=bool)
        # Where in the ledger the original was when the run began, or -1.
        self._place = np.full(len(listing) if todo.any() else 0, -1, dtype=np.int64)
        self._content = np.zeros(len(listing) if todo.any() else 0, dtype=KEY)
        self._candidates = todo & (self._same_size(todo) | self._size_is_known())

    def blocks(self) -> list[pa.Table]:
        """The inputs to be read whole, as tables of position, uri and size."""
        blocks: list[pa.Table] = []
        positions: list[int] = []
        uris: list[str] = []
        sizes_bytes: list[int] = []
        for rows in self._listing.batches(self._candidates):
            for position, uri in zip(
                rows["position"].to_pylist(), rows["uri"].to_pylist(), strict=True
            ):
                size = int(self._listing.size_bytes[position])
                is_full = sum(sizes_bytes) + size > _BLOCK_BYTES or len(uris) >= _MOST_IN_BLOCK
                if uris and is_full:
                    blocks.append(input_block(positions, uris, sizes_bytes))
                    positions, uris, sizes_bytes = [], [], []
                positions.append(position)
                uris.append(uri)
                sizes_bytes.append(size)
        return [*blocks, input_block(positions, uris, sizes_bytes)] if uris else blocks

    def take(self, table: pa.Table) -> None:
        """Note the contents of some inputs: position and content_id, null where unreadable."""
        table = table.filter(table["content_id"].is_valid())
        positions = table["position"].to_numpy()
        self._has_content[positions] = True
        self._content[positions] = keys_from_hex(table["content_id"].to_pylist())

    def resolve(self) -> None:
        """Decide which are copies: all of a content but the first, or all if it is done."""
        positions = np.flatnonzero(self._has_content)
        contents = self._content[positions]
        is_first = KeyIndex(contents[::-1]).is_last()[::-1]
        self._place[positions] = self._find_done(contents)
        self.is_copy[positions] = ~is_first | (self._place[positions] >= 0)

    def release_orphans(self) -> NDArray[np.bool_]:
        """The copies whose original has not become what it was when it was read.

        They are no longer held to be copies, and are to be labelled themselves.
        """
        positions = np.flatnonzero(self.is_copy)
        orphans = np.zeros(len(self.is_copy), dtype=bool)
        orphans[positions] = self._originals(positions) < 0
        self.is_copy &= ~orphans
        return orphans

    def content_id(self, position: int) -> str | None:
        """The content of an input, where it was read."""
        if not self._has_content[position]:
            return None
        return bytes(self._content[position]).hex()

    def rows_of(self, inputs: list[Input]) -> Iterator[tuple[Input, ResultRows]]:
        """The rows of copies, from those of the input that was labelled.

        Raises:
            OSError: the tables cannot be read.
        """
        positions = np.array([item.position for item in inputs])
        entries = self._ledger.entries[self._originals(positions)]
        for number in np.unique(entries["commit"]):
            chosen = np.flatnonzero(entries["commit"] == number)
            originals = self._read(int(number), entries["key"][chosen])
            for index in chosen:
                yield (
                    inputs[index],
                    _renamed(originals[bytes(entries["key"][index])], inputs[index]),
                )

    def _read(self, number: int, keys: NDArray[np.void]) -> dict[bytes, ResultRows]:
        """The rows of some inputs of a commit, by input key."""
        wanted = KeyIndex(keys)
        found: dict[str, ResultRows] = {}
        for table in TABLES:
            name = part_name(table, number)
            if not self._ledger.output.exists(name):
                continue
            rows = self._ledger.output.read_table(name)
            for row in rows.filter(rows_of_inputs(rows["uri"], wanted)).to_pylist():
                if table == "videos":
                    found[row["uri"]] = (row, [], [])
                    continue
                _, windows, segments = found[row["uri"]]
                (windows if table == "windows" else segments).append(row)
        keys_found = make_keys(found)
        return {bytes(key): rows for key, rows in zip(keys_found, found.values(), strict=True)}

    def _same_size(self, todo: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Inputs that have the size of another that is to be done."""
        sizes = np.where(todo, self._listing.size_bytes, -1)
        values, inverse, counts = np.unique(sizes, return_inverse=True, return_counts=True)
        shared: NDArray[np.bool_] = (counts[inverse] > 1) & (values[inverse] > 0)
        return shared

    def _size_is_known(self) -> NDArray[np.bool_]:
        """Inputs that have the size of one in the ledger."""
        entries = self._ledger.entries
        known = entries["size_bytes"][entries["has_content"] & (entries["run"] == 0)]
        sizes = self._listing.size_bytes
        return np.isin(sizes, np.unique(known)) & (sizes > 0)

    def _find_done(self, contents: NDArray[np.void]) -> NDArray[np.int64]:
        places = self._ledger.find_contents(contents)
        if self._retry_failed:
            there = np.flatnonzero(places >= 0)
            failed = self._ledger.entries["status"][places[there]] == FAILED
            places[there[failed]] = -1
        return places

    def _originals(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Where in the ledger the originals are. Places hold until the ledger is compacted."""
        known = self._place[positions]
        return np.where(known >= 0, known, self._ledger.find_contents(self._content[positions]))


def _renamed(rows: ResultRows, copy: Input) -> ResultRows:
    """The rows as the copy has them. Its videos row costs nothing, and names its own path."""
    video, windows, segments = rows
    old = video["uri"]
    message = video["error_message"]
    renamed = video | {
        "uri": copy.uri,
        "error_message": message.replace(printable(old), printable(copy.uri))
        if message
        else message,
        "processing_s": 0.0,
    }
    return (
        renamed,
        [row | {"uri": copy.uri} for row in windows],
        [row | {"uri": copy.uri} for row in segments],
    )
