"""What a person sees: bars, times, which sense carried a label."""

from dataclasses import replace
from io import StringIO

import pytest
from helpers.results import TASKS, labelled
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sightsound.pipeline.show import carried_by, score_bar, show_result
from sightsound.pipeline.timeline import clock_time


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0:00.0"), (9.99, "0:09.9"), (59.96, "0:59.9"), (75.5, "1:15.5"), (3661.04, "1:01:01.0")],
)
def test_clock_time(seconds, text):
    assert clock_time(seconds) == text


@given(st.floats(0, 1e6))
def test_clock_time_is_never_past_the_true_time(seconds):
    shown = 0.0
    for part in clock_time(seconds).split(":"):
        shown = shown * 60 + float(part)
    assert seconds - 0.1 < shown <= seconds + 1e-5


@given(st.floats(0, 1), st.floats(0, 1))
def test_bar_has_a_fixed_width_and_grows_with_the_score(left, right):
    def filled(score: float) -> float:
        return sum(" ▏▎▍▌▋▊▉█".index(cell) / 8 for cell in score_bar(score))

    assert len(score_bar(left)) == len(score_bar(right)) == 12
    if left <= right:
        assert filled(left) <= filled(right)
    assert abs(filled(left) / 12 - left) < 0.01


def test_senses_are_named():
    assert carried_by(1.0) == "picture"
    assert carried_by(0.0) == "sound"
    assert carried_by(0.75) == "picture 75%, sound 25%"


def test_that_another_decoder_stood_in_is_shown():
    reason = "decord cannot read it: PyAV decoded the picture."
    console = Console(file=StringIO(), width=110)
    show_result(console, replace(labelled("/a.mp4"), decoder_fallback=reason), TASKS)
    assert reason in console.file.getvalue()
