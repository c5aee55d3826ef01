"""Concatenation: the mean of each stream, side by side, through a small network.

The early fusion that other methods are compared with, as in Ngiam et al. 2011, "Multimodal deep
learning". Flags say which sense is there, so that a missing one is not taken for a mean of zero.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import Heads, present


class ConcatenationFusion(nn.Module):
    """Interface as ``BottleneckFusion``; every token of a sense weighs the same.

    The attention says so: senses that are there have equal parts, divided over their tokens.
    """

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        tasks: Mapping[str, int],
        dim: int = 192,
        hidden: int = 1024,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.visual_norm = nn.LayerNorm(visual_dim)
        self.audio_norm = nn.LayerNorm(audio_dim)
        self.network = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(visual_dim + audio_dim + 2, hidden),
            nn.GELU(),
            nn.Dropout(hidden_dropout),
            nn.Linear(hidden, dim),
            nn.GELU(),
        )
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
        visual_weights = _equal(visual_mask)
        audio_weights = _equal(audio_mask)
        has_visual, has_audio = present(visual_mask), present(audio_mask)
        seen = (visual_weights[:, :, None] * self.visual_norm(visual)).sum(dim=1)
        heard = (audio_weights[:, :, None] * self.audio_norm(audio)).sum(dim=1)
        embedding = self.network(torch.cat((seen, heard, has_visual, has_audio), dim=1))
        n_senses = torch.clamp(has_visual + has_audio, min=1.0)
        return (
            *self.heads(embedding),
            embedding,
            visual_weights / n_senses,
            audio_weights / n_senses,
        )


def _equal(mask: torch.Tensor) -> torch.Tensor:
    """Equal weights (batch, n) that add up to 1 over the tokens that are there."""
    weights = mask.to(torch.float32)
    return weights / torch.clamp(weights.sum(dim=1, keepdim=True), min=1.0)
