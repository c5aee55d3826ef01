"""Committer: when results are committed, and that none is lost on the way."""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
from helpers.results import (
    RUN,
    TASKS,
    all_rows,
    committer,
    content_of,
    fail_write_table,
    failed,
    files,
    labelled,
    open_ledger,
    rows,
    source,
)
from helpers.results import no_flush as no_flush
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline import commit as commit_module
from sightsound.pipeline.commit import Committer
from sightsound.pipeline.config import OutputConfig
from sightsound.pipeline.digest import video_digest
from sightsound.pipeline.keys import make_keys
from sightsound.stages.tables import TABLES

RESULTS = [labelled("/a"), failed("/b"), labelled("/c", n_windows=3), labelled("/d", score=0.75)]


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(commit_module, "time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


def within(ledger, commit_s):
    return Committer(ledger, TASKS, OutputConfig(), extra=pa.schema([]), commit_s=commit_s)


def add(waiting, *results):
    for result in results:
        waiting.add(source(result.uri), result)


def n_commits(folder):
    return len(list(folder.glob("ledger/*.parquet")))


# When


def test_result_waits_no_longer_than_it_may(tmp_path, clock):
    waiting = within(open_ledger(tmp_path), commit_s=30)
    add(waiting, RESULTS[0])
    clock.now += 30
    waiting.commit_if_due()
    assert n_commits(tmp_path) == 0
    clock.now += 1
    waiting.commit_if_due()
    assert n_commits(tmp_path) == 1
    assert waiting.is_empty


def test_time_counts_from_the_first_result_that_waits(tmp_path, clock):
    waiting = within(open_ledger(tmp_path), commit_s=30)
    add(waiting, RESULTS[0])
    clock.now += 20
    add(waiting, RESULTS[1])
    clock.now += 20
    waiting.commit_if_due()
    clock.now += 20
    add(waiting, RESULTS[2])
    clock.now += 20
    waiting.commit_if_due()
    assert [row["uri"] for row in rows(tmp_path, "videos")] == ["/a", "/b"]


def test_part_is_committed_once_there_is_enough_for_one(tmp_path, monkeypatch):
    monkeypatch.setattr(commit_module, "_CHUNK", 1)
    ledger = open_ledger(tmp_path)
    waiting = committer(ledger, part_bytes=1000)
    add(waiting, *(labelled(f"/{number}") for number in range(20)))
    waiting.commit()
    assert 1 < n_commits(tmp_path) < 20
    assert all(1000 <= size < 2500 for size in list(ledger.commit_bytes.values())[:-1])


def test_nothing_is_committed_where_nothing_waits(tmp_path):
    waiting = within(open_ledger(tmp_path), commit_s=-1)
    waiting.commit_if_due()
    waiting.commit()
    assert files(tmp_path) == []


def test_what_waits_is_in_no_table(tmp_path):
    waiting = committer(open_ledger(tmp_path))
    add(waiting, *RESULTS)
    assert files(tmp_path) == []
    assert not waiting.is_empty


# What


@given(st.lists(st.booleans(), min_size=4, max_size=4), st.integers(1, 3))
@settings(max_examples=20)
def test_rows_do_not_depend_on_how_they_were_put_together(stops, chunk):
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        one, many = Path(name, "one"), Path(name, "many")
        waiting = committer(open_ledger(one))
        add(waiting, *RESULTS)
        waiting.commit()
        patch.setattr(commit_module, "_CHUNK", chunk)
        waiting = committer(open_ledger(many))
        for result, stop in zip(RESULTS, stops, strict=True):
            add(waiting, result)
            if stop:
                waiting.commit()
        waiting.commit()
        assert all_rows(one) == all_rows(many)
        assert {row["uri"] for row in rows(one, "videos")} == {"/a", "/b", "/c", "/d"}


def test_entry_says_what_the_rows_and_the_input_are(tmp_path):
    ledger = open_ledger(tmp_path)
    waiting = committer(ledger)
    waiting.add(source("/a", size_bytes=7, modified_ns=2**60), RESULTS[0])
    waiting.commit()
    (entry,) = ledger.entries
    assert entry["key"] == make_keys(["/a"])[0]
    assert (entry["size_bytes"], entry["modified_ns"]) == (7, 2**60)
    assert entry["has_content"]
    assert bytes(entry["content"]).hex() == content_of("/a")
    assert (entry["status"], entry["commit"], ledger.runs[entry["run"]]) == (0, 1, RUN)
    (video,), windows, segments = (rows(tmp_path, table) for table in TABLES)
    assert bytes(entry["digest"]) == video_digest(video, windows, segments)
    assert windows and segments


def test_content_found_beforehand_counts_where_the_video_failed(tmp_path):
    ledger = open_ledger(tmp_path)
    waiting = committer(ledger)
    waiting.add(source("/b", content_id=content_of("x")), failed("/b"))
    waiting.add(source("/c"), failed("/c"))
    waiting.commit()
    assert ledger.entries["has_content"].tolist() == [True, False]
    assert bytes(ledger.entries["content"][0]).hex() == content_of("x")


def test_columns_of_a_manifest_come_with_their_video_and_are_no_part_of_its_digest(tmp_path):
    extra = pa.schema([("camera", pa.string()), ("shot", pa.int64())])
    ledger = open_ledger(tmp_path)
    waiting = committer(ledger, extra=extra)
    for number, camera in enumerate(("left", None)):
        values = {"camera": camera, "shot": number}
        waiting.add(source("/a", extra=values), RESULTS[0])
    waiting.commit()
    found = [(row["camera"], row["shot"]) for row in rows(tmp_path, "videos")]
    assert found == [("left", 0), (None, 1)]
    assert ledger.entries["digest"][0] == ledger.entries["digest"][1]


# Disks that are full


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_results_of_a_commit_that_failed_are_in_the_next(tmp_path, monkeypatch, nth):
    ledger = open_ledger(tmp_path / "full")
    waiting = committer(ledger)
    add(waiting, *RESULTS[:2])
    with monkeypatch.context() as patch:
        fail_write_table(patch, nth)
        with pytest.raises(OSError, match="No space left"):
            waiting.commit()
    add(waiting, *RESULTS[2:])
    waiting.commit()
    waiting = committer(open_ledger(tmp_path / "empty"))
    add(waiting, *RESULTS)
    waiting.commit()
    assert all_rows(tmp_path / "full") == all_rows(tmp_path / "empty")
    assert len(ledger.entries) == 4
