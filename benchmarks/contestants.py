"""The three that analyze.py compares, and how they are run in turn."""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet
from measure import Usage, measure
from report import table

HERE = Path(__file__).resolve().parent
SIGHTSOUND = Path(sys.executable).parent / "sightsound"
FFMPEG, PLAIN, ANALYZE = "ffmpeg", "plain script", "analyze"
# Stands in for ffmpeg where there is none: the same decode by PyAV's FFmpeg.
PYAV_DECODE = """
import sys, av
with av.open(sys.argv[1]) as container:
    stream = container.streams.video[0]
    stream.thread_count = 1
    for frame in container.decode(stream):
        pass
"""

Rounds = Mapping[str, Sequence[Usage]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What holds for every part."""

    work: Path
    runs: int
    minutes: int
    model: str
    n_cores: int

    def log(self, name: str) -> Path:
        """Where a command's output goes."""
        return self.work / f"{name.replace(' ', '-')}.log"

    def measure_analyze(self, files: Sequence[Path], *, partial_ok: bool = False) -> Usage:
        """Run ``analyze`` over files once."""
        with tempfile.TemporaryDirectory(dir=self.work) as out:
            command = [str(SIGHTSOUND), "analyze", *map(str, files), "--out", out]
            if self.model != "default":
                command += ["--model", self.model]
            allowed = (0, 3) if partial_ok else (0,)
            usage = measure([command], log=self.log(ANALYZE), allowed_status=allowed)
            _print_failures(Path(out))
        return usage


def decode_command(file: Path) -> tuple[str, list[str]]:
    """How the decode is shown, and how it is run."""
    program = shutil.which("ffmpeg") or _imageio_ffmpeg()
    if program is None:
        return "PyAV decode, 1 thread (no ffmpeg here)", [
            sys.executable,
            "-c",
            PYAV_DECODE,
            str(file),
        ]
    options = ["-nostdin", "-threads", "1", "-i", str(file), "-map", "0:v:0", "-f", "null", "-"]
    return "ffmpeg -nostdin -threads 1 -i FILE -map 0:v:0 -f null -", [program, *options]


def _imageio_ffmpeg() -> str | None:
    try:
        import imageio_ffmpeg
    except ImportError:
        return None
    return str(imageio_ffmpeg.get_ffmpeg_exe())


def compare(setting: Setting, files: Sequence[Path], *, partial_ok: bool = False) -> Rounds:
    """Measure the three in turn, round after round, after one run of analyze to warm up."""
    contestants: dict[str, Callable[[], Usage]] = {
        FFMPEG: lambda: measure(
            [decode_command(file)[1] for file in files], log=setting.log(FFMPEG)
        ),
        PLAIN: lambda: measure(
            [[sys.executable, str(HERE / "plain_script.py"), *map(str, files)]],
            log=setting.log(PLAIN),
        ),
        ANALYZE: lambda: setting.measure_analyze(files, partial_ok=partial_ok),
    }
    setting.measure_analyze(files[:1], partial_ok=partial_ok)
    found: dict[str, list[Usage]] = {name: [] for name in contestants}
    for number in range(setting.runs):
        for name, run in contestants.items():
            usage = run()
            found[name].append(usage)
            print(
                f"round {number + 1}: {name:12} {usage.cpu_s:7.1f} CPU s, {usage.wall_s:7.1f} s, "
                f"{usage.rss_bytes / 1e9:.2f} GB",
                flush=True,
            )
    return found


def rounds_table(rounds: Rounds) -> str:
    """Medians of each contestant, with the range of CPU seconds."""
    rows = []
    for name, usages in rounds.items():
        cpu = [usage.cpu_s for usage in usages]
        rows.append(
            (
                name,
                f"{statistics.median(cpu):.1f}",
                f"{min(cpu):.1f} to {max(cpu):.1f}",
                f"{statistics.median(usage.wall_s for usage in usages):.1f}",
                f"{max(usage.rss_bytes for usage in usages) / 1e9:.2f}",
                f"{max(usage.pss_bytes for usage in usages) / 1e9:.2f}",
            )
        )
    return table(("", "CPU s", "range", "wall s", "peak RSS, GB", "peak PSS, GB"), rows)


def ratio(rounds: Rounds, other: str) -> float:
    """CPU seconds of analyze in those of another: the median of the rounds' ratios."""
    pairs = zip(rounds[ANALYZE], rounds[other], strict=True)
    return statistics.median(own.cpu_s / theirs.cpu_s for own, theirs in pairs)


def commands(file: Path) -> str:
    """The command lines, as a list."""
    return (
        f"* ffmpeg: `{decode_command(file)[0]}`, decode only\n"
        "* plain script: `python benchmarks/plain_script.py FILE`\n"
        "* analyze: `sightsound analyze FILE --out DIR`"
    )


def _print_failures(out: Path) -> None:
    """Name the files that were not labelled whole."""
    for row in parquet.read_table(out / "videos").to_pylist():
        if row["status"] != "ok":
            print(f"analyze: {row['status']}: {row['error_message']}", flush=True)
