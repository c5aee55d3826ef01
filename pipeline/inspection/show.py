"""What ``probe`` prints: one file as claims beside findings, several as a line each, or JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sightsound.pipeline.inspection.records import (
    Inspection,
    MediaFacts,
    PictureFacts,
    SoundFacts,
)
from sightsound.pipeline.inspection.warnings import rate_text
from sightsound.pipeline.timeline import clock_time
from sightsound.stages.errors import printable

_Row = tuple[str, str, str]
_MOST_SHOWN_TAGS, _MOST_SHOWN_CHARACTERS = 6, 60
# Kinds of container of which FFmpeg gives every name.
_SHORT_NAMES = {"mov,mp4,m4a,3gp,3g2,mj2": "mp4", "matroska,webm": "matroska"}


def show_inspections(console: Console, found: Sequence[Inspection]) -> None:
    """Print files to a terminal: one in full, several as a line each with their warnings."""
    for inspection in found:
        heading, facts = _heading(inspection, in_full=len(found) == 1)
        if heading.cell_len + facts.cell_len <= console.width:
            console.print(heading + facts)
        else:
            console.print(heading, Padding(facts, (0, 0, 0, 2)), sep="\n")
        if inspection.facts is not None and len(found) == 1:
            console.print(_table(inspection.facts))
        for sign, style, message in _remarks(inspection):
            line = Table.grid(padding=(0, 1, 0, 0))
            line.add_row(Text(sign, style=style), Text(printable(message), style=style))
            console.print(Padding(line, (0, 0, 0, 2)))


def inspection_json(inspection: Inspection) -> dict[str, Any]:
    """One file as JSON: everything that was found of it."""
    return {
        "path": inspection.path,
        "status": "readable" if inspection.is_readable else "unreadable",
        "error": asdict(inspection.failure) if inspection.failure is not None else None,
        "warnings": [asdict(warning) for warning in inspection.warnings],
        **(asdict(inspection.facts) if inspection.facts is not None else {}),
    }


def _heading(inspection: Inspection, *, in_full: bool) -> tuple[Text, Text]:
    """The name and status of a file, and what it is in a few words."""
    text = Text(printable(Path(inspection.path).name), style="bold")
    if inspection.facts is None:
        return text.append("  unreadable", style="red"), Text()
    facts = inspection.facts
    text.append("  readable", style="green")
    if in_full:
        parts = [_container(facts), _size(facts.size_bytes)]
    else:
        parts = [clock_time(facts.duration_s), _short_picture(facts), _short_sound(facts.sound)]
    return text, Text(f"  {', '.join(parts)}")


def _remarks(inspection: Inspection) -> Iterator[tuple[str, str, str]]:
    if inspection.failure is not None:
        yield "x", "red", inspection.failure.message
    for warning in inspection.warnings:
        yield "!", "yellow", warning.message


def _short_picture(facts: MediaFacts) -> str:
    picture = facts.picture
    if picture is None:
        return "no picture"
    rate = rate_text(picture.times.rate_hz)
    uneven = " uneven" * picture.times.is_variable
    return f"{picture.codec} {picture.shown_width}x{picture.shown_height} {rate} fps{uneven}"


def _short_sound(sound: SoundFacts | None) -> str:
    if sound is None:
        return "no sound"
    return f"{sound.codec} {_kilohertz(sound)} {_layout(sound)}"


def _table(facts: MediaFacts) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold dim")
    table.add_column("")
    table.add_column("says")
    table.add_column("holds")
    rows = [_duration_row(facts)]
    if facts.picture is not None:
        rows += _picture_rows(facts.picture)
    if facts.sound is not None:
        rows += _sound_rows(facts.sound)
    rows += _other_rows(facts)
    for name, says, holds in rows:
        table.add_row(Text(name, style="dim"), Text(printable(says)), Text(printable(holds)))
    return table


def _duration_row(facts: MediaFacts) -> _Row:
    claimed_s = facts.claimed_duration_s
    start = f", from timestamp {facts.origin_s:.3f} s" if facts.origin_s else ""
    says = "" if claimed_s is None else f"{clock_time(claimed_s)} ({claimed_s:.3f} s)"
    return "duration", says, f"{clock_time(facts.duration_s)} ({facts.duration_s:.3f} s){start}"


def _picture_rows(picture: PictureFacts) -> Iterator[_Row]:
    shown = f"{picture.shown_width}x{picture.shown_height}"
    turned = f", turned by {picture.rotation} degrees" if picture.rotation else ""
    aspect = f", pixels {picture.pixel_aspect}" * (picture.pixel_aspect != "1:1")
    yield (
        "picture",
        f"{picture.codec} {picture.claimed_width}x{picture.claimed_height}",
        f"{picture.profile or picture.codec}, shown as {shown}{turned}{aspect}",
    )
    depth = f"{picture.pixel_format}, {picture.bit_depth} bit" if picture.pixel_format else "?"
    colours = (picture.colour_primaries, picture.colour_transfer, picture.colour_space)
    named = "/".join(part or "?" for part in colours) if any(colours) else "not said"
    scan = ", interlaced" * picture.is_interlaced
    yield "pixels", "", f"{depth}, colours {named}{scan}"
    times = picture.times
    evenness = ""
    if times.shortest_s is not None and times.longest_s is not None:
        spread = f"{times.shortest_s * 1000:.0f} to {times.longest_s * 1000:.0f} ms apart"
        evenness = f", uneven, {spread}" if times.is_variable else ", even"
    rate = rate_text(times.rate_hz)
    yield "frame rate", rate_text(picture.claimed_rate_hz), f"{rate}{evenness}"
    claimed = f"{picture.claimed_frames:,}" if picture.claimed_frames else ""
    hidden = f", and {times.n_hidden:,} that are not shown" * bool(times.n_hidden)
    yield "frames", claimed, f"{times.n_frames:,}{hidden}"
    keys = picture.key_frames
    apart = ""
    if keys.median_interval_s is not None and keys.longest_interval_s is not None:
        apart = f", {keys.median_interval_s:.2f} s apart, at most {keys.longest_interval_s:.2f}"
    decoded = f"; {keys.n_decoded} of {keys.n_tried} tried decode"
    yield "key frames", "", f"{keys.count:,}{apart}{decoded}"
    if picture.span is not None:
        yield "picture at", "", f"{picture.span.start_s:.3f} to {picture.span.end_s:.3f} s"


def _sound_rows(sound: SoundFacts) -> Iterator[_Row]:
    says = f"{sound.codec} {sound.claimed_sample_rate_hz} Hz, {sound.claimed_channels} ch"
    if sound.decodes:
        profile = f"{sound.profile}, " * bool(sound.profile)
        holds = f"{profile}{sound.sample_rate_hz} Hz, {_layout(sound)}, {sound.sample_format}"
    else:
        holds = "does not decode"
    yield "sound", says, holds
    if sound.span is not None:
        offset = ""
        if sound.offset_s is not None:
            offset = f", {sound.offset_s:+.3f} s against the picture"
        yield "sound at", "", f"{sound.span.start_s:.3f} to {sound.span.end_s:.3f} s{offset}"


def _other_rows(facts: MediaFacts) -> Iterator[_Row]:
    kinds: dict[str, int] = {}
    for stream in facts.streams:
        kind = "cover art" if stream.is_cover_art else stream.kind
        kinds[kind] = kinds.get(kind, 0) + 1
    counted = [f"{count} {kind}" for kind, count in kinds.items()]
    if facts.n_chapters:
        counted.append(f"{facts.n_chapters} chapters")
    yield "streams", "", ", ".join(counted)
    for key, value in list(facts.tags.items())[:_MOST_SHOWN_TAGS]:
        short = value if len(value) <= _MOST_SHOWN_CHARACTERS else f"{value[:57]}..."
        yield key[:20], short, ""


def _container(facts: MediaFacts) -> str:
    return _SHORT_NAMES.get(facts.container, facts.container)


def _size(size_bytes: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.1f} {unit}"
    return f"{size_bytes} bytes"


def _kilohertz(sound: SoundFacts) -> str:
    return f"{(sound.sample_rate_hz or sound.claimed_sample_rate_hz) / 1000:g} kHz"


def _layout(sound: SoundFacts) -> str:
    return sound.layout or f"{sound.channels or sound.claimed_channels} channels"
