"""Packet plans against rules written the plainest way."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from sightsound.stages.packets import (
    PacketIndex,
    PacketIndexBuilder,
    frames_on_screen,
    plan_packets,
)
from sightsound.stages.records import NO_FRAME


def make_index(
    pts: list[int], keys: list[int], *, hidden: frozenset[int] = frozenset()
) -> PacketIndex:
    """An index of packets in decode order; ``keys`` and ``hidden`` are positions."""
    builder = PacketIndexBuilder()
    for position, time in enumerate(pts):
        builder.add(
            pts=time, dts=position, is_key=position in keys, is_shown=position not in hidden
        )
    return builder.build()


@dataclass(frozen=True)
class Stream:
    """A stream in decode order: times, positions of key frames, what is shown, what is wanted."""

    pts: list[int]
    keys: list[int]
    hidden: frozenset[int]
    wanted: list[int]

    @property
    def index(self) -> PacketIndex:
        return make_index(self.pts, self.keys, hidden=self.hidden)

    @property
    def wanted_positions(self) -> set[int]:
        """Of what is wanted and shown, and not before the first key frame."""
        positions = range(self.keys[0], len(self.pts))
        return {i for i in positions if self.pts[i] in self.wanted and i not in self.hidden}


@st.composite
def streams(draw: st.DrawFn) -> Stream:
    """Groups of pictures, open and closed, with frames reordered within and before the key."""
    pts: list[int] = []
    keys: list[int] = []
    start = draw(st.integers(-50, 50))
    if draw(st.booleans()):  # Frames before the first key frame, as in a cut broadcast.
        n_headless = draw(st.integers(1, 4))
        pts += range(start, start + n_headless)
        start += n_headless
    for number in range(draw(st.integers(1, 6))):
        length = draw(st.integers(1, 8))
        n_leading = draw(st.integers(0, length - 1)) if number or pts else 0
        times = list(range(start, start + length))
        leading, key = times[:n_leading], times[n_leading]
        following = draw(st.permutations(leading)) + draw(st.permutations(times[n_leading + 1 :]))
        keys.append(len(pts))
        pts += [key, *following]
        start += length
    positions = st.sets(st.integers(0, len(pts) - 1))
    hidden = draw(positions) if draw(st.booleans()) else set()
    wanted = draw(positions)
    return Stream(pts, keys, frozenset(hidden), [pts[i] for i in sorted(wanted)])


def needed_positions(stream: Stream) -> set[int]:
    """What decoding the wanted frames takes, by the rule of references alone.

    A frame may refer to its group's frames before it in the file; one that is shown before the
    key frame of its group (a leading frame) also to the group before, but not to that group's
    own leading frames; frames after the key frame never to leading ones.
    """
    group_of = [sum(key <= i for key in stream.keys) - 1 for i in range(len(stream.pts))]

    def is_leading(i: int) -> bool:
        return stream.pts[i] < stream.pts[stream.keys[group_of[i]]]

    def references(i: int) -> set[int]:
        own = {j for j in range(stream.keys[group_of[i]], i) if is_leading(i) or not is_leading(j)}
        if not is_leading(i) or group_of[i] == 0:
            return own
        before = range(stream.keys[group_of[i] - 1], stream.keys[group_of[i]])
        return own | {j for j in before if not is_leading(j)}

    needed: set[int] = set()
    waiting = list(stream.wanted_positions)
    while waiting:
        position = waiting.pop()
        if position not in needed:
            needed.add(position)
            waiting += references(position)
    return needed


def planned_positions(stream: Stream) -> list[int]:
    """The positions of the packets in the plan; times are unique here."""
    plan = plan_packets(stream.index, np.array(stream.wanted, dtype=np.int64))
    return [stream.pts.index(time) for time in plan.pts.tolist()]


@given(streams())
def test_every_wanted_packet_is_planned_and_marked(stream: Stream) -> None:
    plan = plan_packets(stream.index, np.array(stream.wanted, dtype=np.int64))
    targets = {stream.pts.index(time) for time in plan.pts[plan.is_target].tolist()}
    assert targets == stream.wanted_positions


@given(streams())
def test_everything_that_a_wanted_frame_may_refer_to_is_planned(stream: Stream) -> None:
    assert needed_positions(stream) <= set(planned_positions(stream))


@given(streams())
def test_packets_are_planned_in_the_order_of_decoding(stream: Stream) -> None:
    positions = planned_positions(stream)
    assert positions == sorted(set(positions))


@given(streams())
def test_no_packet_is_planned_before_the_first_key_frame(stream: Stream) -> None:
    assert min(planned_positions(stream), default=stream.keys[0]) >= stream.keys[0]


@given(streams())
def test_the_plan_begins_at_a_key_frame(stream: Stream) -> None:
    positions = planned_positions(stream)
    if positions:
        assert positions[0] in stream.keys


@given(streams())
def test_groups_that_nothing_wanted_needs_are_left_out(stream: Stream) -> None:
    needed = needed_positions(stream)
    ends = [*stream.keys[1:], len(stream.pts)]
    planned = set(planned_positions(stream))
    for start, end in zip(stream.keys, ends, strict=True):
        if not needed & set(range(start, end)):
            assert not planned & set(range(start, end))


@given(streams())
def test_the_seek_goes_to_the_first_planned_packet(stream: Stream) -> None:
    plan = plan_packets(stream.index, np.array(stream.wanted, dtype=np.int64))
    positions = planned_positions(stream)
    if not positions or positions[0] == 0:
        assert plan.seek_dts is None
    else:
        assert plan.seek_dts == positions[0]  # The index above has dts equal to position.


def test_the_tail_of_a_group_is_left_out() -> None:
    stream = Stream([0, 1, 2, 3, 4, 5, 6, 7], [0, 4], frozenset(), [1, 4])
    assert planned_positions(stream) == [0, 1, 4]


def test_unwanted_leading_frames_are_left_out_after_a_jump() -> None:
    stream = Stream([0, 1, 2, 6, 4, 5, 7], [0, 3], frozenset(), [7])
    assert planned_positions(stream) == [3, 6]


def test_a_wanted_leading_frame_takes_the_group_before_it() -> None:
    stream = Stream([0, 1, 2, 6, 4, 5, 7], [0, 3], frozenset(), [4])
    assert planned_positions(stream) == [0, 1, 2, 3, 4]


def test_frames_that_an_edit_list_discards_are_never_targets() -> None:
    stream = Stream([0, 1, 2], [0], frozenset({0, 1}), [0, 1, 2])
    assert stream.index.shown.tolist() == [False, False, True]
    plan = plan_packets(stream.index, np.array([0, 1, 2]))
    assert plan.pts.tolist() == [0, 1, 2]
    assert plan.is_target.tolist() == [False, False, True]


def test_a_stream_without_key_frames_is_taken_to_start_with_one() -> None:
    index = make_index([0, 1, 2], [])
    assert index.is_key.tolist() == [True, False, False]


def test_a_packet_without_a_time_makes_a_plan_impossible() -> None:
    builder = PacketIndexBuilder()
    builder.add(pts=0, dts=0, is_key=True, is_shown=True)
    builder.add(pts=None, dts=1, is_key=False, is_shown=True)
    assert not builder.build().plannable


@st.composite
def even_streams(draw: st.DrawFn) -> tuple[list[int], list[int | None], list[int | None]]:
    """Frames at an even rate, some with times: when they are shown, and in decode order their
    stated times of display and of decoding.

    Each group of pictures is a key frame and runs of a frame and those it precedes on screen.
    """
    step, start = draw(st.integers(3, 4000)), draw(st.integers(-(10**6), 10**6))
    n_before, n_runs = draw(st.integers(0, 3)), draw(st.integers(2, 12))
    order = [0]
    for _ in range(n_runs):
        first = len(order)
        order += [first + n_before, *range(first, first + n_before)]
    delay = step if n_before else 0
    is_stated = draw(st.lists(st.booleans(), min_size=len(order), max_size=len(order)))
    is_stated[0] = is_stated[-1] = True
    due = [start + step * k for k in range(len(order))]
    pts = [due[k] if stated else None for k, stated in zip(order, is_stated, strict=True)]
    dts = [at - delay if stated else None for at, stated in zip(due, is_stated, strict=True)]
    return due, pts, dts


@given(even_streams())
def test_frames_without_times_divide_the_gap_between_those_that_have_one(
    stream: tuple[list[int], list[int | None], list[int | None]],
) -> None:
    due, pts, dts = stream
    builder = PacketIndexBuilder()
    for position, (shown_at, decoded_at) in enumerate(zip(pts, dts, strict=True)):
        builder.add(pts=shown_at, dts=decoded_at, is_key=position == 0, is_shown=True)
    index = builder.build()
    assert index.is_timed == (None not in pts)
    assert index.shown_pts.tolist() == due


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(1, 5000))
def test_second_fields_are_no_frames_of_their_own(pairs: list[bool], step: int) -> None:
    """Some frames in one packet and some in two, of which only the first has a time."""
    builder = PacketIndexBuilder()
    for number, is_pair in enumerate(pairs):
        builder.add(pts=step * number, dts=step * number, is_key=True, is_shown=True)
        if is_pair:
            builder.add(pts=None, dts=None, is_key=True, is_shown=True, is_second_field=True)
    index = builder.build()
    assert index.is_timed
    assert len(index.second_fields) == sum(pairs)
    assert index.shown_pts.tolist() == [step * number for number in range(len(pairs))]
    assert np.count_nonzero(index.is_key) == np.count_nonzero(index.shown) == len(pairs)


def test_frames_without_any_time_are_one_interval_apart() -> None:
    builder = PacketIndexBuilder()
    for _ in range(4):
        builder.add(pts=None, dts=None, is_key=False, is_shown=True)
    assert builder.build(interval=40).shown_pts.tolist() == [0, 40, 80, 120]


def test_a_gap_that_something_is_lost_in_is_not_divided() -> None:
    """Every second frame has a time, 10 s are missing, and frames go on as they did."""
    builder = PacketIndexBuilder()
    for time in (0, None, 80, None, 10_160, None, 10_240, None):
        builder.add(pts=time, dts=time, is_key=time == 0, is_shown=True)
    expected = [0, 40, 80, 120, 10_160, 10_200, 10_240, 10_280]
    assert builder.build().shown_pts.tolist() == expected


def test_an_empty_stream_makes_a_plan_impossible() -> None:
    assert not PacketIndexBuilder().build().plannable


def test_a_time_that_comes_again_makes_a_plan_impossible() -> None:
    assert not make_index([0, 2, 1, 2, 3], [0]).plannable


def test_neighbours_may_share_a_time() -> None:
    assert make_index([0, 0, 1, 2, 2, 3], [0]).plannable


def naive_on_screen(shown: list[int], thresholds: list[int], first_until: int) -> list[int | None]:
    """The last frame that is not later, threshold by threshold."""
    found: list[int | None] = []
    for threshold in thresholds:
        current = None
        for time in shown:
            if time <= threshold:
                current = time
        if current is None and shown and shown[0] < first_until:
            current = shown[0]
        found.append(current)
    return found


times = st.lists(st.integers(-100, 100), max_size=30).map(sorted)


@given(st.lists(st.integers(-100, 100), max_size=20, unique=True).map(sorted), times)
def test_the_frame_on_screen_is_that_of_a_plain_loop(
    shown: list[int], thresholds: list[int]
) -> None:
    for first_until in (-101, 0, 101):
        found: NDArray[np.int64] = frames_on_screen(
            np.array(shown, dtype=np.int64),
            np.array(thresholds, dtype=np.int64),
            first_until=first_until,
        )
        as_loop = [None if time == NO_FRAME else time for time in found.tolist()]
        assert as_loop == naive_on_screen(shown, thresholds, first_until)
