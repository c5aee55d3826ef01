"""``--max-failed``: when a run is stopped because too much fails."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.failure_limit import FailureLimit, TooManyFailedError


def stops(text, failed, done):
    try:
        FailureLimit.parse(text).check(Counter(failed=failed, ok=done - failed))
    except TooManyFailedError:
        return True
    return False


def is_refused(text):
    try:
        FailureLimit.parse(text)
    except ValueError:
        return True
    return False


@pytest.mark.parametrize(
    ("text", "amount", "is_percent"),
    [
        ("0", 0, False),
        ("20", 20, False),
        (" 5% ", 5, True),
        ("0.5%", 0.5, True),
        ("100%", 100, True),
    ],
)
def test_limit_is_a_count_or_a_percentage(text, amount, is_percent):
    assert FailureLimit.parse(text) == FailureLimit(amount, is_percent)


@pytest.mark.parametrize(
    "text", ["", "%", "five", "-1", "-1%", "101%", "2.5", "5%%", "inf%", "inf"]
)
def test_what_is_neither_is_refused(text):
    assert is_refused(text)


def test_percentage_that_is_no_number_is_refused():
    assert is_refused("nan%")


@given(st.integers(0, 50), st.integers(0, 100), st.integers(0, 1000))
def test_count_stops_a_run_when_more_have_failed(limit, failed, others):
    assert stops(str(limit), failed, failed + others) == (failed > limit)


@given(st.integers(0, 100), st.integers(20, 1000), st.data())
def test_percentage_stops_a_run_when_clearly_more_have_failed(limit, done, data):
    failed = data.draw(st.integers(0, done).filter(lambda n: 100 * n != limit * done))
    assert stops(f"{limit}%", failed, done) == (100 * failed > limit * done)


@pytest.mark.parametrize("limit", [29, 57, 58])
def test_percentage_that_is_just_reached_does_not_stop_a_run(limit):
    assert not stops(f"{limit}%", limit, 100)


def test_percentage_waits_for_twenty_inputs():
    assert not stops("5%", 19, 19)
    assert stops("5%", 19, 20)


def test_count_does_not_wait():
    assert stops("0", 1, 1)


def test_message_says_how_many_failed_and_what_was_allowed():
    with pytest.raises(
        TooManyFailedError, match=r"3 of 40 inputs failed.*\(5 % of those finished\)"
    ):
        FailureLimit.parse("5%").check(Counter(failed=3, ok=30, partial=7))
