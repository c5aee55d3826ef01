"""What is read from the packets themselves, on streams of real encoders."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st
from media.clips import ClipLibrary
from media.damage import with_hidden_frames

from sightsound.stages.bitstream import (
    _exponential_golomb,
    _frames_to_recovery,
    is_hidden,
    opens_h264_group,
    refreshes_gradually,
)
from sightsound.stages.planned_frames import _references_may_be_non_reference


def packets_of(path: Path) -> tuple[list[Packet], VideoCodecContext]:
    """The packets of the picture, and the context of its stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return [packet for packet in container.demux(stream) if packet.size], stream.codec_context


def test_hidden_frames_of_vp8_are_those_that_do_not_come_out(
    clips: ClipLibrary, tmp_path: Path
) -> None:
    path = with_hidden_frames(clips("vp8_webm"), tmp_path / "some.webm", packets=(7, 50, 130))
    packets, context = packets_of(path)
    hidden = {packet.pts for packet in packets if is_hidden(packet, context)}
    with av.open(str(path)) as container:
        shown = {frame.pts for frame in container.decode(video=0)}
    assert len(hidden) == 3
    assert hidden == {packet.pts for packet in packets} - shown


def test_hidden_frames_of_vp9_are_those_that_do_not_come_out(shared_media: Path) -> None:
    path = shared_media / "edge" / "exoplayer__roadtrip-vp92-10bit.webm"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {shared_media}")
    packets, context = packets_of(path)
    assert len(packets) - sum(is_hidden(packet, context) for packet in packets) == 72


@pytest.mark.parametrize("name", ["vp8_webm", "vp9_webm", "av1_mp4", "h264_mp4", "ffv1_mkv"])
def test_where_every_packet_shows_a_frame_none_is_hidden(clips: ClipLibrary, name: str) -> None:
    packets, context = packets_of(clips(name))
    assert not any(is_hidden(packet, context) for packet in packets)


@pytest.mark.parametrize("name", ["h264_gradual_refresh_mp4", "h264_gradual_refresh_ts"])
def test_gradual_refresh_is_noticed_in_either_framing(clips: ClipLibrary, name: str) -> None:
    packets, context = packets_of(clips(name))
    keys = [refreshes_gradually(packet, context) for packet in packets if packet.is_keyframe]
    assert keys == [False] + [True] * (len(keys) - 1)
    assert len(keys) >= 4


@pytest.mark.parametrize(
    "name", ["h264_mp4", "h264_open_gop_ts", "h264_open_gop_mkv", "h264_interlaced_ts", "hevc_ts"]
)
def test_whole_key_frames_are_not_taken_for_gradual_refresh(clips: ClipLibrary, name: str) -> None:
    packets, context = packets_of(clips(name))
    assert not any(refreshes_gradually(packet, context) for packet in packets)


@pytest.mark.parametrize("name", ["h264_open_gop_mp4", "h264_open_gop_ts"])
def test_only_the_first_group_of_an_open_stream_is_closed(clips: ClipLibrary, name: str) -> None:
    packets, context = packets_of(clips(name))
    keys = [opens_h264_group(packet, context) for packet in packets if packet.is_keyframe]
    assert keys == [False] + [True] * (len(keys) - 1)


@pytest.mark.parametrize("name", ["h264_gop30_mp4", "hevc_mp4"])
def test_closed_groups_and_other_codecs_open_nothing(clips: ClipLibrary, name: str) -> None:
    packets, context = packets_of(clips(name))
    keys = [packet for packet in packets if packet.is_keyframe]
    assert len(keys) >= 2
    assert not any(opens_h264_group(packet, context) for packet in keys)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264_mp4", False),
        ("hevc_mp4", False),
        ("hevc_layers_mp4", True),
        ("hevc_ts", True),  # Without a configuration record nothing is known of layers.
    ],
)
def test_frames_of_layers_may_refer_to_what_looks_unreferenced(
    clips: ClipLibrary, name: str, expected: bool
) -> None:
    _, context = packets_of(clips(name))
    assert _references_may_be_non_reference(context) == expected


def as_exponential_golomb(number: int) -> bytes:
    """ue(v), padded with ones to whole bytes (H.264, 9.1)."""
    digits = f"{number + 1:b}"
    bits = "0" * (len(digits) - 1) + digits
    bits += "1" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8)


@given(st.integers(0, 1 << 20))
def test_exponential_golomb_codes_are_read(number: int) -> None:
    assert _exponential_golomb(as_exponential_golomb(number)) == number


@given(st.binary(max_size=40))
def test_any_bytes_are_read_without_an_error(data: bytes) -> None:
    assert _frames_to_recovery(data) >= 0


@given(st.integers(0, 5000), st.integers(0, 600))
def test_the_recovery_point_is_found_behind_other_messages(count: int, length: int) -> None:
    def message(kind: int, body: bytes) -> bytes:
        size = bytes([255] * (len(body) // 255) + [len(body) % 255])
        return bytes([kind]) + size + body

    other = message(5, b"\x77" * length)
    assert _frames_to_recovery(other + message(6, as_exponential_golomb(count))) == count
