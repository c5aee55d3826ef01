"""Accounts: every input is counted once, and what does not add up is said."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from helpers.results import (
    RUN,
    StandInListing,
    commit,
    failed,
    labelled,
    open_ledger,
)
from helpers.results import no_flush as no_flush
from hypothesis import given, settings
from hypothesis import strategies as st

from sightsound.pipeline.accounts import (
    AccountingError,
    Accounts,
    account,
    write_run_record,
)
from sightsound.pipeline.config import Config
from sightsound.pipeline.ledger import RunKey
from sightsound.pipeline.watch import RunCounts

RESULTS = [
    labelled("/a"),
    failed("/b"),
    failed("/c"),
    labelled("/d", score=0.75),
    failed("/e", "empty_file"),
]


def listing_of(*uris):
    return StandInListing(*((uri, 1) for uri in uris))


@pytest.fixture
def ledger(tmp_path):
    ledger = open_ledger(tmp_path)
    commit(ledger, *RESULTS[:3])
    commit(ledger, *RESULTS[3:])
    return ledger


def test_every_input_is_counted_with_its_reason(ledger):
    accounts = account(ledger, listing_of("/a", "/b", "/c", "/d", "/e"))
    assert accounts.n_inputs == 5
    assert accounts.statuses == {"ok": 2, "failed": 3}
    assert accounts.lines() == [
        "5 inputs: 2 ok, 0 partial, 3 failed.",
        "  2 failed: not_media (probe), such as: /b is no media file.",
        "  1 failed: empty_file (probe), such as: /e is no media file.",
    ]


def test_inputs_of_earlier_runs_that_are_not_listed_do_not_count(ledger):
    accounts = account(ledger, listing_of("/c", "/d"))
    assert accounts.statuses == {"ok": 1, "failed": 1}
    assert list(accounts.reasons.groups.values()) == [(1, "/c is no media file.")]


@given(st.permutations(RESULTS), st.lists(st.booleans(), min_size=5, max_size=5))
@settings(max_examples=20)
def test_digest_and_counts_do_not_depend_on_order_or_commits(results, stops):
    with tempfile.TemporaryDirectory() as name:
        one, many = open_ledger(Path(name, "one")), open_ledger(Path(name, "many"))
        commit(one, *RESULTS)
        waiting = []
        for result, stop in zip(results, stops, strict=True):
            waiting.append(result)
            if stop:
                commit(many, *waiting)
                waiting = []
        if waiting:
            commit(many, *waiting)
        plain = account(one, listing_of("/a", "/b", "/c", "/d", "/e"))
        mixed = account(many, listing_of("/d", "/b", "/e", "/a", "/c"))
    assert mixed.digest == plain.digest
    assert mixed.statuses == plain.statuses


def test_digest_is_over_the_inputs_of_the_listing(ledger):
    listings = [listing_of("/a"), listing_of("/d"), listing_of("/a", "/d")]
    assert len({account(ledger, listing).digest for listing in listings}) == 3


def test_input_without_a_result_is_an_error(ledger):
    with pytest.raises(AccountingError, match="1 of 3 inputs have no result"):
        account(ledger, listing_of("/a", "/b", "/nowhere"))


def test_result_of_another_model_is_none(ledger, tmp_path):
    other = open_ledger(tmp_path, RunKey("newer", RUN.config_id))
    commit(other, labelled("/a"))
    with pytest.raises(AccountingError, match="1 of 2 inputs have no result"):
        account(other, listing_of("/a", "/b"))


def test_part_that_lost_rows_is_an_error(ledger, tmp_path):
    path = tmp_path / "videos/00000001.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(AccountingError, match="4 rows for 5 inputs"):
        account(ledger, listing_of("/d"))


def test_part_that_was_deleted_is_an_error(ledger, tmp_path):
    (tmp_path / "videos/00000002.parquet").unlink()
    with pytest.raises(FileNotFoundError, match=r"videos/00000002\.parquet"):
        account(ledger, listing_of("/a"))


def test_summary_of_one_input_is_in_the_singular():
    accounts = Accounts(1, Counter(ok=1), "")
    assert accounts.lines() == ["1 input: 1 ok, 0 partial, 0 failed."]


def test_run_record_says_how_the_run_went(ledger, tmp_path):
    accounts = account(ledger, listing_of("/a", "/b"))
    counts = RunCounts(n_inputs=2, n_before=1, n_workers=3, n_duplicates=1, n_again=4, video_s=12.5)
    counts.statuses["failed"] += 1
    counts.stage_s["decode"] += 0.25
    config = Config()
    write_run_record(
        ledger.output,
        config,
        SimpleNamespace(name="default", model_id="model"),
        started=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        accounts=accounts,
        counts=counts,
        n_repeated=7,
    )
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["started"] == "2026-01-02T03:04:05+00:00"
    assert datetime.fromisoformat(record["ended"]) > datetime.fromisoformat(record["started"])
    assert record["counts"] == {"ok": 1, "partial": 0, "failed": 1}
    assert record["this_run"] == {
        "done": 1,
        "done_before": 1,
        "duplicates": 1,
        "tried_again": 4,
        "video_s": 12.5,
        "stage_cpu_s": {"decode": 0.25},
        "workers": 3,
    }
    assert (record["inputs"], record["named_again"]) == (2, 7)
    assert record["digest"] == accounts.digest
    assert (record["model_id"], record["config_id"]) == ("model", config.config_id())
    assert Config.model_validate(record["config"]) == config
    assert {"sightsound", "ray", "pyarrow"} <= set(record["versions"])
