"""Rounds: every input comes to one result, in whatever order its slices come, or is missing."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from helpers.results import (
    RUN,
    SEGMENTS,
    content_of,
    files,
    media_info,
    piece,
    plain,
    slice_result,
    source,
    video_plan,
)
from helpers.results import no_flush as no_flush
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.batch_steps import End
from sightsound.pipeline.output import Output
from sightsound.pipeline.rounds import Round, given_up
from sightsound.pipeline.stored_slices import StoredSlices, span_of
from sightsound.stages.records import Failure

URIS = ("/a", "/b", "/c")
CRASHED = Failure(stage="decode", code="crashed", message="It crashed.")
DAMAGED = Failure(stage="decode", code="damaged", message="It is damaged.")


def end_of(position, index=0, n_slices=1, *, failure=None, is_death=False, is_stored=False):
    """What becomes of a slice of two windows of the input at ``position``."""
    item = piece(index, 2 * index, 2 * index + 2)
    return End(
        position=position,
        info=media_info(URIS[position]),
        plan=video_plan(n_windows=2 * n_slices),
        n_slices=n_slices,
        index=index,
        span=span_of(item),
        result=None if failure or is_stored else slice_result(item, score=0.5 + index / 8),
        failure=failure,
        windows=item.windows if failure else (),
        is_death=is_death,
        is_stored=is_stored,
    )


class Trial:
    """A round over the three inputs, and what came of it."""

    def __init__(self, folder, *, is_last=False, positions=(0, 1, 2)):
        self.stored = StoredSlices(Output(str(folder)), RUN)
        inputs = {position: source(URIS[position], position) for position in positions}
        self.round = Round(inputs, self.stored, SEGMENTS, is_last=is_last)
        self.counted = []
        self.results = {}

    def take(self, *ends):
        for end in ends:
            for item, result in self.round.take(end, on_slice=self.counted.append):
                assert item.position not in self.results, "a second result"
                self.results[item.position] = result
        return self

    @property
    def missing(self):
        return sorted(self.round.missing)


@pytest.fixture
def trial(tmp_path):
    return Trial(tmp_path)


@pytest.fixture
def last_trial(tmp_path):
    return Trial(tmp_path, is_last=True)


# Whole videos

ENDS = [
    end_of(0),
    *(end_of(1, index, 3) for index in range(3)),
    end_of(2, 0, 2),
    end_of(2, 1, 2, failure=DAMAGED),
]


@given(st.permutations(ENDS), st.lists(st.sampled_from(ENDS), max_size=6), st.booleans())
@settings(max_examples=40)
def test_results_do_not_depend_on_the_order_of_slices_or_on_repeats(ends, again, is_last):
    with tempfile.TemporaryDirectory() as name:
        plainly = Trial(Path(name, "plain")).take(*ENDS)
        mixed = Trial(Path(name, "mixed"), is_last=is_last)
        mixed.take(*(end for pair in zip(again, ends, strict=False) for end in pair), *ends)
        assert plain(mixed.results) == plain(plainly.results)
        assert mixed.missing == plainly.missing == []
        assert sorted(mixed.results) == [0, 1, 2]


def test_result_has_the_windows_of_all_slices_in_order(trial):
    trial.take(*(end_of(1, index, 3) for index in (2, 0, 1)))
    (result,) = trial.results.values()
    assert (result.uri, result.status) == ("/b", "ok")
    assert [scored.window.index for scored in result.windows] == [0, 1, 2, 3, 4, 5]
    assert result.n_frames_decoded == 3 * 16
    assert result.n_frames_corrupt == 0 + 1 + 2
    assert result.processing_s == pytest.approx(0.1 + 0.2 + 0.3 + 3 * 0.01)
    assert [segment.end_s for segment in result.segments if segment.task == "action"] == [28.0]


def test_repeated_slice_stands_for_no_other(trial):
    trial.take(*[end_of(1, 0, 3)] * 3, end_of(1, 1, 3))
    assert trial.results == {}
    assert trial.missing == [0, 1, 2]


def test_slice_that_comes_after_the_result_is_ignored(trial):
    trial.take(end_of(0), end_of(0), end_of(0, failure=CRASHED, is_death=True))
    assert list(trial.results) == [0]
    assert trial.missing == [1, 2]


def test_slice_of_an_input_of_another_round_is_ignored(tmp_path):
    trial = Trial(tmp_path, positions=(0,)).take(end_of(1))
    assert trial.results == {}
    assert trial.missing == [0]


def test_work_counts_once_a_slice(trial):
    trial.take(end_of(1, 0, 3), end_of(1, 0, 3), end_of(1, 1, 3, failure=DAMAGED))
    assert [(end.position, end.index) for end in trial.counted] == [(1, 0)]


# Slices in the output


def test_slices_of_a_long_video_are_kept_in_the_output(trial):
    trial.take(end_of(1, 1, 3), end_of(1, 2, 3))
    assert trial.stored.spans() == {content_of("/b"): {(2, 4), (4, 6)}}


def test_video_of_one_slice_leaves_nothing_in_the_output(trial, tmp_path):
    trial.take(end_of(0))
    assert files(tmp_path) == []


def test_stored_slices_are_used_and_are_no_work(tmp_path):
    Trial(tmp_path).take(end_of(1, 0, 3), end_of(1, 2, 3))
    later = Trial(tmp_path).take(
        end_of(1, 0, 3, is_stored=True), end_of(1, 1, 3), end_of(1, 2, 3, is_stored=True)
    )
    at_once = Trial(tmp_path / "other").take(*(end_of(1, index, 3) for index in range(3)))
    assert plain(later.results) == plain(at_once.results)
    assert [end.index for end in later.counted] == [1]


def test_video_of_which_all_slices_are_stored_is_complete(tmp_path):
    Trial(tmp_path, is_last=True).take(end_of(1, 0, 2))
    Trial(tmp_path, is_last=True).take(end_of(1, 1, 2))
    later = Trial(tmp_path).take(*(end_of(1, index, 2, is_stored=True) for index in range(2)))
    assert later.results[1].status == "ok"
    assert later.counted == []


def test_slice_that_cannot_be_stored_is_an_error(trial, monkeypatch):
    def put(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StoredSlices, "put", put)
    with pytest.raises(OSError, match="No space left"):
        trial.take(end_of(1, 0, 3))


# Failures and deaths


@pytest.mark.parametrize("is_last", [False, True])
def test_input_that_failed_at_the_start_has_a_result_with_the_reason(tmp_path, is_last):
    trial = Trial(tmp_path, is_last=is_last).take(End(position=0, failure=DAMAGED))
    assert (trial.results[0].status, trial.results[0].failure) == ("failed", DAMAGED)
    assert trial.missing == [1, 2]


@pytest.mark.parametrize("is_last", [False, True])
def test_damaged_slice_makes_a_partial_result_and_no_other_try(tmp_path, is_last):
    trial = Trial(tmp_path, is_last=is_last)
    trial.take(end_of(1, 0, 2), end_of(1, 1, 2, failure=DAMAGED))
    result = trial.results[1]
    assert (result.status, result.failure) == ("partial", DAMAGED)
    assert [scored.corrupt for scored in result.windows] == [False, False, True, True]
    assert [bool(scored.tasks) for scored in result.windows] == [True, True, False, False]


def test_input_over_which_a_process_died_at_the_start_is_missing(trial):
    trial.take(End(position=0, failure=CRASHED, is_death=True), end_of(1))
    assert list(trial.results) == [1]
    assert trial.missing == [0, 2]
    assert trial.round.missing[0].uri == "/a"


def test_input_over_which_a_process_died_at_the_start_fails_in_the_last_round(last_trial):
    last_trial.take(End(position=0, failure=CRASHED, is_death=True))
    assert (last_trial.results[0].status, last_trial.results[0].failure) == ("failed", CRASHED)
    assert last_trial.missing == [1, 2]


def test_input_over_whose_slice_a_process_died_is_missing_and_its_other_slices_are_kept(trial):
    trial.take(end_of(1, 0, 3, failure=CRASHED, is_death=True), end_of(1, 2, 3), end_of(1, 1, 3))
    assert trial.results == {}
    assert trial.missing == [0, 1, 2]
    assert trial.stored.spans() == {content_of("/b"): {(2, 4), (4, 6)}}


def test_input_that_was_put_aside_comes_to_no_result_in_the_same_round(trial):
    trial.take(end_of(0, failure=CRASHED, is_death=True), end_of(0))
    assert trial.results == {}
    assert trial.missing == [0, 1, 2]


def test_slice_over_which_a_process_died_is_lost_in_the_last_round(last_trial):
    last_trial.take(end_of(1, 0, 2, failure=CRASHED, is_death=True), end_of(1, 1, 2))
    result = last_trial.results[1]
    assert (result.status, result.failure) == ("partial", CRASHED)
    assert [scored.corrupt for scored in result.windows] == [True, True, False, False]
    assert last_trial.missing == [0, 2]


def test_only_slice_over_which_a_process_died_fails_in_the_last_round(last_trial):
    last_trial.take(end_of(0, failure=CRASHED, is_death=True))
    result = last_trial.results[0]
    assert (result.status, result.failure, result.windows) == ("failed", CRASHED, ())


def test_round_after_a_death_completes_the_video_from_what_is_stored(tmp_path):
    Trial(tmp_path).take(end_of(1, 0, 2), end_of(1, 1, 2, failure=CRASHED, is_death=True))
    again = Trial(tmp_path, is_last=True, positions=(1,))
    again.take(end_of(1, 0, 2, is_stored=True), end_of(1, 1, 2))
    assert again.results[1].status == "ok"
    assert again.missing == []


def test_input_of_which_a_slice_never_comes_is_missing(trial):
    trial.take(end_of(1, 0, 2))
    assert trial.missing == [0, 1, 2]


def test_input_that_never_came_back_fails_with_advice():
    result = given_up(source("/a"), attempts=3)
    assert (result.uri, result.status) == ("/a", "failed")
    assert (result.failure.stage, result.failure.code) == ("decode", "crashed")
    assert "/a was given up" in result.failure.message
    assert "3 times" in result.failure.message


# Blocks


def blocks_of(n_inputs, n_workers, *, one_by_one):
    inputs = {
        7 * number: source(f"/{number}", 7 * number, size_bytes=100 + number)
        for number in range(n_inputs)
    }
    this_round = Round(inputs, None, SEGMENTS, is_last=False)
    return this_round.blocks(n_workers, one_by_one=one_by_one)


@given(st.integers(0, 700), st.integers(0, 40), st.booleans())
@settings(max_examples=30)
def test_blocks_hold_every_input_once_and_in_order(n_inputs, n_workers, one_by_one):
    blocks = blocks_of(n_inputs, n_workers, one_by_one=one_by_one)
    found = [pair for block in blocks for pair in block.to_pylist()]
    assert found == [
        {"position": 7 * i, "uri": f"/{i}", "size_bytes": 100 + i} for i in range(n_inputs)
    ]


def test_blocks_of_one_by_one_hold_one_input():
    blocks = blocks_of(50, 1, one_by_one=True)
    assert [block.num_rows for block in blocks] == [1] * 50


def test_blocks_get_smaller_so_that_workers_finish_together():
    sizes = [block.num_rows for block in blocks_of(5000, 2, one_by_one=False)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1]) == (256, 1)


def test_no_block_holds_more_than_a_worker_should_lose():
    assert max(block.num_rows for block in blocks_of(20_000, 1, one_by_one=False)) == 256
