"""Sound: mono of its channels, at its own time, in blocks that never differ."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soxr
from helpers.decoding import RATE_HZ, decode, decode_long, make_plan
from media.clips import LONG, LONG_SOUND, ClipLibrary
from media.make import Sound, make_clip
from media.sounds import sweep, tone, wave_file
from numpy.typing import NDArray

from sightsound.stages.decode import Decode
from sightsound.stages.frames import DecodeReport
from sightsound.stages.sound import BLOCK_S


def mixed(sound: Sound) -> NDArray[np.float32]:
    """Mono: the mean of the channels, or 5.1 as ITU-R BS.775 mixes it.

    FLAC says that six channels are 5.1; of PCM in such a file nothing is said.
    """
    n_channels = sound.samples.shape[1]
    if n_channels == 6 and sound.codec == "flac":
        return sound.samples @ np.array([0.5, 0.5, 2**-0.5, 0, 2**-1.5, 2**-1.5])
    return sound.samples.mean(axis=1)


def as_heard(sound: Sound, rate_hz: int = RATE_HZ) -> NDArray[np.float32]:
    """The channels of a source mixed to one, resampled."""
    mono = mixed(sound)
    return mono if sound.rate_hz == rate_hz else soxr.resample(mono, sound.rate_hz, rate_hz)


def lag_s(found: NDArray[np.float32], expected: NDArray[np.float32], at_s: float) -> float:
    """How much later a second of sound is than it should be, by the peak of correlation."""
    part = slice(round((at_s - 0.5) * RATE_HZ), round((at_s + 0.5) * RATE_HZ))
    length = 4 * RATE_HZ
    spectrum = np.fft.rfft(found[part], length) * np.conj(np.fft.rfft(expected[part], length))
    peak = int(np.fft.irfft(spectrum).argmax())
    return (peak if peak < length // 2 else peak - length) / RATE_HZ


@pytest.mark.parametrize("codec", ["pcm_s16le", "flac"])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [16000, 44100, 48000])
def test_lossless_sound_is_the_mix_of_its_channels(
    tmp_path: Path, codec: str, channels: int, rate_hz: int
) -> None:
    sound = Sound(samples=sweep(2, rate_hz, channels=channels), codec=codec, rate_hz=rate_hz)
    found = decode(make_clip(tmp_path / "sound.mkv", sound=sound), sound=True).mono
    # Matroska states the end to the millisecond.
    assert 0 <= 2 * RATE_HZ - len(found) <= RATE_HZ // 1000
    expected = as_heard(sound)[: len(found)]
    np.testing.assert_allclose(found[:-50], expected[:-50], atol=2e-4)


@pytest.mark.parametrize(
    ("suffix", "codec", "rate_hz"),
    [
        ("mp4", "aac", 48000),
        ("mkv", "libmp3lame", 44100),
        ("webm", "libopus", 48000),
        ("ts", "ac3", 48000),
        ("mkv", "vorbis", 44100),
    ],
)
def test_lossy_sound_resembles_its_source(
    tmp_path: Path, suffix: str, codec: str, rate_hz: int
) -> None:
    sound = Sound(samples=sweep(4, rate_hz, channels=2), codec=codec, rate_hz=rate_hz)
    found = decode(make_clip(tmp_path / f"sound.{suffix}", sound=sound), sound=True).mono
    expected = as_heard(sound)
    shift = round(lag_s(found, expected, 2) * RATE_HZ)
    # MPEG-TS does not say how much of AC-3's beginning is priming (256 samples).
    assert abs(shift) <= (90 if codec == "ac3" else 1)
    middle = slice(RATE_HZ, 3 * RATE_HZ)
    heard = found[middle.start + shift : middle.stop + shift]
    assert np.corrcoef(heard, expected[middle])[0, 1] > 0.97
    assert heard.std() == pytest.approx(expected[middle].std(), rel=0.1)


@pytest.mark.parametrize(
    "name",
    [
        "h264_aac_mp4",
        pytest.param("vp9_opus_webm", marks=pytest.mark.slow),
        pytest.param("h264_mp3_mkv", marks=pytest.mark.slow),
    ],
)
def test_sound_does_not_drift_over_two_minutes(clips: ClipLibrary, name: str) -> None:
    found = decode_long(clips(name)).mono
    make_sound = LONG[name].sound
    assert make_sound is not None
    expected = as_heard(make_sound())
    for at_s in (1, BLOCK_S - 1, BLOCK_S + 1, 2 * BLOCK_S - 1, 2 * BLOCK_S + 1, 130):
        assert abs(lag_s(found, expected, at_s)) <= 0.0011


@pytest.mark.parametrize("name", ["flac", "pcm_wav"])
def test_blocks_join_without_a_seam(clips: ClipLibrary, name: str) -> None:
    make_sound = LONG_SOUND[name].sound
    assert make_sound is not None
    found = decode_long(clips(name))
    assert sorted(found.sound) == [0, BLOCK_S * RATE_HZ, 2 * BLOCK_S * RATE_HZ]
    np.testing.assert_allclose(found.mono, as_heard(make_sound()), atol=2e-4)


def test_a_block_is_given_by_every_slice_that_needs_it(clips: ClipLibrary) -> None:
    """And only by those: the sound of [24 s, 40 s) is in the first block alone."""
    info, plan = make_plan(clips("flac"), slice_s=20)
    stage = Decode((), sample_rate_hz=RATE_HZ, sound_margin_s=0.5)
    for piece in plan.slices:
        blocks = list(stage(info, plan, piece, report=DecodeReport()))
        begin_s = max(0, piece.windows[0].start_s - 0.5)
        end_s = min(131.3, piece.windows[-1].end_s + 0.5)
        numbers = [block.first_sample // (BLOCK_S * RATE_HZ) for block in blocks]
        assert numbers == list(range(int(begin_s // 60), -int(-end_s // 60)))


def test_a_late_sound_begins_at_its_own_time(clips: ClipLibrary) -> None:
    """3.5 s after the picture: silence until then, in samples that nobody may take for sound."""
    found = decode(clips("sound_late_mp4"), sound=True)
    assert found.plan.audio_span_s == pytest.approx((3.5, 7.5), abs=0.03)
    expected = sweep(4, 48000, channels=2).mean(axis=1)
    expected = np.concatenate((np.zeros(7 * RATE_HZ // 2), soxr.resample(expected, 48000, 16000)))
    assert np.abs(found.mono[: 7 * RATE_HZ // 2 - 400]).max() < 1e-3
    assert abs(lag_s(found.mono, expected, 5.5)) <= 0.0011


def test_sound_ends_where_it_ends(tmp_path: Path) -> None:
    sound = Sound(samples=sweep(1.234, 48000), codec="pcm_s16le")
    found = decode(make_clip(tmp_path / "short.wav", sound=sound), sound=True)
    assert len(found.mono) == round(1.234 * RATE_HZ)


def test_a_gap_in_the_sound_stays_a_gap(tmp_path: Path) -> None:
    """Two halves with a second of nothing between them, as after a dropped connection."""
    sound = Sound(samples=sweep(4, 48000), codec="flac")
    whole = make_clip(tmp_path / "whole.mkv", sound=sound)
    path = tmp_path / "gap.mkv"
    _without(whole, path, begin_s=1.5, end_s=2.5)
    found = decode(path, sound=True).mono
    expected = as_heard(sound)
    quiet = slice(round(1.65 * RATE_HZ), round(2.35 * RATE_HZ))
    assert np.abs(found[quiet]).max() < 1e-3
    assert len(found) == 4 * RATE_HZ
    for at_s in (0.7, 3.3):
        assert abs(lag_s(found, expected, at_s)) <= 0.0011


def _without(source: Path, path: Path, *, begin_s: float, end_s: float) -> None:
    """A copy of a file without the packets between two times."""
    import av

    with av.open(str(source)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams[0])
        for packet in old.demux(0):
            if packet.size and not begin_s <= packet.pts * packet.time_base < end_s:
                packet.stream = stream
                new.mux(packet)


def test_sound_of_many_channels_is_mixed(shared_media: Path) -> None:
    path = shared_media / "edge" / "torchcodec__sine_16ch_s16.wav"
    if not path.is_file():
        pytest.skip(f"{path.name} is not in {shared_media}")
    found = decode(path, sound=True).mono
    data = np.frombuffer(path.read_bytes()[-16 * 2 * 16000 :], dtype="<i2")
    expected = data.reshape(-1, 16).mean(axis=1) / 32768
    assert len(found) == 16000
    np.testing.assert_allclose(found, expected, atol=2e-3)


@pytest.mark.parametrize("n_channels", range(1, 17))
def test_channels_of_which_nothing_is_said_count_alike(tmp_path: Path, n_channels: int) -> None:
    samples = sweep(0.5, RATE_HZ, channels=n_channels)
    found = decode(wave_file(tmp_path / "many.wav", samples, RATE_HZ), sound=True).mono
    np.testing.assert_allclose(found, samples.mean(axis=1), atol=1e-4)


_CENTRE, _SURROUND = 2**-0.5, 2**-1.5


@pytest.mark.parametrize(
    ("mask", "weights"),
    [
        (0x4, [1]),
        (0x3, [0.5, 0.5]),
        (0x7, [0.5, 0.5, _CENTRE]),
        (0x33, [0.5, 0.5, _SURROUND, _SURROUND]),
        (0x37, [0.5, 0.5, _CENTRE, _SURROUND, _SURROUND]),
        (0x3F, [0.5, 0.5, _CENTRE, 0, _SURROUND, _SURROUND]),
        (0x60F, [0.5, 0.5, _CENTRE, 0, _SURROUND, _SURROUND]),
        (0x63F, [0.5, 0.5, _CENTRE, 0, _SURROUND, _SURROUND, _SURROUND, _SURROUND]),
    ],
    ids=["mono", "stereo", "3.0", "quadraphonic", "5.0", "5.1", "5.1 side", "7.1"],
)
def test_channels_that_are_named_are_mixed_by_the_standard_matrix(
    tmp_path: Path, mask: int, weights: list[float]
) -> None:
    """Independent noise in each channel, so that each weight shows: ITU-R BS.775."""
    samples = np.random.default_rng(1).uniform(-0.2, 0.2, (8000, len(weights)))
    path = wave_file(tmp_path / "named.wav", samples.astype(np.float32), RATE_HZ, mask=mask)
    found = decode(path, sound=True).mono
    fitted, *_ = np.linalg.lstsq(samples, found, rcond=None)
    np.testing.assert_allclose(fitted, weights, atol=2e-3)


@pytest.mark.parametrize("rate_hz", [8000, 11025, 22050, 32000, 88200, 96000, 192000])
def test_sound_of_any_rate_is_heard_at_its_pitch_and_time(tmp_path: Path, rate_hz: int) -> None:
    samples = tone(2, rate_hz, frequency_hz=1000)
    found = decode(wave_file(tmp_path / "tone.wav", samples, rate_hz), sound=True).mono
    assert len(found) == 2 * RATE_HZ
    expected = tone(2, RATE_HZ, frequency_hz=1000)[:, 0]
    np.testing.assert_allclose(found[200:-200], expected[200:-200], atol=2e-3)


def test_the_start_of_the_presentation_may_be_anywhere(tmp_path: Path) -> None:
    sound = Sound(samples=sweep(3, 48000), codec="flac", start_s=Fraction(100))
    found = decode(make_clip(tmp_path / "late.mkv", sound=sound), sound=True)
    assert found.plan.origin_s == 100
    np.testing.assert_allclose(found.mono, as_heard(sound), atol=2e-4)


def test_another_rate_is_another_resampling_of_the_same(clips: ClipLibrary) -> None:
    info, plan = make_plan(clips("both_mp4"))
    blocks = {}
    for rate_hz in (16000, 32000):
        stage = Decode((), sample_rate_hz=rate_hz)
        (blocks[rate_hz],) = stage(info, plan, plan.slices[0], report=DecodeReport())
    low, high = blocks[16000], blocks[32000]
    assert (low.sample_rate_hz, high.sample_rate_hz) == (16000, 32000)
    assert len(high.samples) == 2 * len(low.samples)
    np.testing.assert_allclose(high.samples[::2][100:-100], low.samples[100:-100], atol=0.05)
