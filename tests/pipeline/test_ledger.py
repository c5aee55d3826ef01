"""The ledger: what was committed is there, and what was begun and not finished is not."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from helpers.results import (
    RUN,
    KilledError,
    all_rows,
    commit,
    content_of,
    fail_write_table,
    failed,
    files,
    kill_at,
    labelled,
    open_ledger,
    rows,
    source,
    use_store,
)
from helpers.results import (
    no_flush as no_flush,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.keys import keys_from_hex, make_keys
from sightsound.pipeline.ledger import ENTRY, Ledger, Part, RunKey, part_name
from sightsound.pipeline.manifests import SourceError
from sightsound.pipeline.output import Output, OutputError

OTHER_MODEL, OTHER_CONFIG = RunKey("newer", "config"), RunKey("model", "changed")
INT64 = st.integers(-(2**63), 2**63 - 1)
KEYS = st.binary(min_size=16, max_size=16)


def found(ledger, *uris):
    return ledger.find(make_keys(uris)).tolist()


def statuses(ledger, *uris):
    return ledger.entries["status"][ledger.find(make_keys(uris))].tolist()


def contents(ledger, *names):
    return ledger.find_contents(keys_from_hex(content_of(name) for name in names)).tolist()


def uris(folder, table="videos"):
    return [row["uri"] for row in rows(folder, table)]


def write_parts_without_an_entry(folder, number, *results):
    """What a run leaves that is killed between the parts and the entry."""
    assert commit(open_ledger(folder), *results) == number
    (folder / part_name("ledger", number)).unlink()


# What is committed


def test_empty_output_has_no_input(tmp_path):
    ledger = open_ledger(tmp_path)
    assert found(ledger, "/a") == [-1]
    assert contents(ledger, "/a") == [-1]
    assert ledger.n_of_other_runs(make_keys(["/a"])) == 0


@st.composite
def entries(draw):
    made = np.zeros(draw(st.integers(0, 8)), dtype=ENTRY)
    for entry in made:
        for name in ("key", "content", "digest"):
            entry[name] = np.frombuffer(draw(KEYS), dtype=entry[name].dtype)[0]
        entry["size_bytes"], entry["modified_ns"] = draw(INT64), draw(INT64)
        entry["status"], entry["run"] = draw(st.integers(0, 2)), draw(st.integers(0, 2))
        entry["has_content"] = draw(st.booleans())
        if not entry["has_content"]:
            entry["content"] = 0
    return made


@given(st.lists(entries(), max_size=4))
@settings(max_examples=30)
def test_reopened_ledger_has_the_entries_that_were_committed(commits):
    with tempfile.TemporaryDirectory() as folder:
        ledger = open_ledger(Path(folder))
        ledger.runs += [OTHER_MODEL, OTHER_CONFIG]
        for some in commits:
            ledger.commit(some, {})
        again = open_ledger(Path(folder))
    known = [again.runs[index] for index in again.entries["run"]]
    assert known == [ledger.runs[index] for index in ledger.entries["run"]]
    for name in set(ENTRY.names) - {"run"}:
        assert np.array_equal(again.entries[name], ledger.entries[name]), name
    assert again.commit_bytes == ledger.commit_bytes
    assert again.next_number == ledger.next_number == len(commits) + 1


def test_later_commit_of_an_input_wins_at_once_and_after_reopening(tmp_path):
    ledger = open_ledger(tmp_path)
    commit(ledger, failed("/a"), labelled("/b"))
    commit(ledger, labelled("/a"), failed("/b"))
    assert statuses(ledger, "/a", "/b") == [0, 2]
    assert statuses(open_ledger(tmp_path), "/a", "/b") == [0, 2]


@pytest.mark.parametrize("other", [OTHER_MODEL, OTHER_CONFIG])
def test_results_of_another_model_or_configuration_are_not_found(tmp_path, other):
    commit(open_ledger(tmp_path), labelled("/a"), labelled("/b"))
    ledger = open_ledger(tmp_path, other)
    assert found(ledger, "/a", "/b", "/c") == [-1, -1, -1]
    assert contents(ledger, "/a") == [-1]


def test_only_inputs_last_done_by_another_run_count_as_such(tmp_path):
    commit(open_ledger(tmp_path), *map(labelled, ("/a", "/b", "/c")))
    ledger = open_ledger(tmp_path, OTHER_MODEL)
    commit(ledger, labelled("/a"), labelled("/d"))
    assert ledger.n_of_other_runs(make_keys(["/a", "/b", "/d", "/e"])) == 1


def test_result_of_this_run_that_another_run_has_replaced_is_not_found(tmp_path):
    commit(open_ledger(tmp_path), labelled("/a"), labelled("/b"))
    commit(open_ledger(tmp_path, OTHER_CONFIG), labelled("/a"))
    ledger = open_ledger(tmp_path)
    assert found(ledger, "/a", "/b") == [-1, 1]
    assert contents(ledger, "/a", "/b") == [-1, 1]


def test_content_is_found_under_whatever_name_it_was_committed(tmp_path):
    ledger = open_ledger(tmp_path)
    commit(ledger, labelled("/a"), labelled("/b", content=content_of("/moved")))
    assert contents(ledger, "/moved", "/b", "/a") == [1, -1, 0]


def test_content_that_its_input_has_no_more_is_not_found(tmp_path):
    ledger = open_ledger(tmp_path)
    commit(ledger, labelled("/a", content=content_of("old")))
    commit(ledger, labelled("/a", content=content_of("new")))
    assert contents(ledger, "old", "new") == [-1, 1]


def test_input_whose_content_is_not_known_has_no_content_to_be_found_by(tmp_path):
    ledger = open_ledger(tmp_path)
    commit(ledger, failed("/a"))
    zero = np.zeros(1, dtype=ENTRY)["content"]
    assert ledger.find_contents(zero).tolist() == [-1]
    assert open_ledger(tmp_path).find_contents(zero).tolist() == [-1]


def test_table_without_rows_has_no_part(tmp_path):
    commit(open_ledger(tmp_path), failed("/a"))
    assert files(tmp_path) == ["ledger/00000001.parquet", "videos/00000001.parquet"]


# What killed runs leave


def test_parts_without_an_entry_are_removed(tmp_path):
    commit(open_ledger(tmp_path), labelled("/a"))
    before = all_rows(tmp_path)
    write_parts_without_an_entry(tmp_path, 2, labelled("/b"))
    assert uris(tmp_path) == ["/a", "/b"]
    ledger = open_ledger(tmp_path)
    assert all_rows(tmp_path) == before
    assert ledger.n_removed == 3
    assert found(ledger, "/a", "/b") == [0, -1]


@pytest.mark.parametrize("folder", ["videos", "windows", "segments", "ledger"])
def test_half_written_file_is_removed(tmp_path, folder):
    commit(open_ledger(tmp_path), labelled("/a"))
    (tmp_path / folder / ".00000002.parquet.tmp").write_bytes(b"PAR1 half of")
    ledger = open_ledger(tmp_path)
    assert list(tmp_path.rglob(".*")) == []
    assert ledger.n_removed == 1
    assert found(ledger, "/a") == [0]


def test_number_of_a_killed_commit_is_taken_by_rows_of_the_next_alone(tmp_path):
    write_parts_without_an_entry(tmp_path, 1, labelled("/a"))
    assert commit(open_ledger(tmp_path), failed("/b")) == 1
    assert uris(tmp_path) == ["/b"]
    assert uris(tmp_path, "windows") == []


def test_files_that_are_not_the_ledgers_are_left_alone(tmp_path):
    commit(open_ledger(tmp_path), labelled("/a"))
    mine = ["windows/notes.txt", "ledger/slices/0-5.npz", "7.parquet"]
    for name in mine:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    open_ledger(tmp_path)
    assert set(mine) <= set(files(tmp_path))


def test_folder_with_tables_of_others_is_refused(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/0a1b-00000.parquet").write_bytes(b"x")
    with pytest.raises(OutputError, match="choose another --out"):
        open_ledger(tmp_path)


def test_commit_killed_anywhere_is_there_in_full_or_not_at_all(tmp_path, monkeypatch):
    killed_at = 0
    while True:
        killed_at += 1
        folder = tmp_path / str(killed_at)
        commit(open_ledger(folder), labelled("/a"))
        before = all_rows(folder)
        ledger = open_ledger(folder)
        with monkeypatch.context() as patch:
            kill_at(patch, killed_at)
            try:
                commit(ledger, labelled("/b"), labelled("/c"))
            except KilledError:
                pass
            else:
                break
        assert found(open_ledger(folder), "/a", "/b", "/c") == [0, -1, -1]
        assert all_rows(folder) == before
    assert killed_at == 5, "three parts, and the entry"


# Replaced commits


def test_replaced_commits_still_beside_the_new_one_are_removed(tmp_path, monkeypatch):
    ledger = open_ledger(tmp_path)
    first, second = commit(ledger, labelled("/a")), commit(ledger, labelled("/b"))
    tables = {
        name: Output(str(tmp_path)).read_table(part_name(name, first)) for name in ("videos",)
    }
    monkeypatch.setattr(ledger, "forget", lambda numbers: None)
    parts = {name: Part(rows.schema, [rows], rows.nbytes) for name, rows in tables.items()}
    ledger.commit(ledger.entries[:1], parts, replaces=(first,))
    assert sorted(uris(tmp_path)) == ["/a", "/a", "/b"]
    again = open_ledger(tmp_path)
    assert sorted(uris(tmp_path)) == ["/a", "/b"]
    assert again.entries["commit"].tolist() == [second, 3]
    assert list(again.commit_bytes) == [second, 3]
    assert not any(f"{first:08d}" in name for name in files(tmp_path))


def test_replaced_commits_are_gone_at_once_where_nothing_kills_the_run(tmp_path):
    ledger = open_ledger(tmp_path)
    for uri in ("/a", "/b", "/c"):
        commit(ledger, labelled(uri))
    ledger.commit(ledger.entries[:2], {}, replaces=(1, 2))
    assert found(ledger, "/a", "/b", "/c") == [1, 2, 0]
    assert ledger.entries["commit"].tolist() == [3, 4, 4]
    assert uris(tmp_path) == ["/c"]


# Disks that are full


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_commit_that_cannot_be_written_does_not_count(tmp_path, monkeypatch, nth):
    ledger = open_ledger(tmp_path)
    commit(ledger, labelled("/a"))
    before = all_rows(tmp_path)
    with monkeypatch.context() as patch:
        fail_write_table(patch, nth)
        with pytest.raises(OSError, match="No space left"):
            commit(ledger, labelled("/b"))
    assert found(ledger, "/a", "/b") == [0, -1]
    assert found(open_ledger(tmp_path), "/a", "/b") == [0, -1]
    assert all_rows(tmp_path) == before


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
def test_commit_is_made_in_full_once_it_can_be_written(tmp_path, monkeypatch, nth):
    ledger = open_ledger(tmp_path / "full")
    with monkeypatch.context() as patch:
        fail_write_table(patch, nth)
        with pytest.raises(OSError, match="No space left"):
            commit(ledger, labelled("/a"))
    commit(ledger, labelled("/a"))
    commit(open_ledger(tmp_path / "empty"), labelled("/a"))
    assert all_rows(tmp_path / "full") == all_rows(tmp_path / "empty")


def test_parts_of_a_failed_commit_do_not_become_those_of_the_next(tmp_path, monkeypatch):
    ledger = open_ledger(tmp_path)
    with monkeypatch.context() as patch:
        fail_write_table(patch, 4)
        with pytest.raises(OSError, match="No space left"):
            commit(ledger, labelled("/a"))
    commit(ledger, failed("/b"))
    open_ledger(tmp_path)
    assert uris(tmp_path, "windows") == []


# Elsewhere


def test_ledger_in_a_store_is_found_again(tmp_path, monkeypatch):
    use_store(monkeypatch, tmp_path)
    for name in ("videos", "windows", "segments", "ledger"):
        (tmp_path / "bucket/out" / name).mkdir(parents=True)
    ledger = Ledger(Output("store://bucket/out"), RUN)
    commit(ledger, labelled("/a"), failed("/b"), sources=[source("/a"), source("/b", 1)])
    again = Ledger(Output("store://bucket/out"), RUN)
    assert statuses(again, "/a", "/b") == [0, 2]
    assert uris(tmp_path / "bucket/out") == ["/a", "/b"]


def test_column_that_has_another_type_than_in_earlier_results_is_refused(tmp_path):
    ledger = open_ledger(tmp_path)
    extra = pa.schema([("shot", pa.int64())])
    commit(ledger, labelled("/a"), sources=[source("/a", extra={"shot": 7})], extra=extra)
    ledger.check_columns(extra)
    ledger.check_columns(pa.schema([("other", pa.string())]))
    with pytest.raises(SourceError, match="shot of the manifest is string, but int64"):
        ledger.check_columns(pa.schema([("shot", pa.string())]))
