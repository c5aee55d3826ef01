"""Inference by OpenVINO on a CPU, in bfloat16 where the processor has it.

A network is exported from torch once, by a process of its own, and kept in the user's cache;
from then on a worker needs neither torch (half a gigabyte of memory and over a second of
start-up) nor timm.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import openvino
from numpy.typing import NDArray

from sightsound.models.cache import cache_folder as cache_folder
from sightsound.models.engines.base import Engine, EngineOptions, LoadedNetwork
from sightsound.models.errors import EngineError
from sightsound.models.networks import NetworkSpec

_BATCH_SIZE = 1


class OpenVinoEngine(Engine):
    """Runs exported networks on the CPU, one stream, ``threads`` threads."""

    name = "openvino"
    device = "cpu"

    def __init__(self, options: EngineOptions) -> None:
        """Start OpenVINO and settle the precision."""
        self._core = openvino.Core()
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self._bfloat16 = options.precision == "bfloat16" or (
            options.precision == "auto" and "BF16" in capabilities
        )
        self._threads = options.threads
        self._batch_size = options.batch_size or _BATCH_SIZE

    @property
    def description(self) -> str:
        """Engine, device and precision in words."""
        version = openvino.get_version().split("-")[0]
        return f"OpenVINO {version} on CPU in {'bfloat16' if self._bfloat16 else 'float32'}"

    def is_exported(self, spec: NetworkSpec) -> bool:
        """Whether the network can be loaded without torch."""
        return exported_path(spec, batch_size=self._batch_size).is_file()

    def load(self, spec: NetworkSpec) -> LoadedNetwork:
        """Read the exported network, exporting it first where it is not in the cache."""
        path = exported_path(spec, batch_size=self._batch_size)
        if not path.is_file():
            with _one_at_a_time(path):
                if not path.is_file():
                    export(spec, batch_size=self._batch_size)
        reduced = self._bfloat16 and spec.reduced_precision
        try:
            compiled = self._core.compile_model(
                str(path),
                "CPU",
                {
                    "INFERENCE_NUM_THREADS": self._threads,
                    "NUM_STREAMS": 1,
                    # Left on, every worker process binds its thread to the same first core.
                    "ENABLE_CPU_PINNING": False,
                    "INFERENCE_PRECISION_HINT": "bf16" if reduced else "f32",
                    "CACHE_DIR": str(cache_folder() / "compiled"),
                },
            )
        except RuntimeError as error:
            raise EngineError(
                f"OpenVINO cannot read {path} ({_first_line(error)}): delete the folder "
                f"{path.parent} to have it made again, or set inference.engine to torch."
            ) from error
        return _OpenVinoNetwork(spec, compiled=compiled, batch_size=self._batch_size)


class _OpenVinoNetwork(LoadedNetwork):
    def __init__(self, spec: NetworkSpec, *, compiled: Any, batch_size: int) -> None:
        super().__init__(spec, batch_size=batch_size)
        self._request = compiled.create_infer_request()

    def _run(self, batch: list[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        results = self._request.infer(batch)
        return [
            cast(NDArray[np.float32], results[index]) for index in range(len(self.spec.outputs))
        ]


def exported_path(spec: NetworkSpec, *, batch_size: int) -> Path:
    """The file that holds the exported network, whether it exists or not."""
    version = openvino.get_version().split("-")[0]
    return cache_folder() / f"openvino-{version}" / f"{spec.key}-batch{batch_size}.xml"


def export(spec: NetworkSpec, *, batch_size: int) -> Path:
    """Export a network from torch to the cache; needs torch and takes seconds.

    Written under a temporary name and renamed, so that a second process never reads half a file.
    """
    import torch

    module = spec.build().eval()
    examples = tuple(
        torch.zeros((batch_size, *tensor.shape), dtype=getattr(torch, tensor.dtype))
        for tensor in spec.inputs
    )
    model = openvino.convert_model(
        module,
        example_input=examples,
        input=[tuple(example.shape) for example in examples],
    )
    path = exported_path(spec, batch_size=batch_size)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{os.getpid()}-{path.name}")
    openvino.save_model(model, str(part), compress_to_fp16=False)
    part.with_suffix(".bin").replace(path.with_suffix(".bin"))
    part.replace(path)
    return path


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Have the workers of a machine wait for the one that exports: it takes a gigabyte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:200]
