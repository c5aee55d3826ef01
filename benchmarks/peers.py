"""The same clips labelled by ``sightsound batch``, plain Ray Data and Daft (Linux).

    python benchmarks/peers.py [--clips 100] [--runs 3] [--workers 1 2]

All three run the same exported networks (EfficientNet-lite0, YAMNet and its front end), with the
same precision and one thread each, on pictures taken twice a second and on the whole sound. The
peers do less: they write the best five of the clip's means, and make no windows, no fusion and
no segments. Their code is in the folder ``peers``; Daft gets an environment of its own in --work.

cost      CPU seconds (see tree_cpu.py), wall time and memory, in turn, on all clips and on a
          fifth of them: the difference is the steady state, what is left is start-up.
accounts  how many of 40 inputs (fewer with fewer clips), five of them broken, have a row in the
          results.

``ray.data.read_videos`` is not used (Ray 2.60): it gives a row a frame and no sound, so that the
frames of a clip would have to be brought together again and the file opened once more; its fps
is a whole stride of frames and not a time; a missing path ends the job before it starts, unless
it is asked to leave such paths out; and a broken file takes the files with it that are read by the
same task (of 6 good clips and 5 broken inputs, 2 good clips were left).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import material
from contestants import HERE
from measure import CommandFailedError, Usage, adopt_orphans, use_cores
from peers_setup import (
    BATCH,
    DAFT,
    FINISHED,
    RAY_DATA,
    Accounts,
    Contestant,
    broken_files,
    contestants,
    quiet_environment,
    write_manifest,
)
from report import conditions, table, write_section

N_GOOD = 35

# Usages on few and on all clips, a pair each round; None where a run failed.
Pairs = list[tuple[Usage, Usage] | None]


def part_cost(
    found: Sequence[Contestant],
    clips: Sequence[Path],
    *,
    runs: int,
    workers: Sequence[int],
    work: Path,
) -> str:
    """What the contestants take, round after round."""
    n_few = max(1, len(clips) // 5)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        few = write_manifest(Path(folder) / "few.txt", clips[:n_few])
        many = write_manifest(Path(folder) / "many.txt", clips)
        one = write_manifest(Path(folder) / "one.txt", clips[:1])
        pairs: dict[tuple[str, int], Pairs] = {
            (contestant.name, count): [] for count in workers for contestant in found
        }
        endings: Counter[str] = Counter()
        for contestant in found:
            _attempt(lambda c=contestant: c.run(one, workers=1)[0])
        for number in range(runs):
            for count in workers:
                for contestant in found:
                    pair = _pair(contestant, {few: n_few, many: len(clips)}, count, endings)
                    pairs[contestant.name, count].append(pair)
                    print(f"round {number + 1}: {_said(contestant.name, count, pair)}", flush=True)
    text = _cost_text(pairs, n_few=n_few, n_many=len(clips), runs=runs)
    for ending, count in endings.items():
        n_runs = 2 * runs * len(workers)
        text += f"\n\n{ending}, with complete results, in {count} of {n_runs} runs."
    return text


def _pair(
    contestant: Contestant, manifests: dict[Path, int], workers: int, endings: Counter[str]
) -> tuple[Usage, Usage] | None:
    """Usages on two manifests, each of so many clips.

    A process that crashes once its results are complete is counted in ``endings``.
    """

    def run(manifest: Path) -> Usage:
        usage, accounts = contestant.run(manifest, workers=workers)
        result = f"{accounts.n_ok} of {manifests[manifest]} clips labelled, {accounts.ending}"
        if accounts.n_ok != manifests[manifest]:
            raise CommandFailedError(f"{contestant.name}: {result}")
        if accounts.ending != FINISHED:
            print(f"{contestant.name}: {result}", flush=True)
            endings[f"{contestant.name}: {accounts.ending}"] += 1
        return usage

    few, many = manifests
    first = _attempt(lambda: run(few))
    second = _attempt(lambda: run(many)) if first else None
    return (first, second) if first and second else None


def _attempt(run: Callable[[], Usage]) -> Usage | None:
    try:
        return run()
    except (CommandFailedError, OSError) as error:
        print(f"failed: {error}", flush=True)
        return None


def _said(name: str, workers: int, pair: tuple[Usage, Usage] | None) -> str:
    head = f"{name:16} {workers} worker{'s' if workers > 1 else ' '}"
    if pair is None:
        return f"{head} failed"
    few, many = pair
    return (
        f"{head} {few.cpu_s:6.1f} and {many.cpu_s:6.1f} CPU s, {few.wall_s:6.1f} and "
        f"{many.wall_s:6.1f} s, {many.rss_bytes / 1e9:.2f} GB"
    )


def _cost_text(pairs: dict[tuple[str, int], Pairs], *, n_few: int, n_many: int, runs: int) -> str:
    between = n_many - n_few
    rows, ratios = [], []
    for (name, workers), all_pairs in pairs.items():
        done = [pair for pair in all_pairs if pair]
        if not done:
            rows.append((name, f"{workers}", "failed", *("",) * 6))
            continue
        cpu = [(many.cpu_s - few.cpu_s) / between for few, many in done]
        wall = [(many.wall_s - few.wall_s) / between for few, many in done]
        start_cpu = [few.cpu_s - n_few * a for (few, _), a in zip(done, cpu, strict=True)]
        start_wall = [few.wall_s - n_few * a for (few, _), a in zip(done, wall, strict=True)]
        rows.append(
            (
                name + ("" if len(done) == runs else f" ({len(done)} of {runs} rounds)"),
                f"{workers}",
                f"{statistics.median(cpu):.3f}",
                f"{min(cpu):.3f} to {max(cpu):.3f}",
                f"{statistics.median(wall):.3f}",
                f"{statistics.median(start_cpu):.1f}",
                f"{statistics.median(start_wall):.1f}",
                f"{max(many.rss_bytes for _, many in done) / 1e9:.2f}",
                f"{max(many.pss_bytes for _, many in done) / 1e9:.2f}",
            )
        )
        ratios += _ratio_row(name, workers, pairs)
    head = (
        *("", "workers", "CPU s a clip", "range", "wall s a clip"),
        *("start-up, CPU s", "start-up, wall s", "peak RSS, GB", "peak PSS, GB"),
    )
    text = (
        f"{n_many} clips of {material.CLIP_S} s, {material.CLIP_WIDTH}x{material.CLIP_HEIGHT} "
        f"H.264 with AAC, and {n_few} of them; median of {runs} rounds, in turn. A clip is the "
        f"difference over {between}; start-up is what is left; memory is of all {n_many}. CPU "
        "seconds are read from each process while it runs (benchmarks/tree_cpu.py).\n\n"
        f"{table(head, rows)}"
    )
    if ratios:
        head = ("batch / peer", "workers", "CPU, all clips", "wall, all clips")
        text += "\n\nWhole runs on all clips, median of the rounds' ratios:\n\n"
        text += table(head, ratios)
    return text


def _ratio_row(
    name: str, workers: int, pairs: dict[tuple[str, int], Pairs]
) -> list[tuple[str, str, str, str]]:
    both = [
        (own[1], theirs[1])
        for own, theirs in zip(pairs.get((BATCH, workers), ()), pairs[name, workers], strict=False)
        if own and theirs
    ]
    if name == BATCH or not both:
        return []
    cpu = statistics.median(own.cpu_s / theirs.cpu_s for own, theirs in both)
    wall = statistics.median(own.wall_s / theirs.wall_s for own, theirs in both)
    return [(name, f"{workers}", f"{cpu:.2f}", f"{wall:.2f}")]


def part_accounts(
    found: Sequence[Contestant], clips: Sequence[Path], *, workers: int, work: Path
) -> str:
    """What becomes of broken inputs among good ones."""
    good = clips[:N_GOOD]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        broken = broken_files(good[-1], Path(folder))
        inputs = list(good)
        # Spread among the good ones, as they would be.
        for number, path in enumerate(broken):
            inputs.insert((number + 1) * len(good) // (len(broken) + 1) + number, path)
        manifest = write_manifest(Path(folder) / "all.txt", inputs)
        rows = []
        for contestant in found:
            accounts = _accounts(contestant, manifest, workers)
            rows.append(
                (
                    contestant.name,
                    f"{accounts.n_rows} of {len(inputs)}",
                    f"{accounts.n_ok}",
                    f"{accounts.n_failed}",
                    f"{accounts.n_reasons}",
                    accounts.ending,
                )
            )
            print(f"accounts: {', '.join(rows[-1])}", flush=True)
    head = ("", "inputs with a row", "labelled", "without labels", "with the reason", "the job")
    return (
        f"{len(inputs)} inputs, {len(broken)} of them broken: a text file, an empty file, a file "
        f"without its index, a missing path, a file with a damaged middle. {workers} workers. The "
        "peers are told not to stop at errors (Ray Data: max_errored_blocks, Daft: on_error).\n\n"
        f"{table(head, rows)}"
    )


def _accounts(contestant: Contestant, manifest: Path, workers: int) -> Accounts:
    try:
        return contestant.run(manifest, workers=workers)[1]
    except (CommandFailedError, OSError) as error:
        print(f"failed: {error}", flush=True)
        return Accounts.none("failed: " + str(error).splitlines()[-1][:80])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--clips", type=int, default=100, metavar="N", help="clips to label")
    parser.add_argument("--runs", type=int, default=3, help="rounds of the comparison")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="numbers to try")
    names = (BATCH, RAY_DATA, DAFT)
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="contestants")
    parser.add_argument("--work", type=Path, default=material.default_work(), help="for made files")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds a run may take")
    parser.add_argument("--cores", type=int, default=2, help="processor cores to use")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md as it is")
    arguments = parser.parse_args()
    if arguments.clips < 2 or arguments.runs < 1 or min(arguments.workers) < 1:
        parser.error("--clips is at least 2, --runs and --workers at least 1")
    return arguments


def main() -> int:
    """Run it; the status is 1 where a contestant could not be measured."""
    arguments = _arguments()
    arguments.work.mkdir(parents=True, exist_ok=True)
    work = arguments.work.resolve()
    adopt_orphans()
    quiet_environment()
    n_cores = use_cores(arguments.cores)
    clips = material.made_clips(work, count=arguments.clips)
    found, missing = contestants(work, only=arguments.only, timeout_s=arguments.timeout)
    cost = part_cost(
        found,
        clips,
        runs=arguments.runs,
        workers=arguments.workers,
        work=work,
    )
    accounts = part_accounts(found, clips, workers=max(arguments.workers), work=work)
    section = f"## peers\n\n{conditions(n_cores)} {_versions(found)}\n\n{_commands()}\n\n{cost}"
    section += f"\n\n{accounts}" + "".join(f"\n\nNot measured: {text}" for text in missing)
    print(f"\n{section}\n", flush=True)
    if not arguments.no_write:
        write_section(HERE / "RESULTS.md", "peers", section)
    return 1 if missing or "failed |" in cost else 0


def _versions(found: Sequence[Contestant]) -> str:
    return " ".join(f"{contestant.versions}." for contestant in found if contestant.versions)


def _commands() -> str:
    return (
        "* sightsound batch: `sightsound batch MANIFEST --out DIR --set workers.count=N`\n"
        "* Ray Data: `python benchmarks/peers/ray_data_peer.py MANIFEST DIR --workers N ...`\n"
        "* Daft: `python benchmarks/peers/daft_peer.py MANIFEST DIR --workers N ...`\n\n"
        "The peers do less: decode all frames by PyAV on one thread, take the nearest to every "
        "half second, run the same exported networks, and write five labels of the means; no "
        "windows, fusion, segments or checks of the files."
    )


if __name__ == "__main__":
    sys.exit(main())
