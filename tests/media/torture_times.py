"""Files whose times are hard to get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
from media.boxes import Box, change_movie, set_edits, shift_composition
from media.fields import copied_fields_clip, field_coded_clip
from media.jpeg import interlaced_clip
from media.make import Picture, even_times, make_clip, uneven_times
from media.pictures import flash
from media.torture import Torture, of_picture
from media.transport import WRAP_TICKS, joined, without_some_times

_N = 75
_PLAIN = Picture(times=even_times(_N), gop=25)
# Not from 0 on: decoding times before 0 would have a muxer move all times.
_FIRST = Picture(times=even_times(50), gop=25, start_s=Fraction(1))
_UNEVEN = Picture(times=uneven_times(90), gop=30)
_FILM = Fraction(24000, 1001)
_FAST = Fraction(60000, 1001)
_FRAGMENTS = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
_VPX = {"deadline": "realtime", "cpu-used": "8"}
# The clock of a transport stream starts again 2 s, or 70 s, after the first frame.
_WRAP_SOON = Fraction(WRAP_TICKS, 90000) - 2
_WRAP_LATE = Fraction(WRAP_TICKS, 90000) - 70
_TICKS_A_FRAME = 480  # Of 1/12000 s, at 25 frames a second.


def _at_rate(rate: Fraction, n_frames: int = _N) -> Picture:
    return Picture(
        times=even_times(n_frames, rate),
        rate=rate,
        time_base=Fraction(1, rate.numerator),
        gop=30,
    )


def _changed_movie(change: Callable[[Box], None]) -> Callable[[Path], None]:
    return lambda path: change_movie(path, path, change)


def _cut(keep: float) -> Callable[[Path], object]:
    def cut(path: Path) -> None:
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * keep)])

    return cut


def _two_parts(path: Path, second: Picture, **surgery: bool) -> None:
    """Append a second stream to a transport stream."""
    other = make_clip(path.with_name(f"second-{path.name}"), picture=second)
    first, last = path.read_bytes(), other.read_bytes()
    other.unlink()
    path.write_bytes(joined(first, last) if surgery.get("counters", True) else first + last)


def _after(picture: Picture, **changes: object) -> Picture:
    """The picture that goes on where one ends, at 25 frames a second."""
    end = picture.times[-1] + Fraction(1, 25)
    return replace(picture, start_s=picture.start_s + end, **changes)  # type: ignore[arg-type]


def _sizes_in_one_stream(path: Path) -> None:
    """VP9 from two encoders in one track: its key frames say their own size."""
    parts = [
        Picture(times=even_times(38), gop=19, codec="libvpx-vp9", options=_VPX),
        Picture(times=even_times(37), gop=19, codec="libvpx-vp9", options=_VPX, width=160,
                height=120, start_s=Fraction(38, 25)),
    ]  # fmt: skip
    files = [
        make_clip(path.with_name(f"{number}-{path.name}"), picture=part)
        for number, part in enumerate(parts)
    ]
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as target:
        stream = None
        for file in files:
            with av.open(str(file)) as source:
                if stream is None:
                    stream = target.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(video=0):
                    if packet.size:
                        packet.stream = stream
                        target.mux(packet)
    for file in files:
        file.unlink()


def _in_ts(picture: Picture) -> Picture:
    return replace(picture, codec="mpeg2video", time_base=Fraction(1, 25), b_frames=2, gop=15)


def _all() -> list[Torture]:
    two_edits = [(1000, 10 * _TICKS_A_FRAME), (1000, 50 * _TICKS_A_FRAME)]
    twice = tuple(i / Fraction(25) for i in range(50))
    return [
        of_picture("times", "variable_rate.mp4", "variable frame rate, with a still", _UNEVEN),
        of_picture("times", "variable_rate.mkv", "variable frame rate, in milliseconds", _UNEVEN),
        of_picture("times", "b_frames.mp4", "B-frames that refer to B-frames", replace(
            _PLAIN, gop=None, b_frames=5)),
        of_picture("times", "b_frames.ts", "B-frames, no index", replace(_PLAIN, b_frames=3)),
        of_picture("times", "edit_list_start.mp4", "an edit list begins inside a group", replace(
            _PLAIN, start_s=Fraction(-33, 25))),
        of_picture("times", "edit_list_two_parts.mp4", "an edit list shows two stretches",
                   replace(_PLAIN, b_frames=0, gop=75), shown=twice,
                   change=_changed_movie(lambda movie: set_edits(movie, two_edits))),
        of_picture("times", "edit_list_late.mp4", "an empty edit delays the picture", replace(
            _PLAIN, start_s=Fraction(5))),
        of_picture("times", "negative_start.mp4", "the first frames are shown before 0",
                   replace(_PLAIN, b_frames=2), change=_changed_movie(
                       lambda movie: shift_composition(movie, by_ticks=5 * _TICKS_A_FRAME))),
        of_picture("times", "late_start.mkv", "timestamps start at 5 s", replace(
            _PLAIN, start_s=Fraction(5))),
        of_picture("times", "late_start.ts", "timestamps start at 1000 s", replace(
            _PLAIN, start_s=Fraction(1000))),
        of_picture("times", "missing_times.h264", "a bare stream, without any timestamps",
                   _PLAIN),
        of_picture("times", "missing_times.mpg", "a program stream: few frames have times",
                   _in_ts(_PLAIN)),
        of_picture("times", "missing_times.ts", "one frame in five has a time",
                   replace(_PLAIN, b_frames=0), change=lambda path: path.write_bytes(
                       without_some_times(path.read_bytes(), keep_every=5))),
        of_picture("times", "missing_times_b.ts", "one frame in five has a time, with B-frames",
                   replace(_PLAIN, b_frames=2), change=lambda path: path.write_bytes(
                       without_some_times(path.read_bytes(), keep_every=5))),
        of_picture("times", "wrong_rate.mkv", "says 50 frames a second, has 25", replace(
            _PLAIN, rate=Fraction(50))),
        of_picture("times", "wrong_rate.flv", "says 10 frames a second, has 25", replace(
            _PLAIN, rate=Fraction(10))),
        of_picture("times", "rate_23_976.mp4", "24000/1001 frames a second", _at_rate(_FILM)),
        of_picture("times", "rate_23_976.mkv", "24000/1001, rounded to ms", _at_rate(_FILM)),
        of_picture("times", "rate_59_94.mp4", "60000/1001 frames a second", _at_rate(_FAST)),
        of_picture("times", "rate_59_94.ts", "60000/1001, in 1/90000 s", _at_rate(_FAST)),
        of_picture("times", "wrap.ts", "the 33-bit clock wraps after 2 s", replace(
            _PLAIN, start_s=_WRAP_SOON)),
        of_picture("times", "wrap_late.ts", "the 33-bit clock wraps after 70 s", Picture(
            times=even_times(100, 1), rate=Fraction(1), gop=10, start_s=_WRAP_LATE)),
        of_picture("times", "fragmented.mp4", "fragments, no duration in the header", _PLAIN,
                   options=_FRAGMENTS),
        of_picture("times", "growing.mp4", "fragments, the last not whole yet", replace(
            _PLAIN, b_frames=0),
                   options=_FRAGMENTS, change=_cut(0.8), statuses=("ok", "partial")),
        of_picture("times", "growing.mkv", "a recording that goes on: no sizes, no index",
                   _PLAIN, options={"live": "1"}),
        of_picture("times", "joined.ts", "two recordings joined, times go on",
                   _FIRST, change=lambda path: _two_parts(path, _after(_FIRST)),
                   shown=even_times(100)),
        of_picture("times", "joined_sizes.ts", "two sizes of picture in one stream",
                   _FIRST, change=lambda path: _two_parts(
                       path, _after(_FIRST, width=160, height=120)), shown=even_times(100)),
        Torture(kind="times", file="joined_sizes.webm", ails="VP9 that changes its size",
                make=_sizes_in_one_stream, frame_times_s=even_times(75), tolerance_s=0.00051),
        of_picture("times", "interlaced.ts", "H.264 frames of two fields each", replace(
            _PLAIN, height=96, options={"x264-params": "interlaced=1"})),
        of_picture("times", "interlaced_mpeg2.ts", "MPEG-2 frames of two fields each", replace(
            _in_ts(_PLAIN), height=96, options={"flags": "+ilme+ildct"})),
        Torture(kind="times", file="fields.ts", ails="each field coded by itself (H.264)",
                make=lambda path: field_coded_clip(path, n_frames=50),
                frame_times_s=even_times(50), tolerance_s=0.00002),
        Torture(kind="times", file="fields_timed.ts", ails="each field coded by itself and timed",
                make=lambda path: field_coded_clip(path, n_frames=50, each_timed=True),
                frame_times_s=even_times(50), tolerance_s=0.00002),
        Torture(kind="times", file="fields_copied.mkv", ails="a block for each field",
                make=lambda path: copied_fields_clip(path, n_frames=50),
                frame_times_s=even_times(50), tolerance_s=0.00051),
        Torture(kind="times", file="fields.h264", ails="fields in a bare stream, without times",
                make=lambda path: field_coded_clip(path, n_frames=50),
                frame_times_s=even_times(50), tolerance_s=1e-6),
        Torture(kind="times", file="fields_sparse.ts", ails="fields: one frame in five has a time",
                make=lambda path: (
                    field_coded_clip(path, n_frames=50),
                    path.write_bytes(without_some_times(path.read_bytes(), keep_every=5))),
                frame_times_s=even_times(50), tolerance_s=0.00002),
        Torture(kind="times", file="fields.avi", ails="each field coded by itself (JPEG)",
                make=lambda path: interlaced_clip(path, n_frames=50),
                frame_times_s=even_times(50), tolerance_s=1e-6),
        of_picture("times", "uhd_60.mp4", "3840x2160 at 60 frames a second", Picture(
            times=even_times(6, 60), rate=Fraction(60), width=3840, height=2160, gop=3,
            draw=lambda number, width, height: flash(number, 3, width, height),
            options={"preset": "ultrafast"})),
        # Documented: labelled up to the restart.
        Torture(kind="times", file="joined_restart.ts", ails="the second part starts at 0 again",
                make=lambda path: (
                    make_clip(path, picture=_FIRST),
                    _two_parts(path, _FIRST, counters=False)),
                statuses=("ok", "partial")),
    ]  # fmt: skip


TIMES = _all()
