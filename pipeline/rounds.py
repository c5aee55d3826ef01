"""The inputs of one round on their way through the engine: what is sent, what came back.

A round is what Ray is given at once. An input whose slices have all come back is finished; one
over which a process died, or which did not come back at all, is for another round, in a block of
its own so that it can take no neighbour with it.

Memory: one small record an input of the round; slices of long videos lie in the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa

from sightsound.pipeline.assemble import Assembly
from sightsound.pipeline.batch_steps import End, input_block
from sightsound.pipeline.commit import Input
from sightsound.pipeline.stored_slices import Span, StoredSlices
from sightsound.stages.records import Failure, VideoResult
from sightsound.stages.segment import Segments

# Blocks get smaller towards the end, so that workers finish together.
_BLOCKS_A_WORKER = 8
_MOST_IN_BLOCK = 256


@dataclass
class _Open:
    """An input of which some slices have come back. Those of long videos are in the output."""

    assembly: Assembly
    spans: dict[int, Span] = field(default_factory=dict)
    has_died: bool = False


class Round:
    """One round: ``take`` what comes back, then ask what is ``missing``."""

    def __init__(
        self,
        inputs: dict[int, Input],
        stored: StoredSlices,
        segments: Segments,
        *,
        is_last: bool,
    ) -> None:
        """Begin a round with these inputs, by position.

        In the last round a process that dies over an input makes it fail, and is not tried again.
        """
        self._waiting = dict(inputs)
        self._stored = stored
        self._segments = segments
        self._is_last = is_last
        self._open: dict[int, _Open] = {}
        self._died: dict[int, Input] = {}

    @property
    def missing(self) -> dict[int, Input]:
        """The inputs that have no result yet."""
        return {**self._waiting, **self._died}

    def blocks(self, n_workers: int, *, one_by_one: bool) -> list[pa.Table]:
        """What to send: tables of position, uri and size."""
        inputs = list(self._waiting.values())
        blocks, start = [], 0
        while start < len(inputs):
            left = len(inputs) - start
            size = min(_MOST_IN_BLOCK, max(1, left // (_BLOCKS_A_WORKER * max(1, n_workers))))
            some = inputs[start : start + (1 if one_by_one else size)]
            blocks.append(
                input_block(
                    [item.position for item in some],
                    [item.uri for item in some],
                    [item.size_bytes for item in some],
                )
            )
            start += len(some)
        return blocks

    def take(
        self, end: End, *, on_slice: Callable[[End], None]
    ) -> Iterator[tuple[Input, VideoResult]]:
        """Note what became of a slice; yield its input with the result if that is now complete.

        A slice that came before, as it may after a node was lost, is left out.

        Raises:
            OSError: a slice of a long video cannot be stored or read.
        """
        source = self._waiting.get(end.position)
        if source is None:
            return
        opened = self._open.setdefault(end.position, _Open(Assembly(uri=source.uri)))
        if end.info is None:
            assert end.failure is not None
            if end.is_death and not self._is_last:
                self._put_aside(source)
                return
            opened.assembly.failure = end.failure
        elif end.index in opened.spans:
            return
        else:
            self._add(opened, end, on_slice)
        if opened.has_died and len(opened.spans) == opened.assembly.n_slices:
            self._put_aside(source)
        elif opened.assembly.failure or len(opened.spans) == opened.assembly.n_slices:
            del self._waiting[end.position], self._open[end.position]
            yield source, self._result(opened)

    def _add(self, opened: _Open, end: End, on_slice: Callable[[End], None]) -> None:
        assembly = opened.assembly
        assert end.info is not None
        assembly.info, assembly.plan, assembly.n_slices = end.info, end.plan, end.n_slices
        opened.spans[end.index] = end.span
        if end.failure is not None:
            if end.is_death and not self._is_last:
                opened.has_died = True
            assembly.lost[end.index] = end.failure, end.windows
        elif end.result is not None:
            on_slice(end)
            if end.n_slices > 1:
                self._stored.put(end.info.video_id, end.span, end.result)
            else:
                assembly.done[end.index] = end.result

    def _put_aside(self, source: Input) -> None:
        self._died[source.position] = source
        del self._waiting[source.position], self._open[source.position]

    def _result(self, opened: _Open) -> VideoResult:
        assembly = opened.assembly
        if assembly.info is not None and assembly.n_slices > 1:
            for index, span in opened.spans.items():
                if index not in assembly.lost:
                    assembly.done[index] = self._stored.get(assembly.info.video_id, span)
        return assembly.result(self._segments)


def given_up(source: Input, *, attempts: int) -> VideoResult:
    """The result of an input that never came back."""
    return VideoResult(
        uri=source.uri,
        status="failed",
        failure=Failure(
            stage="decode",
            code="crashed",
            message=f"{source.uri} was given up: the worker that had it was lost {attempts} "
            "times, perhaps for using too much memory; label it alone with 'sightsound analyze', "
            "or give workers more memory.",
        ),
    )
