"""Training by several processes that share each batch: Ray Train, DistributedDataParallel, gloo."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, prepare_model
from torch import nn

from sightsound.pipeline.training.loop import (
    Plan,
    Progress,
    Trained,
    TrainingWorkersError,
    World,
    run_loop,
)

_RESULT = "trained.pt"
_MOST_FAILURES = 2


def run_on_ray(
    plan: Plan,
    n_workers: int,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Run the loop in ``n_workers`` processes, each with its share of every batch.

    Joins the Ray that this process is connected to, or starts one on this machine for as long
    as it takes. Where a process dies, all go on from the last checkpoint, if there is one, at
    most twice. Progress is told by process 0 on stderr, and to ``on_progress`` at the end.

    Raises:
        TrainingWorkersError: training failed.
    """
    is_ours = not ray.is_initialized()
    if is_ours:
        os.environ.setdefault("RAY_worker_niceness", "0")
        os.environ.setdefault("RAY_TRAIN_V2_ENABLED", "1")
        ray.init(
            address="local",
            num_cpus=max(n_workers, os.cpu_count() or 1),
            include_dashboard=False,
            logging_level=logging.ERROR,
        )
    try:
        with tempfile.TemporaryDirectory(prefix="sightsound-train-") as folder:
            return _train(plan, n_workers, Path(folder), on_progress)
    finally:
        if is_ours:
            ray.shutdown()


def _train(
    plan: Plan, n_workers: int, folder: Path, on_progress: Callable[[Progress], None]
) -> Trained:
    trainer = TorchTrainer(
        _work,
        train_loop_config={"plan": ray.put(plan)},
        torch_config=TorchConfig(backend="gloo"),
        scaling_config=ScalingConfig(
            num_workers=n_workers, use_gpu=False, resources_per_worker={"CPU": 1}
        ),
        run_config=RunConfig(
            storage_path=str(folder),
            name="train",
            failure_config=FailureConfig(max_failures=_MOST_FAILURES if plan.checkpoint else 0),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise TrainingWorkersError(
            f"Training with {n_workers} workers failed ({lines[-1] if lines else 'no message'}): "
            "try again with --resume, or with --workers 1."
        ) from error
    assert result.checkpoint is not None
    with result.checkpoint.as_directory() as saved:
        state = torch.load(Path(saved) / _RESULT, weights_only=True)
    history = tuple(Progress(**entry) for entry in state["history"])
    for progress in history:
        on_progress(progress)
    return Trained(weights=state["weights"], best_step=state["best_step"], history=history)


def _work(config: dict[str, Any]) -> None:
    """One process's side."""
    plan: Plan = ray.get(config["plan"])
    context = ray.train.get_context()
    rank, size = context.get_world_rank(), context.get_world_size()
    torch.set_num_threads(1)
    if plan.checkpoint is not None and plan.checkpoint.path.is_file():
        # Where it was not to go on from an earlier run, the file was deleted before the start.
        plan = Plan(**{**plan.__dict__, "resume": True})
    trained = run_loop(
        plan,
        World(rank=rank, size=size, wrap=_wrap, agree=_agree),
        on_progress=_tell if rank == 0 else lambda progress: None,
    )
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = None
        if rank == 0:
            state = {
                "weights": dict(trained.weights),
                "best_step": trained.best_step,
                "history": [progress.__dict__ for progress in trained.history],
            }
            torch.save(state, Path(folder) / _RESULT)
            checkpoint = Checkpoint.from_directory(folder)
        ray.train.report({"best_step": trained.best_step}, checkpoint=checkpoint)


def _wrap(network: nn.Module) -> nn.Module:
    # A batch may hold nothing to hear, and then a part of the network has no gradient.
    wrapped: nn.Module = prepare_model(
        network, parallel_strategy_kwargs={"find_unused_parameters": True}
    )
    return wrapped


def _agree(word: bool) -> bool:
    said = torch.tensor([int(word)])
    torch.distributed.broadcast(said, src=0)
    return bool(said.item())


def _tell(progress: Progress) -> None:
    sys.stderr.write(f"{progress}\n")
