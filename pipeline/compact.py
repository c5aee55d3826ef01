"""Putting small parts together, and dropping the rows that later ones have taken the place of.

Memory: the parts that are put together, at most ``part_bytes`` a table before compression.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightsound.pipeline.keys import KeyIndex, Keys, make_keys
from sightsound.pipeline.ledger import Entries, Ledger, part_name
from sightsound.stages.tables import TABLES


def compact(ledger: Ledger, *, part_bytes: int) -> int:
    """Rewrite commits that are small or hold rows that no longer count; how many were rewritten.

    Every step leaves the output consistent: the new parts count once their ledger entry is
    there, and that names those which it replaces.

    Raises:
        OSError: the output cannot be read or written.
    """
    entries = ledger.entries
    counts = ledger.index.is_last()
    stale = {int(number) for number in np.unique(entries["commit"][~counts])}
    n_rewritten = 0
    for group in list(_groups(ledger.commit_bytes, stale, part_bytes)):
        members = np.isin(entries["commit"], group)
        if (members & counts).any():
            tables = _read(ledger, group, entries[members & ~counts])
            ledger.commit(entries[members & counts], tables, replaces=group)
        else:
            ledger.forget(group)
        n_rewritten += len(group)
    return n_rewritten


def _groups(sizes: dict[int, int], stale: set[int], part_bytes: int) -> Iterator[tuple[int, ...]]:
    """Runs of commits that fit into one part together, and those with stale rows."""
    group: list[int] = []
    held = 0
    for number in sorted(sizes):
        if group and held + sizes[number] > part_bytes:
            if len(group) > 1 or stale & set(group):
                yield tuple(group)
            group, held = [], 0
        group.append(number)
        held += sizes[number]
    if len(group) > 1 or stale & set(group):
        yield tuple(group)


def _read(ledger: Ledger, group: tuple[int, ...], stale: Entries) -> dict[str, pa.Table]:
    """The rows of some commits that still count."""
    tables = {}
    for name in TABLES:
        found = []
        for number in group:
            if not ledger.output.exists(part_name(name, number)):
                continue
            table = ledger.output.read_table(part_name(name, number))
            gone = stale["key"][stale["commit"] == number]
            found.append(_without(table, gone) if len(gone) else table)
        if found:
            tables[name] = pa.concat_tables(found, promote_options="default").combine_chunks()
    return tables


def _without(table: pa.Table, inputs: Keys) -> pa.Table:
    """The rows that are not of these inputs."""
    uris = pc.unique(table["uri"])
    is_gone = KeyIndex(inputs).find(make_keys(uris.to_pylist())) >= 0
    gone = uris.filter(pa.array(is_gone))
    return table.filter(pc.invert(pc.is_in(table["uri"], value_set=gone)))
