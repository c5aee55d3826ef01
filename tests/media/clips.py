"""The clips that tests share, by name: every codec, container and trick of time that matters.

A :class:`ClipLibrary` makes a clip when it is first asked for. ``PICTURES`` are 8 s of numbered
pictures without sound; ``LONG`` are 131 s with sound, more than two of its blocks of a minute.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from media.make import Picture, Sound, even_times, make_clip, uneven_times
from media.pictures import flash
from media.sounds import click, sweep

N_FRAMES = 200
_TIMES = even_times(N_FRAMES)
_BY_FRAME = Fraction(1, 25)  # Time base of codecs and containers that count frames.
_OPEN_GOP = {"x264-params": "open-gop=1:keyint=24:min-keyint=24:scenecut=0"}
_REFRESH = {"x264-params": "intra-refresh=1:keyint=40"}
_HEVC = {"preset": "veryfast", "x265-params": "keyint=30:min-keyint=30:log-level=none"}
_HEVC_LAYERS = {"x265-params": "keyint=60:temporal-layers=3:log-level=none"}
_VPX = {"deadline": "good", "cpu-used": "4", "auto-alt-ref": "1", "lag-in-frames": "16"}
_AV1 = {"preset": "9", "crf": "25"}
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}


@dataclass(frozen=True, kw_only=True)
class Clip:
    """What a clip is made of; see :mod:`media.make`. Sound is large, so it is made when needed."""

    suffix: str
    picture: Picture | None = None
    sound: Callable[[], Sound] | None = None
    options: Mapping[str, str] | None = None


def _h264(suffix: str, **picture: object) -> Clip:
    return Clip(suffix=suffix, picture=Picture(times=_TIMES, **picture))  # type: ignore[arg-type]


PICTURES: dict[str, Clip] = {
    # x264 as it comes: B-frames, B-pyramid, one group of pictures.
    "h264_mp4": _h264("mp4"),
    "h264_gop30_mp4": _h264("mp4", gop=30),
    "h264_no_b_mp4": _h264("mp4", gop=50, b_frames=0),
    "h264_open_gop_mkv": _h264("mkv", options=_OPEN_GOP),
    "h264_open_gop_mp4": _h264("mp4", options=_OPEN_GOP),
    "h264_open_gop_ts": _h264("ts", options=_OPEN_GOP),
    "h264_gradual_refresh_mp4": _h264("mp4", options=_REFRESH),
    "h264_gradual_refresh_ts": _h264("ts", options=_REFRESH),
    "h264_interlaced_ts": _h264("ts", gop=50, height=96, options={"x264-params": "interlaced=1"}),
    "h264_variable_rate_mkv": Clip(suffix="mkv", picture=Picture(times=uneven_times(120), gop=30)),
    "h264_variable_rate_mp4": Clip(suffix="mp4", picture=Picture(times=uneven_times(120), gop=30)),
    "h264_29_97_mp4": Clip(
        suffix="mp4",
        picture=Picture(
            times=even_times(N_FRAMES, Fraction(30000, 1001)),
            rate=Fraction(30000, 1001),
            time_base=Fraction(1, 30000),
            gop=60,
        ),
    ),
    "h264_starts_late_mp4": _h264("mp4", gop=50, start_s=Fraction(5)),
    "h264_starts_late_mkv": _h264("mkv", gop=50, start_s=Fraction(5)),
    # An edit list that skips 33 frames and so begins inside a group of pictures.
    "h264_edit_list_mp4": _h264("mp4", gop=50, start_s=Fraction(-33, 25)),
    "h264_fragments_mp4": Clip(
        suffix="mp4", picture=Picture(times=_TIMES, gop=50), options=_FRAGMENTS
    ),
    "h264_flv": _h264("flv", gop=50),
    "h264_avi": _h264("avi", gop=50, time_base=_BY_FRAME),
    "h264_bare": _h264("h264", gop=50),
    # x265 as it comes has open groups of pictures.
    "hevc_mp4": _h264("mp4", codec="libx265", options=_HEVC),
    "hevc_ts": _h264("ts", codec="libx265", options=_HEVC),
    "hevc_mkv": _h264("mkv", codec="libx265", options=_HEVC),
    "hevc_layers_mp4": _h264("mp4", codec="libx265", options=_HEVC_LAYERS),
    "vp9_webm": _h264("webm", codec="libvpx-vp9", gop=40, options=_VPX),
    "vp8_webm": _h264("webm", codec="libvpx", gop=40, options=_VPX),
    "av1_mp4": _h264("mp4", codec="libsvtav1", gop=40, options=_AV1),
    "mpeg4_avi": _h264("avi", codec="mpeg4", gop=24, b_frames=2, time_base=_BY_FRAME),
    "mpeg4_no_b_avi": _h264("avi", codec="mpeg4", gop=24, b_frames=0, time_base=_BY_FRAME),
    "mpeg4_mp4": _h264("mp4", codec="mpeg4", gop=24, b_frames=2, time_base=_BY_FRAME),
    "mpeg2_ts": _h264("ts", codec="mpeg2video", gop=15, b_frames=2, time_base=_BY_FRAME),
    # A program stream: only some packets have a time.
    "mpeg2_mpg": _h264("mpg", codec="mpeg2video", gop=15, b_frames=2, time_base=_BY_FRAME),
    "mjpeg_mov": _h264("mov", codec="mjpeg", pixel_format="yuvj420p"),
    "ffv1_mkv": _h264("mkv", codec="ffv1"),
}


def _sweep(
    duration_s: float, codec: str, rate_hz: int = 48000, *, start_s: Fraction = Fraction(0)
) -> Callable[[], Sound]:
    def make() -> Sound:
        samples = sweep(duration_s, rate_hz, channels=2)
        return Sound(samples=samples, codec=codec, rate_hz=rate_hz, start_s=start_s)

    return make


def _long(suffix: str, sound_codec: str, rate_hz: int = 48000, **picture: object) -> Clip:
    shape = {"times": even_times(1310, 10), "rate": Fraction(10), "width": 64, "height": 48}
    return Clip(
        suffix=suffix,
        picture=Picture(**{**shape, "gop": 70, **picture}),  # type: ignore[arg-type]
        sound=_sweep(131.3, sound_codec, rate_hz),
    )


_LONG_HEVC = {"preset": "ultrafast", "x265-params": "keyint=50:min-keyint=50:log-level=none"}
_LONG_VP9 = {"deadline": "realtime", "cpu-used": "8"}
LONG: dict[str, Clip] = {
    "h264_aac_mp4": _long("mp4", "aac", 44100, options=_OPEN_GOP),
    "hevc_aac_mkv": _long("mkv", "aac", codec="libx265", options=_LONG_HEVC),
    "vp9_opus_webm": _long("webm", "libopus", codec="libvpx-vp9", options=_LONG_VP9),
    "h264_aac_ts": _long("ts", "aac", 44100),
    "h264_mp3_mkv": _long("mkv", "libmp3lame", 44100),
    "h264_vorbis_mkv": _long("mkv", "vorbis", 44100),
    "h264_flac_mkv": _long("mkv", "flac"),
}

LONG_SOUND: dict[str, Clip] = {
    "mp3": Clip(suffix="mp3", sound=_sweep(131.3, "libmp3lame", 44100)),
    "aac_m4a": Clip(suffix="m4a", sound=_sweep(131.3, "aac", 44100)),
    "aac_bare": Clip(suffix="aac", sound=_sweep(131.3, "aac", 44100)),
    "opus_ogg": Clip(suffix="opus", sound=_sweep(131.3, "libopus")),
    "flac": Clip(suffix="flac", sound=_sweep(131.3, "flac", 44100)),
    "pcm_wav": Clip(suffix="wav", sound=_sweep(131.3, "pcm_s16le", 44100)),
}

# A flash and a click that begin together, 3 s after the start.
FLASH_AT = 75


def _click_and_flash(suffix: str, sound: str, rate_hz: int = 48000, **picture: object) -> Clip:
    at_s = FLASH_AT / 25
    return Clip(
        suffix=suffix,
        picture=Picture(
            times=even_times(125),
            draw=lambda number, width, height: flash(number, FLASH_AT, width, height),
            **picture,  # type: ignore[arg-type]
        ),
        sound=lambda: Sound(samples=click(5, rate_hz, at_s=at_s), codec=sound, rate_hz=rate_hz),
    )


CLICKS: dict[str, Clip] = {
    "click_aac_mp4": _click_and_flash("mp4", "aac"),
    "click_aac_ts": _click_and_flash("ts", "aac"),
    "click_mp3_mkv": _click_and_flash("mkv", "libmp3lame", 44100),
    "click_opus_webm": _click_and_flash("webm", "libopus", codec="libvpx-vp9", options=_LONG_VP9),
    "click_vorbis_mkv": _click_and_flash("mkv", "vorbis"),
    "click_flac_mkv": _click_and_flash("mkv", "flac"),
    "click_pcm_mov": _click_and_flash("mov", "pcm_s16le"),
    "click_ac3_ts": _click_and_flash("ts", "ac3"),
}

_SHORT = Picture(times=even_times(N_FRAMES), gop=25)
_SPOKEN = _sweep(8, "aac")
OTHERS: dict[str, Clip] = {
    "both_mp4": Clip(
        suffix="mp4", picture=_SHORT, sound=_SPOKEN, options={"movflags": "faststart"}
    ),
    "both_header_last_mp4": Clip(suffix="mp4", picture=_SHORT, sound=_SPOKEN),
    "both_mkv": Clip(suffix="mkv", picture=_SHORT, sound=_SPOKEN),
    "both_ts": Clip(suffix="ts", picture=_SHORT, sound=_SPOKEN),
    "sound_only_m4a": Clip(suffix="m4a", sound=_SPOKEN),
    "sound_late_mp4": Clip(
        suffix="mp4",
        picture=Picture(times=even_times(N_FRAMES), gop=25),
        sound=_sweep(4, "aac", start_s=Fraction(7, 2)),
    ),
    "picture_late_mkv": Clip(
        suffix="mkv",
        picture=Picture(times=even_times(50), gop=25, start_s=Fraction(3)),
        sound=_sweep(6, "flac"),
    ),
    "tenth_of_a_second_mp4": Clip(
        suffix="mp4",
        picture=Picture(times=even_times(3, 30), rate=Fraction(30)),
        sound=_sweep(0.1, "aac"),
    ),
    "one_frame_mp4": Clip(suffix="mp4", picture=Picture(times=(Fraction(0),))),
    "one_frame_ts": Clip(suffix="ts", picture=Picture(times=(Fraction(0),))),
}

CLIPS: dict[str, Clip] = {**PICTURES, **LONG, **LONG_SOUND, **CLICKS, **OTHERS}


class ClipLibrary:
    """Clips in a folder, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        """The path of a clip of ``CLIPS``."""
        clip = CLIPS[name]
        path = self._folder / f"{name}.{clip.suffix}"
        if not path.exists():
            sound = clip.sound() if clip.sound is not None else None
            make_clip(path, picture=clip.picture, sound=sound, options=clip.options)
        return path
