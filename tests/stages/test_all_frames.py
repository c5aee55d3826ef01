"""Placing frames that state no time."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sightsound.stages.all_frames import _nearest

times = st.lists(st.integers(-1000, 1000), min_size=1, max_size=30, unique=True).map(sorted)


@given(times, st.integers(-1100, 1100))
def test_the_nearest_time_is_that_of_a_plain_search(due: list[int], time: int) -> None:
    found = _nearest(np.array(due, dtype=np.int64), time)
    assert abs(due[found] - time) == min(abs(at - time) for at in due)


@given(times, st.integers(-1100, 1100))
def test_what_follows_the_nearest_time_is_later(due: list[int], time: int) -> None:
    following = _nearest(np.array(due, dtype=np.int64), time) + 1
    assert following == len(due) or due[following] > time
