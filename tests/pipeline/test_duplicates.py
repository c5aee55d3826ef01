"""Duplicates: equal content is labelled once, and every input has a row of its own."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from helpers.results import (
    StandInListing,
    all_rows,
    commit,
    committer,
    content_of,
    failed,
    labelled,
    open_ledger,
    rows,
    source,
)
from helpers.results import no_flush as no_flush
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline.duplicates import Duplicates
from sightsound.pipeline.ledger import RunKey

X, Y = content_of("x"), content_of("y")


@pytest.fixture
def ledger(tmp_path):
    return open_ledger(tmp_path)


def find(ledger, inputs, *, todo=None, retry_failed=False):
    listing = StandInListing(*inputs)
    mask = np.ones(len(listing), dtype=bool) if todo is None else np.array(todo)
    return Duplicates(ledger, listing, mask, retry_failed=retry_failed)


def positions_read(duplicates):
    return [position for block in duplicates.blocks() for position in block["position"].to_pylist()]


def resolved(ledger, contents, *, retry_failed=False):
    """After reading inputs of one size with these contents; None where one is unreadable."""
    inputs = [(f"/{number}", 1000) for number in range(len(contents))]
    duplicates = find(ledger, inputs, retry_failed=retry_failed)
    take(duplicates, contents)
    duplicates.resolve()
    return duplicates


def take(duplicates, contents):
    for block in duplicates.blocks():
        positions = block["position"].to_pylist()
        found = pa.array([contents[position] for position in positions], pa.string())
        duplicates.take(pa.table({"position": block["position"], "content_id": found}))


def commit_sized(ledger, *results, size=1000):
    """Commit results of inputs of one size; those that failed have content X."""
    sources = [source(item.uri, size_bytes=size, content_id=X) for item in results]
    return commit(ledger, *results, sources=sources)


def commit_copies(ledger, duplicates, *inputs):
    waiting = committer(ledger)
    for item, found in duplicates.rows_of(list(inputs)):
        waiting.add_rows(item, *found)
    waiting.commit()


# What is read


def test_only_inputs_that_share_a_size_are_read(ledger):
    sizes = [5, 7, 5, -1, -1, 0, 0, 9]
    assert positions_read(find(ledger, [(f"/{i}", size) for i, size in enumerate(sizes)])) == [0, 2]


def test_input_of_the_size_of_one_that_is_done_is_read(ledger):
    commit_sized(ledger, labelled("/old"), size=7)
    assert positions_read(find(ledger, [("/a", 5), ("/b", 7)])) == [1]


def test_size_of_one_done_by_another_run_says_nothing(ledger, tmp_path):
    commit_sized(ledger, labelled("/old"), size=7)
    other = open_ledger(tmp_path, RunKey("newer", "config"))
    assert positions_read(find(other, [("/a", 7)])) == []


def test_size_of_one_whose_content_is_not_known_says_nothing(ledger):
    commit(ledger, failed("/old"), sources=[source("/old", size_bytes=7)])
    assert positions_read(find(ledger, [("/a", 7)])) == []


def test_inputs_that_are_done_are_not_read_and_have_no_others_read(ledger):
    inputs = [("/a", 5), ("/b", 5), ("/c", 5), ("/d", 7), ("/e", 7)]
    todo = [True, False, True, True, False]
    assert positions_read(find(ledger, inputs, todo=todo)) == [0, 2]


def test_blocks_hold_64_mib_or_one_input(ledger):
    size = 30 << 20
    blocks = find(ledger, [(f"/{i}", size) for i in range(5)]).blocks()
    assert [block["uri"].to_pylist() for block in blocks] == [["/0", "/1"], ["/2", "/3"], ["/4"]]
    blocks = find(ledger, [(f"/{i}", 1 << 40) for i in range(3)]).blocks()
    assert [block["position"].to_pylist() for block in blocks] == [[0], [1], [2]]


def test_blocks_hold_256_small_inputs(ledger):
    blocks = find(ledger, [(f"/{i}", 10) for i in range(600)]).blocks()
    assert [block.num_rows for block in blocks] == [256, 256, 88]


# Which are copies


@given(contents=st.lists(st.sampled_from((X, Y, content_of("z"), None)), max_size=9))
def test_first_of_a_content_is_labelled_and_the_others_are_copies(tmp_path_factory, contents):
    ledger = open_ledger(tmp_path_factory.getbasetemp() / "empty")
    duplicates = resolved(ledger, contents)
    expected = [
        content is not None and content in contents[:place]
        for place, content in enumerate(contents)
    ]
    assert duplicates.is_copy.tolist() == expected


def test_contents_may_come_in_any_order(ledger):
    duplicates = find(ledger, [(f"/{i}", 1000) for i in range(4)])
    for position in (3, 0, 2, 1):
        content = pa.array([(X, Y)[position % 2]])
        duplicates.take(pa.table({"position": pa.array([position]), "content_id": content}))
    duplicates.resolve()
    assert duplicates.is_copy.tolist() == [False, False, True, True]


def test_unreadable_files_are_no_copies_of_each_other(ledger):
    duplicates = resolved(ledger, [None, None, X])
    assert duplicates.is_copy.tolist() == [False, False, False]
    assert duplicates.content_id(0) is None
    assert duplicates.content_id(2) == X


def test_content_that_is_done_under_another_path_is_a_copy(ledger):
    commit_sized(ledger, labelled("/old", content=X))
    assert resolved(ledger, [X, Y]).is_copy.tolist() == [True, False]


def test_content_that_another_run_has_done_is_no_copy(ledger, tmp_path):
    commit_sized(ledger, labelled("/old", content=X))
    other = open_ledger(tmp_path, RunKey("model", "changed"))
    assert resolved(other, [X, X]).is_copy.tolist() == [False, True]


def test_content_that_its_path_has_no_more_is_no_copy(ledger):
    commit_sized(ledger, labelled("/old", content=X))
    commit_sized(ledger, labelled("/old", content=Y))
    assert resolved(ledger, [X, Y]).is_copy.tolist() == [False, True]


@pytest.mark.parametrize(
    ("retry_failed", "is_copy"), [(False, [True, True]), (True, [False, True])]
)
def test_content_that_failed_is_tried_again_only_if_asked_for(ledger, retry_failed, is_copy):
    commit_sized(ledger, failed("/old"))
    assert resolved(ledger, [X, X], retry_failed=retry_failed).is_copy.tolist() == is_copy


# The rows of copies


def test_copy_has_the_rows_of_its_original_under_its_own_path(ledger, tmp_path):
    duplicates = resolved(ledger, [X, X])
    commit_sized(ledger, labelled("/0", content=X), labelled("/other", score=0.75))
    commit_copies(ledger, duplicates, source("/1", 1))
    for table, found in all_rows(tmp_path).items():
        original, copy = (
            [row | {"uri": ""} for row in found if row["uri"] == uri] for uri in ("/0", "/1")
        )
        if table == "videos":
            original = [row | {"processing_s": 0.0} for row in original]
        assert original == copy != []


def test_copy_of_a_failed_input_names_its_own_path_in_the_message(ledger, tmp_path):
    duplicates = resolved(ledger, [X, X])
    commit_sized(ledger, failed("/0"))
    commit_copies(ledger, duplicates, source("/1", 1, content_id=X))
    assert [(row["uri"], row["error_message"]) for row in rows(tmp_path, "videos")] == [
        ("/0", "/0 is no media file."),
        ("/1", "/1 is no media file."),
    ]
    assert ledger.entries["has_content"].tolist() == [True, True]


def test_copies_of_inputs_of_several_commits_each_have_their_own(ledger, tmp_path):
    duplicates = resolved(ledger, [X, Y, Y, X])
    commit_sized(ledger, labelled("/0", content=X, score=0.5))
    commit_sized(ledger, labelled("/1", content=Y, score=0.75))
    commit_copies(ledger, duplicates, source("/2", 2), source("/3", 3))
    best = {row["uri"]: row["action"][0]["score"] for row in rows(tmp_path, "windows")}
    assert best == {"/0": 0.5, "/1": 0.75, "/2": 0.75, "/3": 0.5}


def test_file_that_was_only_touched_has_its_own_rows_again(ledger, tmp_path):
    commit_sized(ledger, labelled("/0", content=X))
    before = all_rows(tmp_path)
    duplicates = resolved(ledger, [X])
    commit_copies(ledger, duplicates, source("/0", 0, modified_ns=9))
    (first, second) = rows(tmp_path, "videos")
    assert second == first | {"processing_s": 0.0}
    assert all_rows(tmp_path)["windows"] == sorted(
        before["windows"] * 2, key=lambda row: row["window"]
    )
    assert ledger.entries["modified_ns"].tolist() == [-1, 9]


def test_copy_of_one_that_was_tried_again_has_the_new_rows(ledger, tmp_path):
    commit_sized(ledger, failed("/old"))
    duplicates = resolved(ledger, [X, X], retry_failed=True)
    commit_sized(ledger, labelled("/0", content=X))
    commit_copies(ledger, duplicates, source("/1", 1))
    assert [row["status"] for row in rows(tmp_path, "videos")] == ["failed", "ok", "ok"]


def test_columns_of_a_manifest_are_those_of_the_copy(ledger, tmp_path):
    extra = pa.schema([("camera", pa.string())])
    duplicates = resolved(ledger, [X, X])
    original = source("/0", extra={"camera": "left"})
    commit(ledger, labelled("/0", content=X), sources=[original], extra=extra)
    waiting = committer(ledger, extra=extra)
    for item, found in duplicates.rows_of([source("/1", 1, extra={"camera": "right"})]):
        waiting.add_rows(item, *found)
    waiting.commit()
    assert [row["camera"] for row in rows(tmp_path, "videos")] == ["left", "right"]


def test_moved_file_whose_old_path_holds_another_by_now_has_its_rows(ledger, tmp_path):
    commit_sized(ledger, labelled("/a", content=X))
    duplicates = find(ledger, [("/a", 77), ("/b", 1000)])
    take(duplicates, [None, X])
    duplicates.resolve()
    assert duplicates.is_copy.tolist() == [False, True]
    commit_sized(ledger, labelled("/a", content=Y), size=77)
    assert not duplicates.release_orphans().any()
    commit_copies(ledger, duplicates, source("/b", 1))
    assert sorted(row["uri"] for row in rows(tmp_path, "videos")) == ["/a", "/a", "/b"]


def test_two_files_that_changed_places_have_each_others_rows(ledger, tmp_path):
    commit_sized(
        ledger, labelled("/0", content=X, score=0.5), labelled("/1", content=Y, score=0.75)
    )
    duplicates = resolved(ledger, [Y, X])
    commit_copies(ledger, duplicates, source("/0", 0), source("/1", 1))
    best = {row["uri"]: row["action"][0]["score"] for row in rows(tmp_path, "windows")}
    assert best == {"/0": 0.75, "/1": 0.5}


def test_copy_whose_original_changed_before_it_was_labelled_is_to_be_labelled_itself(ledger):
    duplicates = resolved(ledger, [X, X])
    assert duplicates.is_copy.tolist() == [False, True]
    commit_sized(ledger, labelled("/0", content=Y))
    assert duplicates.release_orphans().tolist() == [False, True]
    assert not duplicates.is_copy.any()
