"""Looking up backbones of either kind by name, and what a teacher's task is called."""

from __future__ import annotations

from sightsound.models.backbones import AUDIO_BACKBONES, audio_backbone, visual_backbone
from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.bundle import TaskKind
from sightsound.models.errors import ModelError


def find_backbone(name: str) -> VisualBackbone | AudioBackbone:
    """The backbone of a name, of either kind.

    Raises:
        UnknownBackboneError: there is none.
    """
    return audio_backbone(name) if name in AUDIO_BACKBONES else visual_backbone(name)


def teacher_task(name: str, task: str | None = None) -> tuple[str, TaskKind, tuple[str, ...]]:
    """Name, kind and labels of what a teacher answers.

    ``task`` None calls it sound for a backbone that listens, scene for one that knows places, and
    action otherwise.

    Raises:
        ModelError: there is no such backbone, or it has no labels of its own.
    """
    backbone = find_backbone(name)
    if backbone.labels is None:
        raise ModelError(
            f"{name} has no scores of its own to teach: choose a backbone with labels "
            "('sightsound models' shows them)."
        )
    if isinstance(backbone, AudioBackbone):
        return task or "sound", "multi", backbone.labels()
    natural = "scene" if "places" in name else "action"
    return task or natural, "single", backbone.labels()
