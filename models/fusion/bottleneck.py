"""The bottleneck fusion transformer: two token streams, joined through a few shared tokens.

Nagrani et al. 2021, "Attention bottlenecks for multimodal fusion" (arXiv:2107.00135): each
layer lets every modality attend to its own tokens and to a small set of bottleneck tokens, which
are then averaged over the modalities. Tokens carry their time, so that streams of different
rates align by timestamp. A missing modality is masked: its tokens are attended to by nobody and
its bottlenecks do not enter the average.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import Encoder, TimeEncoding, TokenProjection, masked_softmax


class BottleneckFusion(nn.Module):
    """Frame and sound tokens of one window to logits.

    forward takes, with V visual and A audio tokens, padded and masked:
        visual (batch, V, visual_dim) float32, visual_times (batch, V) seconds from the window's
        start, visual_mask (batch, V) bool, True where there is a token; the same for audio.

    It returns one (batch, n_labels) float32 of logits for each task, in the order of ``tasks``,
    then the fused embedding (batch, dim) and the pooling attention over visual (batch, V) and
    audio tokens (batch, A), which together add up to 1.

    The attention pooling feeds a linear head on the fused state and, past the transformer, two
    on the pooled visual features themselves: a linear one, since a linear classifier of frozen
    features is the strongest simple student, and one with a hidden layer, which is wide where the
    transformer can't afford to be. The transformer only has to learn what it adds.
    """

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        tasks: Mapping[str, int],
        dim: int = 192,
        n_layers: int = 2,
        n_heads: int = 4,
        n_bottlenecks: int = 4,
        hidden: int = 1024,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.visual_in = TokenProjection(visual_dim, dim, dropout=dropout)
        self.audio_in = TokenProjection(audio_dim, dim, dropout=dropout)
        self.time = TimeEncoding(dim)
        self.bottlenecks = nn.Parameter(torch.randn(n_bottlenecks, dim) * 0.02)
        self.layers = nn.ModuleList(
            _BottleneckLayer(dim, n_heads=n_heads, dropout=dropout) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(dim)
        self.attention = nn.Linear(dim, 1)
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict({task: nn.Linear(dim, n) for task, n in tasks.items()})
        self.visual_norm = nn.LayerNorm(visual_dim)
        self.visual_heads = nn.ModuleDict(
            {task: nn.Linear(visual_dim, n) for task, n in tasks.items()}
        )
        self.visual_hidden = nn.Sequential(
            nn.Linear(visual_dim, hidden), nn.GELU(), nn.Dropout(hidden_dropout)
        )
        self.hidden_heads = nn.ModuleDict({task: nn.Linear(hidden, n) for task, n in tasks.items()})

    def forward(
        self,
        visual: torch.Tensor,
        visual_times: torch.Tensor,
        visual_mask: torch.Tensor,
        audio: torch.Tensor,
        audio_times: torch.Tensor,
        audio_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, ...]:
        """Return logits by task, embedding and attention; see the class."""
        n_visual = visual.shape[1]
        tokens_v = self.visual_in(visual) + self.time(visual_times)
        tokens_a = self.audio_in(audio) + self.time(audio_times)
        shared = self.bottlenecks.expand(visual.shape[0], -1, -1)
        has_v = visual_mask.any(dim=1, keepdim=True)[:, :, None].to(visual.dtype)
        has_a = audio_mask.any(dim=1, keepdim=True)[:, :, None].to(visual.dtype)
        for layer in self.layers:
            tokens_v, tokens_a, shared = layer(
                tokens_v, tokens_a, shared, visual_mask, audio_mask, has_v, has_a
            )
        tokens = self.norm(torch.cat((tokens_v, tokens_a), dim=1))
        mask = torch.cat((visual_mask, audio_mask), dim=1)
        weights = masked_softmax(self.attention(tokens)[:, :, 0], mask)
        embedding = (weights[:, :, None] * tokens).sum(dim=1)
        # The same attention, renormalised over the frames, pools their own features.
        visual_weights = weights[:, :n_visual]
        share = visual_weights.sum(dim=1, keepdim=True)
        pooled = (visual_weights[:, :, None] * self.visual_norm(visual)).sum(dim=1)
        pooled = pooled / torch.clamp(share, min=1e-6)
        hidden = self.visual_hidden(self.dropout(pooled))
        logits = []
        for task, head in self.heads.items():
            direct = self.visual_heads[task](self.dropout(pooled)) + self.hidden_heads[task](hidden)
            logits.append(head(self.dropout(embedding)) + direct * has_v[:, 0])
        return *logits, embedding, visual_weights, weights[:, n_visual:]


class _BottleneckLayer(nn.Module):
    """One layer of each modality's encoder, and the exchange through the bottlenecks."""

    def __init__(self, dim: int, *, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.visual = Encoder(dim, n_heads=n_heads, dropout=dropout)
        self.audio = Encoder(dim, n_heads=n_heads, dropout=dropout)

    def forward(
        self,
        visual: torch.Tensor,
        audio: torch.Tensor,
        shared: torch.Tensor,
        visual_mask: torch.Tensor,
        audio_mask: torch.Tensor,
        has_visual: torch.Tensor,
        has_audio: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        visual, from_visual = self.visual(visual, shared, visual_mask)
        if audio.shape[1] == 0:
            # Nothing to listen to in the whole batch: training on silent windows costs less.
            return visual, audio, from_visual
        audio, from_audio = self.audio(audio, shared, audio_mask)
        present = torch.clamp(has_visual + has_audio, min=1.0)
        shared = (from_visual * has_visual + from_audio * has_audio) / present
        return visual, audio, shared
