"""What decoders declare that they cannot do, and that PyAV then stands in, and it is said."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from helpers.decoding import SMALL_VIEW, Decoded, decode, make_plan
from media.clips import ClipLibrary
from media.generate import TortureLibrary

from sightsound.stages.decode import Decode
from sightsound.stages.decoders import BACKENDS, BackendName, create_decoder, find_decoder
from sightsound.stages.decoders.base import Capabilities, Demands
from sightsound.stages.errors import DecoderUnavailableError, PlanMismatchError
from sightsound.stages.frames import DecodeReport

PLAIN = Demands(container="mov,mp4,m4a,3gp,3g2,mj2", codec="h264")
_LIMITED = Capabilities(
    containers=frozenset((PLAIN.container,)),
    codecs=frozenset((PLAIN.codec,)),
    any_source=False,
    unplanned=False,
    hidden_packets=False,
    leading_frames=False,
    damage=False,
    chooses_stream=False,
)
_DEMANDING = [
    ("mpegts", replace(PLAIN, container="mpegts")),
    ("av1", replace(PLAIN, codec="av1")),
    ("local", replace(PLAIN, opens_by_name=False)),
    ("timestamps", replace(PLAIN, has_plan=False)),
    ("edit list", replace(PLAIN, hides_packets=True)),
    ("open groups", replace(PLAIN, has_leading_frames=True)),
    ("damage", replace(PLAIN, is_damaged=True)),
    ("several", replace(PLAIN, n_pictures=2)),
]


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def usable(name: BackendName) -> BackendName:
    try:
        create_decoder(name)
    except DecoderUnavailableError as error:
        pytest.skip(str(error))
    return name


@pytest.mark.parametrize(("part", "demands"), _DEMANDING, ids=lambda item: str(item)[:12])
def test_each_thing_that_a_decoder_lacks_is_said_in_words(part: str, demands: Demands) -> None:
    reason = _LIMITED.lacks(demands)
    assert reason is not None and part in reason


@pytest.mark.parametrize("demands", [demands for _, demands in _DEMANDING])
def test_pyav_lacks_nothing(demands: Demands) -> None:
    assert find_decoder("pyav").capabilities.lacks(demands) is None


@pytest.mark.parametrize("name", BACKENDS)
def test_a_plain_file_is_within_the_reach_of_every_decoder(name: BackendName) -> None:
    assert find_decoder(name).capabilities.lacks(PLAIN) is None


# File by decoder, and what the row is to say of it.
_BEYOND: list[tuple[BackendName, str, str]] = [
    ("decord", "edit_list_start.mp4", "hidden"),
    ("decord", "edit_list_two_parts.mp4", "timestamps"),
    ("decord", "late_start.ts", "mpegts"),
    ("decord", "missing_times.mpg", "mpeg"),
    ("decord", "ten_bit_av1.mp4", "av1"),
    ("decord", "interlaced_mpeg2.ts", "mpegts"),
    ("decord", "truncated.mp4", "damage"),
    ("torchcodec", "missing_times.h264", "h264"),
    ("torchcodec", "truncated.mp4", "damage"),
]


def assert_same(found: Decoded, expected: Decoded) -> None:
    assert sorted(found.shown) == sorted(expected.shown)
    for sample, shown in expected.shown.items():
        assert found.shown[sample].time_s == shown.time_s
        assert found.shown[sample].digest == shown.digest


@pytest.mark.parametrize(("backend", "name", "part"), _BEYOND)
def test_pyav_decodes_what_a_decoder_declares_beyond_it_and_it_is_said(
    torture: TortureLibrary, backend: BackendName, name: str, part: str
) -> None:
    found = decode(torture(name), fps=Fraction(4), backend=usable(backend))
    assert found.report.fallback.startswith(f"{backend} ")
    assert part in found.report.fallback
    assert found.report.fallback.endswith("PyAV decoded the picture.")
    assert_same(found, decode(torture(name), fps=Fraction(4)))


# Clips that a decoder is to decode itself: as fall-backs they would pass every other test.
_WITHIN: dict[BackendName, tuple[str, ...]] = {
    "decord": (
        "h264_mp4",
        "h264_gop30_mp4",
        "h264_29_97_mp4",
        "h264_starts_late_mp4",
        "h264_starts_late_mkv",
        "h264_variable_rate_mp4",
        "h264_fragments_mp4",
        "h264_flv",
        "vp8_webm",
        "vp9_webm",
        "mpeg4_no_b_avi",
        "mjpeg_mov",
        "ffv1_mkv",
    ),
    "torchcodec": (
        "h264_mp4",
        "h264_gop30_mp4",
        "h264_open_gop_mp4",
        "h264_29_97_mp4",
        "h264_starts_late_mp4",
        "h264_starts_late_mkv",
        "h264_variable_rate_mp4",
        "hevc_mp4",
        "hevc_layers_mp4",
        "vp8_webm",
        "vp9_webm",
        "av1_mp4",
        "mpeg4_mp4",
        "ffv1_mkv",
    ),
}


@pytest.mark.parametrize(
    ("backend", "name"), [(backend, name) for backend in _WITHIN for name in _WITHIN[backend]]
)
def test_a_decoder_does_itself_what_it_can(
    clips: ClipLibrary, backend: BackendName, name: str
) -> None:
    decoded = decode(clips(name), fps=Fraction(4), view=SMALL_VIEW, backend=usable(backend))
    assert decoded.report.fallback == ""
    assert decoded.fell_back == ()
    assert len(decoded.shown) >= 25


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "pyav"])
def test_a_frame_that_a_decoder_does_not_find_is_had_from_pyav_and_it_is_said(
    clips: ClipLibrary, backend: BackendName
) -> None:
    """A plan for frames that are not there, as where the libraries tell times differently."""
    info, plan = make_plan(clips("h264_no_b_mp4"))
    piece = plan.slices[0]
    wrong = replace(piece, sample_pts=piece.sample_pts + 240)
    stage = Decode((SMALL_VIEW,), sample_rate_hz=None, backend=usable(backend))
    with pytest.raises(PlanMismatchError):
        list(stage(info, plan, wrong, report=DecodeReport()))
    report = DecodeReport()
    assert list(stage(info, plan, piece, in_full=True, report=report))
    assert report.fallback == (
        f"{backend} did not give every planned frame: PyAV decoded the picture."
    )


def test_a_decoder_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DecoderUnavailableError, match="one of pyav, decord, torchcodec"):
        create_decoder("ffmpegcv")  # type: ignore[arg-type]


def test_a_decoder_that_does_not_load_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "torchcodec.py").write_text("raise RuntimeError('no FFmpeg\\nat all')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "torchcodec", raising=False)
    with pytest.raises(DecoderUnavailableError) as caught:
        create_decoder("torchcodec")
    message = str(caught.value)
    assert message.startswith("torchcodec does not load here (no FFmpeg): pip install torchcodec")
    assert message.endswith("set decode.backend to pyav or decord.")
    assert "\n" not in message
