"""What the methods of fusion are made of.

A stream is (batch, n, dim) float32 of tokens with a mask (batch, n) bool, True where there is a
token. Nothing here lets a masked token influence what comes out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import nn

_LONGEST_PERIOD_S = 64.0
_SHORTEST_PERIOD_S = 0.5


class TokenProjection(nn.Module):
    """Normalise backbone embeddings and bring them to the width of the transformer."""

    def __init__(self, inputs: int, dim: int, *, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(inputs)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(inputs, dim)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Tokens (batch, n, inputs) to (batch, n, dim)."""
        projected: torch.Tensor = self.linear(self.dropout(self.norm(tokens)))
        return projected


class TimeEncoding(nn.Module):
    """Seconds to sines and cosines of periods from 0.5 to 64 s (Vaswani et al. 2017, with
    time in place of the position)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.frequencies: torch.Tensor
        ratio = _LONGEST_PERIOD_S / _SHORTEST_PERIOD_S
        exponent = torch.arange(dim // 2, dtype=torch.float32) / (dim // 2 - 1)
        periods = _SHORTEST_PERIOD_S * ratio**exponent
        self.register_buffer("frequencies", 2 * math.pi / periods, persistent=False)

    def forward(self, times_s: torch.Tensor) -> torch.Tensor:
        """Seconds (batch, n) to (batch, n, dim)."""
        angles = times_s[:, :, None] * self.frequencies
        return torch.cat((torch.sin(angles), torch.cos(angles)), dim=-1)


class Encoder(nn.Module):
    """A pre-norm transformer layer over [tokens, bottlenecks]."""

    def __init__(self, dim: int, *, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm_attention = nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.norm_feed_forward = nn.LayerNorm(dim)
        self.feed_forward = nn.Sequential(
            nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, tokens: torch.Tensor, shared: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (batch, n, dim), shared tokens (batch, m, dim), mask of the tokens, to both."""
        n_tokens = tokens.shape[1]
        state = torch.cat((tokens, shared), dim=1)
        always = torch.ones_like(shared[:, :, 0], dtype=torch.bool)
        keys = torch.cat((mask, always), dim=1)
        state = state + self.dropout(self._attend(self.norm_attention(state), keys))
        state = state + self.dropout(self.feed_forward(self.norm_feed_forward(state)))
        return state[:, :n_tokens], state[:, n_tokens:]

    def _attend(self, state: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        batch, length, dim = state.shape
        parts = self.query_key_value(state).reshape(batch, length, 3, self.n_heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-2, -1) / math.sqrt(dim // self.n_heads)
        weights = masked_softmax(scores, keys[:, None, None, :])
        mixed = (weights @ value).transpose(1, 2).reshape(batch, length, dim)
        attended: torch.Tensor = self.out(mixed)
        return attended


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Softmax over the last axis with exact zeros where the mask is False.

    All zeros where nothing is allowed, not NaN.
    """
    scores = scores.masked_fill(~mask, -1e9)
    weights = torch.softmax(scores, dim=-1)
    return weights * mask.to(weights.dtype)


def present(mask: torch.Tensor) -> torch.Tensor:
    """Mask (batch, n) to float32 (batch, 1): 1 where the stream has any token."""
    return mask.any(dim=1, keepdim=True).to(torch.float32)


class AttentionPooling(nn.Module):
    """Normalised tokens, averaged by learnt attention (Ilse et al. 2018, arXiv:1802.04712).

    forward: tokens (batch, n, dim) and mask to the pooled tokens (batch, dim), zero where there
    is no token, and the attention (batch, n), which adds up to 1 where there is any.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.Linear(dim, 1)

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the pooled tokens and the attention; see the class."""
        normalised = self.norm(tokens)
        weights = masked_softmax(self.attention(normalised)[:, :, 0], mask)
        return (weights[:, :, None] * normalised).sum(dim=1), weights


class StreamClassifier(nn.Module):
    """Logits of every task from one stream: attention pooling, a linear and a hidden head.

    forward: tokens (batch, n, inputs) and mask to the logits by task, the hidden state
    (batch, dim) and the attention (batch, n).
    """

    def __init__(
        self,
        inputs: int,
        tasks: Mapping[str, int],
        *,
        dim: int,
        dropout: float,
        hidden_dropout: float,
    ) -> None:
        super().__init__()
        self.pool = AttentionPooling(inputs)
        self.dropout = nn.Dropout(dropout)
        self.hidden = nn.Sequential(nn.Linear(inputs, dim), nn.GELU(), nn.Dropout(hidden_dropout))
        self.heads = nn.ModuleDict({task: nn.Linear(inputs, n) for task, n in tasks.items()})
        self.hidden_heads = nn.ModuleDict({task: nn.Linear(dim, n) for task, n in tasks.items()})

    def forward(
        self, tokens: torch.Tensor, mask: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
        """Return logits by task, hidden state and attention; see the class."""
        pooled, weights = self.pool(tokens, mask)
        pooled = self.dropout(pooled)
        hidden = self.hidden(pooled)
        logits = [
            head(pooled) + self.hidden_heads[task](hidden) for task, head in self.heads.items()
        ]
        return logits, hidden, weights


class Heads(nn.Module):
    """One linear head a task. forward: (batch, dim) to the logits by task, in their order."""

    def __init__(self, dim: int, tasks: Mapping[str, int], *, dropout: float) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.tasks = nn.ModuleDict({task: nn.Linear(dim, n) for task, n in tasks.items()})

    def forward(self, embedding: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits by task; see the class."""
        return [head(self.dropout(embedding)) for head in self.tasks.values()]
