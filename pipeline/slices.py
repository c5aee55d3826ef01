"""Running the stages over one slice, the same for every engine.

Memory: tokens of the windows not yet fused (at most a window and a block of sound: about 2 MB),
one block of sound (at most 48 MB), and the decoder's own frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from sightsound.models.bundle import Bundle, load_bundle
from sightsound.models.engines.base import Engine, create_engine
from sightsound.models.networks import NetworkSpec
from sightsound.pipeline.config import Config
from sightsound.pipeline.decoding import DecodedSlice, StageClock, make_decode, make_grid
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.features import AudioFeatures, TokenBuffer, VisualFeatures
from sightsound.stages.frames import DecodeReport
from sightsound.stages.fuse import Fuse
from sightsound.stages.records import (
    DecodedFrame,
    DecodedSound,
    MediaInfo,
    Slice,
    SliceResult,
    VideoPlan,
    Window,
    WindowScores,
)
from sightsound.stages.spectrogram import Patches, Spectrogram


def network_specs(config: Config, bundle: Bundle) -> list[NetworkSpec]:
    """Every network that a run with this configuration loads."""
    specs = [backbone.network() for backbone in bundle.visual]
    for backbone in bundle.audio:
        specs += [backbone.front_end(), backbone.network()]
    if bundle.fusion is not None:
        shape = Fuse.token_counts(bundle, make_grid(config, bundle))
        specs.append(bundle.fusion_network(n_visual=shape[0], n_audio=shape[1]))
    return specs


class SliceRunner:
    """Loads the models once, then runs decode, spectrogram, features and fuse over slices."""

    def __init__(self, config: Config) -> None:
        self.bundle = load_bundle(config.model)
        self.grid = make_grid(config, self.bundle)
        self._decode = make_decode(config, self.bundle)
        self._engine: Engine = create_engine(config.engine_options())
        self._visual = {
            backbone.name: self._engine.load(backbone.network()) for backbone in self.bundle.visual
        }
        self._audio = {
            backbone.name: (
                self._engine.load(backbone.front_end()),
                self._engine.load(backbone.network()),
            )
            for backbone in self.bundle.audio
        }
        self._fuse = Fuse(self.bundle, self._engine, self.grid)

    def __call__(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        on_progress: Callable[[], None] = lambda: None,
    ) -> SliceResult:
        """Label the windows of one slice, decoding as it goes.

        Raises:
            StageError: the file can no longer be read.
        """
        try:
            return self._run(info, plan, piece, in_full=False, on_progress=on_progress)
        except PlanMismatchError:
            return self._run(info, plan, piece, in_full=True, on_progress=on_progress)

    def label(
        self,
        plan: VideoPlan,
        piece: Slice,
        decoded: DecodedSlice,
        *,
        on_progress: Callable[[], None] = lambda: None,
    ) -> SliceResult:
        """Label the windows of a slice that is decoded."""
        clock = StageClock()
        clock.seconds |= decoded.stage_s

        def events() -> Iterator[DecodedFrame | DecodedSound]:
            for event in decoded.events:
                on_progress()
                yield event

        return self._label(
            plan, piece, events(), decoded.report, clock, decoded_in_full=decoded.decoded_in_full
        )

    def _run(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        in_full: bool,
        on_progress: Callable[[], None],
    ) -> SliceResult:
        report = DecodeReport()
        events = self._decode(
            info, plan, piece, in_full=in_full, report=report, on_progress=on_progress
        )
        return self._label(plan, piece, events, report, StageClock(), decoded_in_full=in_full)

    def _label(
        self,
        plan: VideoPlan,
        piece: Slice,
        events: Iterator[DecodedFrame | DecodedSound],
        report: DecodeReport,
        clock: StageClock,
        *,
        decoded_in_full: bool,
    ) -> SliceResult:
        state = _SliceState(self, plan, piece, report, clock)
        n_samples = 0
        while True:
            with clock("decode"):
                event = next(events, None)
            if event is None:
                break
            state.take(event)
            if isinstance(event, DecodedFrame):
                owned = range(piece.owned_from, piece.owned_to)
                n_samples += sum(sample in owned for sample in event.samples)
        windows = state.finish()
        damaged = report.lost | report.tainted
        return SliceResult(
            index=piece.index,
            windows=windows,
            n_frames_decoded=n_samples,
            n_frames_corrupt=sum(piece.owned_from <= s < piece.owned_to for s in damaged),
            rotation=report.rotation,
            decoded_in_full=decoded_in_full or piece.packets is None,
            decoder_fallback=report.fallback,
            stage_s=clock.seconds,
        )

    def new_visual(self) -> list[VisualFeatures]:
        """Fresh accumulators for the frames of one slice."""
        return [
            VisualFeatures(backbone, self._visual[backbone.name], fps=self.grid.fps)
            for backbone in self.bundle.visual
        ]

    def new_audio(self, plan: VideoPlan, piece: Slice) -> list[tuple[Spectrogram, AudioFeatures]]:
        """Fresh accumulators for the sound of one slice."""
        if plan.audio_span_s is None:
            return []
        made = []
        for backbone in self.bundle.audio:
            front_end, network = self._audio[backbone.name]
            spectrogram = Spectrogram(
                front_end,
                backbone.log_mel,
                start_s=piece.windows[0].start_s,
                end_s=piece.windows[-1].end_s,
                sound_span_s=plan.audio_span_s,
            )
            made.append((spectrogram, AudioFeatures(backbone, network)))
        return made

    def fuse(
        self, window: Window, buffers: Mapping[str, TokenBuffer], *, corrupt: bool
    ) -> WindowScores:
        """Score one window from the tokens gathered so far."""
        found = {}
        for name, buffer in buffers.items():
            tokens = buffer.between(window.start_s, window.end_s)
            if tokens is not None:
                found[name] = tokens
        return self._fuse(window, found, corrupt=corrupt)


class _SliceState:
    """The tokens of one slice on their way to windows; windows are fused as they complete."""

    def __init__(
        self,
        runner: SliceRunner,
        plan: VideoPlan,
        piece: Slice,
        report: DecodeReport,
        clock: StageClock,
    ) -> None:
        self._runner = runner
        self._report = report
        self._clock = clock
        self._visual = runner.new_visual() if plan.video_span_s is not None else []
        self._audio = runner.new_audio(plan, piece)
        self._buffers: dict[str, TokenBuffer] = {
            features.backbone.name: features.tokens for features in self._visual
        }
        self._buffers |= {features.backbone.name: features.tokens for _, features in self._audio}
        self._windows = list(piece.windows)
        self._done: list[WindowScores] = []

    def take(self, event: DecodedFrame | DecodedSound) -> None:
        """Take a frame or a block of sound, and fuse the windows that it completes."""
        if isinstance(event, DecodedFrame):
            with self._clock("features"):
                for features in self._visual:
                    features.add(event)
        else:
            for spectrogram, heard in self._audio:
                listen(spectrogram(event), heard, self._clock)
        settled_s = min(
            [features.settled_s for features in self._visual]
            + [spectrogram.settled_s for spectrogram, _ in self._audio]
        )
        while len(self._windows) > 1 and self._windows[0].end_s <= settled_s:
            self._fuse_next()

    def finish(self) -> tuple[WindowScores, ...]:
        """No more events: fuse what is left and return all windows."""
        with self._clock("features"):
            for features in self._visual:
                features.finish()
        for spectrogram, heard in self._audio:
            listen(spectrogram.finish(), heard, self._clock)
        while self._windows:
            self._fuse_next()
        self._mark_damage()
        return tuple(self._done)

    def _fuse_next(self) -> None:
        window = self._windows.pop(0)
        with self._clock("fuse"):
            self._done.append(self._runner.fuse(window, self._buffers, corrupt=False))
        if self._windows:
            for buffer in self._buffers.values():
                buffer.drop_before(self._windows[0].start_s)

    def _mark_damage(self) -> None:
        """Damage is known in full only at the end, since sound reports its errors last."""
        fps = self._runner.grid.fps
        times = [float(sample / fps) for sample in self._report.lost | self._report.tainted]
        times += self._report.sound_errors_s
        for position, scored in enumerate(self._done):
            window = scored.window
            if any(window.start_s <= time < window.end_s for time in times):
                self._done[position] = replace(scored, corrupt=True)


def listen(patches: Patches, features: AudioFeatures, clock: StageClock) -> None:
    """Hand patches to a backbone as they come, each stage on its own clock."""
    while True:
        with clock("spectrogram"):
            found = next(patches, None)
        if found is None:
            return
        with clock("features"):
            features.add(*found)
