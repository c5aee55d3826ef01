"""One slice of a file to the tokens of each backbone, as inference makes them."""

from __future__ import annotations

from collections.abc import Callable

from sightsound.models.backbones.base import AudioBackbone
from sightsound.models.bundle import Bundle
from sightsound.models.engines.base import Engine, LoadedNetwork
from sightsound.pipeline.decoding import StageClock, make_decode
from sightsound.pipeline.slices import listen
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.features import AudioFeatures, TokenBuffer, VisualFeatures
from sightsound.stages.frames import DecodeReport
from sightsound.stages.plan import Grid
from sightsound.stages.records import DecodedFrame, MediaInfo, Slice, Tokens, VideoPlan
from sightsound.stages.spectrogram import Spectrogram


class TokenReader:
    """(MediaInfo, VideoPlan, Slice) -> Tokens by backbone. Loads the backbones once."""

    def __init__(self, bundle: Bundle, engine: Engine, grid: Grid) -> None:
        self._grid = grid
        self._decode = make_decode(bundle)
        self._visual = [(each, engine.load(each.network())) for each in bundle.visual]
        self._audio: list[tuple[AudioBackbone, LoadedNetwork, LoadedNetwork]] = [
            (each, engine.load(each.front_end()), engine.load(each.network()))
            for each in bundle.audio
        ]

    def __call__(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        clock: StageClock,
        alive: Callable[[], None],
    ) -> dict[str, Tokens]:
        """The tokens inside the slice's windows, by backbone; none of a sense that is not there.

        Raises:
            StageError: the file can no longer be read.
        """
        try:
            return self._read(info, plan, piece, clock, alive, in_full=False)
        except PlanMismatchError:
            return self._read(info, plan, piece, clock, alive, in_full=True)

    def _read(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        clock: StageClock,
        alive: Callable[[], None],
        *,
        in_full: bool,
    ) -> dict[str, Tokens]:
        seen = []
        if plan.video_span_s is not None:
            seen = [VisualFeatures(each, net, fps=self._grid.fps) for each, net in self._visual]
        heard = self._listeners(plan, piece)
        events = self._decode(
            info, plan, piece, in_full=in_full, report=DecodeReport(), on_progress=alive
        )
        while True:
            with clock("decode"):
                event = next(events, None)
            if event is None:
                break
            if isinstance(event, DecodedFrame):
                with clock("features"):
                    for looking in seen:
                        looking.add(event)
            else:
                for spectrogram, listening in heard:
                    listen(spectrogram(event), listening, clock)
        with clock("features"):
            for looking in seen:
                looking.finish()
        for spectrogram, listening in heard:
            listen(spectrogram.finish(), listening, clock)
        buffers: dict[str, TokenBuffer] = {each.backbone.name: each.tokens for each in seen}
        buffers |= {listening.backbone.name: listening.tokens for _, listening in heard}
        start_s, end_s = piece.windows[0].start_s, piece.windows[-1].end_s
        found = {name: buffer.between(start_s, end_s) for name, buffer in buffers.items()}
        return {name: tokens for name, tokens in found.items() if tokens is not None}

    def _listeners(self, plan: VideoPlan, piece: Slice) -> list[tuple[Spectrogram, AudioFeatures]]:
        if plan.audio_span_s is None:
            return []
        return [
            (
                Spectrogram(
                    front_end,
                    backbone.log_mel,
                    start_s=piece.windows[0].start_s,
                    end_s=piece.windows[-1].end_s,
                    sound_span_s=plan.audio_span_s,
                ),
                AudioFeatures(backbone, network),
            )
            for backbone, front_end, network in self._audio
        ]
