"""One label of one window explained: everything that is shown, drawn or written of it."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sightsound.models.bundle import SENSE_WORDS, Bundle, Task
from sightsound.pipeline.explain.attributions import Attributions, attribute
from sightsound.pipeline.explain.contributions import Contributions, contributions
from sightsound.pipeline.explain.errors import ExplainError, ExplainUsageError
from sightsound.pipeline.explain.scores import make_score
from sightsound.pipeline.explain.sources import task_sources
from sightsound.pipeline.explain.window import WindowInput

_N_CLOSE = 3


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a window has a label.

    ``probability`` is what ``analyze`` tells of it, ``rank`` its place among the task's labels,
    from 1. ``quantity`` says what the attributions add up to.
    """

    uri: str
    bundle: Bundle
    found: WindowInput
    task: Task
    label: str
    probability: float
    rank: int
    quantity: str
    contributions: Contributions
    attributions: Attributions


def explain_window(
    bundle: Bundle,
    found: WindowInput,
    *,
    uri: str,
    task: str | None,
    label: str | None,
    device: str = "cpu",
    on_progress: Callable[[str], None] = lambda text: None,
) -> Explanation:
    """Explain one label of a window.

    Args:
        bundle: the model.
        found: the window.
        uri: what the video is called.
        task: a task of the bundle; None for the first that the window answers.
        label: a label of the task; None for the best.
        device: where gradients are computed, as torch names it.
        on_progress: told what is being looked into.

    Raises:
        ExplainUsageError: the bundle has no such task, or the task no such label.
        ExplainError: the window does not answer the task.
        ModelError: weights cannot be had.
    """
    chosen = choose_task(bundle, found, task, uri=uri)
    index = None if label is None else find_label(chosen, label)
    score = make_score(
        bundle, chosen, task_sources(bundle, chosen, found, device=device), found.window
    )
    probabilities = score.probabilities()
    assert probabilities is not None
    if index is None:
        index = int(probabilities.argmax())
    return Explanation(
        uri=uri,
        bundle=bundle,
        found=found,
        task=chosen,
        label=chosen.labels[index],
        probability=float(probabilities[index]),
        rank=1 + int(np.count_nonzero(probabilities > probabilities[index])),
        quantity=score.quantity,
        contributions=contributions(score, label=index),
        attributions=attribute(score, label=index, on_progress=on_progress),
    )


def choose_task(bundle: Bundle, found: WindowInput, name: str | None, *, uri: str) -> Task:
    """The task of that name, or the first that the window answers.

    Raises:
        ExplainUsageError: the bundle has no such task.
        ExplainError: the window does not answer it.
    """
    if name is not None:
        check_task(bundle, name)
    wanted = [task for task in bundle.tasks if name in (None, task.name)]
    for task in wanted:
        if task.name in found.scores.tasks:
            return task
    has = {"visual": found.scores.has_video, "audio": found.scores.has_audio}
    lacking = [word for sense, word in SENSE_WORDS.items() if not has[sense]]
    window = found.window
    raise ExplainError(
        f"The window from {window.start_s:g} to {window.end_s:g} s of {uri} has no answer for "
        f"{name or 'any task'}: it has no {' and no '.join(lacking) or 'sense that this needs'}."
    )


def check_task(bundle: Bundle, name: str) -> Task:
    """The task of that name.

    Raises:
        ExplainUsageError: there is none; the message lists those that there are.
    """
    for task in bundle.tasks:
        if task.name == name:
            return task
    known = ", ".join(task.name for task in bundle.tasks)
    raise ExplainUsageError(f"The bundle {bundle.name} has no task {name}: it has {known}.")


def find_label(task: Task, name: str) -> int:
    """The index of a label, in whatever case it is written.

    Raises:
        ExplainUsageError: there is none; the message has those that are spelt like it.
    """
    folded = [label.casefold() for label in task.labels]
    if name in task.labels:
        return task.labels.index(name)
    if name.casefold() in folded:
        return folded.index(name.casefold())
    close = difflib.get_close_matches(name.casefold(), folded, n=_N_CLOSE, cutoff=0.5)
    close += [label for label in folded if name.casefold() in label and label not in close]
    nearest = [task.labels[folded.index(label)] for label in close[:_N_CLOSE]]
    hint = f": did you mean {', '.join(nearest)}?" if nearest else "."
    raise ExplainUsageError(f"The task {task.name} has no label {name}{hint}")
