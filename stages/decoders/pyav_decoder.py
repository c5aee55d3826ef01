"""PyAV: one demux pass for picture and sound, by the packet plan. The default."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext

from sightsound.stages.all_frames import AllFrames
from sightsound.stages.decoders.base import Capabilities, Decoder, SliceJob
from sightsound.stages.frames import SampledFrames
from sightsound.stages.media import has_guessed_times, open_media
from sightsound.stages.planned_frames import PlannedFrames
from sightsound.stages.records import DecodedFrame, DecodedSound
from sightsound.stages.seek import SlicePackets


class PyAVDecoder(Decoder):
    """Decodes whatever FFmpeg can, exactly, and marks damage.

    One thread: slices run in parallel, not frames.
    """

    name = "pyav"
    capabilities = Capabilities()

    @classmethod
    def load(cls) -> str:
        """PyAV is always there: what probes and plans is built on it."""
        library = ".".join(str(part) for part in av.library_versions["libavcodec"])
        return f"{version('av')}, libavcodec {library}"

    def read(self, job: SliceJob) -> Iterator[DecodedFrame | DecodedSound]:
        """Read the packets of both senses together; see the base class."""
        sound, video = job.sound, job.info.video
        with open_media(job.info.path, stage="decode") as container:
            picture = _picture(container, job)
            if sound is None and picture is None:
                return
            packets = SlicePackets(
                container, job.info, job.plan, job.piece, sound=sound, picture=picture
            )
            for packet in packets.read(may_seek=not job.in_full):
                job.on_progress()
                if picture is not None and video and packet.stream_index == video.index:
                    yield from picture.feed(packet)
                elif sound is not None:
                    yield from sound.feed(packet)
            if picture is not None:
                yield from picture.finish()
        if sound is not None:
            yield from sound.finish()
            job.report.sound_errors_s.extend(sound.error_times_s)


def _picture(container: InputContainer, job: SliceJob) -> SampledFrames | None:
    video = job.info.video
    if video is None or not job.has_picture:
        return None
    context = container.streams[video.index].codec_context
    assert isinstance(context, VideoCodecContext)
    most_pixels = job.info.limits.picture_pixels
    if job.piece.packets is None or job.in_full:
        return AllFrames(
            context,
            video,
            job.plan,
            job.piece,
            views=job.views,
            report=job.report,
            most_pixels=most_pixels,
            guessed_times=has_guessed_times(job.info),
        )
    return PlannedFrames(
        context,
        video,
        job.plan,
        job.piece,
        views=job.views,
        report=job.report,
        most_pixels=most_pixels,
        packets=job.piece.packets,
    )
