"""Recurrent fusion: both streams' tokens, merged in order of time, through GRUs.

Cho et al. 2014, "Learning phrase representations using RNN encoder-decoder" (arXiv:1406.1078) for
the gated recurrent unit, run in both directions (Schuster and Paliwal 1997).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import AttentionPooling, Heads, TimeEncoding, TokenProjection


class RecurrentFusion(nn.Module):
    """Interface as ``BottleneckFusion``. ``dim`` must be even: half of it is each direction's.

    In either direction the masked tokens come last, so that a GRU has read all that there is
    before it meets the first of them; neither packing nor lengths are needed, which could not be
    exported.
    """

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        tasks: Mapping[str, int],
        dim: int = 192,
        n_layers: int = 1,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.visual_in = TokenProjection(visual_dim, dim, dropout=dropout)
        self.audio_in = TokenProjection(audio_dim, dim, dropout=dropout)
        self.time = TimeEncoding(dim)
        self.forwards = nn.GRU(dim, dim // 2, num_layers=n_layers, batch_first=True)
        self.backwards = nn.GRU(dim, dim // 2, num_layers=n_layers, batch_first=True)
        self.pool = AttentionPooling(dim)
        self.heads = Heads(dim, tasks, dropout=dropout)

    def forward(
        self,
        visual: torch.Tensor,
        visual_times: torch.Tensor,
        visual_mask: torch.Tensor,
        audio: torch.Tensor,
        audio_times: torch.Tensor,
        audio_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return logits by task, embedding and attention; see ``BottleneckFusion``."""
        n_visual = visual.shape[1]
        seen = self.visual_in(visual) + self.time(visual_times)
        heard = self.audio_in(audio) + self.time(audio_times)
        tokens = torch.cat((seen, heard), dim=1)
        times = torch.cat((visual_times, audio_times), dim=1)
        mask = torch.cat((visual_mask, audio_mask), dim=1)
        states = []
        for network, order in ((self.forwards, times), (self.backwards, -times)):
            permutation = _permutation(order, mask)
            # A permutation is undone by its transpose.
            states.append(permutation.transpose(1, 2) @ network(permutation @ tokens)[0])
        embedding, weights = self.pool(torch.cat(states, dim=2), mask)
        return *self.heads(embedding), embedding, weights[:, :n_visual], weights[:, n_visual:]


def _permutation(order: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The matrix (batch, n, n) that sorts tokens by ``order`` and puts the masked ones last.

    Places are counted, not sorted: equal values keep the order of the tokens on every engine.
    """
    n_tokens = order.shape[1]
    index = torch.arange(n_tokens, device=order.device)
    value = order.masked_fill(~mask, 1e9)
    before = (value[:, None, :] < value[:, :, None]) | (
        (value[:, None, :] == value[:, :, None]) & (index[None, None, :] < index[None, :, None])
    )
    place = before.to(torch.int64).sum(dim=2)
    return (place[:, None, :] == index[None, :, None]).to(torch.float32)
