"""Files of many streams: which are taken, and how they sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import RATE_HZ, SMALL_VIEW, Decoded, decode
from media.generate import TORTURE, TortureLibrary
from media.sounds import sweep, tone
from media.torture_streams import RATES_HZ, STREAMS

from sightsound.stages.probe import Probe

_TRACKS = ("tracks.mkv", "tracks.mp4", "tracks.ts")
_COVERS_OF_SONGS = ("cover.mp3", "cover.m4a", "cover.flac")
_COVERS_OF_PICTURES = ("cover_beside.mp4", "cover_attached.mkv")


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def heard_hz(decoded: Decoded) -> int:
    """The strongest frequency of the second second of sound, to the Hz."""
    part = decoded.mono[RATE_HZ // 2 : RATE_HZ // 2 + RATE_HZ]
    return int(np.abs(np.fft.rfft(part)).argmax())


def number_of_track(path: Path, wanted: int | str | None = None) -> int:
    """Which of the file's tracks of sound is taken."""
    info = Probe(audio_track=wanted)(str(path))
    assert info.audio is not None and info.video is not None
    return info.audio.index - 1


@pytest.mark.parametrize("name", [torture.file for torture in STREAMS])
def test_a_file_of_many_streams_lasts_as_long_as_it_was_made(
    torture: TortureLibrary, name: str
) -> None:
    """Lossy sound is padded to a whole frame, and its priming may begin the presentation."""
    decoded = decode(torture(name), sound=True, view=SMALL_VIEW)
    assert decoded.plan.duration_s == pytest.approx(TORTURE[name].duration_s, abs=0.15)
    assert not decoded.report.lost and not decoded.report.sound_errors_s
    assert not decoded.plan.truncated


@pytest.mark.parametrize(
    ("name", "number"), [("tracks.mkv", 1), ("tracks.mp4", 1), ("tracks.ts", 0)]
)
def test_the_default_track_is_heard(torture: TortureLibrary, name: str, number: int) -> None:
    assert number_of_track(torture(name)) == number
    decoded = decode(torture(name), sound=True, view=SMALL_VIEW)
    assert heard_hz(decoded) == 1000 * (number + 1)


@pytest.mark.parametrize("name", _TRACKS)
@pytest.mark.parametrize(("wanted", "number"), [(0, 0), (2, 2), ("eng", 0), ("deu", 1), ("fra", 2)])
def test_another_track_is_taken_if_asked_for(
    torture: TortureLibrary, name: str, wanted: int | str, number: int
) -> None:
    assert number_of_track(torture(name), wanted) == number


@pytest.mark.parametrize("name", _COVERS_OF_SONGS)
def test_the_cover_of_a_song_is_no_picture(torture: TortureLibrary, name: str) -> None:
    info = Probe()(str(torture(name)))
    assert info.video is None and info.audio is not None
    assert heard_hz(decode(torture(name), sound=True)) == 1000


@pytest.mark.parametrize("name", _COVERS_OF_PICTURES)
def test_the_picture_is_taken_and_not_the_cover_beside_it(
    torture: TortureLibrary, name: str
) -> None:
    info = Probe()(str(torture(name)))
    assert info.video is not None and info.audio is not None
    assert (info.video.codec, info.video.width) == ("h264", 96)
    decoded = decode(torture(name), view=SMALL_VIEW)
    assert sorted(decoded.shown) == [0, 1, 2, 3]


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_sound_of_any_rate_in_any_codec_keeps_its_pitch(
    torture: TortureLibrary, rate_hz: int
) -> None:
    name = next(torture.file for torture in STREAMS if torture.file.startswith(f"rate_{rate_hz}."))
    decoded = decode(torture(name), sound=True)
    assert decoded.info.audio is not None
    assert decoded.info.audio.sample_rate_hz == rate_hz
    assert heard_hz(decoded) == 1000
    loudness = decoded.mono[RATE_HZ // 2 : RATE_HZ // 2 + RATE_HZ].std()
    assert loudness == pytest.approx(tone(1, RATE_HZ, frequency_hz=1000).std(), rel=0.1)


_CENTRE, _SURROUND = 2**-0.5, 2**-1.5


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("channels_16.wav", [1 / 16] * 16),
        ("channels_8.flac", [0.5, 0.5, _CENTRE, 0, *[_SURROUND] * 4]),
        ("channels_6.m4a", [0.5, 0.5, _CENTRE, 0, _SURROUND, _SURROUND]),
    ],
)
def test_many_channels_are_mixed_as_their_layout_says(
    torture: TortureLibrary, name: str, weights: list[float]
) -> None:
    samples = sweep(2, RATE_HZ, channels=len(weights))
    found = decode(torture(name), sound=True).mono
    expected = samples @ np.array(weights, dtype=np.float32)
    middle = slice(RATE_HZ // 2, RATE_HZ)
    tolerance = 1e-3 if name != "channels_6.m4a" else 0.1
    np.testing.assert_allclose(found[middle], expected[middle], atol=tolerance)
