"""A table as plain cells, and how numbers are written in them."""

from __future__ import annotations

from dataclasses import dataclass

from sightsound.pipeline.evaluation.results import Interval, Intervals


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table with a caption that says what its numbers are; ``note`` may follow it."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def with_interval(value: float | None, intervals: Intervals, key: str) -> str:
    """A score and its interval, such as ``0.812 [0.790, 0.833]``."""
    return (
        f"{number(value)} {interval_text(intervals.get(key))}".strip() if value is not None else "–"
    )


def interval_text(interval: Interval | None, *, signed: bool = False) -> str:
    """An interval in brackets, nothing where there is none."""
    if interval is None or not interval.n_resamples:
        return ""
    return f"[{interval.low:{'+' * signed}.3f}, {interval.high:{'+' * signed}.3f}]"


def number(value: float | None) -> str:
    """Three digits, or a dash for what cannot be said."""
    return "–" if value is None else f"{value:.3f}"


def p_value(value: float) -> str:
    """A p-value with as many digits as matter."""
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def plain_text(table: Table) -> str:
    """A table for a terminal: columns as wide as they need be, two spaces between."""
    lines = (table.head, *table.rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.head))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        + "\n"
        for line in lines
    )
