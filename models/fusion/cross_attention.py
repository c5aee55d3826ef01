"""Cross attention: the tokens of each sense attend to those of the other.

Tsai et al. 2019, "Multimodal transformer for unaligned multimodal language sequences"
(arXiv:1906.00295): in each layer the queries come from one stream, keys and values from the other
stream's projected tokens. What follows here is attention pooling over both streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import (
    AttentionPooling,
    Heads,
    TimeEncoding,
    TokenProjection,
    masked_softmax,
    present,
)


class CrossAttentionFusion(nn.Module):
    """Interface as ``BottleneckFusion``."""

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        tasks: Mapping[str, int],
        dim: int = 192,
        n_layers: int = 2,
        n_heads: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.visual_in = TokenProjection(visual_dim, dim, dropout=dropout)
        self.audio_in = TokenProjection(audio_dim, dim, dropout=dropout)
        self.time = TimeEncoding(dim)
        self.visual_layers = nn.ModuleList(
            _CrossLayer(dim, n_heads=n_heads, dropout=dropout) for _ in range(n_layers)
        )
        self.audio_layers = nn.ModuleList(
            _CrossLayer(dim, n_heads=n_heads, dropout=dropout) for _ in range(n_layers)
        )
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
        visual_state, audio_state = seen, heard
        for layer in self.visual_layers:
            visual_state = layer(visual_state, heard, audio_mask)
        for layer in self.audio_layers:
            audio_state = layer(audio_state, seen, visual_mask)
        embedding, weights = self.pool(
            torch.cat((visual_state, audio_state), dim=1),
            torch.cat((visual_mask, audio_mask), dim=1),
        )
        return *self.heads(embedding), embedding, weights[:, :n_visual], weights[:, n_visual:]


class _CrossLayer(nn.Module):
    """A pre-norm layer whose queries are one stream's and whose keys and values the other's.

    forward: state (batch, n, dim), the other stream (batch, m, dim) and its mask, to the state.
    """

    def __init__(self, dim: int, *, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_query = nn.LayerNorm(dim)
        self.norm_other = nn.LayerNorm(dim)
        self.query = nn.Linear(dim, dim)
        self.key_value = nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, state: torch.Tensor, other: torch.Tensor, other_mask: torch.Tensor
    ) -> torch.Tensor:
        there = present(other_mask)[:, :, None]
        attended = self._attend(self.norm_query(state), self.norm_other(other), other_mask)
        state = state + self.dropout(attended) * there
        fed: torch.Tensor = self.dropout(self.feed_forward(self.norm_feed_forward(state)))
        return state + fed

    def _attend(
        self, state: torch.Tensor, other: torch.Tensor, other_mask: torch.Tensor
    ) -> torch.Tensor:
        batch, n_queries, dim = state.shape
        n_keys, head_dim = other.shape[1], dim // self.n_heads
        query = self.query(state).reshape(batch, n_queries, self.n_heads, head_dim).transpose(1, 2)
        both = self.key_value(other).reshape(batch, n_keys, 2, self.n_heads, head_dim)
        key, value = both.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) / math.sqrt(head_dim)
        weights = masked_softmax(scores, other_mask[:, None, None, :])
        mixed = (weights @ value).transpose(1, 2).reshape(batch, n_queries, dim)
        attended: torch.Tensor = self.out(mixed)
        return attended
