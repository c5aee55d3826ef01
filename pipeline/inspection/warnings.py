"""What a person should know of a file before trusting it, in plain words."""

from __future__ import annotations

from collections.abc import Iterator

from sightsound.pipeline.inspection.records import (
    FileWarning,
    MediaFacts,
    PictureFacts,
    SoundFacts,
    StreamFacts,
    Stretch,
)

_DURATION_PART, _DURATION_SLACK_S = 0.1, 0.5
_RATE_PART = 0.02
_LONG_KEY_INTERVAL_S = 15.0
_LATE_S, _EARLY_END_S = 0.1, 1.0
_MOST_PIXELS = 8192 * 8192


def warnings_of(facts: MediaFacts) -> tuple[FileWarning, ...]:
    """All warnings about a file, the gravest first."""
    found = [*_damage(facts), *_duration(facts)]
    if facts.picture is not None:
        if facts.picture.times.n_frames:
            found += [*_frame_times(facts.picture), *_key_frames(facts.picture)]
        else:
            found.append(("empty_picture", "Its picture has no data: only its sound is there."))
        found += _look(facts.picture)
    if facts.sound is not None:
        found += [*_sound(facts.sound), *_together(facts)]
    found += _streams(facts)
    return tuple(FileWarning(code=code, message=message) for code, message in found)


def _damage(facts: MediaFacts) -> Iterator[tuple[str, str]]:
    if facts.n_read_errors:
        yield "read_errors", f"{_times(facts.n_read_errors)} its data could not be read on."
    if facts.n_corrupt_packets:
        n = facts.n_corrupt_packets
        yield "corrupt_packets", f"{n} of its packets {_are(n)} marked as damaged."
    if facts.picture is not None:
        keys = facts.picture.key_frames
        n_broken = keys.n_tried - keys.n_decoded
        if n_broken and keys.n_decoded:
            yield (
                "broken_key_frames",
                f"{n_broken} of the {keys.n_tried} key frames tried cannot be decoded.",
            )
        elif n_broken:
            yield "no_whole_key_frame", "Not one of the key frames tried can be decoded."
    if facts.sound is not None and not facts.sound.decodes:
        yield "sound_undecodable", "The start of its sound cannot be decoded."
    if facts.is_truncated and not facts.n_corrupt_packets:
        yield "truncated", "It promises much more than is there: it is truncated."


def _duration(facts: MediaFacts) -> Iterator[tuple[str, str]]:
    claimed_s = facts.claimed_duration_s
    # Some containers count from their own zero, some from the first frame.
    ends_s = (facts.duration_s, facts.duration_s + max(0.0, facts.origin_s))
    if claimed_s is None:
        yield "no_duration", f"It states no duration; it holds {_length(facts.duration_s)}."
    elif claimed_s > max(ends_s) * (1 + _DURATION_PART) + _DURATION_SLACK_S or (
        claimed_s < min(ends_s) * (1 - _DURATION_PART) - _DURATION_SLACK_S
    ):
        yield (
            "duration",
            f"It says {_length(claimed_s)}, it holds {_length(facts.duration_s)}.",
        )


def _frame_times(picture: PictureFacts) -> Iterator[tuple[str, str]]:
    times, claimed_hz = picture.times, picture.claimed_rate_hz
    if not times.are_stated:
        yield (
            "no_times",
            "Not every frame has a time of its own: all are decoded, and placed by their order.",
        )
    if times.n_restarts:
        yield (
            "restarts",
            f"{_times(times.n_restarts)} its timestamps jump back: files were joined, or it is "
            "damaged.",
        )
    if times.is_variable and times.shortest_s is not None and times.longest_s is not None:
        claim = f"Its average rate is said to be {rate_text(claimed_hz)}, but t" * bool(claimed_hz)
        yield (
            "variable_rate",
            f"{claim or 'T'}he times of its frames are uneven: "
            f"{times.shortest_s * 1000:.0f} to {times.longest_s * 1000:.0f} ms apart.",
        )
    elif (
        claimed_hz is not None
        and times.rate_hz is not None
        and abs(claimed_hz - times.rate_hz) > _RATE_PART * times.rate_hz
        and times.n_frames > 2
    ):
        yield (
            "rate",
            f"It says {rate_text(claimed_hz)} frames a second, it holds "
            f"{rate_text(times.rate_hz)}.",
        )
    n_held, claimed = times.n_frames, picture.claimed_frames
    # An edit list may leave frames out, or show them again.
    is_comparable = claimed is not None and not times.n_hidden
    if is_comparable and abs((claimed or 0) - n_held) > max(2, _RATE_PART * n_held):
        yield "frame_count", f"It says {claimed:,} frames, it holds {n_held:,}."
    if times.gaps:
        yield "gaps", f"No new frame comes for a while: {_stretches(times.gaps)}."


def _key_frames(picture: PictureFacts) -> Iterator[tuple[str, str]]:
    keys, start_s = picture.key_frames, picture.span.start_s if picture.span else 0.0
    if not keys.count:
        yield "no_key_frame", "No key frame: it cannot be entered anywhere, all is decoded."
    elif keys.first_s is not None and keys.first_s > start_s + 0.5 / (picture.times.rate_hz or 25):
        yield (
            "late_key_frame",
            f"Its first key frame comes {keys.first_s - start_s:.2f} s after its first frame: "
            "what is before it cannot be decoded.",
        )
    if (keys.longest_interval_s or 0.0) > _LONG_KEY_INTERVAL_S:
        yield (
            "key_interval",
            f"Key frames are up to {keys.longest_interval_s:.0f} s apart: seeking is slow.",
        )


def _look(picture: PictureFacts) -> Iterator[tuple[str, str]]:
    if picture.hdr is not None:
        yield (
            "hdr",
            f"HDR ({picture.hdr}) is not tone-mapped: colours look flat to the networks.",
        )
    if picture.has_alpha:
        yield "alpha", "Its transparency is dropped."
    if picture.is_interlaced:
        yield "interlaced", "It is interlaced, and its fields are not separated: motion is combed."
    if len(picture.sizes) > 1:
        changes = ", ".join(
            f"{size.width}x{size.height} from {size.start_s:.1f} s" for size in picture.sizes[:4]
        )
        more = ", and more" * (len(picture.sizes) > 4)
        yield "size_change", f"The size of its picture changes: {changes}{more}."
    elif picture.sizes and (picture.sizes[0].width, picture.sizes[0].height) != (
        picture.claimed_width,
        picture.claimed_height,
    ):
        yield (
            "size",
            f"It says {picture.claimed_width}x{picture.claimed_height}, its frames are "
            f"{picture.sizes[0].width}x{picture.sizes[0].height}.",
        )
    if picture.claimed_width * picture.claimed_height > _MOST_PIXELS:
        yield "huge_picture", "Its pictures are huge: decoding takes long and much memory."


def _sound(sound: SoundFacts) -> Iterator[tuple[str, str]]:
    if sound.gaps:
        yield "sound_gaps", f"Its sound has gaps: {_stretches(sound.gaps)}."
    if sound.sample_rate_hz not in (None, sound.claimed_sample_rate_hz):
        yield (
            "sample_rate",
            f"It says {sound.claimed_sample_rate_hz} Hz, its sound is {sound.sample_rate_hz} Hz.",
        )
    if sound.channels not in (None, sound.claimed_channels):
        yield (
            "channels",
            f"It says {sound.claimed_channels} channels, its sound has {sound.channels}.",
        )


def _together(facts: MediaFacts) -> Iterator[tuple[str, str]]:
    picture, sound = facts.picture, facts.sound
    if picture is None or sound is None or picture.span is None or sound.span is None:
        return
    offset_s = sound.offset_s or 0.0
    if abs(offset_s) > _LATE_S:
        order = "after" if offset_s > 0 else "before"
        yield "offset", f"Its sound starts {abs(offset_s):.2f} s {order} its picture."
    short_s = picture.span.end_s - sound.span.end_s
    if abs(short_s) > _EARLY_END_S:
        first, last = ("sound", "picture") if short_s > 0 else ("picture", "sound")
        yield "ends_apart", f"Its {first} ends {abs(short_s):.1f} s before its {last}."


def _streams(facts: MediaFacts) -> Iterator[tuple[str, str]]:
    for kind, sense in (("video", "pictures"), ("audio", "tracks of sound")):
        streams = [s for s in facts.streams if s.kind == kind and not s.is_cover_art]
        used = [stream for stream in streams if stream.is_used]
        if len(streams) > 1 and used:
            yield f"several_{kind}", f"Of {len(streams)} {sense} {_named(used[0])} is used."
        elif streams and not used:
            yield f"no_{kind}_decoder", f"Its {kind} is in a codec without a decoder here."
    if any(stream.is_cover_art for stream in facts.streams):
        yield "cover_art", "Its cover art is not taken for a picture."
    if facts.n_tags_cut:
        yield "tags_cut", f"{facts.n_tags_cut} of its tags are very long or many, and cut here."


def _named(stream: StreamFacts) -> str:
    return f"stream {stream.index}" + f" ({stream.language})" * bool(stream.language)


def rate_text(rate_hz: float | None) -> str:
    """A rate with at most three decimals: 25, 23.976; a question mark where there is none."""
    return "?" if rate_hz is None else f"{rate_hz:.3f}".rstrip("0").rstrip(".")


def _length(seconds: float) -> str:
    return f"{seconds:,.1f} s"


def _times(count: int) -> str:
    return "Once" if count == 1 else f"{count} times"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _stretches(gaps: tuple[Stretch, ...]) -> str:
    first = ", ".join(f"{gap.start_s:.1f} to {gap.end_s:.1f} s" for gap in gaps[:3])
    return first + f", and {len(gaps) - 3} more" * (len(gaps) > 3)
