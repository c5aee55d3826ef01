"""torchcodec: random access by time, on the FFmpeg of the system (4 to 9)."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightsound.stages.decoders.base import Capabilities
from sightsound.stages.decoders.matched import MatchedDecoder, Pictures
from sightsound.stages.errors import DecoderUnavailableError, PlanMismatchError
from sightsound.stages.media import opens_by_name
from sightsound.stages.records import MediaInfo
from sightsound.stages.storage import local_path, open_binary

_REMEDY = (
    "pip install torchcodec in a version for this torch, with FFmpeg's libraries on the system "
    "(Debian: apt-get install ffmpeg), or set decode.backend to pyav or decord"
)


class TorchCodecDecoder(MatchedDecoder):
    """Takes the frame that is on screen at a time, which it then says itself.

    The whole file is scanned when it is opened.
    """

    name = "torchcodec"
    # Measured with the suite: in others it finds no frame, or one at another time.
    capabilities = Capabilities(
        containers=frozenset(
            ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "avi"),
        ),
        unplanned=False,
        damage=False,
    )

    @classmethod
    def load(cls) -> str:
        """Load torchcodec and FFmpeg's libraries; see the base class."""
        try:
            import torchcodec
        except (ImportError, OSError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DecoderUnavailableError(
                f"torchcodec does not load here ({reason})", _REMEDY
            ) from error
        return f"{version('torchcodec')}, FFmpeg {torchcodec.ffmpeg_major_version}"

    def _open(self, info: MediaInfo) -> Pictures:
        return _TorchCodecPictures(info)


class _TorchCodecPictures:
    def __init__(self, info: MediaInfo) -> None:
        from torchcodec.decoders import VideoDecoder

        assert info.video is not None
        self._time_base = info.video.time_base
        # With the prefix, names with colons are no protocols.
        source: Any = (
            f"file:{os.path.abspath(local_path(info.path))}"
            if opens_by_name(info.path)
            else open_binary(info.path)
        )
        try:
            self._decoder = VideoDecoder(
                source,
                stream_index=info.video.index,
                dimension_order="NHWC",
                num_ffmpeg_threads=1,
                device="cpu",
                seek_mode="exact",
            )
        except (RuntimeError, ValueError, AssertionError) as error:
            raise PlanMismatchError(f"torchcodec does not open it ({error})") from error
        end_s = self._decoder.metadata.end_stream_seconds
        self._end_s = math.inf if end_s is None else end_s

    def at(self, pts: int) -> NDArray[np.uint8]:
        """See ``Pictures``."""
        # Half a unit later: where frames begin is rounded.
        time_s = float((pts + Fraction(1, 2)) * self._time_base)
        try:
            if time_s >= self._end_s:
                # Its last frame may have no duration, and then is on screen at no time.
                frames = self._decoder.get_frames_at([len(self._decoder) - 1])
            else:
                # Asked for one frame alone, torchcodec goes by durations, which files get wrong.
                frames = self._decoder.get_frames_played_at([time_s])
        except (RuntimeError, ValueError, IndexError) as error:
            raise PlanMismatchError(f"torchcodec has no frame at {pts} ({error})") from error
        if abs(float(frames.pts_seconds[0]) / float(self._time_base) - pts) > 0.5:
            raise PlanMismatchError(f"torchcodec has another frame at {pts}")
        return np.asarray(frames.data[0].numpy(), dtype=np.uint8)
