"""The ``doctor`` command: is everything here that a run needs, and if not, how to mend it."""

from __future__ import annotations

import importlib
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sightsound.models.engines.base import create_engine, cuda_present
from sightsound.models.errors import ModelError
from sightsound.pipeline.config import Config
from sightsound.pipeline.inventory import missing_weights
from sightsound.stages.decoders import BACKENDS, find_decoder
from sightsound.stages.errors import DecoderUnavailableError

# import name -> (distribution, what it is for); all are declared dependencies.
_PACKAGES = {
    "av": ("av", "demuxing and decoding"),
    "numpy": ("numpy", "arrays"),
    "soxr": ("soxr", "resampling of sound"),
    "pyarrow": ("pyarrow", "result tables"),
    "pydantic": ("pydantic", "configuration"),
    "openvino": ("openvino", "inference on CPU"),
    "torch": ("torch", "networks, training, CUDA"),
    "torchvision": ("torchvision", "picture networks"),
    "torchaudio": ("torchaudio", "mel bands"),
    "timm": ("timm", "EfficientNet"),
    "onnx": ("onnx", "reading YAMNet's weights"),
    "safetensors": ("safetensors", "weights of bundles"),
    "librosa": ("librosa", "reference for spectrograms"),
    "ray": ("ray", "clusters"),
}
_DECODERS = {
    "video": ("h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mjpeg"),
    "audio": ("aac", "mp3", "opus", "vorbis", "flac", "ac3", "pcm_s16le"),
}

State = Literal["ok", "missing", "note"]
_MARKS = {"ok": ("ok", "green"), "missing": ("MISSING", "bold red"), "note": ("-", "dim")}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing looked at. ``remedy`` says how to mend it."""

    area: str
    name: str
    state: State
    detail: str
    remedy: str = ""


def run_doctor(config: Config) -> int:
    """Check everything and print it.

    Returns:
        How many things are missing.
    """
    findings = list(examine(config))
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    area = ""
    for finding in findings:
        mark, style = _MARKS[finding.state]
        shown = finding.area if finding.area != area else ""
        area = finding.area
        table.add_row(
            Text(shown, style="bold"), Text(mark, style=style), finding.name, finding.detail
        )
        if finding.remedy:
            table.add_row("", "", "", Text(f"to mend: {finding.remedy}", style="yellow"))
    console = Console(highlight=False)
    console.print(table)
    n_missing = sum(finding.state == "missing" for finding in findings)
    verdict = "Everything needed is here." if not n_missing else f"{n_missing} things are missing."
    console.print()
    console.print(Text(verdict, style="green" if not n_missing else "bold red"))
    return n_missing


def examine(config: Config) -> Iterator[Finding]:
    """Look at dependencies, decoders, devices, the engine and weights."""
    yield Finding(area="system", name="Python", state="ok", detail=platform.python_version())
    yield from _packages()
    yield from _guarded("decoders", "pyav", lambda: _backends(config))
    yield from _guarded("decoders", "FFmpeg", _decoders)
    yield from _guarded("devices", "devices", _devices)
    yield from _guarded("engine", "chosen", lambda: _engine(config))
    yield from _weights(config)
    yield _cache()


def _packages() -> Iterator[Finding]:
    for module, (distribution, purpose) in _PACKAGES.items():
        try:
            importlib.import_module(module)
            found = version(distribution)
        except PackageNotFoundError:
            found = "unknown version"
        except Exception as error:  # noqa: BLE001 - whatever a broken package raises is a finding
            yield Finding(
                area="packages",
                name=module,
                state="missing",
                detail=f"{purpose}; does not import: {_first_line(error)}",
                remedy=f"pip install --upgrade {distribution}",
            )
            continue
        yield Finding(area="packages", name=module, state="ok", detail=f"{found}  {purpose}")


def _backends(config: Config) -> Iterator[Finding]:
    """What ``decode.backend`` may be here; only the one that is chosen has to load."""
    for name in BACKENDS:
        chosen = name == config.decode.backend
        try:
            detail = find_decoder(name).load()
        except DecoderUnavailableError as error:
            yield Finding(
                area="decoders",
                name=name,
                state="missing" if chosen else "note",
                detail=error.reason,
                remedy=error.remedy if chosen else "",
            )
            continue
        yield Finding(
            area="decoders",
            name=name,
            state="ok",
            detail=f"{detail}{'  chosen by decode.backend' if chosen else ''}",
        )


def _decoders() -> Iterator[Finding]:
    for kind, names in _DECODERS.items():
        missing = [name for name in names if not _has_decoder(name)]
        yield Finding(
            area="decoders",
            name=kind,
            state="missing" if missing else "ok",
            detail=", ".join(name for name in names if name not in missing),
            remedy=f"no decoder for {', '.join(missing)}: pip install --upgrade av"
            if missing
            else "",
        )


def _has_decoder(name: str) -> bool:
    import av

    try:
        av.Codec(name, "r")
    except av.codec.codec.UnknownCodecError:
        return False
    return True


def _devices() -> Iterator[Finding]:
    import openvino
    import psutil

    cores = len(os.sched_getaffinity(0))
    capabilities = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    bfloat16 = "with bfloat16" if "BF16" in capabilities else "without bfloat16"
    memory = psutil.virtual_memory().total / 2**30
    yield Finding(
        area="devices",
        name="CPU",
        state="ok",
        detail=f"{cores} cores, {bfloat16}, {memory:.0f} GB of memory",
    )
    if not cuda_present():
        yield Finding(area="devices", name="CUDA", state="note", detail="no NVIDIA device")
        return
    import torch

    seen = torch.cuda.is_available()
    yield Finding(
        area="devices",
        name="CUDA",
        state="ok" if seen else "missing",
        detail=torch.cuda.get_device_name() if seen else "a device is there, torch does not see it",
        remedy="" if seen else "install a CUDA build of torch that fits the NVIDIA driver",
    )


def _engine(config: Config) -> Iterator[Finding]:
    try:
        engine = create_engine(config.engine_options())
    except ModelError as error:
        yield Finding(
            area="engine",
            name="chosen",
            state="missing",
            detail=str(error),
            remedy="set inference.engine and inference.device to auto",
        )
        return
    detail = f"{engine.description}, {config.worker_count()} workers of one thread"
    yield Finding(area="engine", name="chosen", state="ok", detail=detail)


def _weights(config: Config) -> Iterator[Finding]:
    for name in dict.fromkeys((config.model, "default", "full")):
        missing = missing_weights(name)
        needed = name in (config.model, "default")
        if not missing:
            yield Finding(area="models", name=name, state="ok", detail="all weights are here")
        for sentence in missing:
            yield Finding(
                area="models",
                name=name,
                state="missing" if needed else "note",
                detail=sentence if needed else f"{sentence} Only needed for --model {name}.",
            )


def _cache() -> Finding:
    from sightsound.models.engines.openvino_engine import cache_folder

    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    return Finding(
        area="cache",
        name="folder",
        state="ok" if writable else "missing",
        detail=str(folder),
        remedy="" if writable else "make it writable, or name another in XDG_CACHE_HOME",
    )


def _guarded(area: str, name: str, check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of a check, or one finding saying that the check itself could not run."""
    try:
        yield from list(check())
    except ImportError as error:
        yield Finding(area=area, name=name, state="missing", detail=_first_line(error))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]
