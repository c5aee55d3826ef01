"""A click and a flash made together, in files whose sound or picture starts later."""

from __future__ import annotations

from fractions import Fraction

from media.make import Picture, Sound, even_times
from media.pictures import flash
from media.sounds import click
from media.torture import Torture, with_sound

# Seconds from the start of the presentation, of which one sense is there from 0 on.
TOGETHER_AT_S = Fraction(3)
_END_S = 5
_VP9 = {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}}
# By how a file's name ends: the codec of its sound, and its picture.
_CONTAINERS: dict[str, tuple[str, dict[str, object]]] = {
    "mp4": ("aac", {}),
    "opus.mp4": ("libopus", {}),
    "mov": ("pcm_s16le", {}),
    "mkv": ("flac", {}),
    "aac.mkv": ("aac", {}),
    "opus.mkv": ("libopus", {}),
    "mp3.mkv": ("libmp3lame", {}),
    "ts": ("aac", {}),
    "webm": ("libopus", _VP9),
}
# By how much the picture and the sound start later than the presentation.
_OFFSETS = {
    "together": (Fraction(0), Fraction(0)),
    "sound_late": (Fraction(0), Fraction(1, 2)),
    "sound_very_late": (Fraction(0), Fraction(13, 10)),
    "picture_late": (Fraction(2, 5), Fraction(0)),
    "picture_very_late": (Fraction(6, 5), Fraction(0)),
}
# Before 0, which only an edit list can hide; the presentation starts at 0.
_CUTS = {
    "picture_cut": (Fraction(-4, 5), Fraction(0)),
    "sound_cut": (Fraction(0), Fraction(-1, 2)),
    "both_cut": (Fraction(-33, 25), Fraction(-1, 3)),
}
_EDITED = ("mp4", "mov")


def _click_and_flash(
    ending: str, name: str, picture_start_s: Fraction, sound_start_s: Fraction
) -> Torture:
    sound_codec, shape = _CONTAINERS[ending]
    flash_at = int((TOGETHER_AT_S - picture_start_s) * 25)

    def picture() -> Picture:
        return Picture(
            times=even_times(int((_END_S - picture_start_s) * 25)),
            start_s=picture_start_s,
            gop=50,
            draw=lambda number, width, height: flash(number, flash_at, width, height),
            **shape,  # type: ignore[arg-type]
        )

    def sound() -> Sound:
        samples = click(
            float(_END_S - sound_start_s), 48000, at_s=float(TOGETHER_AT_S - sound_start_s)
        )
        return Sound(samples=samples, codec=sound_codec, start_s=sound_start_s)

    return with_sound(
        f"click_{name}.{ending}",
        f"picture from {float(picture_start_s):g} s on, sound from {float(sound_start_s):g} s on",
        picture,
        sound,
    )


SOUND = [
    *(
        _click_and_flash(ending, name, *at)
        for ending in _CONTAINERS
        for name, at in _OFFSETS.items()
    ),
    *(_click_and_flash(ending, name, *at) for ending in _EDITED for name, at in _CUTS.items()),
]
