"""Baselines that use one sense: what is seen alone, or what is heard alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from sightsound.models.fusion.parts import StreamClassifier


class VisualOnly(nn.Module):
    """Interface as ``BottleneckFusion``; sound is ignored and has no attention."""

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
        del audio_dim
        self.stream = StreamClassifier(
            visual_dim, tasks, dim=dim, dropout=dropout, hidden_dropout=hidden_dropout
        )

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
        logits, embedding, weights = self.stream(visual, visual_mask)
        return *logits, embedding, weights, audio_times * 0


class AudioOnly(nn.Module):
    """Interface as ``BottleneckFusion``; the picture is ignored and has no attention."""

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
        del visual_dim
        self.stream = StreamClassifier(
            audio_dim, tasks, dim=dim, dropout=dropout, hidden_dropout=hidden_dropout
        )

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
        logits, embedding, weights = self.stream(audio, audio_mask)
        return *logits, embedding, visual_times * 0, weights
