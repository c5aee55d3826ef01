"""Inference in torch: CUDA in bfloat16, or CPU. Convolutions run channels-last on both."""

from __future__ import annotations

import contextlib
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sightsound.models.engines.base import Engine, EngineOptions, LoadedNetwork
from sightsound.models.errors import EngineError
from sightsound.models.networks import NetworkSpec

_CPU_BATCH_SIZE = 8
_CUDA_BATCH_SIZE = 32


class TorchEngine(Engine):
    """Runs networks eagerly. bfloat16 is by autocast, for networks that allow it."""

    name = "torch"

    def __init__(self, options: EngineOptions) -> None:
        """Choose the device and precision.

        Raises:
            EngineError: CUDA is asked for and torch does not see it.
        """
        has_cuda = torch.cuda.is_available()
        if options.device == "cuda" and not has_cuda:
            raise EngineError(
                "inference.device is cuda, but torch sees no CUDA device: install a CUDA build "
                "of torch and the NVIDIA driver, or set inference.device to cpu."
            )
        self.device = "cuda" if has_cuda and options.device != "cpu" else "cpu"
        self._bfloat16 = options.precision == "bfloat16" or (
            options.precision == "auto"
            and (torch.cuda.is_bf16_supported() if self.device == "cuda" else _cpu_has_bfloat16())
        )
        default = _CUDA_BATCH_SIZE if self.device == "cuda" else _CPU_BATCH_SIZE
        self._batch_size = options.batch_size or default
        torch.set_num_threads(options.threads)

    @property
    def description(self) -> str:
        """Engine, device and precision in words."""
        name = torch.cuda.get_device_name() if self.device == "cuda" else "CPU"
        precision = "bfloat16" if self._bfloat16 else "float32"
        return f"torch {torch.__version__} on {name} in {precision}"

    def load(self, spec: NetworkSpec) -> LoadedNetwork:
        """Build the module and move it to the device."""
        module = spec.build().eval().to(self.device)
        # Channels-last is defined for four dimensions; video networks have five.
        if all(parameter.dim() != 5 for parameter in module.parameters()):
            module = module.to(memory_format=torch.channels_last)
        return _TorchNetwork(
            spec,
            module=module,
            device=self.device,
            bfloat16=self._bfloat16 and spec.reduced_precision,
            batch_size=self._batch_size,
        )


class _TorchNetwork(LoadedNetwork):
    def __init__(
        self, spec: NetworkSpec, *, module: nn.Module, device: str, bfloat16: bool, batch_size: int
    ) -> None:
        super().__init__(spec, batch_size=batch_size)
        self._module = module
        self._device = device
        self._bfloat16 = bfloat16

    def _run(self, batch: list[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        precision = (
            torch.autocast(self._device, dtype=torch.bfloat16)
            if self._bfloat16
            else contextlib.nullcontext()
        )
        with torch.inference_mode(), precision:
            tensors = [torch.from_numpy(array).to(self._device) for array in batch]
            results = self._module(*tensors)
        return [cast(NDArray[np.float32], result.float().cpu().numpy()) for result in results]


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 itself; emulated it is slower than float32."""
    return bool(torch.cpu._is_avx512_bf16_supported())
