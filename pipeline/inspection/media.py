"""Inspecting a file: what its header claims, and what its packets and key frames really hold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from av.container import InputContainer
from av.stream import Disposition, Stream

from sightsound.pipeline.inspection.decoding import Trial, try_decoding
from sightsound.pipeline.inspection.picture import picture_facts
from sightsound.pipeline.inspection.records import (
    Inspection,
    MediaFacts,
    SoundFacts,
    StreamFacts,
    Stretch,
)
from sightsound.pipeline.inspection.times import Track
from sightsound.pipeline.inspection.warnings import warnings_of
from sightsound.stages.errors import StageError
from sightsound.stages.measure import Measured, measure
from sightsound.stages.media import Demuxer, open_media
from sightsound.stages.probe import Probe
from sightsound.stages.records import AudioStreamInfo, MediaInfo

# A header may claim tags of any length; a row has to end somewhere.
MOST_TAGS, MOST_TAG_CHARACTERS = 100, 500


def inspect_media(path: str, alive: Callable[[], None] = lambda: None) -> Inspection:
    """Read all packets of a file and decode some of its key frames and the start of its sound.

    ``alive`` is called for every packet.

    Raises:
        StageError: it cannot be opened, holds no data, or not one frame or sound of it decodes.
    """
    info = Probe()(path)
    measured = measure(info)
    spans = [span for span in (measured.video_span, measured.audio_span) if span]
    if not spans:
        raise StageError(
            "plan",
            "no_packets",
            f"{path} has headers but no picture or sound data behind them: it is truncated or was "
            "never finished; get a complete copy.",
        )
    with open_media(path, stage="plan") as container:
        tracks = _read_tracks(container, info, alive)
    with open_media(path, stage="decode") as container:
        trial = try_decoding(container, info, measured, alive)
        picture = None
        if info.video is not None:
            track = tracks.by_index[info.video.index]
            picture = picture_facts(container, info.video, measured, track, trial)
        sound = None
        if info.audio is not None:
            track = tracks.by_index[info.audio.index]
            sound = _sound(container, info.audio, measured, track, trial)
        if not trial.n_decoded and trial.sound is None:
            raise StageError(
                "decode",
                "nothing_decoded",
                f"{path} opens, but nothing that was tried of it can be decoded: it is damaged, "
                "encrypted or truncated; get another copy.",
            )
        tags, n_tags_cut = _tags(container)
        facts = MediaFacts(
            container=info.container,
            size_bytes=info.size_bytes,
            claimed_duration_s=info.claimed_duration_s,
            duration_s=float(max(span[1] for span in spans)),
            origin_s=float(measured.origin_s),
            is_truncated=measured.truncated,
            n_read_errors=tracks.n_read_errors,
            n_corrupt_packets=sum(track.n_corrupt for track in tracks.by_index.values()),
            n_chapters=len(container.chapters()),
            tags=tags,
            n_tags_cut=n_tags_cut,
            streams=tuple(
                _stream(stream, tracks.by_index[stream.index], info, measured.origin_s)
                for stream in container.streams
            ),
            picture=picture,
            sound=sound,
        )
    return Inspection(path=path, facts=facts, failure=None, warnings=warnings_of(facts))


@dataclass(frozen=True, kw_only=True)
class _Tracks:
    """The packets of every stream, and how often reading failed."""

    by_index: dict[int, Track]
    n_read_errors: int


def _read_tracks(container: InputContainer, info: MediaInfo, alive: Callable[[], None]) -> _Tracks:
    tracks = {
        stream.index: Track(
            stream.time_base,
            keep_gaps=info.audio is not None and stream.index == info.audio.index,
        )
        for stream in container.streams
    }
    demuxer = Demuxer(container, tuple(tracks))
    for packet in demuxer:
        alive()
        tracks[packet.stream_index].add(packet)
    return _Tracks(by_index=tracks, n_read_errors=demuxer.n_errors)


def _sound(
    container: InputContainer,
    stream: AudioStreamInfo,
    measured: Measured,
    track: Track,
    trial: Trial,
) -> SoundFacts:
    frame = trial.sound
    offset_s = None
    if measured.video_span is not None and measured.audio_span is not None:
        offset_s = float(measured.audio_span[0] - measured.video_span[0])
    return SoundFacts(
        index=stream.index,
        codec=stream.codec,
        profile=container.streams[stream.index].profile,
        claimed_sample_rate_hz=stream.sample_rate_hz,
        claimed_channels=stream.channels,
        sample_rate_hz=frame.sample_rate if frame is not None else None,
        channels=frame.layout.nb_channels if frame is not None else None,
        layout=frame.layout.name if frame is not None else None,
        sample_format=frame.format.name if frame is not None else None,
        span=_stretch(measured.audio_span),
        offset_s=offset_s,
        gaps=track.gaps(measured.origin_s),
        decodes=frame is not None,
    )


def _stream(stream: Stream, track: Track, info: MediaInfo, origin_s: Fraction) -> StreamFacts:
    context = stream.codec_context
    used = {chosen.index for chosen in (info.video, info.audio) if chosen is not None}
    names = [name.name for name in Disposition if name in stream.disposition and name.name]
    return StreamFacts(
        index=stream.index,
        kind=stream.type,
        codec=context.codec.canonical_name if context is not None else None,
        language=stream.language,
        dispositions=tuple(names),
        is_used=stream.index in used,
        is_cover_art=Disposition.attached_pic in stream.disposition,
        n_packets=track.n_packets,
        start_s=track.start_s(origin_s),
        end_s=track.end_s(origin_s),
    )


def _tags(container: InputContainer) -> tuple[dict[str, str], int]:
    """The container's tags, and how many of them are cut or left out."""
    every = container.metadata
    kept = dict(list(every.items())[:MOST_TAGS])
    n_cut = len(every) - len(kept)
    n_cut += sum(len(value) > MOST_TAG_CHARACTERS for value in kept.values())
    return {
        key[:MOST_TAG_CHARACTERS]: value[:MOST_TAG_CHARACTERS] for key, value in kept.items()
    }, n_cut


def _stretch(span: tuple[Fraction, Fraction] | None) -> Stretch | None:
    return None if span is None else Stretch(start_s=float(span[0]), end_s=float(span[1]))
