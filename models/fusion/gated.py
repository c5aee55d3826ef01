"""Gated multimodal unit: how much of each sense goes into each feature is decided by both.

Arevalo et al. 2017, "Gated multimodal units for information fusion" (arXiv:1702.01992):
h_v = tanh(W_v x_v), h_a = tanh(W_a x_a), z = sigmoid(W_z [x_v, x_a]), h = z h_v + (1 - z) h_a.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import AttentionPooling, Heads, present


class GatedFusion(nn.Module):
    """Interface as ``BottleneckFusion``. Where a sense is missing the gate is open to the other.

    A sense's part of the attention is its mean gate.
    """

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        tasks: Mapping[str, int],
        dim: int = 192,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.visual_pool = AttentionPooling(visual_dim)
        self.audio_pool = AttentionPooling(audio_dim)
        self.dropout = nn.Dropout(dropout)
        self.visual_state = nn.Linear(visual_dim, dim)
        self.audio_state = nn.Linear(audio_dim, dim)
        self.gate = nn.Linear(visual_dim + audio_dim, dim)
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
        seen, visual_weights = self.visual_pool(visual, visual_mask)
        heard, audio_weights = self.audio_pool(audio, audio_mask)
        seen, heard = self.dropout(seen), self.dropout(heard)
        has_visual, has_audio = present(visual_mask), present(audio_mask)
        gate = torch.sigmoid(self.gate(torch.cat((seen, heard), dim=1)))
        to_visual = has_visual * (gate * has_audio + 1 - has_audio)
        to_audio = has_audio * ((1 - gate) * has_visual + 1 - has_visual)
        embedding = to_visual * torch.tanh(self.visual_state(seen)) + to_audio * torch.tanh(
            self.audio_state(heard)
        )
        by_visual = to_visual.mean(dim=1, keepdim=True)
        by_audio = to_audio.mean(dim=1, keepdim=True)
        return (
            *self.heads(embedding),
            embedding,
            by_visual * visual_weights,
            by_audio * audio_weights,
        )
