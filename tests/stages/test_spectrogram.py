"""Log-mel patches: the values of the reference, at their own times, however a video is cut."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from pathlib import Path

import librosa
import numpy as np
import pytest
import torch
import torchaudio
from helpers.decoding import RATE_HZ, make_plan
from hypothesis import given, settings
from hypothesis import strategies as st
from media.clips import ClipLibrary
from media.make import Picture, Sound, even_times, make_clip
from media.sounds import sweep
from numpy.typing import NDArray

from sightsound.models.backbones.yamnet import YAMNET
from sightsound.models.engines.base import EngineOptions, LoadedNetwork, create_engine
from sightsound.stages.decode import Decode
from sightsound.stages.frames import DecodeReport
from sightsound.stages.records import DecodedSound
from sightsound.stages.spectrogram import Spectrogram

FORMAT = YAMNET.log_mel
HOP_S = FORMAT.hop_samples / FORMAT.sample_rate_hz
LENGTH_S = FORMAT.patch_samples / FORMAT.sample_rate_hz

Patches = dict[float, NDArray[np.float32]]


@pytest.fixture(scope="module")
def front_end() -> LoadedNetwork:
    """YAMNet's front end, as torch runs it."""
    return create_engine(EngineOptions(engine="torch", device="cpu")).load(YAMNET.front_end())


def collect(spectrogram: Spectrogram, blocks: list[DecodedSound]) -> Patches:
    """All patches by time, which must come in order."""
    given = [*(spectrogram(block) for block in blocks), spectrogram.finish()]
    patches: Patches = {}
    for times_s, log_mel in itertools.chain.from_iterable(given):
        for time_s, patch in zip(times_s.tolist(), log_mel, strict=True):
            assert not patches or time_s > max(patches)
            patches[time_s] = patch
    return patches


def blocks_of(
    samples: NDArray[np.float32], *, length: int, first_sample: int = 0
) -> list[DecodedSound]:
    """Sound in blocks of a length in samples."""
    return [
        DecodedSound(
            first_sample=first_sample + begin,
            sample_rate_hz=RATE_HZ,
            samples=samples[begin : begin + length],
        )
        for begin in range(0, len(samples), length)
    ]


def patches_of(
    front_end: LoadedNetwork,
    samples: NDArray[np.float32],
    *,
    span_s: tuple[float, float] | None = None,
    block: int = 10**9,
) -> Patches:
    """The patches of one piece of sound from time 0 on."""
    end_s = len(samples) / RATE_HZ
    spectrogram = Spectrogram(
        front_end, FORMAT, start_s=0, end_s=end_s + 1, sound_span_s=span_s or (0.0, end_s)
    )
    return collect(spectrogram, blocks_of(samples, length=block))


def patches_of_clip(front_end: LoadedNetwork, path: Path, *, slice_s: float = 1e6) -> Patches:
    """The patches of a clip, slice by slice."""
    info, plan = make_plan(path, slice_s=slice_s)
    assert plan.audio_span_s is not None
    stage = Decode((), sample_rate_hz=RATE_HZ, sound_margin_s=LENGTH_S / 2)
    patches: Patches = {}
    for piece in plan.slices:
        spectrogram = Spectrogram(
            front_end,
            FORMAT,
            start_s=piece.windows[0].start_s,
            end_s=piece.windows[-1].end_s,
            sound_span_s=plan.audio_span_s,
        )
        events = stage(info, plan, piece, report=DecodeReport())
        blocks = [event for event in events if isinstance(event, DecodedSound)]
        for time_s, patch in collect(spectrogram, blocks).items():
            known = patches.setdefault(time_s, patch)
            np.testing.assert_array_equal(patch, known)
    return patches


def by_librosa(samples: NDArray[np.float32]) -> NDArray[np.float64]:
    """YAMNet's log-mel of one patch by librosa: (96, 64)."""
    window = np.zeros(512)
    window[:400] = librosa.filters.get_window("hann", 400, fftbins=True)
    padded = np.concatenate((samples, np.zeros(112)))  # The last window's zeros for the transform.
    spectrum = np.abs(librosa.stft(padded, n_fft=512, hop_length=160, window=window, center=False))
    bands = librosa.filters.mel(
        sr=16000, n_fft=512, n_mels=64, fmin=125, fmax=7500, htk=True, norm=None
    )
    return np.log(bands @ spectrum + 0.001).T


def by_torchaudio(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """The same by torchaudio's own transform."""
    spectrogram = torchaudio.transforms.Spectrogram(
        n_fft=512,
        win_length=512,
        hop_length=160,
        power=1,
        center=False,
        window_fn=lambda _: torch.nn.functional.pad(torch.hann_window(400), (0, 112)),
    )
    bands = torchaudio.functional.melscale_fbanks(257, 125.0, 7500.0, 64, 16000)
    padded = torch.nn.functional.pad(torch.from_numpy(samples), (0, 112))
    return torch.log(spectrogram(padded).T @ bands + 0.001).numpy()


@pytest.mark.parametrize("loudness", [1e-3, 0.05, 1.0])
def test_patches_are_those_of_librosa_and_torchaudio(
    front_end: LoadedNetwork, loudness: float
) -> None:
    samples = sweep(3, RATE_HZ)[:, 0] * np.float32(loudness)
    patches = patches_of(front_end, samples)
    assert len(patches) == 6
    for number, patch in enumerate(patches.values()):
        part = samples[number * FORMAT.hop_samples :][: FORMAT.patch_samples]
        part = np.pad(part, (0, FORMAT.patch_samples - len(part)))
        assert patch.shape == (FORMAT.n_frames, FORMAT.n_mels)
        np.testing.assert_allclose(patch, by_librosa(part), atol=1e-3)
        np.testing.assert_allclose(patch, by_torchaudio(part), atol=1e-3)


def test_silence_is_the_floor(front_end: LoadedNetwork) -> None:
    patches = patches_of(front_end, np.zeros(2 * RATE_HZ, dtype=np.float32))
    for patch in patches.values():
        np.testing.assert_allclose(patch, math.log(0.001), atol=1e-4)


def test_a_tone_is_in_its_band(front_end: LoadedNetwork) -> None:
    time = np.arange(RATE_HZ) / RATE_HZ
    tone = np.sin(2 * np.pi * 1000 * time).astype(np.float32)
    patch = next(iter(patches_of(front_end, tone).values()))
    centres = librosa.mel_frequencies(66, fmin=125, fmax=7500, htk=True)[1:-1]
    assert centres[patch.mean(axis=0).argmax()] == pytest.approx(1000, rel=0.05)


@settings(max_examples=20)
@given(length=st.integers(500, 40000))
def test_how_sound_arrives_changes_nothing(front_end: LoadedNetwork, length: int) -> None:
    samples = sweep(3, RATE_HZ)[:, 0]
    whole = patches_of(front_end, samples)
    parts = patches_of(front_end, samples, block=length)
    assert list(whole) == list(parts)
    for time_s, patch in whole.items():
        np.testing.assert_array_equal(parts[time_s], patch)


@pytest.mark.parametrize("name", ["h264_aac_mp4", "vp9_opus_webm", "mp3"])
def test_patches_do_not_depend_on_how_a_video_is_cut(
    front_end: LoadedNetwork, clips: ClipLibrary, name: str
) -> None:
    whole = patches_of_clip(front_end, clips(name))
    cut = patches_of_clip(front_end, clips(name), slice_s=24)
    assert len(whole) >= 270
    assert sorted(whole) == sorted(cut)
    for time_s, patch in whole.items():
        np.testing.assert_array_equal(cut[time_s], patch)


def test_a_slice_has_the_patches_whose_middle_it_covers(front_end: LoadedNetwork) -> None:
    samples = sweep(20, RATE_HZ)[:, 0]
    spectrogram = Spectrogram(front_end, FORMAT, start_s=4, end_s=12, sound_span_s=(0.0, 20.0))
    times = list(collect(spectrogram, blocks_of(samples, length=RATE_HZ)))
    middles = [number * HOP_S + LENGTH_S / 2 for number in range(50)]
    assert times == pytest.approx([time for time in middles if 4 <= time < 12])


@given(st.floats(0, 70), st.floats(0.001, 10))
def test_every_patch_is_at_least_half_filled_with_sound(begin_s: float, length_s: float) -> None:
    """Or there is just one, of sound that fills half of none."""
    end_s = begin_s + length_s
    spectrogram = Spectrogram(
        _Counting(), FORMAT, start_s=0, end_s=end_s + 1, sound_span_s=(begin_s, end_s)
    )
    first_block = int(begin_s // 60) * 60 * RATE_HZ
    n_samples = round(end_s * RATE_HZ) - first_block
    blocks = blocks_of(
        np.zeros(max(1, n_samples), dtype=np.float32), length=60 * RATE_HZ, first_sample=first_block
    )
    times = list(collect(spectrogram, blocks))
    assert times
    assert all(begin_s <= time <= end_s for time in times)
    for time in times:
        number = round((time - LENGTH_S / 2) / HOP_S)
        filled = min(
            min(end_s, n * HOP_S + LENGTH_S) - max(begin_s, n * HOP_S)
            for n in (number - 1, number, number + 1)
            if (max(begin_s, n * HOP_S) + min(end_s, n * HOP_S + LENGTH_S)) / 2
            == pytest.approx(time)
        )
        assert filled >= LENGTH_S / 2 - 1e-6 or len(times) == 1


class _Counting(LoadedNetwork):
    """Stands in for the front end where only times matter."""

    def __init__(self) -> None:
        super().__init__(YAMNET.front_end(), batch_size=1)

    def _run(self, batch: list[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        return [np.zeros((1, FORMAT.n_frames, FORMAT.n_mels), dtype=np.float32)]


def test_before_a_late_sound_there_is_no_patch(
    front_end: LoadedNetwork, clips: ClipLibrary
) -> None:
    """Sound from 3.5 s to 7.5 s of a video of 8 s: silence is not offered as sound."""
    patches = patches_of_clip(front_end, clips("sound_late_mp4"))
    assert min(patches) >= 3.5
    assert max(patches) <= 7.53
    assert len(patches) == pytest.approx(4 / HOP_S, abs=1)
    assert all(patch.max() > -4 for patch in patches.values())


def test_a_video_whose_sound_ends_early_has_no_patches_after_it(
    front_end: LoadedNetwork, tmp_path: Path
) -> None:
    path = make_clip(
        tmp_path / "early.mp4",
        picture=Picture(times=even_times(250), gop=25),
        sound=Sound(samples=sweep(3, 48000)),
    )
    assert max(patches_of_clip(front_end, path)) <= 3.03


def test_a_sound_that_begins_just_within_a_block_has_its_patch(
    front_end: LoadedNetwork, tmp_path: Path
) -> None:
    """At 60.004 s, in a patch that begins at 59.52 s, before the block of sound does."""
    path = make_clip(
        tmp_path / "late.mkv",
        picture=Picture(times=even_times(64, 1), rate=Fraction(1), width=32, height=32),
        sound=Sound(samples=sweep(3, 48000), codec="flac", start_s=Fraction(60004, 1000)),
    )
    patches = patches_of_clip(front_end, path)
    assert min(patches) == pytest.approx((60.004 + 124 * HOP_S + LENGTH_S) / 2, abs=1e-3)
    # The sound begins 0.484 s into the patch, in its 46th window of 25 ms.
    assert patches[min(patches)][:45].max() == pytest.approx(math.log(0.001), abs=1e-3)
    assert patches[min(patches)][50:].max() > -4


def test_a_sound_shorter_than_half_a_patch_still_has_one(
    front_end: LoadedNetwork, clips: ClipLibrary
) -> None:
    patches = patches_of_clip(front_end, clips("tenth_of_a_second_mp4"))
    assert list(patches) == pytest.approx([0.05], abs=0.01)


def test_what_is_settled_has_all_been_given(front_end: LoadedNetwork) -> None:
    samples = sweep(10, RATE_HZ)[:, 0]
    spectrogram = Spectrogram(front_end, FORMAT, start_s=0, end_s=10, sound_span_s=(0.0, 10.0))
    last = -1.0
    for block in blocks_of(samples, length=5000):
        for times_s, _ in spectrogram(block):
            last = times_s[-1]
        assert last < spectrogram.settled_s
        # Not later than the next patch, whose middle is earlier at the end of the sound.
        assert last < 0 or min(spectrogram.settled_s, 10) <= last + HOP_S + 1e-9
    collect(spectrogram, [])
    assert spectrogram.settled_s == math.inf
