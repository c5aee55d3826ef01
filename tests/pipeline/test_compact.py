"""Compaction: fewer parts, the same rows, and every input once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pytest
from helpers.results import (
    KilledError,
    StandInListing,
    all_rows,
    commit,
    fail_write_table,
    failed,
    files,
    kill_at,
    labelled,
    open_ledger,
    source,
)
from helpers.results import (
    no_flush as no_flush,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.accounts import account
from sightsound.pipeline.compact import compact
from sightsound.pipeline.keys import make_keys
from sightsound.pipeline.ledger import RunKey, part_name

URIS = ("/a", "/b", "/c", "/d", "/e")
PLENTY = 1 << 30


@st.composite
def histories(draw):
    """Commits, each of some inputs, of which later ones may come again with another result."""
    commits = draw(st.lists(st.lists(st.sampled_from(URIS), min_size=1, unique=True), max_size=6))
    history = []
    for number, uris in enumerate(commits):
        ok = [draw(st.booleans()) for _ in uris]
        score = 0.5 + number / 16
        history.append(
            [
                labelled(uri, n_windows=1 + number % 3, score=score) if good else failed(uri)
                for uri, good in zip(uris, ok, strict=True)
            ]
        )
    return history


def last_of(history):
    """What should be left: the last result of each input."""
    last = {result.uri: result for results in history for result in results}
    return list(last.values())


def written(folder, history):
    for results in history:
        commit(open_ledger(folder), *results)
    return open_ledger(folder)


def rows_of(folder, results):
    """The rows that results make when nothing was ever committed before."""
    if results:
        commit(open_ledger(folder), *results)
    return all_rows(folder)


def commits(folder):
    return len(list((folder / "ledger").glob("*.parquet")))


@given(histories(), st.lists(st.integers(1, 6000), min_size=1, max_size=3))
@settings(max_examples=25)
def test_last_rows_of_each_input_stay_as_they_are_and_no_others(history, part_bytes):
    with tempfile.TemporaryDirectory() as name:
        ledger = written(Path(name, "out"), history)
        for size in part_bytes:
            compact(ledger, part_bytes=size)
        expected = rows_of(Path(name, "plain"), last_of(history))
        assert all_rows(Path(name, "out")) == expected
        again = open_ledger(Path(name, "out"))
        for opened in (ledger, again):
            places = opened.find(make_keys(URIS))
            done = {result.uri for result in last_of(history)}
            assert [place >= 0 for place in places] == [uri in done for uri in URIS]
            assert len(opened.entries) == len(done)


@given(histories(), st.integers(1, 6000))
@settings(max_examples=10)
def test_digest_of_a_run_is_that_of_one_that_wrote_all_at_once(history, part_bytes):
    results = last_of(history)
    listing = StandInListing(*((result.uri, 1) for result in results))
    with tempfile.TemporaryDirectory() as name:
        ledger = written(Path(name, "out"), history)
        compact(ledger, part_bytes=part_bytes)
        plain = open_ledger(Path(name, "plain"))
        if results:
            commit(plain, *results)
        digests = [
            opened.entries["digest"][opened.find(listing.keys)].tolist()
            for opened in (ledger, open_ledger(Path(name, "out")), plain)
        ]
        assert digests[0] == digests[1] == digests[2]


def test_small_commits_become_one(tmp_path):
    ledger = written(tmp_path, [[labelled(uri)] for uri in URIS])
    assert compact(ledger, part_bytes=PLENTY) == 5
    assert files(tmp_path) == [
        f"{name}/00000006.parquet" for name in ("ledger", "segments", "videos", "windows")
    ]


def test_commits_that_fill_a_part_are_left_alone(tmp_path):
    ledger = written(tmp_path, [[labelled(uri)] for uri in URIS])
    before = files(tmp_path)
    assert compact(ledger, part_bytes=min(ledger.commit_bytes.values())) == 0
    assert files(tmp_path) == before


def test_parts_grow_no_larger_than_they_may(tmp_path):
    ledger = written(tmp_path, [[labelled(uri)] for uri in URIS])
    size = max(ledger.commit_bytes.values())
    compact(ledger, part_bytes=2 * size)
    assert commits(tmp_path) == 3
    assert max(ledger.commit_bytes.values()) <= 2 * size


def test_full_commit_with_rows_that_no_longer_count_is_rewritten_without_them(tmp_path):
    ledger = written(tmp_path, [[labelled("/a"), labelled("/b")], [labelled("/a", score=0.75)]])
    assert compact(ledger, part_bytes=1) == 1
    videos = ledger.output.read_table(part_name("videos", 3))
    assert videos["uri"].to_pylist() == ["/b"]


def test_second_compaction_finds_nothing_to_do(tmp_path):
    ledger = written(tmp_path, [[labelled("/a"), labelled("/b")], [labelled("/a")], [failed("/c")]])
    compact(ledger, part_bytes=PLENTY)
    before = files(tmp_path)
    assert compact(ledger, part_bytes=PLENTY) == 0
    assert compact(open_ledger(tmp_path), part_bytes=PLENTY) == 0
    assert files(tmp_path) == before


def test_rows_of_another_model_give_way_and_those_of_its_other_inputs_stay(tmp_path):
    commit(open_ledger(tmp_path), labelled("/a"), labelled("/b"))
    ledger = open_ledger(tmp_path, RunKey("newer", "config"))
    commit(ledger, labelled("/a"))
    compact(ledger, part_bytes=PLENTY)
    found = [(row["uri"], row["model_id"]) for row in all_rows(tmp_path)["videos"]]
    assert found == [("/a", "newer"), ("/b", "model")]
    again = open_ledger(tmp_path, RunKey("newer", "config"))
    assert again.find(make_keys(["/a", "/b"])).tolist() == [1, -1]
    assert again.n_of_other_runs(make_keys(["/a", "/b"])) == 1


def test_columns_of_one_manifest_are_null_in_rows_of_another(tmp_path):
    ledger = open_ledger(tmp_path)
    for uri, column in (("/a", "place"), ("/b", "camera")):
        extra = pa.schema([(column, pa.string())])
        commit(ledger, labelled(uri), sources=[source(uri, extra={column: "x"})], extra=extra)
    compact(ledger, part_bytes=PLENTY)
    found = [(row["place"], row["camera"]) for row in all_rows(tmp_path)["videos"]]
    assert found == [("x", None), (None, "x")]


def test_commit_of_which_nothing_counts_any_more_does_not_end_the_run(tmp_path):
    ledger = written(tmp_path, [[labelled("/a")], [labelled("/a", score=0.75)]])
    compact(ledger, part_bytes=1)
    assert account(ledger, StandInListing(("/a", 1))).statuses == {"ok": 1}


HISTORY = [
    [labelled("/a"), labelled("/b")],
    [labelled("/a", score=0.75), failed("/c")],
    [labelled("/c", score=0.625), labelled("/d")],
    [labelled("/e")],
]


@pytest.mark.parametrize("part_bytes", [2000, PLENTY])
def test_compaction_killed_anywhere_leaves_each_input_once(tmp_path, monkeypatch, part_bytes):
    written(tmp_path / "whole", HISTORY)
    expected = rows_of(tmp_path / "plain", last_of(HISTORY))
    killed_at = 0
    while True:
        killed_at += 1
        folder = tmp_path / "out"
        shutil.copytree(tmp_path / "whole", folder)
        ledger = open_ledger(folder)
        with monkeypatch.context() as patch:
            kill_at(patch, killed_at)
            try:
                compact(ledger, part_bytes=part_bytes)
            except KilledError:
                pass
            else:
                break
        again = open_ledger(folder)
        assert (again.find(make_keys(URIS)) >= 0).all()
        assert list(folder.rglob(".*")) == []
        left = [str(row) for row in all_rows(folder)["windows"]]
        assert len(set(left)) == len(left), "rows that stand in a replaced commit, too"
        parts = {int(path.stem) for path in (folder / "videos").glob("*.parquet")}
        assert parts == set(again.commit_bytes)
        compact(again, part_bytes=part_bytes)
        assert all_rows(folder) == expected
        shutil.rmtree(folder)
    assert killed_at > 10, "it was killed in each of its steps"


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_compaction_on_a_full_disk_leaves_all_that_was_there(tmp_path, monkeypatch, nth):
    ledger = written(tmp_path, HISTORY)
    before = all_rows(tmp_path)
    with monkeypatch.context() as patch:
        fail_write_table(patch, nth)
        with pytest.raises(OSError, match="No space left"):
            compact(ledger, part_bytes=PLENTY)
    assert (ledger.find(make_keys(URIS)) >= 0).all()
    open_ledger(tmp_path)
    assert all_rows(tmp_path) == before
