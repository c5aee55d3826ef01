"""Listing: every input once, found again by its key, with the facts that its file has."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sightsound.pipeline import listing as listing_module
from sightsound.pipeline.keys import KeyIndex, make_keys
from sightsound.pipeline.listing import UNKNOWN, Listing
from sightsound.pipeline.sources import BATCH_ROWS, SourceError, read_sources
from sightsound.stages.storage import FileFacts

TEXTS = st.sampled_from(("/a", "/b", "/c", "/d"))
IDS = st.sampled_from((None, "x", "y"))


def batch(uris, ids=None, **columns):
    ids = ids or [None] * len(uris)
    core = {"uri": pa.array(uris, pa.string()), "id": pa.array(ids, pa.string())}
    return pa.record_batch(core | columns)


def rows(listing, mask=None):
    return [row for found in listing.batches(mask) for row in found.to_pylist()]


@given(st.lists(st.lists(st.tuples(TEXTS, IDS), max_size=5), max_size=4))
def test_each_input_is_there_once_where_it_came_first(groups):
    named = [pair for group in groups for pair in group]
    batches = (batch([u for u, _ in group], [i for _, i in group]) for group in groups)
    with Listing.build(batches) as listing:
        firsts = dict(reversed(named))
        found = {row["uri"]: row["id"] for row in rows(listing)}
        assert found == firsts and list(found) == list(dict.fromkeys(uri for uri, _ in named))
        assert len(listing) + listing.n_repeated == len(named)


@given(st.lists(st.booleans(), min_size=9, max_size=9))
def test_mask_picks_rows_with_their_own_facts_and_positions(chosen):
    uris = [f"/{index}" for index in range(10)]
    uris[6] = uris[2]
    sizes = pa.array(range(10), pa.int64())
    parts = [
        batch(uris[start:stop], size_bytes=sizes[start:stop], modified_ns=sizes[start:stop])
        for start, stop in ((0, 3), (3, 4), (4, 10))
    ]
    with Listing.build(iter(parts)) as listing:
        found = rows(listing, np.array(chosen))
    inputs = [index for index in range(10) if index != 6]
    assert found == [
        {
            "position": position,
            "uri": f"/{inputs[position]}",
            "id": None,
            "size_bytes": inputs[position],
            "modified_ns": inputs[position],
        }
        for position in np.flatnonzero(chosen)
    ]


def test_mask_of_another_length_is_refused():
    with (
        Listing.build(iter([batch(["/a", "/b"])])) as listing,
        pytest.raises(ValueError, match="1"),
    ):
        rows(listing, np.array([True]))


def test_keys_find_the_inputs_again_in_another_order():
    uris = [f"/{index}.mp4" for index in range(1000)]
    with Listing.build(iter([batch(uris[::-1])])) as listing:
        found = KeyIndex(listing.keys).find(make_keys(uris))
    assert found.tolist() == list(range(1000))[::-1]


def test_facts_are_those_of_the_file_and_unknown_where_there_is_none(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"123")
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    names = [str(path), path.as_uri(), str(tmp_path), f"{path}/x", "/nul\0byte", "file:x"]
    with Listing.build(iter([batch(names)])) as listing:
        assert listing.size_bytes.tolist() == [3, 3, *[UNKNOWN] * 4]
        assert listing.modified_ns.tolist() == [1_700_000_000_123_456_789] * 2 + [UNKNOWN] * 4


def test_facts_of_a_store_are_asked_for_where_its_listing_gave_none(monkeypatch):
    asked = []

    def file_facts(uri):
        asked.append(uri)
        if uri.endswith("absent"):
            raise FileNotFoundError(uri)
        return FileFacts(7, None)

    monkeypatch.setattr(listing_module, "file_facts", file_facts)
    known = {"size_bytes": pa.array([5, None, None]), "modified_ns": pa.array([6, None, None])}
    known = {name: values.cast(pa.int64()) for name, values in known.items()}
    with Listing.build(
        iter([batch(["s3://b/a", "s3://b/b", "s3://b/absent"], **known)])
    ) as listing:
        assert listing.size_bytes.tolist() == [5, 7, UNKNOWN]
        assert listing.modified_ns.tolist() == [6, UNKNOWN, UNKNOWN]
    assert sorted(asked) == ["s3://b/absent", "s3://b/b"]


def test_store_is_asked_for_several_files_at_once(monkeypatch):
    meeting = threading.Barrier(8, timeout=30)

    def file_facts(uri):
        meeting.wait()
        return FileFacts(1, 1)

    monkeypatch.setattr(listing_module, "file_facts", file_facts)
    with Listing.build(iter([batch([f"s3://b/{index}" for index in range(8)])])) as listing:
        assert listing.size_bytes.tolist() == [1] * 8


def test_manifests_with_other_columns_go_together():
    parts = [
        batch(["/a"], score=pa.array([1.5])),
        batch(["/b"], note=pa.array(["n"]), score=pa.nulls(1)),
        batch(["/c"]),
    ]
    with Listing.build(iter(parts)) as listing:
        assert listing.passthrough == pa.schema([("score", pa.float64()), ("note", pa.string())])
        assert [(row["score"], row["note"]) for row in rows(listing)] == [
            (1.5, None),
            (None, "n"),
            (None, None),
        ]
        assert {found.schema for found in listing.batches()} == {
            pa.schema(
                [
                    ("position", pa.int64()),
                    ("uri", pa.string()),
                    ("id", pa.string()),
                    ("size_bytes", pa.int64()),
                    ("modified_ns", pa.int64()),
                    *listing.passthrough,
                ]
            )
        }


def test_column_with_two_types_is_named_with_both():
    parts = [batch(["/a"], score=pa.array([1])), batch(["/b"], score=pa.array(["x"]))]
    with pytest.raises(SourceError, match=r"Column score is int64 in one .* string in another"):
        Listing.build(iter(parts))


@pytest.fixture
def open_files(tmp_path, monkeypatch):
    """Counts the open files of a folder that stands for that of temporary files."""
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("open files are only counted where there is /proc")
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    def count():
        assert not list(temporary.iterdir()), "a file has a name"
        numbers = [int(number) for number in os.listdir(folder)]
        links = [f"/proc/self/fd/{number}" for number in numbers]
        targets = [os.readlink(link) for link in links if os.path.lexists(link)]
        return sum(target.startswith(str(temporary)) for target in targets)

    return count


def test_file_of_rows_has_no_name_and_goes_when_closed(open_files):
    with Listing.build(iter([batch(["/a"])])):
        assert open_files() == 1
    assert open_files() == 0


def test_failed_source_closes_the_file(tmp_path, open_files):
    seen = []
    with pytest.raises(SourceError):
        Listing.build(
            read_sources(["/absent/a.mp4", str(tmp_path / "absent.csv")]),
            on_progress=lambda n_named: seen.append(open_files()),
        )
    assert (seen, open_files()) == ([1], 0)


def test_progress_counts_what_was_named(tmp_path):
    path = tmp_path / "m.txt"
    path.write_text("a.mp4\n" * (BATCH_ROWS + 1))
    told: list[int] = []
    with Listing.build(read_sources([str(path)]), on_progress=told.append) as listing:
        assert len(listing) == 1
    assert told == [BATCH_ROWS, BATCH_ROWS + 1]
