"""Tables of measurements, on the terminal and as sections of RESULTS.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

_VERSIONED = ("sightsound", "av", "openvino", "torch", "decord", "librosa", "numpy")
_TITLE = "# Benchmarks\n"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A number that must stay below a limit."""

    what: str
    limit: float
    measured: float
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the measured number is at most the limit."""
        return self.measured <= self.limit


def target_table(targets: Sequence[Target]) -> str:
    """The targets beside what was measured."""
    rows = [
        (
            target.what,
            f"at most {target.limit:g}{target.unit}",
            f"{target.measured:.2f}{target.unit}",
            "yes" if target.met else "**no**",
        )
        for target in targets
    ]
    return table(("target", "limit", "measured", "met"), rows)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table with padded columns, readable as it is."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [head, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| "
        + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        + " |"
        for line in lines
    )


def conditions(n_cores: int) -> str:
    """Date, processor and versions, in a line or two."""
    versions = ", ".join(f"{name} {version(name)}" for name in _VERSIONED)
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {_processor()}, {n_cores} cores used, load {load:.1f} at "
        f"the end, Python {platform.python_version()}, {versions}."
    )


def write_section(path: Path, name: str, text: str) -> None:
    """Put ``text`` where the section ``name`` is, or at the end, leaving the others alone."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    before = path.read_text(encoding="utf-8") if path.is_file() else _TITLE
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), flags=re.DOTALL)
    after, n_found = pattern.subn(lambda _: section, before, count=1)
    if not n_found:
        after = f"{before.rstrip()}\n\n{section}\n"
    path.write_text(after, encoding="utf-8")


def publish(title: str, text: str, targets: Sequence[Target], *, n_cores: int, write: bool) -> bool:
    """Print a part's section and put it into RESULTS.md; whether all targets are met.

    ``title`` is ``BENCHMARK: PART``.
    """
    section = f"## {title}\n\n{conditions(n_cores)}\n\n{text}"
    if targets:
        section += f"\n\n{target_table(targets)}"
    print(f"\n{section}\n", flush=True)
    if write:
        results = Path(__file__).resolve().parent / "RESULTS.md"
        write_section(results, title.replace(": ", "-"), section)
    return all(target.met for target in targets)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
