"""What decord and torchcodec share: they are asked for the frames that the plan names.

Such a library numbers and times frames itself and gives them as RGB, upright. A frame is matched
to the plan by its time, and rendered as PyAV's are; the sound is read by PyAV.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, groupby, islice
from typing import Protocol

import av
import numpy as np
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from sightsound.stages.decoders.base import Decoder, SliceJob
from sightsound.stages.decoders.pyav_decoder import PyAVDecoder
from sightsound.stages.errors import PlanMismatchError
from sightsound.stages.media import Demuxer, open_media
from sightsound.stages.picture import Renderer, quarter_turns
from sightsound.stages.records import NO_FRAME, DecodedFrame, DecodedSound, MediaInfo, Slice

# Packets after which a stream that has given no frame is not waited for any longer.
_MOST_PACKETS = 256


class Pictures(Protocol):
    """The pictures of an open file."""

    def at(self, pts: int) -> NDArray[np.uint8]:
        """The frame with a timestamp, in units of the stream's time base.

        Returns:
            uint8 RGB (height, width, 3), upright, with the pixels of the file.

        Raises:
            PlanMismatchError: there is no such frame, or it cannot be decoded.
        """


class MatchedDecoder(Decoder):
    """A library that gives pictures by number or time."""

    def read(self, job: SliceJob) -> Iterator[DecodedFrame | DecodedSound]:
        """Yield all frames, then all sound; see the base class."""
        if job.has_picture:
            yield from self._frames(job)
        if job.sound is not None:
            yield from PyAVDecoder().read(replace(job, views=()))

    @abstractmethod
    def _open(self, info: MediaInfo) -> Pictures:
        """Open the picture of a file.

        Raises:
            PlanMismatchError: it cannot be opened.
        """

    def _frames(self, job: SliceJob) -> Iterator[DecodedFrame]:
        video = job.info.video
        assert video is not None
        rotation = first_rotation(job.info)
        turns = quarter_turns(rotation)
        job.report.rotation = turns * 90
        pictures = self._open(job.info)
        render = Renderer()
        for pts, samples in shown_samples(job.piece):
            job.on_progress()
            stored = np.ascontiguousarray(np.rot90(pictures.at(pts), -turns))
            frame = VideoFrame.from_ndarray(stored, format="rgb24")
            yield DecodedFrame(
                samples=samples,
                pts_s=float(pts * video.time_base - job.plan.origin_s),
                pictures={
                    view: render(frame, view, video.pixel_aspect, rotation=rotation)
                    for view in job.views
                },
                tainted=False,
            )


def shown_samples(piece: Slice) -> Iterator[tuple[int, tuple[int, ...]]]:
    """The timestamps of a slice's frames, in order, each with the samples it is on screen for."""
    numbered = enumerate(piece.sample_pts.tolist(), start=piece.first_sample)
    for pts, group in groupby(numbered, key=lambda sample: int(sample[1])):
        if pts != NO_FRAME:
            yield pts, tuple(number for number, _ in group)


def first_rotation(info: MediaInfo) -> int:
    """What turns the picture upright, in degrees counter-clockwise, as its first frame says.

    Raises:
        PlanMismatchError: the first packets of the picture give no frame.
        StageError: the file cannot be opened any more.
    """
    assert info.video is not None
    with open_media(info.path, stage="decode") as container:
        context = container.streams[info.video.index].codec_context
        assert isinstance(context, VideoCodecContext)
        context.thread_count = 1
        context.options = {"max_pixels": str(info.limits.picture_pixels)}
        # None at the end: of a clip of few frames the decoder holds back all.
        packets = islice(Demuxer(container, (info.video.index,)), _MOST_PACKETS)
        for packet in chain(packets, (None,)):
            try:
                frames = context.decode(packet)
            except MemoryError:
                raise
            except av.error.FFmpegError:
                continue
            if frames:
                return frames[0].rotation
    raise PlanMismatchError("the first packets of the picture give no frame")
