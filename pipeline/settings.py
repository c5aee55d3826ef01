"""Reading typed settings from YAML and ``key=value``, and saying what is wrong with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Section(BaseModel):
    """Part of the settings: unknown keys are refused, and values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SettingsError(Exception):
    """Settings are wrong; the message names the key and what it allows."""


def read_settings(
    path: Path | None, settings: Sequence[str], *, error: type[SettingsError], written: str
) -> dict[str, Any]:
    """The keys of a YAML file, if any, with ``key=value`` settings over them.

    Args:
        path: the file.
        settings: as given with ``--set``; ``written`` tells how one is written.
        error: what is raised where a file or a setting cannot be read.
    """
    data = {} if path is None else _read_yaml(path, error)
    for setting in settings:
        _apply(data, setting, error=error, written=written)
    return data


def _read_yaml(path: Path, error: type[SettingsError]) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as cause:
        raise error(f"{path} cannot be read ({cause.strerror}): check --config.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise error(f"{path} is not YAML: {' '.join(str(cause).split())}.") from None
    if loaded is not None and not isinstance(loaded, dict):
        raise error(f"{path} must hold settings by name, not a list or a value.")
    return loaded or {}


def _apply(data: dict[str, Any], setting: str, *, error: type[SettingsError], written: str) -> None:
    key, equals, text = setting.partition("=")
    if not equals or not key:
        raise error(f"--set {setting}: {written}.")
    *parents, leaf = key.split(".")
    place = data
    for parent in parents:
        # A section that is null in the file, such as an optional one, is begun here.
        below = place.get(parent)
        if below is None:
            below = place[parent] = {}
        if not isinstance(below, dict):
            raise error(f"--set {setting}: {parent} is a value and has no keys below it.")
        place = below
    try:
        place[leaf] = yaml.safe_load(text)
    except yaml.YAMLError:
        raise error(f"--set {setting}: the value cannot be read as YAML.") from None


def explain(error: ValidationError, path: Path | None, *, what: str, listed: str) -> str:
    """One sentence on all that pydantic found: ``what`` is wrong, allowed keys are ``listed``."""
    parts = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or what
        if item["type"] == "extra_forbidden":
            parts.append(f"{key} is not a setting ({listed})")
        else:
            message = item["msg"].removeprefix("Value error, ")
            got = "" if isinstance(item["input"], dict) else f", got {item['input']!r}"
            parts.append(f"{key}: {message[0].lower()}{message[1:]}{got}")
    where = f" in {path}" if path else ""
    return f"{what[0].upper()}{what[1:]}{where} is wrong: {'; '.join(parts)}."
