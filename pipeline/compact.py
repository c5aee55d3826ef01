"""Putting small parts together, and dropping the rows that later ones have taken the place of.

Memory: one of the parts that are put together, and all of them compressed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from sightsound.pipeline.keys import KeyIndex, rows_of_inputs
from sightsound.pipeline.ledger import Entries, Ledger, Part, part_name
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
            rest = _rest(ledger, group, entries[members & ~counts])
            ledger.commit(entries[members & counts], rest, replaces=group)
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


def _rest(ledger: Ledger, group: tuple[int, ...], stale: Entries) -> dict[str, Part]:
    """The rows of some commits that still count, read as they are written."""
    parts = {}
    for table in TABLES:
        numbers = [number for number in group if ledger.output.exists(part_name(table, number))]
        if numbers:
            schemas = [ledger.output.schema(part_name(table, number)) for number in numbers]
            schema = pa.unify_schemas(schemas, promote_options="default")
            size = sum(ledger.commit_bytes[number] for number in numbers)
            parts[table] = Part(schema, _still_good(ledger, table, numbers, stale, schema), size)
    return parts


def _still_good(
    ledger: Ledger, table: str, numbers: list[int], stale: Entries, schema: pa.Schema
) -> Iterator[pa.Table]:
    for number in numbers:
        rows = ledger.output.read_table(part_name(table, number))
        gone = stale["key"][stale["commit"] == number]
        if len(gone):
            rows = rows.filter(pc.invert(rows_of_inputs(rows["uri"], KeyIndex(gone))))
        # One commit may lack a manifest's column that another has.
        yield pa.concat_tables([schema.empty_table(), rows], promote_options="default")
