"""The training loop: the same for one process and for several that share the gradient.

Whatever is drawn in a step depends on the seed, the step and the process alone. A training that
goes on from a checkpoint therefore ends with the weights of one that was never disturbed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from sightsound.models.fusion import build_fusion
from sightsound.pipeline.training.answers import Answers, calibrated_losses, known_answers
from sightsound.pipeline.training.batches import Batch, draw_batch, spread_of
from sightsound.pipeline.training.checkpoints import CheckpointFile
from sightsound.pipeline.training.losses import batch_losses, weighted
from sightsound.pipeline.training.optimise import follow, make_optimiser, rate_at, set_rate
from sightsound.pipeline.training.recipe import Recipe, senses_of
from sightsound.pipeline.training.records import TaskLabels
from sightsound.pipeline.training.tensors import Windows

_N_EVALUATIONS = 30
_LEAST_BETWEEN_EVALUATIONS = 10


class TrainingWorkersError(Exception):
    """The processes that train together failed; the message says why."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How a training stands after ``step`` steps.

    ``losses`` are of the last batch by task; ``held_loss``, once calibrated, and ``held_accuracy``
    by task are of the held-out windows, nothing where none are. The accuracy of a single-label
    task is the share of windows whose best label is the true one, of a multi-label task the share
    of right yes-or-no answers.
    """

    step: int
    n_steps: int
    losses: dict[str, float]
    held_loss: float | None
    held_accuracy: dict[str, float]

    def __str__(self) -> str:
        parts = [f"{task} {loss:.3f}" for task, loss in self.losses.items()]
        text = f"step {self.step} of {self.n_steps}: loss {', '.join(parts)}"
        if self.held_loss is not None:
            right = ", ".join(f"{task} {share:.1%}" for task, share in self.held_accuracy.items())
            text += f"; held out: loss {self.held_loss:.3f}, right {right}"
        return text


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a training needs; picklable.

    The learning rate follows ``n_steps``, of which only the first ``stop_at`` are made.
    """

    recipe: Recipe
    tasks: tuple[TaskLabels, ...]
    visual_dim: int
    audio_dim: int
    train: Windows
    held: Windows
    seed: int
    n_steps: int
    stop_at: int
    checkpoint: CheckpointFile | None = None
    resume: bool = False


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among those that train together.

    ``wrap`` makes the network share its gradient; ``agree`` gives the word of process 0.
    """

    rank: int = 0
    size: int = 1
    wrap: Callable[[nn.Module], nn.Module] = field(default=lambda network: network)
    agree: Callable[[bool], bool] = field(default=lambda word: word)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The running average of weights at its best step, and how it came about."""

    weights: dict[str, torch.Tensor]
    best_step: int
    history: tuple[Progress, ...]


def new_network(plan: Plan) -> nn.Module:
    """An untrained fusion, the same for the same seed."""
    torch.manual_seed(plan.seed)
    return _build(plan.recipe, plan.tasks, visual_dim=plan.visual_dim, audio_dim=plan.audio_dim)


def check_network(recipe: Recipe, tasks: Sequence[TaskLabels]) -> None:
    """See that the fusion of a recipe can be built for these tasks, before anything is extracted.

    Raises:
        FusionError: a size or the name of a task cannot be used.
    """
    _build(recipe, tasks, visual_dim=1, audio_dim=1)


def _build(
    recipe: Recipe, tasks: Sequence[TaskLabels], *, visual_dim: int, audio_dim: int
) -> nn.Module:
    return build_fusion(
        recipe.fusion.method,
        visual_dim=visual_dim,
        audio_dim=audio_dim,
        tasks={task.name: len(task.labels) for task in tasks},
        **recipe.fusion.sizes(),
    )


def run_loop(
    plan: Plan,
    world: World | None = None,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Train to the end, or until the held-out loss has not fallen for some time.

    Raises:
        CheckpointError: ``plan.resume`` is set and the checkpoint is of another training.
    """
    return _Loop(plan, world or World(), on_progress).run()


class _Loop:
    def __init__(self, plan: Plan, world: World, on_progress: Callable[[Progress], None]) -> None:
        self._plan, self._world, self._on_progress = plan, world, on_progress
        self._settings = plan.recipe.training
        self._evaluate_every = self._settings.evaluate_every or max(
            _LEAST_BETWEEN_EVALUATIONS, plan.n_steps // _N_EVALUATIONS
        )
        self._network = new_network(plan)
        self._average = copy.deepcopy(self._network).eval()
        self._optimiser = make_optimiser(self._network, plan.recipe.optimiser)
        self._rate = rate_at(plan.recipe.optimiser.schedule, plan.n_steps)
        self._spread = spread_of(plan.train)
        self._step = 0
        self._best_loss, self._best_step = float("inf"), 0
        self._best: dict[str, torch.Tensor] = {}
        self._n_worse = 0
        self._history: list[Progress] = []
        self._is_done = False

    def run(self) -> Trained:
        saved = self._plan.checkpoint
        state = saved.load() if saved is not None and self._plan.resume else None
        if state is not None:
            self._restore(state)
        shared = self._world.wrap(self._network)
        while not self._is_done:
            losses = self._learn(shared)
            if self._step % self._evaluate_every == 0 or self._step == self._plan.stop_at:
                self._evaluate(losses)
            self._is_done = self._world.agree(
                self._step >= self._plan.stop_at or self._n_worse >= self._settings.patience
            )
            if self._step % self._settings.checkpoint_every == 0 or self._is_done:
                self._save()
        if not self._best:
            self._best, self._best_step = self._average.state_dict(), self._step
        return Trained(weights=self._best, best_step=self._best_step, history=tuple(self._history))

    def _learn(self, shared: nn.Module) -> dict[str, torch.Tensor]:
        """One step; return the losses of its batch."""
        plan, recipe = self._plan, self._plan.recipe
        seed = (plan.seed * 1_000_003 + self._step) * 1_009 + self._world.rank
        torch.manual_seed(seed % 2**63)  # Dropout draws from torch's own generator.
        generator = torch.Generator().manual_seed((seed + 1) * 7_919 % 2**63)
        batch = draw_batch(
            plan.train,
            max(1, self._settings.batch_size // self._world.size),
            augmentation=recipe.augmentation,
            spread=self._spread,
            generator=generator,
        )
        shared.train()
        losses, total = batch_losses(
            lambda shown: self._logits(shared, shown),
            batch,
            plan.tasks,
            self._settings,
            has_two_senses=len(senses_of(recipe)) > 1,
        )
        set_rate(self._optimiser, recipe.optimiser.learning_rate * self._rate(self._step))
        self._optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._network.parameters(), recipe.optimiser.clip_norm)
        self._optimiser.step()
        follow(
            self._average,
            self._network,
            step=self._step,
            decay=recipe.optimiser.average_decay,
        )
        self._step += 1
        return losses

    def _logits(self, network: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
        outputs = network(*batch.inputs())
        return {task.name: outputs[i] for i, task in enumerate(self._plan.tasks)}

    def _evaluate(self, losses: dict[str, torch.Tensor]) -> None:
        held_loss: float | None = None
        accuracy: dict[str, float] = {}
        if len(self._plan.held):
            held_loss, accuracy = self._measure()
            if held_loss < self._best_loss:
                self._best_loss, self._best_step, self._n_worse = held_loss, self._step, 0
                self._best = copy.deepcopy(self._average.state_dict())
            else:
                self._n_worse += 1
        progress = Progress(
            step=self._step,
            n_steps=self._plan.stop_at,
            losses={task: float(loss.detach()) for task, loss in losses.items()},
            held_loss=held_loss,
            held_accuracy=accuracy,
        )
        self._history.append(progress)
        self._on_progress(progress)

    def _measure(self) -> tuple[float, dict[str, float]]:
        """Calibrated loss and accuracy of the averaged weights on the held-out windows."""
        tasks = self._plan.tasks
        answers = known_answers(self._average, tasks, self._plan.held)
        losses = calibrated_losses(tasks, answers)
        whole = float(weighted(losses, self._settings.task_weights)) if losses else 0.0
        accuracy = {
            task.name: share_right(task, answers[task.name])
            for task in tasks
            if task.name in losses
        }
        return whole, accuracy

    def _save(self) -> None:
        if self._plan.checkpoint is None or self._world.rank > 0:
            return
        self._plan.checkpoint.save(
            {
                "step": self._step,
                "is_done": self._is_done,
                "network": self._network.state_dict(),
                "average": self._average.state_dict(),
                "optimiser": self._optimiser.state_dict(),
                "best": self._best,
                "best_loss": self._best_loss,
                "best_step": self._best_step,
                "n_worse": self._n_worse,
                "history": [progress.__dict__ for progress in self._history],
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self._step, self._is_done = state["step"], state["is_done"]
        self._network.load_state_dict(state["network"])
        self._average.load_state_dict(state["average"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._best, self._best_loss = state["best"], state["best_loss"]
        self._best_step, self._n_worse = state["best_step"], state["n_worse"]
        self._history = [Progress(**entry) for entry in state["history"]]


def share_right(task: TaskLabels, said: Answers) -> float:
    """The accuracy of answers (see ``Progress``)."""
    if task.kind == "single":
        is_right = said.logits.argmax(dim=1) == said.targets.argmax(dim=1)
    else:
        is_right = (said.logits > 0) == (said.targets > 0.5)
    return float(is_right.float().mean())
