"""What a file may ask for, and what it may name: sizes, lengths, and other files and addresses."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from helpers.decoding import SMALL_VIEW
from media.clips import ClipLibrary
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep

from sightsound.stages.decode import Decode
from sightsound.stages.errors import StageError
from sightsound.stages.frames import DecodeReport
from sightsound.stages.media import open_media
from sightsound.stages.plan import Grid, Plan
from sightsound.stages.probe import Probe
from sightsound.stages.records import MediaLimits

GRID = Grid(fps=Fraction(25), length_s=8.0, hop_s=4.0)


def refusal(path: Path, limits: MediaLimits | None = None) -> StageError:
    """The error that a file ends in at the latest when it is planned."""
    with pytest.raises(StageError) as caught:
        Plan(GRID, slice_s=300)(Probe(limits=limits)(str(path)))
    return caught.value


def assert_too_large(error: StageError, setting: str) -> None:
    assert error.code == "too_large"
    assert setting in error.message


@pytest.mark.parametrize(
    ("limits", "setting"),
    [
        (MediaLimits(picture_pixels=96 * 72 - 1), "limits.picture_pixels"),
        (MediaLimits(picture_side=95), "limits.picture_side"),
        (MediaLimits(index_bytes=18 * 199), "limits.index_bytes"),
        (MediaLimits(duration_s=7.9), "limits.duration_s"),
        (MediaLimits(sample_rate_hz=44100), "limits.sample_rate_hz"),
    ],
    ids=["pixels", "side", "packets", "duration", "sample rate"],
)
def test_more_than_a_limit_is_refused_by_its_name(
    clips: ClipLibrary, limits: MediaLimits, setting: str
) -> None:
    assert_too_large(refusal(clips("both_mp4"), limits), setting)


def test_exactly_as_much_as_the_limits_is_taken(clips: ClipLibrary) -> None:
    limits = MediaLimits(
        picture_pixels=96 * 72,
        picture_side=96,
        index_bytes=18 * 200,
        duration_s=8.0,
        sample_rate_hz=48000,
    )
    info = Probe(limits=limits)(str(clips("both_mp4")))
    assert Plan(GRID, slice_s=300)(info).duration_s == 8


def test_a_header_of_a_huge_picture_is_refused_as_such(tmp_path: Path) -> None:
    """A picture of 60,000 x 60,000 by the header of the container, one of 96 x 72 in truth."""
    picture = Picture(times=even_times(3), codec="mjpeg", pixel_format="yuvj420p")
    data = bytearray(make_clip(tmp_path / "small.mov", picture=picture).read_bytes())
    # Width and height in the sample description: ISO/IEC 14496-12, 12.1.3.
    struct.pack_into(">HH", data, data.index(b"jpeg", data.index(b"stsd")) + 28, 60000, 60000)
    path = tmp_path / "huge.mov"
    path.write_bytes(data)
    info = None
    try:
        info = Probe()(str(path))
    except StageError as error:
        assert_too_large(error, "limits.picture_pixels")
    # FFmpeg may have looked into the data and believed that.
    assert info is None or info.video is None or info.video.width == 96


def test_a_long_thin_picture_is_refused(tmp_path: Path) -> None:
    picture = Picture(
        times=even_times(1), codec="mjpeg", pixel_format="yuvj420p", width=16400, height=16
    )
    path = make_clip(tmp_path / "thin.mov", picture=picture)
    assert_too_large(refusal(path), "limits.picture_side")


def test_pictures_that_grow_beyond_the_limit_are_not_decoded(tmp_path: Path) -> None:
    """A broadcast of 2 s of 96 x 72, then 2 s of 192 x 144: twice too many pixels."""
    small = make_clip(tmp_path / "small.ts", picture=Picture(times=even_times(50), gop=25))
    later = Picture(times=even_times(50), gop=25, start_s=Fraction(2), width=192, height=144)
    large = make_clip(tmp_path / "large.ts", picture=later)
    path = tmp_path / "grows.ts"
    path.write_bytes(small.read_bytes() + large.read_bytes())
    sizes = {}
    for name, limits in (("free", MediaLimits()), ("held", MediaLimits(picture_pixels=96 * 144))):
        info = Probe(limits=limits)(str(path))
        plan = Plan(GRID, slice_s=300)(info)
        report = DecodeReport()
        stage = Decode((SMALL_VIEW,), sample_rate_hz=None)
        events = list(stage(info, plan, plan.slices[0], in_full=True, report=report))
        sizes[name] = len(events), len(report.lost)
    n_free, n_lost_free = sizes["free"]
    assert n_free > 90 and n_lost_free == 0
    n_shown, n_lost = sizes["held"]
    assert 45 <= n_shown <= 51
    assert n_lost >= 45


def test_a_rate_of_sound_that_fills_the_memory_is_refused(tmp_path: Path) -> None:
    sound = Sound(samples=sweep(0.1, 48000), codec="pcm_s16le")
    data = bytearray(make_clip(tmp_path / "sound.wav", sound=sound).read_bytes())
    struct.pack_into("<I", data, data.index(b"fmt ") + 12, 500_000_000)
    path = tmp_path / "shrill.wav"
    path.write_bytes(data)
    assert_too_large(refusal(path), "limits.sample_rate_hz")


def test_a_shape_of_pixels_that_no_screen_has_is_taken_for_square(tmp_path: Path) -> None:
    picture = Picture(times=even_times(3), pixel_aspect=Fraction(30000, 1))
    video = Probe()(str(make_clip(tmp_path / "flat.mp4", picture=picture))).video
    assert video is not None and video.pixel_aspect == 1


@pytest.fixture
def canary(clips: ClipLibrary, tmp_path: Path) -> Path:
    """A good file that no other file may lead to."""
    path = tmp_path / "canary.ts"
    path.write_bytes(clips("both_ts").read_bytes())
    return path


@pytest.fixture
def port() -> Iterator[int]:
    """A port of this machine that nobody may connect to."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield server.getsockname()[1]
        with pytest.raises(TimeoutError):
            server.accept()


HLS = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{target}\n#EXT-X-ENDLIST\n"
DASH = (
    '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT8S" profiles="urn:mpeg:dash:profile:isoff-main:2011"><Period>'
    '<AdaptationSet mimeType="video/mp2t"><Representation id="1" bandwidth="1">'
    '<BaseURL>{target}</BaseURL><SegmentList duration="8"><SegmentURL media="{target}"/>'
    "</SegmentList></Representation></AdaptationSet></Period></MPD>\n"
)
CONCAT = "ffconcat version 1.0\nfile '{target}'\n"
SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    "m=video {port} RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)


@pytest.mark.parametrize("suffix", ["m3u8", "mp4"])
@pytest.mark.parametrize(
    "text", [HLS, DASH, CONCAT], ids=["playlist", "DASH manifest", "list of parts"]
)
def test_a_list_of_files_is_refused_and_they_are_not_read(
    canary: Path, tmp_path: Path, text: str, suffix: str
) -> None:
    for target in (canary.name, str(canary), f"file:{canary}"):
        path = tmp_path / f"list.{suffix}"
        path.write_text(text.format(target=target))
        assert refusal(path).code in ("not_allowed", "not_media")


@pytest.mark.parametrize("text", [HLS, CONCAT], ids=["playlist", "list of parts"])
def test_the_refusal_of_a_list_says_what_to_do(canary: Path, tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text(text.format(target=canary.name))
    error = refusal(path)
    assert error.code == "not_allowed"
    assert error.message.endswith("name the video or sound files themselves.")


@pytest.mark.parametrize("text", [HLS, DASH, CONCAT], ids=["playlist", "DASH", "list of parts"])
@pytest.mark.parametrize("scheme", ["http", "tcp", "rtp", "udp", "concat", "subfile,,start,0,,:"])
def test_a_list_of_addresses_reaches_none(
    canary: Path, tmp_path: Path, port: int, text: str, scheme: str
) -> None:
    target = f"{scheme}://127.0.0.1:{port}/a.ts"
    if scheme in ("concat", "subfile,,start,0,,:"):
        target = f"{scheme}:{canary}"
    path = tmp_path / "list.m3u8"
    path.write_text(text.format(target=target))
    assert refusal(path).code in ("not_allowed", "not_media")


def test_a_session_description_opens_no_port(tmp_path: Path, port: int) -> None:
    path = tmp_path / "session.sdp"
    path.write_text(SDP.format(port=port))
    assert refusal(path).code == "not_allowed"


@pytest.mark.parametrize("protocol", ["concat", "concatf", "subfile", "data", "crypto", "tee"])
def test_a_name_that_looks_like_a_protocol_is_no_protocol(canary: Path, protocol: str) -> None:
    assert refusal(Path(f"{protocol}:{canary}")).code == "not_found"


def test_a_picture_named_like_a_sequence_is_read_alone(tmp_path: Path) -> None:
    picture = Picture(times=even_times(1), codec="mjpeg", pixel_format="yuvj420p")
    for number in (1, 2, 3):
        make_clip(tmp_path / f"frame{number:03}.jpg", picture=picture, format_name="mjpeg")
    path = tmp_path / "frame%03d.jpg"
    path.write_bytes((tmp_path / "frame002.jpg").read_bytes())
    with open_media(str(path), stage="probe") as container:
        packets = [packet for packet in container.demux() if packet.size]
    assert len(packets) == 1


def with_data_elsewhere(source: Path, path: Path, target: str) -> Path:
    """A copy of an MP4 whose data reference names another file by an alias record.

    ISO/IEC 14496-12, 8.7.2; the alias record as FFmpeg reads it (mov_read_dref).
    """
    data = source.read_bytes()
    at = data.index(b"url ") - 4
    name = target.encode()
    alias = b"\0" * 10 + bytes([4]) + b"disk".ljust(27, b"\0") + b"\0" * 12
    alias += bytes([len(name[:63])]) + name[:63].ljust(63, b"\0") + b"\0" * 16
    alias += struct.pack(">hh", 0, 1) + b"\0" * 16
    alias += struct.pack(">hh", 2, len(name)) + name + b"\0" * (len(name) % 2)
    alias += struct.pack(">hh", -1, 0)
    entry = b"alis" + struct.pack(">I", 0) + alias
    entry = struct.pack(">I", len(entry) + 4) + entry
    grown = len(entry) - struct.unpack_from(">I", data, at)[0]
    new = bytearray(data[:at] + entry + data[at + struct.unpack_from(">I", data, at)[0] :])
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = data.index(box) - 4
        struct.pack_into(">I", new, place, struct.unpack_from(">I", data, place)[0] + grown)
    path.write_bytes(new)
    return path


def test_data_in_another_file_is_not_read(clips: ClipLibrary, tmp_path: Path) -> None:
    """FFmpeg would read it where it was allowed to, which shows that the reference works."""
    source = clips("h264_gop30_mp4")
    (tmp_path / "canary.mp4").write_bytes(source.read_bytes())
    path = with_data_elsewhere(source, tmp_path / "refers.mp4", str(tmp_path / "canary.mp4"))
    # The file's own data is noise, so that what is decoded can only be the canary's.
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    end = data.index(b"moov") - 4
    data[begin:end] = np.random.default_rng(0).bytes(end - begin)
    path.write_bytes(data)
    canary = source.read_bytes()
    free = {"enable_drefs": "1", "use_absolute_path": "1"}
    with av.open(str(path), container_options=free) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert len(packets) == 200
    assert bytes(packets[0]) == canary[packets[0].pos : packets[0].pos + packets[0].size]
    assert refusal(path).code == "no_packets"


def test_ordinary_formats_are_all_allowed(clips: ClipLibrary) -> None:
    names = ("both_mp4", "both_mkv", "both_ts", "h264_flv", "mpeg4_avi", "h264_bare", "mpeg2_mpg")
    for name in names:
        assert Probe()(str(clips(name))).video is not None
