"""Whether a bundle has anything to say of a file, by the senses that both have."""

from __future__ import annotations

from sightsound.models.backbones.base import AudioBackbone, VisualBackbone
from sightsound.models.bundle import Bundle, Sense, Task
from sightsound.stages.errors import ErrorCode, StageError
from sightsound.stages.records import VideoPlan

_LACKS: dict[Sense, tuple[ErrorCode, str]] = {
    "visual": ("no_picture", "picture"),
    "audio": ("no_sound", "sound"),
}


def check_answerable(bundle: Bundle, plan: VideoPlan, path: str) -> None:
    """Refuse a file that lacks the sense without which the bundle answers nothing.

    A file that has the sense, but of which nothing can be decoded, is not refused.

    Raises:
        StageError: no task of the bundle can be answered, whatever the file shows or plays.
    """
    spans = {"visual": plan.video_span_s, "audio": plan.audio_span_s}
    there = {sense for sense in _LACKS if spans[sense] is not None}
    missing = [sense for sense in _LACKS if sense not in there]
    if not missing or any(_answers(bundle, task, there) for task in bundle.tasks):
        return
    code, word = _LACKS[missing[0]]
    raise StageError(
        "plan",
        code,
        f"{path} has no {word}, without which the model {bundle.name} says nothing: choose "
        "another --model for it.",
    )


def _answers(bundle: Bundle, task: Task, there: set[Sense]) -> bool:
    by_sense: dict[Sense, tuple[VisualBackbone | AudioBackbone, ...]] = {
        "visual": bundle.visual,
        "audio": bundle.audio,
    }
    if not there.issuperset(task.requires):
        return False
    return any(
        task.by_fusion or backbone.name in task.sources
        for sense in there
        for backbone in by_sense[sense]
    )
