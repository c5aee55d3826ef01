"""Whether a sense is left out: what it does to the loss on windows that nothing was learnt from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sightsound.models.bundle import SENSE_WORDS, Sense
from sightsound.models.fusion.leaving_out import LeavingOut
from sightsound.pipeline.training.answers import (
    Answers,
    calibrated_losses,
    joined_answers,
    known_answers,
)
from sightsound.pipeline.training.extract import Features
from sightsound.pipeline.training.fit import FittedModel
from sightsound.pipeline.training.losses import weighted
from sightsound.pipeline.training.recipe import Recipe, senses_of
from sightsound.pipeline.training.records import Dataset
from sightsound.pipeline.training.splits import Fold
from sightsound.pipeline.training.tensors import make_windows

# What is left out, and what the network is then shown and played.
_WAYS: dict[Sense | None, tuple[bool, bool]] = {
    None: (True, True),
    "audio": (True, False),
    "visual": (False, True),
}


@dataclass(frozen=True, kw_only=True)
class LeftOutSense:
    """The sense that is left out where the other is there, or None.

    ``losses`` are the held-out losses of windows with both senses, by what was left out; empty
    where it was not asked.
    """

    sense: Sense | None
    losses: Mapping[Sense | None, float]

    def __str__(self) -> str:
        if self.sense is None:
            return "Both senses are used where both are there."
        without, with_it = self.losses[self.sense], self.losses[None]
        return (
            f"Where both are there, the {SENSE_WORDS[self.sense]} is left out: without it the loss "
            f"of windows held out is {without:.3f}, with it {with_it:.3f}."
        )

    def apply(self, model: FittedModel) -> FittedModel:
        """The model that leaves it out."""
        if self.sense is None:
            return model
        return replace(model, network=LeavingOut(model.network, self.sense).eval())


def choose_left_out(
    recipe: Recipe,
    dataset: Dataset,
    features: Features,
    folds: Sequence[Fold],
    models: Sequence[FittedModel],
) -> LeftOutSense:
    """Ask each fold's network about its held-out windows that have both senses, with both and
    with each alone; the way of the lowest loss is taken, both senses where none is lower."""
    losses: dict[Sense | None, float] = {}
    if not recipe.validation.leave_out or len(senses_of(recipe)) == 1:
        return LeftOutSense(sense=None, losses=losses)
    parts: dict[Sense | None, list[dict[str, Answers]]] = {way: [] for way in _WAYS}
    for fold, model in zip(folds, models, strict=True):
        windows = make_windows(dataset, features, fold.held)
        has_both = (windows.visual.count[:, 0] > 0) & (windows.audio.count[:, 0] > 0)
        for way, (with_visual, with_audio) in _WAYS.items():
            parts[way].append(
                known_answers(
                    model.network,
                    dataset.tasks,
                    windows,
                    among=has_both,
                    with_visual=with_visual,
                    with_audio=with_audio,
                )
            )
    for way, of_folds in parts.items():
        each = calibrated_losses(dataset.tasks, joined_answers(of_folds))
        if each:
            losses[way] = float(weighted(each, recipe.training.task_weights))
    best = min(losses, key=lambda left_out: losses[left_out], default=None)
    return LeftOutSense(sense=best, losses=losses)
