"""One slice of a file to the tokens of each backbone, as inference makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import StageClock
from sightsound.pipeline.slices import SliceRunner
from sightsound.stages.features import TokenBuffer
from sightsound.stages.records import MediaInfo, Slice, Tokens, VideoPlan, Window, WindowScores


class TokenReader(SliceRunner):
    """A :class:`SliceRunner` that keeps the tokens of a file instead of scoring its windows."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._kept: dict[int, dict[str, Tokens]] = {}

    def read(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        pieces: Sequence[Slice],
        clock: StageClock,
        alive: Callable[[], None],
    ) -> dict[str, Tokens]:
        """The tokens inside some slices, by backbone; none of a sense that is not there.

        Raises:
            StageError: the file can no longer be read.
        """
        self._kept = {}
        for piece in pieces:
            for stage, seconds in self(info, plan, piece, on_progress=alive).stage_s.items():
                clock.add(stage, seconds)
        return _joined(list(self._kept.values()))

    def fuse(
        self, window: Window, buffers: Mapping[str, TokenBuffer], *, corrupt: bool
    ) -> WindowScores:
        """Keep the tokens of a window, in place of what a first pass over it had."""
        found = {
            name: buffer.between(window.start_s, window.end_s) for name, buffer in buffers.items()
        }
        self._kept[window.index] = {
            name: tokens for name, tokens in found.items() if tokens is not None
        }
        return WindowScores(
            window=window, has_video=False, has_audio=False, corrupt=corrupt, tasks={}
        )


def _joined(parts: Sequence[Mapping[str, Tokens]]) -> dict[str, Tokens]:
    """Tokens of all windows in order of time; those that two windows share once."""
    joined = {}
    for name in dict.fromkeys(name for part in parts for name in part):
        found = [part[name] for part in parts if name in part]
        times_s = np.concatenate([tokens.times_s for tokens in found])
        _, kept = np.unique(times_s, return_index=True)
        logits = [tokens.logits for tokens in found if tokens.logits is not None]
        joined[name] = Tokens(
            times_s=times_s[kept],
            embeddings=np.concatenate([tokens.embeddings for tokens in found])[kept],
            logits=np.concatenate(logits)[kept] if logits else None,
        )
    return joined
