"""A fusion that answers from one sense alone, wherever it has that."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn


class LeavingOut(nn.Module):
    """A trained fusion of which one sense is left out where the other is there.

    For data on which a sense misleads more than it helps. A window that has only the sense left
    out is answered from it. Interface as ``BottleneckFusion``.
    """

    def __init__(self, fusion: nn.Module, left_out: Literal["visual", "audio"]) -> None:
        super().__init__()
        self.fusion = fusion
        self.left_out = left_out

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
        if self.left_out == "audio":
            audio_mask = audio_mask & ~visual_mask.any(dim=1, keepdim=True)
        else:
            visual_mask = visual_mask & ~audio_mask.any(dim=1, keepdim=True)
        answer: tuple[torch.Tensor, ...] = self.fusion(
            visual, visual_times, visual_mask, audio, audio_times, audio_mask
        )
        return answer
