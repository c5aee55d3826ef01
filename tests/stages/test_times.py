"""Times: as files were made with, as ffprobe tells them, and picture and sound together."""

from __future__ import annotations

import json
import shutil
import subprocess
from bisect import bisect_right
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from helpers.decoding import RATES, Decoded, decode, make_plan, reference_samples
from helpers.real import SHARED_MEDIA
from media.generate import TORTURE, TortureLibrary
from media.torture_look import LOOK
from media.torture_sound import SOUND, TOGETHER_AT_S
from media.torture_times import TIMES

from sightsound.stages.errors import StageError
from sightsound.stages.probe import Probe

_FFPROBE = shutil.which("ffprobe")
_PICTURES = [torture.file for torture in (*TIMES, *LOOK)]
_TIMED = [name for name in _PICTURES if TORTURE[name].frame_times_s is not None]
# Frames without times of their own are decoded in full, and ffprobe says none for them either.
_UNTIMED = (
    "missing_times.h264",
    "missing_times.ts",
    "missing_times_b.ts",
    "fields.h264",
    "fields_sparse.ts",
)
# How long the last of uneven frames stays is for each container to say.
_UNEVEN = ("variable_rate.mp4", "variable_rate.mkv")
_WHOLE = [name for name in _PICTURES if TORTURE[name].statuses == ("ok",)]
_COMPARABLE = [name for name in _WHOLE if name not in _UNTIMED]
_QUICK_RATES = (Fraction(8),)
_EDGE = SHARED_MEDIA / "edge"

needs_ffprobe = pytest.mark.skipif(_FFPROBE is None, reason="there is no ffprobe to compare with")


@pytest.fixture(scope="module")
def torture(tmp_path_factory: pytest.TempPathFactory) -> TortureLibrary:
    return TortureLibrary(tmp_path_factory.mktemp("torture"))


def on_screen(times: Sequence[float], at: float, *, slack: float = 1e-6) -> float:
    """The last of some times that is not later, or else the first."""
    return times[max(0, bisect_right(times, at + slack) - 1)]


@pytest.mark.parametrize("name", _TIMED)
def test_a_sample_has_the_frame_that_was_made_for_its_time(
    torture: TortureLibrary, name: str
) -> None:
    expected = [float(time) for time in TORTURE[name].frame_times_s or ()]
    tolerance = TORTURE[name].tolerance_s
    decoded = decode(torture(name), fps=Fraction(8))
    if name in _WHOLE:
        n_samples = sum(sample / 8 < expected[-1] for sample in range(10_000))
        assert set(range(n_samples)) <= set(decoded.shown)
    for sample, shown in decoded.shown.items():
        # A rounded time may fall to the other side of the sample's.
        around = {on_screen(expected, sample / 8, slack=slack) for slack in (-tolerance, tolerance)}
        assert min(abs(shown.time_s - time) for time in around) <= tolerance + 1e-9, sample


@pytest.mark.parametrize(
    "name", [name for name in _TIMED if name in _WHOLE and name not in _UNEVEN]
)
def test_the_picture_ends_one_frame_after_its_last_begins(
    torture: TortureLibrary, name: str
) -> None:
    expected = [float(time) for time in TORTURE[name].frame_times_s or ()]
    step = expected[-1] - expected[-2]
    _, plan = make_plan(torture(name))
    assert plan.video_span_s is not None
    assert plan.video_span_s == pytest.approx((0, expected[-1] + step), abs=step / 2)


@pytest.mark.parametrize("fps", _QUICK_RATES, ids=str)
@pytest.mark.parametrize("name", _COMPARABLE)
def test_sampled_frames_are_those_of_a_full_decode(
    torture: TortureLibrary, name: str, fps: Fraction
) -> None:
    assert_as_full_decode(torture(name), fps)


@pytest.mark.slow
@pytest.mark.parametrize("fps", [fps for fps in RATES if fps not in _QUICK_RATES], ids=str)
@pytest.mark.parametrize("name", _COMPARABLE)
def test_sampled_frames_are_those_of_a_full_decode_at_every_rate(
    torture: TortureLibrary, name: str, fps: Fraction
) -> None:
    assert_as_full_decode(torture(name), fps)


def assert_as_full_decode(path: Path, fps: Fraction) -> None:
    """The same samples, times and pictures, to the bit, as a plain loop over all frames gives."""
    decoded = decode(path, fps=fps)
    reference = reference_samples(path, decoded.info, decoded.plan, fps)
    assert decoded.fell_back == ()
    assert sorted(decoded.shown) == sorted(reference)
    for sample, expected in reference.items():
        assert decoded.shown[sample].time_s == pytest.approx(expected.time_s, abs=1e-9), sample
        assert decoded.shown[sample].digest == expected.digest, sample


def ffprobe(path: Path, *arguments: str) -> dict[str, list[dict[str, str]]]:
    """What ffprobe says of a file."""
    assert _FFPROBE is not None
    done = subprocess.run(
        [_FFPROBE, "-v", "quiet", "-threads", "1", *arguments, "-of", "json", f"file:{path}"],
        capture_output=True,
        check=False,
        timeout=300,
    )
    found: dict[str, list[dict[str, str]]] = json.loads(done.stdout or b"{}")
    return found


def ffprobe_times(path: Path, stream_index: int) -> tuple[list[float], int]:
    """The times of all frames of a stream, sorted, on the file's own clock; and how many frames
    it says no time for."""
    found = ffprobe(
        path,
        *("-select_streams", str(stream_index)),
        *("-show_entries", "frame=best_effort_timestamp_time"),
    )
    times = [frame.get("best_effort_timestamp_time") for frame in found.get("frames", [])]
    return sorted({float(time) for time in times if time is not None}), times.count(None)


def ffprobe_starts(path: Path, indices: Sequence[int]) -> list[float]:
    """When some streams start, on the file's own clock."""
    streams = ffprobe(path, "-show_entries", "stream=index,start_time").get("streams", [])
    starts = [stream.get("start_time") for stream in streams if int(stream["index"]) in indices]
    return [float(start) for start in starts if start is not None]


def assert_as_ffprobe(path: Path, decoded: Decoded, fps: Fraction) -> None:
    """Each sample's frame is, to half a frame, the one that ffprobe has on screen then.

    ffprobe tells times on the file's own clock; ours count from the start of the presentation,
    which is where the first of the chosen streams starts.
    """
    assert decoded.info.video is not None
    frames, n_untimed = ffprobe_times(path, decoded.info.video.index)
    if not frames:
        pytest.skip("ffprobe finds no frame with a time in it")
    steps = np.diff(frames)
    half = float(np.median(steps)) / 2 if len(steps) else 0.02
    chosen = [stream.index for stream in (decoded.info.video, decoded.info.audio) if stream]
    starts = [*ffprobe_starts(path, chosen), frames[0]]
    origin_s = float(decoded.plan.origin_s)
    assert min(abs(origin_s - start) for start in starts) <= half
    for sample, shown in decoded.shown.items():
        at = origin_s + sample / float(fps)
        if n_untimed and at >= frames[-1] + 2 * half:
            continue
        around = {on_screen(frames, at, slack=slack) for slack in (-0.001, 0.001)}
        assert min(abs(origin_s + shown.time_s - time) for time in around) <= half, sample
    assert decoded.shown


@needs_ffprobe
@pytest.mark.parametrize("name", [t.file for t in TIMES if t.file not in _UNTIMED])
def test_times_are_those_of_ffprobe(torture: TortureLibrary, name: str) -> None:
    assert_as_ffprobe(torture(name), decode(torture(name), fps=Fraction(8)), Fraction(8))


@pytest.mark.slow
@needs_ffprobe
@pytest.mark.parametrize(
    "path",
    sorted(path for path in _EDGE.glob("*") if path.suffix != ".csv"),
    ids=lambda path: path.name,
)
def test_times_of_real_files_are_those_of_ffprobe(path: Path) -> None:
    try:
        info = Probe()(str(path))
        if info.video is None:
            pytest.skip("there is no picture in it")
        decoded = decode(path, fps=Fraction(8))
    except StageError as error:
        pytest.skip(error.message)
    if not decoded.shown:
        pytest.skip("no frame of it can be decoded")
    assert_as_ffprobe(path, decoded, Fraction(8))


@pytest.mark.parametrize("name", [torture.file for torture in SOUND])
def test_a_click_and_a_flash_stay_together_though_one_sense_starts_late(
    torture: TortureLibrary, name: str
) -> None:
    decoded = decode(torture(name), fps=Fraction(50), sound=True)
    bright = [shown.time_s for shown in decoded.shown.values() if shown.picture.mean() > 128]
    click_s = np.flatnonzero(np.abs(decoded.mono) > 0.2)[0] / 16000
    assert abs(click_s - min(bright)) < 0.010
    # Transport streams and Matroska hold a sound's priming, which may start the presentation.
    assert click_s == pytest.approx(float(TOGETHER_AT_S), abs=0.05)
