"""Watching: counts, rates and reasons, as a person reads them."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace

import pytest
from helpers.results import piece, slice_result
from rich.console import Console

from sightsound.pipeline import watch as watch_module
from sightsound.pipeline.watch import Reasons, RunCounts, Watch


class Clock:
    now = 1000.0

    def read(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    stand_in = SimpleNamespace(monotonic=clock.read, time=clock.read)
    monkeypatch.setattr(watch_module, "time", stand_in)
    return clock


def watching(counts, *, metrics=None):
    shown = io.StringIO()
    return Watch(Console(file=shown, width=300), counts, metrics=metrics), shown


# Reasons


def test_reasons_are_counted_with_their_first_example():
    reasons = Reasons()
    reasons.add("failed", "probe", "not_media", "/a is no media file.")
    reasons.add("partial", "decode", "damaged", "/b is damaged.")
    reasons.add("failed", "probe", "not_media", "/c is no media file.")
    assert reasons.lines() == [
        "  2 failed: not_media (probe), such as: /a is no media file.",
        "  1 partial: damaged (decode), such as: /b is damaged.",
    ]


def test_reasons_of_partial_and_failed_inputs_are_kept_apart():
    reasons = Reasons()
    for status in ("partial", "failed"):
        reasons.add(status, "decode", "crashed", "It crashed.")
    assert len(reasons.lines()) == 2


def test_reasons_that_are_as_frequent_are_in_an_order_of_their_own():
    one, other = Reasons(), Reasons()
    codes = ["timeout", "crashed", "damaged"]
    for reasons, order in ((one, codes), (other, codes[::-1])):
        for code in order:
            reasons.add("failed", "decode", code, "It failed.")
    assert one.lines() == other.lines()


def test_more_than_ten_reasons_are_summed_up():
    reasons = Reasons()
    for number in range(13):
        for _ in range(number + 1):
            reasons.add("failed", "decode", f"code{number:02}", "It failed.")
    lines = reasons.lines()
    assert len(lines) == 11
    assert lines[0].startswith("  13 failed: code12 ")
    assert lines[-1] == "  and 3 other reasons: see the videos table"


def test_input_without_a_reason_is_counted_all_the_same():
    reasons = Reasons()
    reasons.add("failed", None, None, None)
    assert list(reasons.groups.values()) == [(1, "")]


# Counts


def test_slices_add_up_to_seconds_of_video_and_of_work():
    counts = RunCounts()
    for item in (piece(0, 0, 3), piece(1, 3, 5)):
        counts.add_slice(slice_result(item))
    assert counts.video_s == 16 + 12
    assert counts.stage_s == {"decode": pytest.approx(0.3), "fuse": pytest.approx(0.02)}


def test_inputs_are_done_whatever_their_status():
    counts = RunCounts(n_inputs=10, n_before=3)
    counts.statuses.update(ok=2, failed=1, partial=1)
    assert counts.n_done == 4


# Rates


def test_estimate_is_what_is_left_at_the_rate_of_this_run(clock):
    counts = RunCounts(n_inputs=100, n_before=40)
    watch, _ = watching(counts)
    assert watch.rates().remaining_s is None
    clock.now += 10
    counts.statuses["ok"] = 20
    counts.video_s = 300
    rates = watch.rates()
    assert rates.elapsed_s == 10
    assert rates.remaining_s == pytest.approx((100 - 40 - 20) / 2)
    assert rates.times_real_time == pytest.approx(30)


def test_estimate_follows_the_latest_five_minutes(clock):
    counts = RunCounts(n_inputs=10_000)
    watch, _ = watching(counts)
    watch.rates()
    for _ in range(60):
        clock.now += 10
        counts.statuses["ok"] += 100
        watch.rates()
    for _ in range(40):
        clock.now += 10
        counts.statuses["ok"] += 10
        rates = watch.rates()
    assert rates.remaining_s == pytest.approx((10_000 - 6400) / 1)


def test_run_that_has_stopped_has_no_estimate(clock):
    counts = RunCounts(n_inputs=10)
    counts.statuses["ok"] = 5
    watch, _ = watching(counts)
    watch.rates()
    clock.now += 60
    assert watch.rates().remaining_s is None


def test_utilisation_is_over_the_time_of_all_workers(clock):
    counts = RunCounts(n_inputs=10, n_workers=4)
    watch, _ = watching(counts)
    watch.rates()
    clock.now += 10
    counts.stage_s.update(decode=20.0, fuse=4.0)
    assert watch.rates().utilisation == {"decode": 0.5, "fuse": 0.1}


# What is shown


def test_line_is_shown_every_ten_seconds_where_there_is_no_terminal(clock):
    counts = RunCounts(n_inputs=8, n_before=2)
    watch, shown = watching(counts)
    with watch:
        clock.now += 9
        watch.tick()
        assert shown.getvalue() == ""
        clock.now += 1
        counts.statuses.update(ok=2, failed=1)
        counts.video_s = 7200
        watch.tick()
        clock.now += 1
        watch.tick()
    assert shown.getvalue() == "5 of 8 inputs done, 2.00 h of video, 1 failed\n"


def test_metrics_are_lines_of_json_added_to_those_there(clock, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"earlier": true}\n')
    counts = RunCounts(n_inputs=8, n_workers=2)
    watch, _ = watching(counts, metrics=path)
    with watch:
        clock.now += 5
        watch.tick()
        clock.now += 1
        counts.statuses.update(ok=3, partial=1)
        counts.n_duplicates = 2
        counts.video_s = 3600
    earlier, first, last = map(json.loads, path.read_text().splitlines())
    assert earlier == {"earlier": True}
    assert (first["done"], first["elapsed_s"]) == (0, 5)
    assert (last["done"], last["ok"], last["partial"], last["failed"]) == (4, 3, 1, 0)
    assert (last["inputs"], last["duplicates"], last["video_hours"]) == (8, 2, 1)
