"""What a torture file is, and how one is described to others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from media.make import Picture, Sound, make_clip

Kind = Literal["times", "look", "sound", "streams", "damage", "hostile"]
Status = Literal["ok", "partial", "failed"]


@dataclass(frozen=True, kw_only=True)
class Torture:
    """One file that is hard to read.

    ``make`` writes it at a path (and others beside it, if it needs them). ``statuses`` are what
    its row may say. ``frame_times_s`` are the times of its frames from the start of the
    presentation, in order, where they are known, of a file cut short the times of all that it
    had; ``tolerance_s`` is how far the container rounds
    them. ``duration_s`` is what it holds. ``needs_limits`` says that reading it without a limit
    on memory or time is not safe.
    """

    kind: Kind
    file: str
    ails: str
    make: Callable[[Path], object]
    statuses: tuple[Status, ...] = ("ok",)
    frame_times_s: tuple[Fraction, ...] | None = None
    tolerance_s: float = 0.0
    duration_s: float | None = None
    needs_limits: bool = False


# Matroska and FLV state milliseconds.
_ROUNDING = {"mkv": 0.00051, "webm": 0.00051, "flv": 0.00051, "ts": 0.00002, "mpg": 0.00002}


def of_picture(
    kind: Kind,
    file: str,
    ails: str,
    picture: Picture,
    *,
    options: dict[str, str] | None = None,
    change: Callable[[Path], object] | None = None,
    shown: Sequence[Fraction] | None = None,
    statuses: tuple[Status, ...] = ("ok",),
) -> Torture:
    """A file of one picture without sound, changed afterwards if ``change`` is given.

    ``shown`` are the times of its frames from the start of the presentation, where they are not
    those of the picture.
    """

    def make(path: Path) -> None:
        make_clip(path, picture=picture, options=options)
        if change is not None:
            change(path)

    times = tuple(shown) if shown is not None else shown_times(picture)
    return Torture(
        kind=kind,
        file=file,
        ails=ails,
        make=make,
        statuses=statuses,
        frame_times_s=times,
        tolerance_s=_ROUNDING.get(file.rpartition(".")[2], 1e-6),
    )


def shown_times(picture: Picture) -> tuple[Fraction, ...]:
    """When the frames of a picture without sound are shown, from the start of the presentation.

    What lies before 0 is hidden by an edit list, and the presentation then starts at 0.
    """
    at = [time + picture.start_s for time in picture.times]
    origin = at[0] if at[0] >= 0 else Fraction(0)
    return tuple(time - origin for time in at if time >= 0)


def with_sound(
    file: str, ails: str, make_picture: Callable[[], Picture], make_sound: Callable[[], Sound]
) -> Torture:
    """A file of picture and sound, both made when needed."""

    def make(path: Path) -> None:
        make_clip(path, picture=make_picture(), sound=make_sound())

    return Torture(kind="sound", file=file, ails=ails, make=make)
