"""The sections of the configuration on what is taken from a file."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field, field_validator

from sightsound.pipeline.settings import Seconds, Section
from sightsound.stages.decoders import BackendName
from sightsound.stages.records import MediaLimits


class LimitsConfig(Section):
    """How much a file may ask for. What exceeds a limit is told in its row, as ``too_large`` or
    ``out_of_memory``."""

    memory_bytes: Annotated[int, Field(ge=512 << 20)] | None = Field(
        4 << 30, description="memory of a worker process; none: no ceiling"
    )
    picture_side: Annotated[int, Field(ge=16)] = Field(
        MediaLimits.picture_side, description="longest side of a picture, in pixels"
    )
    picture_pixels: Annotated[int, Field(ge=256, lt=1 << 31)] = Field(
        MediaLimits.picture_pixels, description="most pixels of a picture"
    )
    index_bytes: Annotated[int, Field(ge=1 << 10)] = Field(
        MediaLimits.index_bytes, description="most memory for the list of a file's packets"
    )
    duration_s: Seconds = Field(MediaLimits.duration_s, description="longest file")
    sample_rate_hz: Annotated[int, Field(ge=8000)] = Field(
        MediaLimits.sample_rate_hz, description="highest rate of sound"
    )

    def media_limits(self) -> MediaLimits:
        """What the stages are to hold a file to."""
        return MediaLimits(**self.model_dump(exclude={"memory_bytes"}))


class StreamsConfig(Section):
    """Which of several streams are taken."""

    audio_track: Annotated[int, Field(ge=0)] | str | None = Field(
        None,
        description="track of sound: its number among them, from 0, or its language, such as eng; "
        "none: the default one",
    )

    @field_validator("audio_track", mode="before")
    @classmethod
    def _norwegian(cls, value: object) -> object:
        # What YAML makes of the language code "no".
        return "no" if value is False else value


class DecodeConfig(Section):
    """What decodes pictures. Sound is always decoded by PyAV."""

    backend: BackendName = Field(
        "pyav",
        description="where another than PyAV cannot decode a file right, PyAV does, and the "
        "file's row says so",
    )


def audio_track_setting(track: str) -> str:
    """The ``key=value`` setting that an option ``--audio-track TRACK`` stands for."""
    value = track if track.isdecimal() else json.dumps(track)
    return f"streams.audio_track={value}"
