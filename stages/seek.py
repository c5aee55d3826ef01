"""The packets of one slice: where in the file to begin and when to stop.

A seek is a guess of the demuxer's, so that where it landed is looked at before anything is
decoded. One that went too far is replaced by reading the file from its start, opened again:
a seek to the start would be another guess.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain, islice

import av
from av.container import InputContainer

from sightsound.stages.frames import SampledFrames
from sightsound.stages.media import Demuxer, Packet, open_media
from sightsound.stages.records import MediaInfo, Slice, VideoPlan
from sightsound.stages.sound import SoundBlocks

# Packets looked at after a seek to see whether it landed early enough.
_MOST_PEEKED = 512
# MPEG program streams give only some packets a time and the demuxer works out the others,
# differently after a seek: the times of the plan would not be found again.
_TIMES_CHANGE_WITH_SEEK = ("mpeg",)


class SlicePackets:
    """Reads the packets that the picture and the sound of a slice need, either may be None."""

    def __init__(
        self,
        container: InputContainer,
        info: MediaInfo,
        plan: VideoPlan,
        piece: Slice,
        *,
        sound: SoundBlocks | None,
        picture: SampledFrames | None,
    ) -> None:
        self._container = container
        self._origin_s = plan.origin_s
        self._packets = piece.packets
        self._sound, self._audio = sound, info.audio if sound is not None else None
        self._picture, self._video = picture, info.video if picture is not None else None
        self._path = info.path
        self._times_change = info.container in _TIMES_CHANGE_WITH_SEEK
        streams = (self._video, self._audio)
        self._stream_indices = tuple(stream.index for stream in streams if stream)
        self._demuxer = Demuxer(container, self._stream_indices)

    def read(self, *, may_seek: bool) -> Iterator[Packet]:
        """Yield packets in the order of the file, until neither sense needs more."""
        sound, audio = self._sound, self._audio
        sound_over = sound is None
        packets = self._primed()
        for packet in self._from_first_needed(packets) if may_seek else packets:
            if sound is not None and audio is not None and packet.stream_index == audio.index:
                time_s = sound.time_s(packet)
                sound_over = sound_over or (time_s is not None and time_s > sound.last_needed_s)
            yield packet
            if sound_over and (self._picture is None or self._picture.done):
                return

    def _primed(self) -> Iterator[Packet]:
        """The packets from the start, once a picture that begins elsewhere has seen the first."""
        packets = iter(self._demuxer)
        if self._picture is None or self._packets is None or self._packets.seek_dts is None:
            return packets
        read = []
        for packet in islice(packets, _MOST_PEEKED):
            read.append(packet)
            if self._video is not None and packet.stream_index == self._video.index:
                self._picture.prime(packet)
                break
        return chain(read, packets)

    def _from_first_needed(self, all_packets: Iterator[Packet]) -> Iterator[Packet]:
        target_s = self._first_needed_s()
        stream = self._video or self._audio
        if target_s is None or stream is None or self._times_change:
            return all_packets
        try:
            self._container.seek(
                math.floor(target_s / stream.time_base),
                stream=self._container.streams[stream.index],
                backward=True,
            )
        except av.error.FFmpegError:
            return self._from_start()
        packets = iter(self._demuxer)
        peeked = []
        for packet in islice(packets, _MOST_PEEKED):
            peeked.append(packet)
            early = self._came_early_enough(peeked)
            if early is not None:
                return chain(peeked, packets) if early else self._from_start()
        return self._from_start()

    def _from_start(self) -> Iterator[Packet]:
        with open_media(self._path, stage="decode") as container:
            yield from Demuxer(container, self._stream_indices)

    def _first_needed_s(self) -> Fraction | None:
        """The timestamp of the first packet needed; None where the start of the file is."""
        targets = []
        if self._video is not None:
            if self._packets is None or self._packets.seek_dts is None:
                return None
            targets.append(self._packets.seek_dts * self._video.time_base)
        if self._sound is not None:
            if self._sound.first_needed_s <= 0:
                return None
            targets.append(self._origin_s + Fraction(self._sound.first_needed_s))
        return min(targets) if targets else None

    def _came_early_enough(self, peeked: list[Packet]) -> bool | None:
        """Whether reading began before everything that is needed, None if still unknown."""
        picture_early: bool | None = True
        if self._video is not None and self._packets is not None:
            assert self._packets.seek_dts is not None
            own = [packet for packet in peeked if packet.stream_index == self._video.index]
            # After a seek some demuxers know no decoding times at first.
            if any(packet.pts == self._packets.pts[0] for packet in own):
                picture_early = True
            elif own and own[0].dts is not None:
                picture_early = own[0].dts <= self._packets.seek_dts
            else:
                picture_early = None
        sound_early: bool | None = True
        if self._sound is not None and self._audio is not None:
            own = [packet for packet in peeked if packet.stream_index == self._audio.index]
            time_s = self._sound.time_s(own[0]) if own else None
            sound_early = time_s <= self._sound.first_needed_s if time_s is not None else None
        if picture_early is False or sound_early is False:
            return False
        return None if picture_early is None or sound_early is None else True
