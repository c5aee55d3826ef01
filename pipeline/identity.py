"""What results come from: model, configuration and versions, as ``run.json`` says it."""

from __future__ import annotations

import platform
from importlib.metadata import version
from typing import Any

from sightsound.models.bundle import Bundle
from sightsound.pipeline.config import Config

_VERSIONED = ("sightsound", "ray", "torch", "av", "openvino", "numpy", "pyarrow", "soxr")


def identity(config: Config, bundle: Bundle) -> dict[str, Any]:
    """The part of ``run.json`` that is the same for runs whose results are."""
    return {
        "model": bundle.name,
        "model_id": bundle.model_id,
        "config_id": config.config_id(),
        "config": config.model_dump(mode="json"),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in _VERSIONED},
    }
