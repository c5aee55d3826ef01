"""Which tokens, which regions of pictures and which part of the spectrogram made a label.

Integrated gradients (Sundararajan, Taly and Yan 2017, arXiv:1703.01365), by captum: the
gradient of the score, averaged over the straight line from a baseline to the input, times their
difference. Their axiom of completeness says that the attributions add up to the score of the
input minus that of the baseline; how far a sum over steps is from it is measured and stated.

A token's attribution is divided over the regions of what it was made of by the chain rule for
multipliers (Shrikumar, Greenside and Kundaje 2017, arXiv:1704.02685, section 3.4): integrated
gradients of the token's numbers, each times how much the score moved with it. Regions so add up
to the weight of their moment. Following all patches to silence at once instead lets whichever
speaks up first on the way take the whole of a pooled score, however faint it is in the end.

The baseline is nothing to see and nothing to hear: a uniform grey picture and silence, as the
backbones describe them. A region as grey as the baseline can therefore get no attribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from captum.attr import IntegratedGradients
from numpy.typing import NDArray

from sightsound.pipeline.explain.feature_map import FeatureMap
from sightsound.pipeline.explain.scores import TaskScore
from sightsound.pipeline.explain.sources import Source

BASELINE = "a uniform grey picture and silence"
# Pictures whose regions are looked into.
_N_PICTURES = 3
_CELL_FRAMES = 8
_CELL_BANDS = 8
# Steps are doubled until the attributions are complete to this part of the difference, or to
# this much of a logit.
_STEPS: tuple[int, ...] = (64, 128, 256)
# Patches go through the whole of the backbone at each step.
_PATCH_STEPS: tuple[int, ...] = (16, 32)
_RELATIVE_TOLERANCE = 0.1
_ABSOLUTE_TOLERANCE = 0.05
_ROWS_AT_ONCE = 48


@dataclass(frozen=True, kw_only=True)
class Completeness:
    """Whether attributions add up to what they must.

    ``total`` is the sum of the attributions, ``difference`` the score of the input minus that
    of the baseline, ``delta`` the first minus the second, from ``n_steps`` steps.
    """

    total: float
    difference: float
    delta: float
    n_steps: int

    @property
    def holds(self) -> bool:
        """Whether delta is within a tenth of the difference, or within 0.05."""
        allowed = max(_ABSOLUTE_TOLERANCE, _RELATIVE_TOLERANCE * abs(self.difference))
        return abs(self.delta) <= allowed


@dataclass(frozen=True, kw_only=True)
class TokenWeights:
    """How much each token of one source moved the score, at ``times_s`` (n,).

    ``parts`` (n, d) is how much by each of its numbers.
    """

    source: Source
    parts: NDArray[np.float64]

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much by all of them, (n,)."""
        return np.asarray(self.parts.sum(axis=1))

    @property
    def times_s(self) -> NDArray[np.float64]:
        """Seconds from the start of the video."""
        return self.source.times_s


@dataclass(frozen=True, kw_only=True)
class Regions:
    """How much each region of some inputs of one source moved the score.

    ``tokens`` (k,) says of which tokens. ``cells`` is (k, clip_frames, rows, columns) over
    pictures, top row first, or (k, times, bands) over log-mel, lowest band first. A cell is the
    sum over the channels of a place in the feature map, or over its part of the log-mel, so
    that the cells of a token add up to its weight, as far as ``completeness`` says.
    """

    source: Source
    tokens: NDArray[np.int64]
    cells: NDArray[np.float64]
    completeness: Completeness


@dataclass(frozen=True, kw_only=True)
class Attributions:
    """Tokens of all sources together, then regions source by source."""

    tokens: tuple[TokenWeights, ...]
    completeness: Completeness
    regions: tuple[Regions, ...]


def attribute(
    score: TaskScore, *, label: int, on_progress: Callable[[str], None] = lambda text: None
) -> Attributions:
    """All attributions of one label, an index into the task's labels.

    Costs up to some hundred passes there and back through each backbone.
    """
    tokens, completeness = token_weights(score, label=label)
    regions = []
    for found in tokens:
        seen = found.source.sense == "visual"
        on_progress("pictures" if seen else "spectrogram")
        # Frames by how much they speak for the label; of sound, which is cheaper, all patches.
        order = np.argsort(-found.weights, kind="stable")
        chosen = np.sort(order[:_N_PICTURES]) if seen else np.arange(found.source.n_tokens)
        regions.append(region_weights(found, tokens=chosen))
    return Attributions(tokens=tokens, completeness=completeness, regions=tuple(regions))


def token_weights(score: TaskScore, *, label: int) -> tuple[tuple[TokenWeights, ...], Completeness]:
    """Integrated gradients with regard to the tokens of all sources at once.

    Tokens are what the backbones give: embeddings for the fusion, logits for late fusion.
    """
    sources = score.sources
    found, completeness = _integrate(
        lambda *outputs: score.logits(outputs)[:, label],
        inputs=[source.outputs for source in sources],
        baselines=[source.blank_output.expand_as(source.outputs) for source in sources],
        steps=_STEPS,
    )
    weights = tuple(
        TokenWeights(source=source, parts=each) for source, each in zip(sources, found, strict=True)
    )
    return weights, completeness


def region_weights(moved: TokenWeights, *, tokens: NDArray[np.int64]) -> Regions:
    """The weights of some tokens of one source, divided over the regions of what they are made of.

    Log-mel patches are followed to the baseline themselves, pictures by the last feature map
    of the backbone.

    Args:
        moved: how much each token of the source moved the score.
        tokens: (k,) which tokens are looked into.
    """
    source = moved.source
    index = torch.from_numpy(tokens).to(source.outputs.device)
    multipliers = torch.from_numpy(_multipliers(moved)[tokens]).to(source.outputs)
    run: Callable[[torch.Tensor], torch.Tensor] = source.run
    inputs, blank, steps = source.inputs[index], source.blank_input, _PATCH_STEPS
    if source.sense == "visual":
        feature_map = FeatureMap(source.module, blank)
        inputs, blank, steps = feature_map.of(inputs), feature_map.of(blank), _STEPS
        run = partial(feature_map.finish, output=source.output)

    def of_inputs(values: torch.Tensor) -> torch.Tensor:
        numbers = run(values.flatten(0, 1)).reshape(len(values), len(tokens), -1)
        return (numbers * multipliers).sum(dim=(1, 2))

    (found,), completeness = _integrate(
        of_inputs, inputs=[inputs], baselines=[blank.expand_as(inputs)], steps=steps
    )
    if source.sense == "visual":
        cells = _on_frames(found.sum(axis=1), n_frames=source.inputs.shape[1])
    else:
        cells = _cells(found, rows=_CELL_FRAMES, columns=_CELL_BANDS)
    return Regions(source=source, tokens=tokens, cells=cells, completeness=completeness)


def _multipliers(moved: TokenWeights) -> NDArray[np.float64]:
    """How much the score moved with each number of each token, (n, d), by how far that moved."""
    source = moved.source
    change = (source.outputs - source.blank_output).double().cpu().numpy()
    # What has not moved has moved nothing.
    moves: NDArray[np.float64] = np.divide(
        moved.parts, change, out=np.zeros_like(moved.parts), where=change != 0
    )
    return moves


def _on_frames(maps: NDArray[np.float64], *, n_frames: int) -> NDArray[np.float64]:
    """Maps (k, rows, columns) or (k, times, rows, columns) to (k, n_frames, rows, columns)."""
    if maps.ndim == 3:
        maps = maps[:, None]
    if maps.shape[1] != n_frames:
        # A network that joins frames no longer says which of them a region is in.
        maps = np.repeat(maps.sum(axis=1, keepdims=True) / n_frames, n_frames, axis=1)
    return maps


def _integrate(
    function: Callable[..., torch.Tensor],
    *,
    inputs: Sequence[torch.Tensor],
    baselines: Sequence[torch.Tensor],
    steps: Sequence[int],
) -> tuple[list[NDArray[np.float64]], Completeness]:
    """Integrated gradients of ``function``, from (batch, *shape) each to (batch,)."""

    def connected(*values: torch.Tensor) -> torch.Tensor:
        # A fusion may leave a sense out altogether, but a gradient has to lead somewhere.
        zero = sum((each.flatten(1).sum(dim=1) * 0 for each in values), torch.zeros(()))
        return function(*values) + zero

    ends = tuple(each[None] for each in inputs), tuple(each[None] for each in baselines)
    n_inputs = max(len(each) for each in inputs)
    method = IntegratedGradients(connected)
    for n_steps in steps:
        found, delta = method.attribute(
            ends[0],
            baselines=ends[1],
            n_steps=n_steps,
            internal_batch_size=max(1, _ROWS_AT_ONCE // n_inputs),
            return_convergence_delta=True,
        )
        arrays = [np.asarray(each[0].detach().cpu(), dtype=np.float64) for each in found]
        total = float(sum(each.sum() for each in arrays))
        completeness = Completeness(
            total=total,
            difference=total - float(delta[0]),
            delta=float(delta[0]),
            n_steps=n_steps,
        )
        if completeness.holds:
            break
    return arrays, completeness


def _cells(values: NDArray[np.float64], *, rows: int, columns: int) -> NDArray[np.float64]:
    """Sums over cells of about rows x columns of the last two axes."""
    row_edges = _edges(values.shape[-2], rows)
    column_edges = _edges(values.shape[-1], columns)
    summed = np.add.reduceat(values, row_edges, axis=-2)
    return np.asarray(np.add.reduceat(summed, column_edges, axis=-1))


def _edges(length: int, step: int) -> NDArray[np.int64]:
    """Where cells of about ``step`` begin, so that they fill ``length`` evenly."""
    count = max(1, round(length / step))
    return (np.arange(count) * length // count).astype(np.int64)
