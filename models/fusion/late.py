"""Late fusion: each sense is classified alone, and the logits are averaged.

Weighted averaging of the streams' scores, as in Simonyan and Zisserman 2014, "Two-stream
convolutional networks for action recognition in videos" (arXiv:1406.2199); the weights are learnt
here, one pair a task.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import StreamClassifier, present


class LateFusion(nn.Module):
    """Interface as ``BottleneckFusion``. The average is over the senses that are there."""

    def __init__(
        self,
        *,
        visual_dim: int,
        audio_dim: int,
        tasks: Mapping[str, int],
        dim: int = 192,
        dropout: float = 0.0,
        hidden_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.visual = StreamClassifier(
            visual_dim, tasks, dim=dim, dropout=dropout, hidden_dropout=hidden_dropout
        )
        self.audio = StreamClassifier(
            audio_dim, tasks, dim=dim, dropout=dropout, hidden_dropout=hidden_dropout
        )
        # Through softplus, so that no weight is negative; equal at first.
        self.weights = nn.Parameter(torch.zeros(len(tasks), 2))

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
        visual_logits, visual_state, visual_weights = self.visual(visual, visual_mask)
        audio_logits, audio_state, audio_weights = self.audio(audio, audio_mask)
        there = torch.cat((present(visual_mask), present(audio_mask)), dim=1)
        weights = nn.functional.softplus(self.weights)[None] * there[:, None, :]
        shares = weights / torch.clamp(weights.sum(dim=2, keepdim=True), min=1e-6)
        logits = [
            shares[:, task, :1] * seen + shares[:, task, 1:] * heard
            for task, (seen, heard) in enumerate(zip(visual_logits, audio_logits, strict=True))
        ]
        mean_share = shares.mean(dim=1)
        by_visual, by_audio = mean_share[:, :1], mean_share[:, 1:]
        embedding = by_visual * visual_state + by_audio * audio_state
        return *logits, embedding, by_visual * visual_weights, by_audio * audio_weights
