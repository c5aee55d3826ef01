"""Files of many streams, or of unusual sound: several tracks, cover art, channels and rates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
from media.jpeg import jpeg
from media.make import Picture, Sound, even_times, make_clip
from media.pictures import numbered
from media.sounds import sweep, tone, wave_file
from media.streams import Part, cover, together, tone_track
from media.torture import Torture

DURATION_S = 2
_PICTURE = Picture(times=even_times(25 * DURATION_S), gop=25)
_LANGUAGES = ("eng", "deu", "fra")
# Rates in Hz, and what holds a tone of 1000 Hz at each.
RATES_HZ = {
    8000: "pcm_s16le.wav",
    11025: "aac.m4a",
    22050: "libmp3lame.mp3",
    32000: "ac3.ac3",
    96000: "aac.m4a",
    192000: "flac.flac",
}


def _streams(file: str, ails: str, make: Callable[[Path], object]) -> Torture:
    return Torture(kind="streams", file=file, ails=ails, make=make, duration_s=float(DURATION_S))


def _tracks(*, codec: str, default: int | None) -> Callable[[Path], object]:
    """A picture and three tracks, in three languages, one of them the default."""

    def make(path: Path) -> None:
        sounds = [
            Part(
                sound=tone_track(number, codec=codec),
                language=language,
                disposition="default" if number == default else "",
            )
            for number, language in enumerate(_LANGUAGES)
        ]
        together(path, Part(picture=_PICTURE, disposition="default"), *sounds)

    return make


def _song_with_cover(codec: str) -> Callable[[Path], object]:
    return lambda path: together(path, Part(sound=tone_track(0, codec=codec)), cover(200, 160))


def _cover_beside_picture(path: Path) -> None:
    """The cover is larger, for which FFmpeg's own choice might take it."""
    sound = Part(sound=tone_track(0, codec="aac"))
    together(path, cover(640, 480), Part(picture=_PICTURE), sound)


def _attached_cover(path: Path) -> None:
    """A file that a Matroska file carries, by a name that says it is its cover."""
    source_path = path.with_name(f"source-{path.name}")
    make_clip(source_path, picture=_PICTURE, sound=tone_track(0, codec="flac"))
    with (
        av.open(str(source_path)) as source,
        av.open(str(path), "w", options={"fflags": "+bitexact"}) as target,
    ):
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        target.add_attachment("cover.jpg", "image/jpeg", jpeg(numbered(7, 320, 240)))
        for packet in source.demux():
            if packet.size:
                packet.stream = streams[packet.stream_index]
                target.mux(packet)
    source_path.unlink()


def _channels(n_channels: int, codec: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        make_clip(path, sound=Sound(
            samples=sweep(DURATION_S, 16000, channels=n_channels), codec=codec, rate_hz=16000,
        ))  # fmt: skip

    return make


def _rate(rate_hz: int, codec: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        samples = tone(DURATION_S, rate_hz, frequency_hz=1000)
        make_clip(path, sound=Sound(samples=samples, codec=codec, rate_hz=rate_hz))

    return make


STREAMS = [
    _streams("tracks.mkv", "three tracks of sound, the second the default",
             _tracks(codec="flac", default=1)),
    _streams("tracks.mp4", "three tracks of sound, the second the default",
             _tracks(codec="aac", default=1)),
    _streams("tracks.ts", "three tracks of sound, none the default",
             _tracks(codec="aac", default=None)),
    _streams("cover.mp3", "cover art beside sound", _song_with_cover("libmp3lame")),
    _streams("cover.m4a", "cover art beside sound", _song_with_cover("aac")),
    _streams("cover.flac", "cover art beside sound", _song_with_cover("flac")),
    _streams("cover_beside.mp4", "cover art beside a picture, and larger", _cover_beside_picture),
    _streams("cover_attached.mkv", "cover art as an attached file", _attached_cover),
    _streams("channels_16.wav", "sixteen channels, of which nothing is said",
             lambda path: wave_file(path, sweep(DURATION_S, 16000, channels=16), 16000)),
    _streams("channels_8.flac", "7.1", _channels(8, "flac")),
    _streams("channels_6.m4a", "5.1", _channels(6, "aac")),
    *(_streams(f"rate_{rate_hz}.{kind.partition('.')[2]}", f"sound at {rate_hz} Hz",
               _rate(rate_hz, kind.partition(".")[0])) for rate_hz, kind in RATES_HZ.items()),
]  # fmt: skip
