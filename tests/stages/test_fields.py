"""Which packets of H.264 are second fields, on streams of fields, of frames, and of neither."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
from av.video.codeccontext import VideoCodecContext
from hypothesis import given
from hypothesis import strategies as st
from media.clips import ClipLibrary
from media.generate import TortureLibrary
from media.make import Picture, even_times, make_clip

from sightsound.stages.fields import FieldPairs, _field_of_slice, _read_sequence, _Sequence


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def second_fields(path: Path) -> list[bool]:
    """Of each packet of the picture, whether it is one."""
    pairs = FieldPairs()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        return [pairs.is_second(packet, stream.codec_context) for packet in packets]


@pytest.mark.parametrize(
    "name", ["fields.ts", "fields_timed.ts", "fields.h264", "fields_sparse.ts", "fields_copied.mkv"]
)
def test_every_second_packet_of_fields_completes_a_frame(
    torture: TortureLibrary, name: str
) -> None:
    assert second_fields(torture(name)) == [False, True] * 50


@pytest.mark.parametrize(
    "name", ["h264_interlaced_ts", "h264_open_gop_ts", "h264_bare", "h264_mp4", "mpeg2_ts"]
)
def test_no_packet_of_whole_frames_is_a_second_field(clips: ClipLibrary, name: str) -> None:
    assert not any(second_fields(clips(name)))


def test_a_field_that_lost_its_partner_does_not_take_another(
    torture: TortureLibrary, tmp_path: Path
) -> None:
    """Of fields 0 to 99 number 11 is missing: 10 stays alone, and 12 begins the next frame."""
    pairs = FieldPairs()
    with av.open(str(torture("fields_timed.ts"))) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        del packets[11]
        found = [pairs.is_second(packet, stream.codec_context) for packet in packets]
    assert found == [*[False, True] * 5, False, *[False, True] * 44]


@pytest.mark.parametrize(
    ("parameters", "pixel_format", "may_have_fields"),
    [
        ("interlaced=1", "yuv420p", True),
        ("interlaced=1:cqm=jvt", "yuv420p", True),
        ("interlaced=1", "yuv444p", True),
        ("interlaced=1", "yuv420p10le", True),
        ("interlaced=1:cqm=jvt", "yuv444p", True),
        ("cqm=jvt", "yuv420p", False),
        ("cabac=0", "yuv422p", False),
    ],
)
def test_sequence_parameters_of_every_profile_are_read(
    tmp_path: Path, parameters: str, pixel_format: str, may_have_fields: bool
) -> None:
    picture = Picture(
        times=even_times(2),
        height=96,
        pixel_format=pixel_format,
        options={"x264-params": parameters},
    )
    path = make_clip(tmp_path / "clip.mp4", picture=picture)
    with av.open(str(path)) as container:
        context = container.streams.video[0].codec_context
        assert isinstance(context, VideoCodecContext)
        assert context.extradata is not None
        length = int.from_bytes(context.extradata[6:8])
        sequence = _read_sequence(context.extradata[8 : 8 + length])
    assert sequence is not None
    assert sequence.may_have_fields == may_have_fields


@given(st.binary(min_size=1, max_size=80))
def test_damaged_parameters_are_read_without_an_error(data: bytes) -> None:
    found = _read_sequence(data)
    assert found is None or found.frame_number_bits >= 4


@given(st.binary(min_size=1, max_size=32), st.integers(4, 16), st.booleans())
def test_a_damaged_slice_is_read_without_an_error(data: bytes, bits: int, planes: bool) -> None:
    sequence = _Sequence(may_have_fields=True, has_colour_planes=planes, frame_number_bits=bits)
    found = _field_of_slice(data, sequence)
    assert found is None or (0 <= found[0] < 1 << bits and found[1] in (0, 1))
