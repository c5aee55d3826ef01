"""What networks answer of windows that have a label: to stop, to calibrate and to choose by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sightsound.pipeline.training.batches import plain_batch
from sightsound.pipeline.training.calibrate import calibrated_loss, fit_temperature
from sightsound.pipeline.training.records import TaskLabels
from sightsound.pipeline.training.tensors import Windows

_ROWS_AT_ONCE = 256


@dataclass(frozen=True, kw_only=True)
class Answers:
    """What a network says of n windows that have a label, and what is true: logits and targets
    (n, n_labels) float32."""

    logits: torch.Tensor
    targets: torch.Tensor


def known_answers(
    network: nn.Module,
    tasks: Sequence[TaskLabels],
    windows: Windows,
    *,
    among: torch.Tensor | None = None,
    with_visual: bool = True,
    with_audio: bool = True,
) -> dict[str, Answers]:
    """By task, the answers of the windows that have its label, of those ``among`` (n_windows,)
    bool where it is given. A sense is masked as in ``window_logits``."""
    logits = window_logits(network, tasks, windows, with_visual=with_visual, with_audio=with_audio)
    answers = {}
    for task in tasks:
        known = windows.present[task.name]
        rows = known if among is None else known & among
        answers[task.name] = Answers(
            logits=logits[task.name][rows], targets=windows.targets[task.name][rows, 0]
        )
    return answers


def joined_answers(parts: Sequence[Mapping[str, Answers]]) -> dict[str, Answers]:
    """The answers of several folds, one after the other, by task."""
    return {
        task: Answers(
            logits=torch.cat([part[task].logits for part in parts]),
            targets=torch.cat([part[task].targets for part in parts]),
        )
        for task in parts[0]
    }


def temperatures_of(
    tasks: Sequence[TaskLabels], answers: Mapping[str, Answers]
) -> dict[str, float]:
    """By task, what makes the confidences of answers true; 1 where there are none."""
    temperatures = {}
    for task in tasks:
        said = answers[task.name]
        temperatures[task.name] = (
            fit_temperature(said.logits, said.targets, kind=task.kind) if len(said.logits) else 1.0
        )
    return temperatures


def calibrated_losses(
    tasks: Sequence[TaskLabels], answers: Mapping[str, Answers]
) -> dict[str, torch.Tensor]:
    """The calibrated loss of each task that there are answers of, a scalar."""
    return {
        task.name: torch.tensor(calibrated_loss(said.logits, said.targets, kind=task.kind))
        for task in tasks
        if len((said := answers[task.name]).logits)
    }


@torch.inference_mode()
def window_logits(
    network: nn.Module,
    tasks: Sequence[TaskLabels],
    windows: Windows,
    *,
    with_visual: bool = True,
    with_audio: bool = True,
) -> dict[str, torch.Tensor]:
    """Logits (n_windows, n_labels) float32 by task, of windows as inference sees them.

    Where there are no windows the network is not asked: not every one can be, about none.
    ``with_visual`` and ``with_audio`` mask a sense where they are False.
    """
    network.eval()
    parts = {task.name: [torch.zeros((0, len(task.labels)))] for task in tasks}
    for start in range(0, len(windows), _ROWS_AT_ONCE):
        rows = torch.arange(start, min(start + _ROWS_AT_ONCE, len(windows)))
        batch = plain_batch(windows, rows, with_visual=with_visual, with_audio=with_audio)
        outputs = network(*batch.inputs())
        for i, task in enumerate(tasks):
            parts[task.name].append(outputs[i])
    return {name: torch.cat(tensors) for name, tensors in parts.items()}
