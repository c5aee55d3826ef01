"""How much each sense contributed to a label, in two ways that must not be confused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sightsound.models.bundle import Sense
from sightsound.pipeline.explain.scores import TaskScore


@dataclass(frozen=True, kw_only=True)
class Contributions:
    """What each sense that the task uses in the window contributed.

    ``leave_one_out`` is by how much the label's probability falls when the sense is masked; it
    is negative where the sense speaks against the label. Where no other sense is left there is
    no answer, and the whole probability falls; ``without`` is then None, else the probability
    that is left. The falls need not add up to the probability.

    ``attention_share`` is the sum of the fusion's pooling attention over the tokens of the
    sense; the shares add up to 1. It says what was looked at, not what it did. None for a task
    by late fusion, which attends to nothing.
    """

    leave_one_out: Mapping[Sense, float]
    without: Mapping[Sense, float | None]
    attention_share: Mapping[Sense, float] | None


def contributions(score: TaskScore, *, label: int) -> Contributions:
    """Both kinds of contribution for one label, an index into the task's labels."""
    whole = score.probabilities()
    assert whole is not None
    senses = list(dict.fromkeys(source.sense for source in score.sources))
    without: dict[Sense, float | None] = {}
    for sense in senses:
        left = score.probabilities(without=sense)
        without[sense] = None if left is None else float(left[label])
    attention = score.attention()
    shares: dict[Sense, float] | None = None
    if attention is not None:
        shares = {
            sense: sum(
                float(attention[source.backbone.name].sum())
                for source in score.sources
                if source.sense == sense
            )
            for sense in senses
        }
    return Contributions(
        leave_one_out={
            sense: float(whole[label]) - (left or 0.0) for sense, left in without.items()
        },
        without=without,
        attention_share=shares,
    )
