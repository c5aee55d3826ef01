"""Decode: a slice to its sampled frames and its sound, by the backend that is asked for.

Frames come in order of time, upright, with square pixels, as RGB at the sizes asked for, each
with its true presentation time. Sound comes as mono blocks (``stages.sound``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from sightsound.models.backbones.base import FrameView
from sightsound.stages.decoders import BackendName, create_decoder
from sightsound.stages.decoders.base import Decoder, SliceJob
from sightsound.stages.decoders.pyav_decoder import PyAVDecoder
from sightsound.stages.frames import DecodeReport
from sightsound.stages.media import open_media
from sightsound.stages.records import DecodedFrame, DecodedSound, MediaInfo, Slice, VideoPlan
from sightsound.stages.sound import SoundBlocks


class Decode:
    """(MediaInfo, VideoPlan, Slice) -> frames and sound, in order of time for each sense.

    ``views`` are the sizes that pictures are wanted in, ``sample_rate_hz`` the rate of sound
    (None: no sound wanted), ``sound_margin_s`` how far beyond its edges a slice needs sound.
    ``backend`` decodes the pictures, but for those that it declares it cannot do right.
    """

    def __init__(
        self,
        views: tuple[FrameView, ...],
        *,
        sample_rate_hz: int | None,
        sound_margin_s: float = 0.0,
        backend: BackendName = "pyav",
    ) -> None:
        """Prepare the stage.

        Raises:
            DecoderUnavailableError: the backend does not load here.
        """
        self.views = views
        self.sample_rate_hz = sample_rate_hz
        self.sound_margin_s = sound_margin_s
        self._decoder = create_decoder(backend)

    def __call__(
        self,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        in_full: bool = False,
        report: DecodeReport,
        on_progress: Callable[[], None] = lambda: None,
    ) -> Iterator[DecodedFrame | DecodedSound]:
        """Decode one slice.

        Args:
            info: the file.
            plan: its plan.
            piece: the slice of the plan to decode.
            in_full: read from the start of the file and decode every packet from the slice's
                first key frame on, with PyAV. Slices without a packet plan are always decoded so.
            report: filled in while iterating; says so where PyAV stood in for another backend.
            on_progress: called for every packet read, or every frame decoded.

        Raises:
            PlanMismatchError: a planned frame did not appear; call again with ``in_full``.
            StageError: the file cannot be opened any more.
        """
        job = SliceJob(
            info=info,
            plan=plan,
            piece=piece,
            views=self.views,
            sound=self._sound(info, plan, piece),
            report=report,
            on_progress=on_progress,
            in_full=in_full,
        )
        yield from self._decoder_of(job).read(job)

    def _decoder_of(self, job: SliceJob) -> Decoder:
        """The backend asked for, or PyAV where that declares, or has shown, that it cannot."""
        if not job.has_picture or isinstance(self._decoder, PyAVDecoder):
            return PyAVDecoder()
        with open_media(job.info.path, stage="decode") as container:
            demands = job.demands(n_pictures=len(container.streams.video))
        reason = self._decoder.capabilities.lacks(demands)
        if reason is None and job.in_full:
            reason = "did not give every planned frame"
        if reason is None:
            return self._decoder
        job.report.fallback = f"{self._decoder.name} {reason}: PyAV decoded the picture."
        return PyAVDecoder()

    def _sound(self, info: MediaInfo, plan: VideoPlan, piece: Slice) -> SoundBlocks | None:
        if info.audio is None or plan.audio_span_s is None or self.sample_rate_hz is None:
            return None
        start_s = piece.windows[0].start_s - self.sound_margin_s
        end_s = piece.windows[-1].end_s + self.sound_margin_s
        if start_s >= plan.audio_span_s[1] or end_s <= plan.audio_span_s[0]:
            return None
        return SoundBlocks(
            info.path,
            info.audio,
            origin_s=plan.origin_s,
            span_s=plan.audio_span_s,
            start_s=start_s,
            end_s=end_s,
            sample_rate_hz=self.sample_rate_hz,
        )
