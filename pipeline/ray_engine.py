"""Ray: one that is started here and ended with the run, or a cluster that is there already.

Ray Data streams the inputs through two pools of actors (``pipeline.batch_steps``). What it loses
(a block whose actor or node died more often than it retries) it reports nowhere; the caller
compares what came back with what was sent, and sends the rest again.

Memory: Ray Data holds at most ``batch.in_flight_bytes`` of plans and results, in an object store
of ``batch.object_store_bytes``; here wait at most ``_MOST_WAITING`` blocks.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
import warnings
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from sightsound.pipeline.batch_steps import (
    SPLIT_SLICE_S,
    DecodePieces,
    End,
    Inspect,
    Label,
    MakeHandler,
    Small,
    identify,
    pack,
    small_groups,
    unpack,
)
from sightsound.pipeline.config import Config
from sightsound.pipeline.ray_start import (
    quieten,
    set_environment,
    silent_stderr,
)
from sightsound.pipeline.stored_slices import Span
from sightsound.pipeline.tasks import make_handler

_MOST_WAITING = 8
_TICK_S = 0.25
_END_S = 10.0
_MOST_OF_REASON = 600
# A worker whose actor died gets the block once more; after that it is the caller's to send.
_TASK_RETRIES = 1
# One inspector keeps this many workers busy: it reads a file once, they decode it.
_WORKERS_AN_INSPECTOR = 16
_MOST_UNINSPECTED = 2000


class RayError(RuntimeError):
    """Ray cannot be started, reached or used; the message says what to do."""


class RayDataStoppedError(RayError):
    """Ray Data gave up a whole round; what had come back by then counts."""


class RayEngine:
    """Runs the steps of a batch on Ray. Use as a context manager."""

    def __init__(
        self,
        config: Config,
        *,
        address: str | None = None,
        make_handler: MakeHandler = make_handler,
    ) -> None:
        self._on_gpu = config.inference.device == "cuda"
        split = config.batch.split
        self._is_split = self._on_gpu if split is None else split
        if self._is_split:
            # So that what is decoded goes from process to process by a few MB.
            slice_s = min(config.workers.slice_s, SPLIT_SLICE_S)
            workers = config.workers.model_copy(update={"slice_s": slice_s})
            config = config.model_copy(update={"workers": workers})
        self._config = config
        self._address = address
        self._make_handler = make_handler
        self.n_workers = 0

    def __enter__(self) -> RayEngine:
        """Start or join Ray.

        Raises:
            RayError: it cannot be started or reached.
        """
        set_environment()
        import ray
        import ray.data

        quieten()

        count = self._config.batch.max_workers or self._config.worker_count()
        try:
            with silent_stderr():
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **self._place(count))
            if self._address is not None and not self._config.batch.max_workers:
                cores = ray.cluster_resources().get("CPU", 1)  # type: ignore[no-untyped-call]
                count = max(1, int(cores / self._config.batch.cpus_per_worker))
        except (
            ray.exceptions.RayError,
            ConnectionError,
            RuntimeError,
            ValueError,
            TimeoutError,
            OSError,
        ) as error:
            where = f"The Ray cluster at {self._address}" if self._address else "Ray"
            raise RayError(
                f"{where} cannot be {'reached' if self._address else 'started'} "
                f"({' '.join(str(error).split())}): check --address and that its version of Ray "
                "and Python are those here."
            ) from error
        self.n_workers = count
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # One group is one block, whatever its size.
        context.target_max_block_size = 1
        context.max_errored_blocks = -1
        context.execution_options.resource_limits = ray.data.ExecutionResources(
            object_store_memory=self._config.batch.in_flight_bytes
        )
        return self

    def _place(self, n_workers: int) -> dict[str, Any]:
        """Which Ray: the cluster's, or one of this run's own."""
        if self._address is not None:
            return {"address": self._address}
        return {
            "address": "local",
            "num_cpus": max(1, round(n_workers * self._config.batch.cpus_per_worker)),
            "object_store_memory": self._config.batch.object_store_bytes,
            "include_dashboard": False,
        }

    def __exit__(self, *_: object) -> None:
        import ray

        ray.shutdown()

    def run(
        self,
        inputs: Sequence[pa.Table],
        *,
        stored: dict[str, set[Span]],
        apart: bool = False,
    ) -> Generator[list[End] | None]:
        """Send inputs (position, uri) through; yield what comes back, and None now and then.

        Every table is a block, inspected by one actor in one go. What Ray loses does not come
        back. With ``apart`` nothing waits at an actor while it works, so that one that dies takes
        no other block with it. Closing the iterator stops the work.

        Raises:
            RayDataStoppedError: Ray Data gave up.
        """
        batch = self._config.batch
        n_inputs = sum(table.num_rows for table in inputs)
        # Few small files need no inspector, which takes seconds to start. Many have one, which
        # makes groups as they are wanted; all of them at once would take the driver's memory.
        takes_all = not self._is_split and n_inputs <= _MOST_UNINSPECTED
        small = small_groups(inputs, self._config) if takes_all else None
        n_tasks = n_inputs * 8 if small is None else len(small)
        largest = max(1, min(self.n_workers, n_tasks))
        smallest = min(batch.min_workers or largest, largest)
        dataset = self._dataset(
            inputs, small, stored, smallest=smallest, largest=largest, in_flight=1 if apart else 2
        )
        with contextlib.closing(_stream(dataset)) as tables:
            for table in tables:
                if table is None:
                    yield None
                else:
                    yield from unpack(table)

    def _dataset(
        self,
        inputs: Sequence[pa.Table],
        small: list[list[Small]] | None,
        stored: dict[str, set[Span]],
        *,
        smallest: int,
        largest: int,
        in_flight: int,
    ) -> Any:
        import ray

        pool = ray.data.ActorPoolStrategy
        common: dict[str, Any] = {
            "batch_size": None,
            "batch_format": "pyarrow",
            # Ray Data's own default is to try for ever.
            "max_restarts": -1,
            "max_task_retries": _TASK_RETRIES,
        }
        with warnings.catch_warnings():
            # Ray 2.60 deprecates options that go on to the actors, and offers nothing for these.
            warnings.simplefilter("ignore", ray.util.annotations.RayDeprecationWarning)
            dataset = _source(_rows(inputs) if small is None else small)
            if small is None:
                dataset = dataset.map_batches(
                    Inspect,
                    fn_constructor_args=(self._config, self._make_handler, stored),
                    fn_constructor_kwargs={"passes_small": not self._is_split},
                    compute=pool(min_size=1, max_size=max(1, largest // _WORKERS_AN_INSPECTOR)),
                    num_cpus=0,
                    **common,
                )
            workers: dict[str, Any] = {
                "compute": pool(
                    min_size=smallest, max_size=largest, max_tasks_in_flight_per_actor=in_flight
                ),
                "num_cpus": self._config.batch.cpus_per_worker,
                **common,
            }
            labels = (self._config, self._make_handler, stored)
            if not self._is_split:
                return dataset.map_batches(Label, fn_constructor_args=labels, **workers)
            n_label = self._n_label_workers()
            decoded = dataset.map_batches(
                DecodePieces, fn_constructor_args=(self._config, self._make_handler), **workers
            )
            return decoded.map_batches(
                Label,
                fn_constructor_args=labels,
                compute=pool(min_size=1, max_size=n_label, max_tasks_in_flight_per_actor=in_flight),
                # The cores are those of the workers that decode.
                num_cpus=0,
                num_gpus=self._config.batch.gpus_per_worker if self._on_gpu else None,
                **common,
            )

    def _n_label_workers(self) -> int:
        import ray

        if self._config.batch.gpu_workers or not self._on_gpu:
            return self._config.batch.gpu_workers or 1
        gpus: float = ray.cluster_resources().get("GPU", 0)  # type: ignore[no-untyped-call]
        return max(1, int(gpus / self._config.batch.gpus_per_worker))

    def identify(self, inputs: Sequence[pa.Table]) -> Generator[pa.Table | None]:
        """Read inputs (position, uri) whole; yield position and content_id, and None at times."""
        dataset = _source(_rows(inputs)).map_batches(
            identify, batch_size=None, batch_format="pyarrow", num_cpus=1
        )
        return _stream(dataset)


def _source(groups: Iterable[list[Any]]) -> Any:
    """A dataset whose blocks are groups, one each, as ``batch_steps.pack`` makes them.

    Not by ``from_arrow``, which has workers look at every block first, and so waits for them.
    """
    import ray

    items = [pack(group).to_pylist()[0] for group in groups]
    return ray.data.from_items(items, override_num_blocks=len(items))


def _rows(blocks: Sequence[pa.Table]) -> Iterator[list[Any]]:
    return (block.to_pylist() for block in blocks)


def _stream(dataset: Any) -> Generator[pa.Table | None]:
    """The blocks of a dataset as they are made, and None whenever none came for a while.

    Ray's own iterator waits without end; the caller has commits to make and signals to heed.
    Closing it ends Ray Data's threads: one that calls Ray when Ray is shut down has the whole
    process exit with status 1 and not a word.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=_MOST_WAITING)
    stop = threading.Event()

    def pull() -> None:
        end: BaseException | None = None
        try:
            for table in dataset.iter_batches(
                batch_size=None, batch_format="pyarrow", prefetch_batches=0
            ):
                while not stop.is_set():
                    with contextlib.suppress(queue.Full):
                        waiting.put(table, timeout=_TICK_S)
                        break
                if stop.is_set():
                    return
        except Exception as error:  # noqa: BLE001 - handed to the caller's thread
            end = error
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                waiting.put(_Finished(end), timeout=_TICK_S)
                return

    thread = threading.Thread(target=pull, name="ray-data", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = waiting.get(timeout=_TICK_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(item, _Finished):
                if item.error is not None:
                    reason = " ".join(str(item.error).split())[-_MOST_OF_REASON:]
                    raise RayDataStoppedError(f"Ray Data stopped: {reason}") from item.error
                return
            yield item
    finally:
        stop.set()
        give_up = time.monotonic() + _END_S
        while thread.is_alive() and time.monotonic() < give_up:
            _end_executors()
            thread.join(_TICK_S)


def _end_executors() -> None:
    """Stop what Ray Data runs, which its public interface leaves to the end of its iterator."""
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor"):
            end = getattr(thread, "shutdown", None)
            if callable(end):
                end(force=False)


class _Finished:
    """The last item of a stream, with the error that ended it, if any."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error
