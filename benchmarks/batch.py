"""What ``sightsound batch`` costs beside ``analyze``, and what a million inputs take (Linux).

    python benchmarks/batch.py [--parts overhead speedup scale] [--runs 3] [--entries 1000000]

overhead  CPU seconds a clip, ``batch`` (Ray) and ``analyze`` (worker processes) in turn, two
          workers each, on 300 clips of 10 s and on 30 of them: the difference over 270 is the
          steady state, what is left is start-up.
speedup   wall time of ``batch`` on the 300 clips with two workers and with one.
scale     a manifest of a million entries with a stand-in for decode and inference
          (stand_in.py): listing, memory of the driver, a second start.

Prints medians, ratios and targets, and puts them into RESULTS.md.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import material
from contestants import HERE, SIGHTSOUND
from measure import CommandFailedError, Usage, adopt_orphans, measure, use_cores
from report import Target, publish, table
from tree_cpu import TreeCpu

N_CLIPS, N_FEW = 300, 30


def run_engine(engine: str, clips: Sequence[Path], *, workers: int, work: Path) -> Usage:
    """Run one engine over clips once."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        command = [
            *(str(SIGHTSOUND), engine, *map(str, clips), "--out", f"{folder}/out"),
            *("--set", f"workers.count={workers}"),
        ]
        with TreeCpu() as tree:
            usage = measure([command], log=work / f"{engine}.log")
        return replace(usage, cpu_s=tree.cpu_s)


def wall_s(clips: Sequence[Path], *, workers: int, work: Path) -> float:
    """Wall time of ``batch``, with nothing beside that reads how it fares."""
    with tempfile.TemporaryDirectory(dir=work) as folder:
        command = [
            *(str(SIGHTSOUND), "batch", *map(str, clips), "--out", f"{folder}/out"),
            *("--set", f"workers.count={workers}"),
        ]
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - began


def part_overhead(clips: Sequence[Path], *, runs: int, work: Path) -> tuple[str, list[Target]]:
    """Steady-state CPU of both engines."""
    found: dict[str, list[tuple[Usage, Usage]]] = {"analyze": [], "batch": []}
    for number in range(runs):
        for engine, usages in found.items():
            few = run_engine(engine, clips[:N_FEW], workers=2, work=work)
            many = run_engine(engine, clips, workers=2, work=work)
            usages.append((few, many))
            print(
                f"round {number + 1}: {engine:8} {few.cpu_s:6.1f} and {many.cpu_s:6.1f} CPU s, "
                f"{few.wall_s:6.1f} and {many.wall_s:6.1f} s",
                flush=True,
            )
    rows = []
    for engine, usages in found.items():
        steady = [_steady_s(few, many) for few, many in usages]
        start = [few.cpu_s - N_FEW * each for (few, _), each in zip(usages, steady, strict=True)]
        rows.append(
            (
                engine,
                f"{statistics.median(steady):.3f}",
                f"{min(steady):.3f} to {max(steady):.3f}",
                f"{statistics.median(start):.1f}",
                f"{statistics.median(many.wall_s for _, many in usages):.1f}",
                f"{max(many.rss_bytes for _, many in usages) / 1e9:.2f}",
                f"{max(many.pss_bytes for _, many in usages) / 1e9:.2f}",
            )
        )
    ratio = statistics.median(
        _steady_s(*own) / _steady_s(*local)
        for own, local in zip(found["batch"], found["analyze"], strict=True)
    )
    head = (
        "",
        "CPU s a clip",
        "range",
        "start-up, CPU s",
        "wall s",
        "peak RSS, GB",
        "peak PSS, GB",
    )
    text = (
        f"{N_CLIPS} clips of 10 s, 640x360 H.264 with AAC, and {N_FEW} of them; 2 workers; median "
        f"of {runs} rounds, in turn. A clip is (CPU of {N_CLIPS} - CPU of {N_FEW}) / "
        f"{N_CLIPS - N_FEW}; wall time and memory are of all {N_CLIPS}.\n\n{table(head, rows)}"
    )
    return text, [Target(what="CPU a clip, batch / analyze", limit=1.10, measured=ratio)]


def part_speedup(clips: Sequence[Path], *, runs: int, work: Path) -> tuple[str, list[Target]]:
    """Wall time with two workers and with one."""
    ratios, rows = [], []
    for number in range(runs):
        walls = [wall_s(clips, workers=count, work=work) for count in (1, 2)]
        ratios.append(walls[1] / walls[0])
        rows.append((f"{number + 1}", *(f"{wall:.1f}" for wall in walls), f"{ratios[-1]:.2f}"))
        print(f"round {number + 1}: {walls[0]:.1f} s with 1, {walls[1]:.1f} s with 2", flush=True)
    text = f"The {N_CLIPS} clips, whole runs with start-up.\n\n" + table(
        ("round", "1 worker, wall s", "2 workers, wall s", "ratio"), rows
    )
    target = Target(what="wall, 2 workers / 1", limit=0.58, measured=statistics.median(ratios))
    return text, [target]


def part_scale(entries: int, *, work: Path) -> tuple[str, list[Target]]:
    """A manifest of many entries, labelled by a stand-in, and started again."""
    manifest = make_manifest(entries, work)
    out = work / "scale-out"
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {"PYTHONPATH": str(HERE)}
    command = [sys.executable, str(HERE / "stand_in.py"), str(manifest), str(out)]

    def run() -> tuple[float, float]:
        done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
        match = re.search(r"([\d.]+) s, (\d+) MB", done.stdout)
        assert match is not None, done.stdout
        return float(match[1]), float(match[2])

    listing_s = time_listing(manifest)
    print(f"listing {entries} entries: {listing_s:.1f} s", flush=True)
    first_s, first_mb = run()
    print(f"first run: {first_s:.0f} s, {first_mb:.0f} MB", flush=True)
    again_s, again_mb = run()
    n_files = sum(1 for path in out.rglob("*.parquet"))
    size_mb = sum(path.stat().st_size for path in out.rglob("*.parquet")) / 1e6
    shutil.rmtree(out)
    text = (
        f"A text manifest of {entries} small files, no two of one size; every input is given one "
        f"window with made-up scores. First run {first_s:.0f} s ({entries / first_s:.0f} inputs a "
        f"second, 2 workers), {n_files} Parquet files of {size_mb:.0f} MB together; driver "
        f"{first_mb:.0f} MB at its peak, {again_mb:.0f} MB in the second start."
    )
    return text, [
        Target(
            what="listing, s for each 20,000 entries", limit=1, measured=listing_s / entries * 2e4
        ),
        Target(what="peak RSS of the driver", limit=1.0, measured=first_mb / 1e3, unit=" GB"),
        Target(what="second start", limit=60, measured=again_s, unit=" s"),
    ]


def time_listing(manifest: Path) -> float:
    """Seconds to read a manifest and look at each of its files."""
    from sightsound.pipeline.listing import Listing
    from sightsound.pipeline.sources import read_sources

    began = time.perf_counter()
    with Listing.build(read_sources([str(manifest)])):
        return time.perf_counter() - began


def make_manifest(entries: int, work: Path) -> Path:
    """A manifest of files that take no room on the disk; their sizes differ."""
    folder = work / "scale-files"
    manifest = work / f"scale-{entries}.txt"
    if manifest.is_file():
        return manifest
    part = manifest.with_suffix(".part")
    with part.open("w", encoding="utf-8") as lines:
        for number in range(entries):
            path = folder / f"{number // 1000:04d}" / f"{number:07d}.mp4"
            if number % 1000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.truncate(1000 + number)
            lines.write(f"{path}\n")
    return part.rename(manifest)


def _steady_s(few: Usage, many: Usage) -> float:
    return (many.cpu_s - few.cpu_s) / (N_CLIPS - N_FEW)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = ("overhead", "speedup", "scale")
    parser.add_argument("--parts", nargs="*", choices=names, default=names)
    parser.add_argument("--runs", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--entries", type=int, default=1_000_000, help="lines of the manifest")
    parser.add_argument("--work", type=Path, default=material.default_work(), help="for made files")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    return parser.parse_args()


def main() -> int:
    """Run the parts asked for; the status is 1 where a target is missed."""
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    work = arguments.work.resolve()
    adopt_orphans()
    n_cores = use_cores(arguments.cores)
    all_met = True
    for name in arguments.parts:
        try:
            if name == "scale":
                text, targets = part_scale(arguments.entries, work=work)
            else:
                clips = material.made_clips(work, count=N_CLIPS)
                part = part_overhead if name == "overhead" else part_speedup
                text, targets = part(clips, runs=arguments.runs, work=work)
        except CommandFailedError as error:
            sys.exit(f"benchmarks/batch.py: {error}")
        write = not arguments.no_write
        all_met &= publish(f"batch: {name}", text, targets, n_cores=n_cores, write=write)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
