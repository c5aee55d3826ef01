"""Joined tokens: every token is there once, in time, in its backbone's columns alone."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sightsound.stages.tokens import join_tokens, order_in_time

STREAMS = st.lists(
    st.tuples(st.integers(1, 4), st.lists(st.integers(0, 8), max_size=6)), min_size=1, max_size=4
)


def make(streams):
    """Times and tokens of 1 and more, so that zeros can be told from them."""
    random = np.random.default_rng(0)
    times_s = [np.sort(np.array(times, dtype=np.float64) / 2) for _, times in streams]
    return times_s, [random.uniform(1, 2, (len(times), dim)) for dim, times in streams]


@given(STREAMS)
def test_every_token_keeps_its_time_and_its_columns(streams):
    times_s, values = make(streams)
    joined_s, joined = join_tokens(times_s, values)
    assert (np.diff(joined_s) >= 0).all()
    column = 0
    for own_s, own in zip(times_s, values, strict=True):
        columns = slice(column, column + own.shape[1])
        is_own = (joined[:, columns] != 0).all(axis=1)
        np.testing.assert_array_equal(joined_s[is_own], own_s)
        np.testing.assert_array_equal(joined[is_own, columns], own)
        assert not np.delete(joined[is_own], np.r_[columns], axis=1).any()
        column += own.shape[1]
    assert joined.shape == (sum(map(len, times_s)), column)


@given(STREAMS)
def test_the_order_brings_what_lies_one_after_the_other_to_its_place(streams):
    times_s, values = make(streams)
    joined_s, _ = join_tokens(times_s, values)
    np.testing.assert_array_equal(np.concatenate(times_s)[order_in_time(times_s)], joined_s)


def test_one_stream_stays_as_it_is():
    times_s, values = np.array([0.5, 1.0]), np.ones((2, 3), dtype=np.float16)
    joined_s, joined = join_tokens([times_s], [values])
    assert joined is values and joined_s is times_s
