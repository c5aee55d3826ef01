"""The end of a batch run: every input is accounted for, and run.json says how it went."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow.compute as pc

from sightsound.models.bundle import Bundle
from sightsound.pipeline.config import Config
from sightsound.pipeline.digest import run_digest
from sightsound.pipeline.identity import identity
from sightsound.pipeline.keys import KeyIndex, rows_of_inputs
from sightsound.pipeline.ledger import STATUSES, Ledger, part_name
from sightsound.pipeline.listing import Listing
from sightsound.pipeline.output import Output
from sightsound.pipeline.watch import Reasons, RunCounts
from sightsound.stages.write import RUN_FILE


class AccountingError(RuntimeError):
    """Inputs and rows do not match: a bug, and never to be passed over."""


@dataclass(frozen=True)
class Accounts:
    """How the inputs of a listing ended."""

    n_inputs: int
    statuses: Counter[str]
    digest: str
    reasons: Reasons = field(default_factory=Reasons)

    def lines(self) -> list[str]:
        """The summary for a person."""
        plural = "input" if self.n_inputs == 1 else "inputs"
        counts = ", ".join(f"{self.statuses[status]} {status}" for status in STATUSES)
        return [f"{self.n_inputs} {plural}: {counts}.", *self.reasons.lines()]


def account(ledger: Ledger, listing: Listing) -> Accounts:
    """Hold the ledger against the listing.

    Raises:
        AccountingError: an input has no result, or the tables do not have the ledger's rows.
        OSError: the tables cannot be read.
    """
    places = ledger.find(listing.keys)
    if (places < 0).any():
        missing = int(np.count_nonzero(places < 0))
        raise AccountingError(
            f"{missing} of {len(listing)} inputs have no result though the run has ended: run the "
            "same command again, and report it."
        )
    entries = ledger.entries
    codes, numbers = np.unique(entries["status"][places], return_counts=True)
    statuses = Counter(
        {STATUSES[code]: int(number) for code, number in zip(codes, numbers, strict=True)}
    )
    if sum(statuses.values()) != len(listing):
        raise AccountingError("Statuses do not add up to the inputs: report it.")
    return Accounts(
        n_inputs=len(listing),
        statuses=statuses,
        digest=run_digest(entries["key"][places], entries["digest"][places]),
        reasons=_reasons(ledger, listing),
    )


def _reasons(ledger: Ledger, listing: Listing) -> Reasons:
    """Why inputs of the listing are not ok; counts the rows of the videos table on the way."""
    reasons = Reasons()
    inputs = KeyIndex(listing.keys)
    columns = ["uri", "status", "error_stage", "error_code", "error_message"]
    n_rows = 0
    for number in ledger.commit_bytes:
        table = ledger.output.read_table(part_name("videos", number), columns=columns)
        n_rows += table.num_rows
        table = table.filter(pc.not_equal(table["status"], "ok"))
        for row in table.filter(rows_of_inputs(table["uri"], inputs)).to_pylist():
            reasons.add(row["status"], row["error_stage"], row["error_code"], row["error_message"])
    if n_rows != len(ledger.entries):
        raise AccountingError(
            f"The videos table has {n_rows} rows for {len(ledger.entries)} inputs in the ledger: "
            "parts were changed by others; delete the output and run again."
        )
    return reasons


def write_run_record(
    output: Output,
    config: Config,
    bundle: Bundle,
    *,
    started: datetime,
    accounts: Accounts,
    counts: RunCounts,
    n_repeated: int,
) -> None:
    """Write ``run.json``, unless it is there and says the same of the same results.

    Raises:
        OSError: it cannot be written.
    """
    if counts.n_done == 0 and _is_told(output, accounts):
        return
    record: dict[str, Any] = {
        "command": "batch",
        "started": started.isoformat(timespec="seconds"),
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "inputs": accounts.n_inputs,
        "named_again": n_repeated,
        "counts": {status: accounts.statuses[status] for status in STATUSES},
        "this_run": {
            "done": counts.n_done,
            "done_before": counts.n_before,
            "duplicates": counts.n_duplicates,
            "tried_again": counts.n_again,
            "video_s": counts.video_s,
            "stage_cpu_s": dict(counts.stage_s),
            "workers": counts.n_workers,
        },
        "digest": accounts.digest,
        **identity(config, bundle),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    output.write(RUN_FILE, text.encode())


def _is_told(output: Output, accounts: Accounts) -> bool:
    if not output.exists(RUN_FILE):
        return False
    try:
        told = json.loads(output.read(RUN_FILE))
    except ValueError:
        return False
    return bool(told.get("digest") == accounts.digest and told.get("inputs") == accounts.n_inputs)
