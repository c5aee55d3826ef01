"""decord: random access by frame number, on an FFmpeg of its own (4.x)."""

from __future__ import annotations

import os
from importlib.metadata import version

import numpy as np
from numpy.typing import NDArray

from sightsound.stages.decoders.base import Capabilities
from sightsound.stages.decoders.matched import MatchedDecoder, Pictures
from sightsound.stages.errors import DecoderUnavailableError, PlanMismatchError
from sightsound.stages.records import MediaInfo
from sightsound.stages.storage import local_path


class DecordDecoder(MatchedDecoder):
    """Takes frames by their number in the order of display.

    decord numbers packets, not frames, so that it is right only where each packet is one frame
    and all are shown; its times are single precision, from the start of the stream.
    """

    name = "decord"
    # Measured with the suite: others give frames at the wrong times, or none.
    capabilities = Capabilities(
        containers=frozenset(
            ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "avi"),
        ),
        codecs=frozenset(("h264", "hevc", "vp8", "vp9", "mpeg4", "mjpeg", "ffv1", "png", "prores")),
        any_source=False,
        unplanned=False,
        hidden_packets=False,
        leading_frames=False,
        damage=False,
        chooses_stream=False,
    )

    @classmethod
    def load(cls) -> str:
        """Load decord; see the base class."""
        try:
            import decord
        except (ImportError, OSError, RuntimeError) as error:
            raise DecoderUnavailableError(
                f"decord does not load here ({error})",
                "pip install decord, which has packages for Linux and Windows on x86, or set "
                "decode.backend to pyav or torchcodec",
            ) from error
        # What is wrong with a file comes as an error, not on the terminal.
        decord.logging.set_level(decord.logging.QUIET)
        return version("decord")

    def _open(self, info: MediaInfo) -> Pictures:
        return _DecordPictures(info)


class _DecordPictures:
    def __init__(self, info: MediaInfo) -> None:
        import decord

        assert info.video is not None
        self._errors = (decord.DECORDError, RuntimeError, AssertionError, IndexError)
        self._time_base = info.video.time_base
        try:
            # With the prefix, names with colons are no protocols.
            path = f"file:{os.path.abspath(local_path(info.path))}"
            self._reader = decord.VideoReader(path, ctx=decord.cpu(0), num_threads=1)
            times_s = self._reader.get_frame_timestamp(range(len(self._reader)))[:, 0]
        except self._errors as error:
            raise PlanMismatchError(f"decord does not open it ({error})") from error
        start_pts = info.video.start_pts
        if start_pts is None or abs(times_s[0]) > 1e-3:
            raise PlanMismatchError("decord has the stream begin elsewhere")
        self._times_s = times_s.astype(np.float64) + float(start_pts * self._time_base)

    def at(self, pts: int) -> NDArray[np.uint8]:
        """See ``Pictures``."""
        away_s = np.abs(self._times_s - float(pts * self._time_base))
        number = int(np.argmin(away_s))
        others = np.delete(away_s[max(0, number - 1) : number + 2], min(number, 1))
        if len(others) and 3 * away_s[number] > others.min():
            raise PlanMismatchError(f"decord has no frame at {pts}")
        try:
            picture = np.asarray(self._reader[number].asnumpy(), dtype=np.uint8)
        except (*self._errors, StopIteration) as error:
            raise PlanMismatchError(f"decord does not decode frame {number} ({error})") from error
        if picture.shape[2] != 3:
            # It takes the padding of the rows of narrow pictures for a fourth channel.
            raise PlanMismatchError(f"decord gives frame {number} with padding")
        return picture
