"""The steps of a batch run, as Ray Data calls them in its actors. Ray itself is not needed here.

    inputs -> Inspect -> groups of slices -> Label -> what became of each slice
    inputs -> Inspect -> slices -> DecodePieces -> frames and sound -> Label -> ...   (on GPU hosts)

Each actor has a process of its own for native code, as the local engine's workers are: a hang or
a crash costs a slice and not the actor. Frames leave that process only where decoding and
inference are split, by slices of ``SPLIT_SLICE_S`` (some 10 MB). A row of Ray Data holds
one pickled group, so that a group is the unit that Ray hands out: one slice of a long video, or
short videos of ``batch.task_video_s`` together. Small files go past Inspect as they are: whoever
labels them opens them anyway, and they are not worth sharing. Few small files alone have no
Inspect at all.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from dataclasses import fields as dataclass_fields
from functools import partial
from typing import Any

import pyarrow as pa

from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import DecodedSlice
from sightsound.pipeline.stored_slices import Span, span_of
from sightsound.pipeline.tasks import (
    DecodeTask,
    InspectTask,
    LabelTask,
    SliceTask,
    Task,
    failure_of,
    limits,
)
from sightsound.pipeline.workers import (
    WORKER_ENVIRONMENT,
    Handler,
    Outcome,
    WorkerPool,
    WorkersDieError,
)
from sightsound.stages.probe import content_id
from sightsound.stages.records import (
    Failure,
    MediaInfo,
    Slice,
    SliceResult,
    VideoPlan,
    Window,
)

GROUP_SCHEMA = pa.schema([("group", pa.binary())])
# Of inputs that take no time there are this many in a group.
_MOST_IN_GROUP = 256
SPLIT_SLICE_S = 30.0
# A file of up to this size is inspected by the worker that labels it, whole.
SMALL_BYTES = 32 << 20
# How long such a file is taken to be, when it is put into a group: half a Mbit/s.
_GUESSED_BYTES_A_SECOND = 62_500

MakeHandler = Callable[[Config], Handler]


@dataclass(frozen=True, kw_only=True)
class Small:
    """A small file on its way to Label, which inspects it as well."""

    position: int
    uri: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A slice on its way to Label. ``plan`` comes without its slices."""

    position: int
    info: MediaInfo
    plan: VideoPlan
    n_slices: int
    piece: Slice


@dataclass(frozen=True, kw_only=True)
class DecodedPiece(Piece):
    """A slice on its way to Label that is decoded."""

    decoded: DecodedSlice


@dataclass(frozen=True, kw_only=True)
class End:
    """What became of a slice, or of an input that was never cut into any.

    ``info`` is None where the input failed at the start. ``result`` is None where there is a
    ``failure``, and where the slice lies in the output already (``is_stored``). ``is_death``
    says that a process crashed or hung over it, so that another try may go better.
    """

    position: int
    info: MediaInfo | None = None
    plan: VideoPlan | None = None
    n_slices: int = 0
    index: int = 0
    span: Span = (0, 0)
    result: SliceResult | None = None
    failure: Failure | None = None
    windows: tuple[Window, ...] = ()
    is_death: bool = False
    is_stored: bool = False


def input_block(positions: list[int], uris: list[str], sizes_bytes: list[int]) -> pa.Table:
    """A block of inputs, whose rows Inspect and identify take; an unknown size is negative."""
    return pa.table(
        {
            "position": pa.array(positions, pa.int64()),
            "uri": pa.array(uris, pa.string()),
            "size_bytes": pa.array(sizes_bytes, pa.int64()),
        }
    )


def pack(group: list[Any]) -> pa.Table:
    """A group as the one row of a block."""
    return pa.table({"group": [pickle.dumps(group)]}, schema=GROUP_SCHEMA)


def unpack(table: pa.Table) -> Iterator[list[Any]]:
    """The groups of a block."""
    for row in table["group"]:
        yield pickle.loads(row.as_buffer())


def small_groups(blocks: Sequence[pa.Table], config: Config) -> list[list[Small]] | None:
    """The groups that Inspect would pass on, where all of the inputs are small; else None."""
    groups: list[list[Small]] = []
    for block in blocks:
        items = [Small(**row) for row in block.to_pylist()]
        if not all(0 <= item.size_bytes <= SMALL_BYTES for item in items):
            return None
        groups += _grouped(items, config.batch.task_video_s)
    return groups


def _grouped(items: Iterable[Piece | End | Small], group_s: float) -> Iterator[list[Any]]:
    """Items in order, by as many as take ``group_s`` of video, each group as it fills."""
    group: list[Any] = []
    held_s = 0.0
    for item in items:
        length_s = _length_s(item)
        if group and (held_s + length_s > group_s or len(group) >= _MOST_IN_GROUP):
            yield group
            group, held_s = [], 0.0
        group.append(item)
        held_s += length_s
    if group:
        yield group


class _Child:
    """One worker process and the tasks that are done in it, one after the other."""

    def __init__(self, config: Config, make_handler: MakeHandler, *, infers: bool) -> None:
        os.environ.update(WORKER_ENVIRONMENT)
        self._workers = config.workers
        memory_bytes = config.worker_memory_bytes() if infers else config.limits.memory_bytes
        # The main script is that of Ray's workers, which imports all of Ray.
        self._pool = WorkerPool(
            partial(make_handler, config), 1, memory_bytes=memory_bytes, runs_main=False
        )
        self._pool.start()

    def run(self, task: Task) -> Outcome:
        self._pool.submit(task, limits(task, self._workers))
        while True:
            try:
                for outcome in self._pool.wait():
                    return outcome
            except WorkersDieError as error:
                return Outcome(task=task, kind="failed", reason=str(error))


class Inspect:
    """Groups of inputs (position, uri, size_bytes) -> groups of Piece, End and Small: probe, plan.

    With ``passes_small`` small files are left to Label.
    """

    def __init__(
        self,
        config: Config,
        make_handler: MakeHandler,
        stored: dict[str, set[Span]],
        *,
        passes_small: bool = False,
    ) -> None:
        self._child = _Child(config, make_handler, infers=False)
        self._group_s = config.batch.task_video_s
        self._stored = stored
        self._most_passed_bytes = SMALL_BYTES if passes_small else -1

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Inspect the inputs of each group and yield new groups as they fill."""
        for inputs in unpack(block):
            items = (item for row in inputs for item in self._look_at(**row))
            yield from map(pack, _grouped(items, self._group_s))

    def _look_at(self, position: int, uri: str, size_bytes: int) -> Iterator[Piece | End | Small]:
        if 0 <= size_bytes <= self._most_passed_bytes:
            yield Small(position=position, uri=uri, size_bytes=size_bytes)
        else:
            yield from _inspected(self._child, position, uri, self._stored)


def _inspected(
    child: _Child, position: int, uri: str, stored: dict[str, set[Span]]
) -> Iterator[Piece | End]:
    """The slices of an input, those ``stored`` as their ends, or the end that it came to."""
    task = InspectTask(position, uri)
    outcome = child.run(task)
    if outcome.kind != "done":
        yield End(position=position, failure=failure_of(task, outcome), is_death=_is_death(outcome))
        return
    info, plan = outcome.value
    bare = replace(plan, slices=())
    n_slices = len(plan.slices)
    spans = stored.get(info.video_id, set()) if n_slices > 1 else set()
    for piece in plan.slices:
        if span_of(piece) in spans:
            yield End(
                position=position,
                info=info,
                plan=bare,
                n_slices=n_slices,
                index=piece.index,
                span=span_of(piece),
                is_stored=True,
            )
        else:
            yield Piece(position=position, info=info, plan=bare, n_slices=n_slices, piece=piece)


class DecodePieces:
    """Groups of Piece and End -> groups of one DecodedPiece or End each: decode."""

    def __init__(self, config: Config, make_handler: MakeHandler) -> None:
        self._child = _Child(config, make_handler, infers=False)

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Decode the slices of each group and yield them one by one."""
        for group in unpack(block):
            for item in group:
                yield pack([self._decode(item) if isinstance(item, Piece) else item])

    def _decode(self, item: Piece) -> DecodedPiece | End:
        task = DecodeTask(item.position, item.info, item.plan, item.piece)
        outcome = self._child.run(task)
        if outcome.kind != "done":
            return _end(item, task, outcome)
        fields = {field.name: getattr(item, field.name) for field in dataclass_fields(item)}
        return DecodedPiece(**fields, decoded=outcome.value)


class Label:
    """Groups of Piece, DecodedPiece, Small and End -> groups of End: what is left to be done."""

    def __init__(
        self, config: Config, make_handler: MakeHandler, stored: dict[str, set[Span]]
    ) -> None:
        self._child = _Child(config, make_handler, infers=True)
        self._stored = stored

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Label the slices of each group."""
        for group in unpack(block):
            yield pack([end for item in group for end in self._ends(item)])

    def _ends(self, item: Piece | End | Small) -> Iterator[End]:
        if isinstance(item, Small):
            for part in _inspected(self._child, item.position, item.uri, self._stored):
                yield from self._ends(part)
        elif isinstance(item, End):
            yield item
        else:
            yield self._label(item)

    def _label(self, item: Piece) -> End:
        task: SliceTask
        if isinstance(item, DecodedPiece):
            task = LabelTask(item.position, item.info, item.plan, item.piece, item.decoded)
        else:
            task = SliceTask(item.position, item.info, item.plan, item.piece)
        return _end(item, task, self._child.run(task))


def identify(block: pa.Table) -> pa.Table:
    """Groups of inputs -> their content ids, see ``content_ids``."""
    return pa.concat_tables(content_ids(inputs) for inputs in unpack(block))


def content_ids(inputs: list[dict[str, Any]]) -> pa.Table:
    """Inputs (position, uri) -> position and content id, null where unreadable."""
    found: list[str | None] = []
    for row in inputs:
        try:
            found.append(content_id(row["uri"]))
        except OSError:
            found.append(None)  # Its row will say why.
    positions = [row["position"] for row in inputs]
    return pa.table(
        {
            "position": pa.array(positions, pa.int64()),
            "content_id": pa.array(found, pa.string()),
        }
    )


def _end(item: Piece, task: SliceTask, outcome: Outcome) -> End:
    done = outcome.kind == "done"
    return End(
        position=item.position,
        info=item.info,
        plan=item.plan,
        n_slices=item.n_slices,
        index=item.piece.index,
        span=span_of(item.piece),
        result=outcome.value if done else None,
        failure=None if done else failure_of(task, outcome),
        windows=() if done else item.piece.windows,
        is_death=_is_death(outcome),
    )


def _is_death(outcome: Outcome) -> bool:
    return outcome.kind in ("crashed", "timeout")


def _length_s(item: Piece | End | Small) -> float:
    if isinstance(item, End):
        return 0.0
    if isinstance(item, Small):
        return item.size_bytes / _GUESSED_BYTES_A_SECOND
    windows = item.piece.windows
    return windows[-1].end_s - windows[0].start_s
