"""The ``batch`` command: list what is to be done, have it done, account for all of it.

The ledger drives: inputs that it lacks are sent through the engine in rounds, what comes back is
committed, and what does not come back is sent again, alone, until it has had its attempts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.console import Console

from sightsound.models.bundle import Bundle, load_bundle
from sightsound.pipeline.accounts import account, write_run_record
from sightsound.pipeline.batch_steps import End, MakeHandler, content_ids
from sightsound.pipeline.commit import Committer, Input
from sightsound.pipeline.compact import compact
from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import make_grid
from sightsound.pipeline.duplicates import Duplicates
from sightsound.pipeline.failure_limit import FailureLimit, TooManyFailedError
from sightsound.pipeline.interrupts import Interrupts
from sightsound.pipeline.ledger import FAILED, Ledger, RunKey
from sightsound.pipeline.listing import Listing
from sightsound.pipeline.output import Output
from sightsound.pipeline.prepare import prepare
from sightsound.pipeline.ray_engine import RayDataStoppedError, RayEngine
from sightsound.pipeline.rounds import Round, given_up
from sightsound.pipeline.sources import read_sources
from sightsound.pipeline.stored_slices import StoredSlices
from sightsound.pipeline.tasks import make_handler
from sightsound.pipeline.watch import Reasons, RunCounts, Watch
from sightsound.stages.records import VideoResult
from sightsound.stages.segment import Segments

EXIT_OK = 0
EXIT_SOME_FAILED = 3
_READ_HERE_BYTES = 64 << 20


def batch(
    sources: list[str],
    config: Config,
    *,
    out: str,
    address: str | None = None,
    retry_failed: bool = False,
    max_failed: FailureLimit | None = None,
    metrics: Path | None = None,
    make_handler: MakeHandler = make_handler,
) -> int:
    """Label everything that the sources name and write the tables to ``out``.

    Returns:
        The exit status: 0 all ok, 3 some partial or failed.

    Raises:
        SourceError: the sources cannot be read or name nothing.
        OutputError: ``out`` cannot be used.
        ModelError: the model cannot be had.
        RayError: Ray cannot be started or reached.
        TooManyFailedError: more failed than ``max_failed`` allows.
        OSError: results cannot be written.
        KeyboardInterrupt: interrupted; what was finished is committed.
    """
    console = Console(stderr=True, highlight=False)
    started = datetime.now(UTC)
    bundle = load_bundle(config.model)
    output = Output(out)
    unlock = output.lock()
    try:
        with _list(sources, console) as listing:
            ledger = Ledger(output, RunKey(bundle.model_id, config.config_id()))
            ledger.check_columns(listing.passthrough)
            run = _Batch(config, bundle, ledger, listing, console, retry_failed=retry_failed)
            run.max_failed = max_failed
            if run.todo.any():
                prepare(config, bundle, say=console.print)
                run.work(address, make_handler, metrics)
            compact(ledger, part_bytes=config.output.part_bytes)
            run.slices.clear()
            accounts = account(ledger, listing)
            write_run_record(
                output,
                config,
                bundle,
                started=started,
                accounts=accounts,
                counts=run.counts,
                n_repeated=listing.n_repeated,
            )
            for line in accounts.lines():
                console.print(line, soft_wrap=True, markup=False)
            tables = f"Tables: {output.root}/videos, windows and segments (Parquet)."
            console.print(tables, soft_wrap=True, markup=False)
    finally:
        unlock()
    return EXIT_OK if accounts.statuses["ok"] == accounts.n_inputs else EXIT_SOME_FAILED


def _list(sources: list[str], console: Console) -> Listing:
    said_at = time.monotonic()

    def say(n_named: int) -> None:
        nonlocal said_at
        if time.monotonic() - said_at > 5:
            said_at = time.monotonic()
            console.print(f"Listing: {n_named} inputs so far ...")

    return Listing.build(read_sources(sources), on_progress=say)


class _Batch:
    """One run over a listing."""

    def __init__(
        self,
        config: Config,
        bundle: Bundle,
        ledger: Ledger,
        listing: Listing,
        console: Console,
        *,
        retry_failed: bool,
    ) -> None:
        self.max_failed: FailureLimit | None = None
        self._reasons = Reasons()
        # Videos whose slices are no longer needed once all that waits is committed.
        self._finished_slices: list[str] = []
        self.slices = StoredSlices(ledger.output, ledger.run)
        self._config = config
        self._ledger = ledger
        self._listing = listing
        self._console = console
        self._segments = Segments(bundle.tasks, config.rules(), make_grid(config, bundle))
        self.todo = ~_is_done(ledger, listing, retry_failed=retry_failed)
        self.counts = RunCounts(n_inputs=len(listing), n_before=int(np.count_nonzero(~self.todo)))
        self._duplicates = Duplicates(ledger, listing, self.todo, retry_failed=retry_failed)
        self._committer = Committer(
            ledger,
            bundle.tasks,
            config.output,
            extra=listing.passthrough,
            commit_s=config.batch.commit_s,
        )
        self._say_what_is_known()

    def _say_what_is_known(self) -> None:
        n_todo = int(np.count_nonzero(self.todo))
        text = f"{len(self._listing)} input" + "s" * (len(self._listing) != 1)
        if self._listing.n_repeated:
            text += f" ({self._listing.n_repeated} named again, which count once)"
        if self.counts.n_before:
            text += f", {self.counts.n_before} done before, {n_todo} to do"
        self._console.print(text + ".")
        n_other = self._ledger.n_of_other_runs(self._listing.keys[self.todo])
        if n_other:
            self._console.print(
                f"{n_other} of them were labelled with another model or configuration; they are "
                "labelled anew, and the new results take the place of the old.",
                soft_wrap=True,
            )

    def work(self, address: str | None, make_handler: MakeHandler, metrics: Path | None) -> None:
        """Do what is to be done."""
        self._console.print("Starting Ray and its workers (about 10 s) ...")
        with (
            RayEngine(self._config, address=address, make_handler=make_handler) as engine,
            # Ray takes SIGTERM for itself when it starts.
            Interrupts(self._console),
            Watch(self._console, self.counts, metrics=metrics) as watch,
        ):
            self.counts.n_workers = engine.n_workers
            try:
                self._identify(engine, watch)
                self._run_rounds(engine, watch, self.todo & ~self._duplicates.is_copy)
                self._committer.commit()
                orphans = self._duplicates.release_orphans()
                if orphans.any():
                    self._run_rounds(engine, watch, orphans)
                self._copy_duplicates()
            except KeyboardInterrupt:
                self._committer.commit()
                n_done = self.counts.n_before + self.counts.n_done
                self._console.print(f"{n_done} of {self.counts.n_inputs} inputs are done and kept.")
                raise
            except TooManyFailedError:
                for line in self._reasons.lines():
                    self._console.print(line, soft_wrap=True, markup=False)
                raise
            finally:
                # What is finished is kept, however the run ends.
                self._committer.commit()

    def _identify(self, engine: RayEngine, watch: Watch) -> None:
        """Find the inputs that have the same content as another."""
        blocks = self._duplicates.blocks()
        if not blocks:
            return
        if len(blocks) == 1 and pc.sum(blocks[0]["size_bytes"]).as_py() <= _READ_HERE_BYTES:
            # It is read before workers would have started.
            self._duplicates.take(content_ids(blocks[0].to_pylist()))
        else:
            with closing(engine.identify(blocks)) as tables:
                for table in tables:
                    if table is not None:
                        self._duplicates.take(table)
                    watch.tick()
        self._duplicates.resolve()

    def _run_rounds(self, engine: RayEngine, watch: Watch, sent: NDArray[np.bool_]) -> None:
        attempts = self._config.workers.attempts
        again: dict[int, Input] = {}
        for inputs in self._rounds(sent):
            again |= self._run_round(engine, watch, inputs, attempt=1)
        for attempt in range(2, attempts + 1):
            some, again = again, {}
            self.counts.n_again += len(some)
            for inputs in _portions(some, self._config.batch.round_inputs):
                again |= self._run_round(engine, watch, inputs, attempt=attempt)
        for source in again.values():
            self._finish(source, given_up(source, attempts=attempts))

    def _run_round(
        self, engine: RayEngine, watch: Watch, inputs: dict[int, Input], *, attempt: int
    ) -> dict[int, Input]:
        """Send inputs through the engine; return those that came to no result."""
        this_round = Round(
            inputs,
            self.slices,
            self._segments,
            is_last=attempt >= self._config.workers.attempts,
        )
        blocks = this_round.blocks(engine.n_workers, one_by_one=attempt > 1)

        def count(end: End) -> None:
            assert end.result is not None
            self.counts.add_slice(end.result)

        run = engine.run(blocks, stored=self.slices.spans(), apart=attempt > 1)
        with closing(run) as groups:
            for group in _until_stopped(groups):
                for end in group or ():
                    for source, result in this_round.take(end, on_slice=count):
                        self._finish(source, result)
                self._committer.commit_if_due()
                self._forget_slices()
                watch.tick()
                if self.max_failed is not None:
                    self.max_failed.check(self.counts.statuses)
        return this_round.missing

    def _finish(self, source: Input, result: VideoResult) -> None:
        self.counts.statuses[result.status] += 1
        if result.failure is not None:
            failure = result.failure
            self._reasons.add(result.status, failure.stage, failure.code, failure.message)
        self._committer.add(source, result)
        if result.info is not None and self.slices.has(result.info.video_id):
            self._finished_slices.append(result.info.video_id)

    def _forget_slices(self) -> None:
        if self._committer.is_empty:
            for video_id in self._finished_slices:
                self.slices.forget(video_id)
            self._finished_slices = []

    def _copy_duplicates(self) -> None:
        """Give inputs whose content another input has that one's rows."""
        self._committer.commit()
        for inputs in self._rounds(self._duplicates.is_copy):
            for source, rows in self._duplicates.rows_of(list(inputs.values())):
                self._committer.add_rows(source, *rows)
                self.counts.statuses[rows[0]["status"]] += 1
                self.counts.n_duplicates += 1

    def _rounds(self, mask: NDArray[np.bool_]) -> Iterator[dict[int, Input]]:
        """The inputs of a mask, as many at a time as a round takes."""
        waiting: dict[int, Input] = {}
        for rows in self._listing.batches(mask):
            for source in _inputs(rows, self._listing, self._duplicates):
                waiting[source.position] = source
                if len(waiting) >= self._config.batch.round_inputs:
                    yield waiting
                    waiting = {}
        if waiting:
            yield waiting


def _until_stopped(groups: Iterator[list[End] | None]) -> Iterator[list[End] | None]:
    """Leave the rest to the next round where Ray Data stops, unless it brought nothing at all."""
    n_back = 0
    try:
        for group in groups:
            n_back += len(group or ())
            yield group
    except RayDataStoppedError:
        if not n_back:
            raise


def _inputs(rows: pa.RecordBatch, listing: Listing, duplicates: Duplicates) -> Iterator[Input]:
    extra = listing.passthrough.names
    for row in rows.to_pylist():
        position = row["position"]
        yield Input(
            position=position,
            uri=row["uri"],
            key=listing.keys[position],
            size_bytes=row["size_bytes"],
            modified_ns=row["modified_ns"],
            content_id=duplicates.content_id(position),
            extra={name: row[name] for name in extra},
        )


def _portions(inputs: dict[int, Input], size: int) -> Iterator[dict[int, Input]]:
    items = list(inputs.items())
    for start in range(0, len(items), size):
        yield dict(items[start : start + size])


def _is_done(ledger: Ledger, listing: Listing, *, retry_failed: bool) -> NDArray[np.bool_]:
    """Which inputs the ledger has, unchanged since."""
    places = ledger.find(listing.keys)
    there = places >= 0
    places, entries = places[there], ledger.entries
    same = entries["size_bytes"][places] == listing.size_bytes[there]
    same &= entries["modified_ns"][places] == listing.modified_ns[there]
    if retry_failed:
        same &= entries["status"][places] != FAILED
    done = there.copy()
    done[there] = same
    return done
