"""The interface of an inference engine, and the choice of one.

An engine loads a :class:`~sightsound.models.networks.NetworkSpec` and gives back a network that
maps numpy arrays to numpy arrays. Every network runs at one fixed batch size, short batches
being padded, so that a row's result does not depend on what else was in its batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from sightsound.models.errors import EngineError
from sightsound.models.networks import NetworkSpec

EngineName = Literal["auto", "openvino", "torch"]
DeviceName = Literal["auto", "cpu", "cuda"]
PrecisionName = Literal["auto", "float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """Which engine runs the networks and how.

    ``precision`` "auto" is bfloat16 where the device computes in it, for networks that allow
    it. ``threads`` is the number of CPU threads of one worker. ``batch_size`` None is the
    engine's own: 1 on OpenVINO (a CPU gains nothing from more), 8 in torch on CPU, 32 on CUDA.
    """

    engine: EngineName = "auto"
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    threads: int = 1
    batch_size: int | None = None


class LoadedNetwork(ABC):
    """A network ready to run, at a fixed batch size."""

    def __init__(self, spec: NetworkSpec, *, batch_size: int) -> None:
        self.spec = spec
        self.batch_size = batch_size

    def __call__(self, *inputs: NDArray[np.generic]) -> tuple[NDArray[np.float32], ...]:
        """Run any number of rows.

        Args:
            inputs: one array an input of the spec, (n, *shape), n the same for all.

        Returns:
            One float32 array an output of the spec, (n, *shape).
        """
        n_rows = len(inputs[0])
        outputs = tuple(
            np.empty((n_rows, *tensor.shape), dtype=np.float32) for tensor in self.spec.outputs
        )
        for start in range(0, n_rows, self.batch_size):
            stop = min(start + self.batch_size, n_rows)
            batch = [_padded(array[start:stop], self.batch_size) for array in inputs]
            for output, result in zip(outputs, self._run(batch), strict=True):
                output[start:stop] = result[: stop - start]
        return outputs

    @abstractmethod
    def _run(self, batch: list[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        """Run one full batch."""


class Engine(ABC):
    """Loads networks onto a device. ``description`` is what ``doctor`` shows."""

    name: str
    device: str

    @property
    @abstractmethod
    def description(self) -> str:
        """Engine, device and precision in words."""

    @abstractmethod
    def load(self, spec: NetworkSpec) -> LoadedNetwork:
        """Make a network ready to run.

        Raises:
            EngineError: this engine cannot run it.
            WeightsNotFoundError: its weights are nowhere.
        """


def _padded(array: NDArray[np.generic], n_rows: int) -> NDArray[np.generic]:
    if len(array) == n_rows:
        return np.ascontiguousarray(array)
    padding = np.zeros((n_rows - len(array), *array.shape[1:]), dtype=array.dtype)
    return np.concatenate((array, padding))


def choose_engine_name(options: EngineOptions) -> Literal["openvino", "torch"]:
    """The engine that ``auto`` means here: torch where CUDA is wanted or there, else OpenVINO.

    CUDA is looked for without importing torch, which would cost half a gigabyte.

    Raises:
        EngineError: the options contradict each other or name something unknown.
    """
    for value, allowed in (
        (options.engine, get_args(EngineName)),
        (options.device, get_args(DeviceName)),
        (options.precision, get_args(PrecisionName)),
    ):
        if value not in allowed:
            raise EngineError(f"{value!r} is none of {', '.join(allowed)}.")
    if options.engine == "openvino" and options.device == "cuda":
        raise EngineError("OpenVINO does not run on CUDA: set inference.engine to torch or auto.")
    if options.engine != "auto":
        return options.engine
    if options.device == "cuda" or (options.device == "auto" and cuda_present()):
        return "torch"
    return "openvino"


def cuda_present() -> bool:
    """Whether the NVIDIA driver shows a device, asked without torch."""
    return any(Path("/dev").glob("nvidia[0-9]*"))


def create_engine(options: EngineOptions) -> Engine:
    """The engine that the options name.

    Raises:
        EngineError: it cannot be had on this machine.
    """
    if choose_engine_name(options) == "torch":
        from sightsound.models.engines.torch_engine import TorchEngine

        return TorchEngine(options)
    from sightsound.models.engines.openvino_engine import OpenVinoEngine

    return OpenVinoEngine(options)
