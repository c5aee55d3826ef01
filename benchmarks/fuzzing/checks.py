"""What must hold of the result of any file, however damaged."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av

from sightsound.stages.errors import ERROR_CODES
from sightsound.stages.records import VideoResult

# How far the end of the last window may be beyond that of the last packet: of a picture whose
# length nothing says, the plan takes the usual interval.
_SLACK_S = 1.5


@dataclass(frozen=True)
class Violation:
    """A check that failed, and the file (None: the whole run)."""

    path: Path | None
    what: str


def check_result(result: VideoResult) -> Iterator[Violation]:
    """Status and reason go together; windows are in order and end with the file."""
    path = Path(result.uri)
    failure = result.failure
    if result.status not in ("ok", "partial", "failed"):
        yield Violation(path, f"status {result.status}")
    if (failure is None) != (result.status == "ok"):
        yield Violation(path, f"status {result.status} with the reason {failure}")
    if failure is not None and (failure.code not in ERROR_CODES or failure.code == "internal"):
        yield Violation(path, f"{failure.code}: {failure.message}")
    if failure is not None and failure.code in ("crashed", "timeout"):
        yield Violation(path, f"{failure.code}: {failure.message}")
    windows = [scored.window for scored in result.windows]
    if result.status == "failed":
        if windows:
            yield Violation(path, "failed, but with windows")
        return
    assert result.plan is not None
    if not windows or len(windows) != result.plan.n_windows:
        yield Violation(path, f"{len(windows)} windows of {result.plan.n_windows}")
        return
    for before, after in itertools.pairwise(windows):
        if not (before.start_s < after.start_s <= before.end_s <= after.end_s):
            yield Violation(path, f"windows {before} and {after}")
    if windows[0].start_s != 0 or windows[-1].end_s != result.plan.duration_s:
        yield Violation(path, f"windows from {windows[0]} to {windows[-1]}")
    end_s = last_end_s(path)
    if windows[-1].end_s > end_s + _SLACK_S:
        yield Violation(path, f"windows until {windows[-1].end_s:.1f} s, packets {end_s:.1f} s")


def last_end_s(path: Path) -> float:
    """Where the last packet of picture or sound ends, from the start of the first, read plainly."""
    first: Fraction | None = None
    end = Fraction(0)
    with av.open(str(path), metadata_errors="ignore") as container:
        streams = [s for s in container.streams if s.type in ("video", "audio")]
        for _ in range(16):
            try:
                for packet in container.demux(streams):
                    time = packet.pts if packet.pts is not None else packet.dts
                    if time is None or not packet.size or packet.time_base is None:
                        continue
                    duration = packet.duration or 0
                    begin = time * packet.time_base
                    first = begin if first is None else min(first, begin)
                    if duration < 1 << 31:
                        begin += duration * packet.time_base
                    end = max(end, begin)
                break
            except av.error.FFmpegError:
                continue
    return float(end - (first or 0))
