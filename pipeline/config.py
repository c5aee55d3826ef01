"""The one configuration: typed, from YAML and ``key=value`` settings, printable as YAML."""

from __future__ import annotations

import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError, model_validator

from sightsound.models.engines.base import (
    DeviceName,
    EngineName,
    EngineOptions,
    PrecisionName,
    cuda_present,
)
from sightsound.pipeline.media_config import DecodeConfig, LimitsConfig, StreamsConfig
from sightsound.pipeline.settings import Seconds, Section, SettingsError, explain, read_settings
from sightsound.stages.segment import SegmentRule

Score = Annotated[float, Field(ge=0, le=1)]


class ConfigError(SettingsError):
    """The configuration is wrong; the message names the key and what it allows."""


class WindowConfig(Section):
    """The unit that is labelled."""

    length_s: Seconds = Field(8.0, description="length of a window")
    hop_s: Seconds = Field(4.0, description="from the start of a window to that of the next")

    @model_validator(mode="after")
    def _hop_within_length(self) -> WindowConfig:
        if self.hop_s > self.length_s:
            raise ValueError("hop_s must not exceed length_s, or moments between are not seen")
        return self


class SamplingConfig(Section):
    """How often pictures are looked at."""

    fps: Annotated[float, Field(gt=0, le=60)] | None = Field(
        None, description="pictures a second; none: what the model was made for"
    )


class InferenceConfig(Section):
    """What runs the networks."""

    engine: EngineName = "auto"
    device: DeviceName = "auto"
    precision: PrecisionName = "auto"
    batch_size: Annotated[int, Field(ge=1, le=1024)] | None = None


class WorkerConfig(Section):
    """The processes that decode and infer, one slice at a time each."""

    count: Annotated[int, Field(ge=0)] = Field(0, description="0: one for each core")
    slice_s: Seconds = Field(300.0, description="longest slice of a video given to a worker")
    stall_timeout_s: Seconds = Field(60.0, description="without progress, a worker is killed")
    deadline_base_s: Seconds = Field(120.0, description="time allowed for any slice")
    deadline_per_second: Seconds = Field(10.0, description="more for each second of video in it")
    deadline_file_s: Seconds = Field(86400.0, description="time allowed for all of a file")
    attempts: Annotated[int, Field(ge=1, le=10)] = Field(
        2, description="how often a slice is tried when its worker dies"
    )


class BatchConfig(Section):
    """How ``batch`` spreads its work with Ray. Results do not depend on it."""

    min_workers: Annotated[int, Field(ge=0)] = Field(0, description="0: as many as max_workers")
    max_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="0: workers.count on this machine, all cores of a cluster"
    )
    split: bool | None = Field(
        None, description="decode apart from inference; none: where inference is on a GPU"
    )
    gpus_per_worker: Annotated[float, Field(gt=0, le=8)] = Field(
        1.0, description="of a GPU that Ray sets aside for a worker, when split on GPUs"
    )
    gpu_workers: Annotated[int, Field(ge=0)] = Field(
        0, description="most workers that infer, when split; 0: as many as the GPUs hold"
    )
    cpus_per_worker: Annotated[float, Field(gt=0, le=64)] = Field(
        1.0, description="cores that Ray sets aside for a worker"
    )
    task_video_s: Seconds = Field(30.0, description="short videos are handed out by so much")
    round_inputs: Annotated[int, Field(ge=1)] = Field(
        50_000, description="inputs that Ray is given at once"
    )
    object_store_bytes: Annotated[int, Field(ge=80 << 20)] = Field(
        256 << 20, description="object store of a Ray that is started here"
    )
    in_flight_bytes: Annotated[int, Field(ge=16 << 20)] = Field(
        128 << 20, description="plans and results on their way between processes"
    )
    commit_s: Seconds = Field(30.0, description="longest that a result waits to be committed")

    @model_validator(mode="after")
    def _bounds_in_order(self) -> BatchConfig:
        if self.max_workers and self.min_workers > self.max_workers:
            raise ValueError("min_workers must not exceed max_workers")
        return self


class SegmentConfig(Section):
    """When a label begins, goes on and is worth telling (see ``stages.segment``)."""

    min_score: Score
    keep_score: Score
    switch_margin: Score = 0.1


class OutputConfig(Section):
    """What the tables hold."""

    top_k: Annotated[int, Field(ge=1, le=20)] = Field(5, description="labels a task and window")
    embedding: bool = Field(False, description="write the fused embedding of each window")
    part_bytes: Annotated[int, Field(ge=1 << 20)] = Field(
        64 << 20, description="size of a Parquet part, before compression"
    )


_RULES = {
    "action": SegmentConfig(min_score=0.05, keep_score=0.05),
    "scene": SegmentConfig(min_score=0.05, keep_score=0.05),
    "sound": SegmentConfig(min_score=0.3, keep_score=0.15),
}


class Config(Section):
    """Everything that can be set. Defaults suit one machine."""

    model: str = Field("default", description="default, full, or the folder of a bundle")
    window: WindowConfig = WindowConfig()
    sampling: SamplingConfig = SamplingConfig()
    inference: InferenceConfig = InferenceConfig()
    workers: WorkerConfig = WorkerConfig()
    limits: LimitsConfig = LimitsConfig()
    streams: StreamsConfig = StreamsConfig()
    decode: DecodeConfig = DecodeConfig()
    batch: BatchConfig = BatchConfig()
    segments: dict[str, SegmentConfig] = Field(default_factory=lambda: dict(_RULES))
    output: OutputConfig = OutputConfig()

    def worker_count(self) -> int:
        """How many workers to start: as set, or one for each core this process may use."""
        return self.workers.count or len(os.sched_getaffinity(0))

    def worker_memory_bytes(self) -> int | None:
        """The most memory of a worker: as set, but without a ceiling where it infers on a GPU,
        whose driver sets aside address space as it pleases."""
        device = self.inference.device
        on_gpu = device == "cuda" or (device == "auto" and cuda_present())
        if on_gpu and self.inference.engine != "openvino":
            return None
        return self.limits.memory_bytes

    def engine_options(self) -> EngineOptions:
        """The inference section as the engines take it, one thread a worker."""
        return EngineOptions(
            engine=self.inference.engine,
            device=self.inference.device,
            precision=self.inference.precision,
            batch_size=self.inference.batch_size,
        )

    def fps(self, model_fps: Fraction) -> Fraction:
        """Pictures a second: as set, or what the model was made for."""
        return model_fps if self.sampling.fps is None else Fraction(str(self.sampling.fps))

    def rules(self) -> dict[str, SegmentRule]:
        """The segment rules as the stage takes them.

        A task that has none of its own goes by that of ``action`` if it gives one label, by that
        of ``sound`` if it gives several.
        """
        rules = {
            name: SegmentRule(**rule.model_dump())
            for name, rule in {**_RULES, **self.segments}.items()
        }
        return {"single": rules["action"], "multi": rules["sound"], **rules}

    def config_id(self) -> str:
        """Identifies the settings that results depend on; how work is spread is not among them."""
        apart = {"model", "workers", "limits", "batch"}
        # Sections that are younger than results that are still good.
        if self.streams == StreamsConfig():
            apart.add("streams")
        if self.decode == DecodeConfig():
            apart.add("decode")
        relevant = self.model_dump(exclude=apart, mode="json")
        relevant["output"].pop("part_bytes")
        relevant["inference"].pop("batch_size")
        text = json.dumps(relevant, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_yaml(self) -> str:
        """The whole configuration as YAML that loads again."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def load_config(
    path: Path | None = None, settings: tuple[str, ...] = (), *, model: str | None = None
) -> Config:
    """Read a YAML file and apply ``key=value`` settings and the choice of a model over it.

    Raises:
        ConfigError: the file cannot be read, or a key or value is not allowed.
    """
    data = read_settings(
        path,
        settings,
        error=ConfigError,
        written="write it as key=value, such as window.length_s=10",
    )
    if model is not None:
        data["model"] = model
    try:
        return Config.model_validate(_with_default_rules(data))
    except ValidationError as error:
        listed = "'sightsound config show' lists them"
        raise ConfigError(explain(error, path, what="the configuration", listed=listed)) from None


def _with_default_rules(data: dict[str, Any]) -> dict[str, Any]:
    """Rules given for one task, or one number of a rule, leave the others as they are."""
    given = data.get("segments")
    if not isinstance(given, dict):
        return data
    merged = {name: rule.model_dump() for name, rule in _RULES.items()}
    for name, rule in given.items():
        if isinstance(rule, dict):
            merged[name] = {**merged.get(name, {}), **rule}
        else:
            merged[name] = rule
    return {**data, "segments": merged}
