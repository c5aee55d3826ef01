"""Sixteen bytes that stand for an input or a content, so that millions fit into numpy arrays."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

KEY_BYTES = 16
KEY = np.dtype([("high", "<u8"), ("low", "<u8")])
Keys = NDArray[np.void]


def make_keys(names: Iterable[str]) -> Keys:
    """A key for each name: 16 bytes of BLAKE2b of it."""
    digests = [
        hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=KEY_BYTES).digest()
        for name in names
    ]
    return np.frombuffer(b"".join(digests), dtype=KEY)


def keys_from_hex(texts: Iterable[str]) -> Keys:
    """Keys from 32 hexadecimal digits each, as content ids are written."""
    return np.frombuffer(bytes.fromhex("".join(texts)), dtype=KEY)


class KeyIndex:
    """Where keys are in an array; of a key that is there twice, the last place counts."""

    def __init__(self, keys: Keys) -> None:
        self._order = np.lexsort((np.arange(len(keys)), keys["low"], keys["high"]))
        self._sorted = keys[self._order]
        self._high = np.ascontiguousarray(self._sorted["high"])

    def find(self, keys: Keys) -> NDArray[np.int64]:
        """The place of each key, -1 where it is not there."""
        found = np.full(len(keys), -1, dtype=np.int64)
        if not len(self._high):
            return found
        # Equal high halves with different low ones hardly exist; they are walked through.
        place = np.searchsorted(self._high, keys["high"], side="right") - 1
        open_ = np.flatnonzero(place >= 0)
        while len(open_):
            at = place[open_]
            same_high = self._high[at] == keys["high"][open_]
            hit = same_high & (self._sorted["low"][at] == keys["low"][open_])
            found[open_[hit]] = self._order[at[hit]]
            place[open_] -= 1
            open_ = open_[same_high & ~hit & (at > 0)]
        return found

    def is_last(self) -> NDArray[np.bool_]:
        """For each place of the array, whether its key does not come again later."""
        last = np.ones(len(self._sorted), dtype=bool)
        last[:-1] = self._sorted[:-1] != self._sorted[1:]
        mask = np.empty(len(last), dtype=bool)
        mask[self._order] = last
        return mask


def rows_of_inputs(uris: pa.ChunkedArray, inputs: KeyIndex) -> pa.ChunkedArray:
    """Which rows of a table, by its column ``uri``, are of these inputs."""
    names = pc.unique(uris)
    mine = inputs.find(make_keys(names.to_pylist())) >= 0
    return pc.is_in(uris, value_set=names.filter(pa.array(mine)))
