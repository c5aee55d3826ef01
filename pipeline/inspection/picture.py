"""The picture of a file: what its header claims beside what its frames are."""

from __future__ import annotations

from typing import Literal

import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame

from sightsound.pipeline.inspection.decoding import Trial
from sightsound.pipeline.inspection.records import KeyFrames, PictureFacts, Stretch
from sightsound.pipeline.inspection.times import Track, frame_times, intervals_s
from sightsound.stages.measure import Measured
from sightsound.stages.picture import quarter_turns, shown_size
from sightsound.stages.records import VideoStreamInfo

# Code points of ITU-T H.273 by FFmpeg's names.
_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
_SPACES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
_HDR: dict[int, Literal["PQ", "HLG"]] = {16: "PQ", 18: "HLG"}


def picture_facts(
    container: InputContainer,
    stream: VideoStreamInfo,
    measured: Measured,
    track: Track,
    trial: Trial,
) -> PictureFacts:
    """Put together what is known of the picture."""
    source, frame = container.streams[stream.index], trial.frame
    context = source.codec_context
    assert isinstance(context, VideoCodecContext)
    span = measured.video_span
    rotation = quarter_turns(frame.rotation) * 90 if frame is not None else 0
    width, height = shown_size(
        frame.width if frame is not None else stream.width,
        frame.height if frame is not None else stream.height,
        stream.pixel_aspect,
        rotation,
    )
    pixels = frame.format if frame is not None else context.format
    shape: VideoFrame | VideoCodecContext = frame if frame is not None else context
    return PictureFacts(
        index=stream.index,
        codec=stream.codec,
        profile=source.profile,
        claimed_width=stream.width,
        claimed_height=stream.height,
        shown_width=width,
        shown_height=height,
        sizes=tuple(trial.sizes),
        rotation=rotation,
        pixel_aspect=f"{stream.pixel_aspect.numerator}:{stream.pixel_aspect.denominator}",
        pixel_format=pixels.name if pixels is not None else None,
        bit_depth=max((part.bits for part in pixels.components), default=None) if pixels else None,
        colour_primaries=_PRIMARIES.get(shape.color_primaries),
        colour_transfer=_TRANSFERS.get(shape.color_trc),
        colour_space=_SPACES.get(shape.colorspace),
        hdr=_HDR.get(shape.color_trc),
        has_alpha=source.metadata.get("alpha_mode") == "1"
        or (pixels is not None and any(part.is_alpha for part in pixels.components)),
        is_interlaced=frame is not None and frame.interlaced_frame,
        span=Stretch(start_s=float(span[0]), end_s=float(span[1])) if span else None,
        claimed_rate_hz=float(stream.average_rate) if stream.average_rate else None,
        claimed_frames=stream.claimed_frames or None,
        times=frame_times(
            measured.index,
            time_base=stream.time_base,
            origin_s=measured.origin_s,
            are_stated=measured.index.plannable,
            n_restarts=track.n_restarts,
        ),
        key_frames=_key_frames(stream, measured, trial),
    )


def _key_frames(stream: VideoStreamInfo, measured: Measured, trial: Trial) -> KeyFrames:
    times = measured.index.pts[measured.index.is_key]
    steps = intervals_s(times, stream.time_base)
    return KeyFrames(
        count=len(times),
        first_s=float(int(times.min()) * stream.time_base - measured.origin_s)
        if len(times)
        else None,
        median_interval_s=float(np.median(steps)) if len(steps) else None,
        longest_interval_s=float(steps.max()) if len(steps) else None,
        n_tried=trial.n_tried,
        n_decoded=min(trial.n_decoded, trial.n_tried),
    )
