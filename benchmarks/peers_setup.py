"""What peers.py compares: how each contestant is got, run and asked what it accounts for."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import psutil
import pyarrow.dataset
from contestants import HERE, SIGHTSOUND
from measure import CommandFailedError, Usage, measure
from tree_cpu import TreeCpu

BATCH, RAY_DATA, DAFT = "sightsound batch", "Ray Data", "Daft"
FINISHED = "finished"
DAFT_VERSION = "0.7.26"
# Those of the project's environment. Daft itself says which pyarrow (0.7 wants one below 26).
SHARED_PACKAGES = ("av", "numpy", "openvino", "pillow")
_INSTALL_TIMEOUT_S = 1200
_PEERS = HERE / "peers"


@dataclass(frozen=True, kw_only=True)
class Accounts:
    """What the results of a run say of its inputs.

    ``n_rows`` counts inputs with a row, ``n_failed`` those of them without labels, ``n_reasons``
    those of the latter whose row says why. ``ending`` says how the job ended.
    """

    n_rows: int
    n_ok: int
    n_failed: int
    n_reasons: int
    ending: str

    @classmethod
    def none(cls, ending: str) -> Accounts:
        """Nothing is accounted for."""
        return cls(n_rows=0, n_ok=0, n_failed=0, n_reasons=0, ending=ending)


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """One way to have clips labelled.

    ``command`` makes the command line from manifest, folder of results and number of workers.
    """

    name: str
    command: Callable[[Path, Path, int], list[str]]
    is_ok: str
    statuses: tuple[int, ...]
    work: Path
    timeout_s: float
    table: str = "."
    reason: str | None = None
    versions: str = ""

    def run(self, manifest: Path, *, workers: int) -> tuple[Usage, Accounts]:
        """Run it once, however it ends; the accounts say how, and what it left.

        Raises:
            CommandFailedError: something of it went on running.
        """
        with tempfile.TemporaryDirectory(dir=self.work, ignore_cleanup_errors=True) as folder:
            out = Path(folder) / "out"
            status = Path(folder) / "status"
            usage = _measure(
                self.command(manifest, out, workers),
                log=self._log,
                status=status,
                timeout_s=self.timeout_s,
            )
            return usage, self._accounts(out, _ending(int(status.read_text()), self.statuses))

    @property
    def _log(self) -> Path:
        return self.work / f"peers-{self.name.replace(' ', '-')}.log"

    def _accounts(self, out: Path, ending: str) -> Accounts:
        folder = out / self.table
        files = sorted(folder.rglob("*.parquet")) if folder.is_dir() else []
        rows: dict[str, dict[str, object]] = {}
        for file in files:
            # A job that was cut off may leave files without their end.
            with contextlib.suppress(OSError, pyarrow.ArrowInvalid):
                for row in pyarrow.dataset.dataset(str(file)).to_table().to_pylist():
                    rows[str(row["uri"])] = row
        ok = [row for row in rows.values() if self._ok(row)]
        bad = [row for row in rows.values() if not self._ok(row)]
        reasons = [row for row in bad if self.reason is not None and row[self.reason]]
        return Accounts(
            n_rows=len(rows),
            n_ok=len(ok),
            n_failed=len(bad),
            n_reasons=len(reasons),
            ending=ending,
        )

    def _ok(self, row: dict[str, object]) -> bool:
        value = row[self.is_ok]
        return value == "ok" if self.is_ok == "status" else value is not None


def contestants(
    work: Path, *, only: Sequence[str], timeout_s: float
) -> tuple[list[Contestant], list[str]]:
    """The contestants that can be had here, and why others cannot."""
    networks = _network_arguments(work)
    missing: list[str] = []
    common = {"work": work, "timeout_s": timeout_s}

    def batch_command(manifest: Path, out: Path, workers: int) -> list[str]:
        settings = ("--set", f"workers.count={workers}", "--set", "inference.engine=openvino")
        return [str(SIGHTSOUND), "batch", str(manifest), "--out", str(out), *settings]

    def peer(python: Path, script: str) -> Callable[[Path, Path, int], list[str]]:
        def command(manifest: Path, out: Path, workers: int) -> list[str]:
            given = (str(python), str(_PEERS / script), str(manifest), str(out))
            return [*given, "--workers", f"{workers}", *networks]

        return command

    found = [
        Contestant(
            name=BATCH,
            command=batch_command,
            is_ok="status",
            statuses=(0, 3),
            table="videos",
            reason="error_message",
            **common,
        ),
        Contestant(
            name=RAY_DATA,
            command=peer(Path(sys.executable), "ray_data_peer.py"),
            is_ok="n_frames",
            statuses=(0,),
            versions=f"Ray {version('ray')}",
            **common,
        ),
    ]
    found = [contestant for contestant in found if contestant.name in only]
    if DAFT in only:
        try:
            python = daft_python(work)
        except (OSError, subprocess.SubprocessError) as error:
            missing.append(f"{DAFT}: it could not be installed ({error}).")
        else:
            daft = Contestant(
                name=DAFT,
                command=peer(python, "daft_peer.py"),
                is_ok="n_frames",
                statuses=(0,),
                versions=f"Daft {DAFT_VERSION}",
                **common,
            )
            found.append(daft)
    return found, missing


def daft_python(work: Path) -> Path:
    """The interpreter of Daft's environment, made in ``work`` where it is not there yet."""
    wanted = [f"daft=={DAFT_VERSION}", *(f"{name}=={version(name)}" for name in SHARED_PACKAGES)]
    folder = work / "daft-environment"
    python, note = folder / "bin" / "python", folder / "installed.txt"
    if note.is_file() and note.read_text().split() == wanted:
        return python
    print("Installing Daft into an environment of its own (once) ...", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", *wanted],
    ):
        subprocess.run(command, check=True, timeout=_INSTALL_TIMEOUT_S, stdin=subprocess.DEVNULL)
    note.write_text("\n".join(wanted))
    return python


def quiet_environment() -> None:
    """What all that is started inherits: no reports of usage, the usual priority, the modules."""
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "DAFT_ANALYTICS_ENABLED": "0",
        "SCARF_NO_ANALYTICS": "true",
        "DO_NOT_TRACK": "true",
        # Ray runs its workers at the lowest priority unless told otherwise (sightsound tells it).
        "RAY_worker_niceness": "0",
        "PYTHONPATH": os.pathsep.join(
            path for path in (str(_PEERS), os.environ.get("PYTHONPATH")) if path
        ),
    }


def write_manifest(path: Path, inputs: Sequence[Path]) -> Path:
    """A path a line."""
    path.write_text("".join(f"{name}\n" for name in inputs))
    return path


def broken_files(clip: Path, folder: Path) -> list[Path]:
    """Five inputs that cannot be labelled whole; one of them is not there."""
    whole = clip.read_bytes()
    middle = slice(len(whole) * 4 // 10, len(whole) * 5 // 10)
    damaged = bytearray(whole)
    damaged[middle] = random.Random(0).randbytes(middle.stop - middle.start)
    contents = {
        "text.mp4": b"This is not a video.\n" * 50,
        "empty.mp4": b"",
        # The index (moov) is at the end of the file.
        "cut.mp4": whole[: len(whole) * 6 // 10],
        "damaged.mp4": bytes(damaged),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in contents), folder / "missing.mp4"]


def _network_arguments(work: Path) -> list[str]:
    """Where sightsound's exported networks are, as a peer's command line names them."""
    from sightsound.models.bundle import load_bundle
    from sightsound.models.engines.openvino_engine import OpenVinoEngine, exported_path
    from sightsound.pipeline.config import load_config
    from sightsound.pipeline.prepare import prepare

    config = load_config(settings=("inference.engine=openvino",))
    bundle = load_bundle(config.model)
    prepare(config, bundle, say=print)
    (visual,), (audio,) = bundle.visual, bundle.audio
    specs = {
        "--frames": visual.network(),
        "--log-mel": audio.front_end(),
        "--sounds": audio.network(),
    }
    arguments = ["--compiled", str(work / "peers-compiled")]
    for option, spec in specs.items():
        arguments += [option, str(exported_path(spec, batch_size=1))]
    in_bfloat16 = "bfloat16" in OpenVinoEngine(config.engine_options()).description
    return [*arguments, "--precision", "bf16" if in_bfloat16 else "f32"]


def _measure(command: Sequence[str], *, log: Path, status: Path, timeout_s: float) -> Usage:
    """Run a command, no longer than it may take, and leave nothing of it running."""
    limited = ("timeout", "--kill-after=10", f"{timeout_s:g}", *command)
    try:
        with TreeCpu() as cpu:
            usage = measure([["sh", "-c", '"$@"; echo $? >"$0"', str(status), *limited]], log=log)
    except CommandFailedError:
        _end_descendants()
        raise
    return replace(usage, cpu_s=max(usage.cpu_s, cpu.cpu_s))


def _ending(status: int, good: Sequence[int]) -> str:
    """The exit status of a shell in words."""
    if status in good:
        return FINISHED
    if status in (124, 137):
        return "took too long or was killed"
    if status > 128:
        return f"crashed ({signal.Signals(status - 128).name})"
    return f"failed (status {status})"


def _end_descendants() -> None:
    """Kill and wait for what a failed command left; this process has adopted it."""
    left = psutil.Process().children(recursive=True)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
