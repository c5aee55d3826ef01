"""Write the torture files, each hard to read in its own way, and a manifest of them.

    python tests/media/generate.py OUT               # all of them
    python tests/media/generate.py OUT wrap.ts       # some of them
    python tests/media/generate.py --list            # what there is

Needs PyAV and NumPy. The same version of PyAV writes the same bytes. ``OUT/manifest.json`` has
for each file its name, kind, what ails it, the statuses that its row may have (``statuses``), the
times of its frames from the start of the presentation and how far its container rounds them
(``frame_times_s``, ``tolerance_s``) and its duration, where these are known, its SHA-256, and
whether to read it only within limits on memory and time (``needs_limits``).

Some of the hostile files name others, which are written beside them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # As a script, with the folder of tests not on the path yet.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from media.torture import Torture
from media.torture_damage import DAMAGE
from media.torture_hostile import HOSTILE
from media.torture_look import LOOK
from media.torture_sound import SOUND
from media.torture_streams import STREAMS
from media.torture_times import TIMES

TORTURE: dict[str, Torture] = {
    torture.file: torture for torture in (*TIMES, *LOOK, *SOUND, *STREAMS, *DAMAGE, *HOSTILE)
}


class TortureLibrary:
    """Torture files in a folder, each made when it is first asked for, by its name."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        """The path of a file of ``TORTURE``."""
        torture = TORTURE[name]
        # A folder of its own kind, so that what it writes beside itself meets nothing else.
        path = self._folder / torture.kind / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torture.make(path)
        return path


def entry(torture: Torture, path: Path) -> dict[str, Any]:
    """What the manifest says of a file that was written."""
    times = torture.frame_times_s
    return {
        "file": torture.file,
        "kind": torture.kind,
        "ails": torture.ails,
        "statuses": list(torture.statuses),
        "duration_s": torture.duration_s,
        "frame_times_s": None if times is None else [float(time) for time in times],
        "tolerance_s": torture.tolerance_s,
        "needs_limits": torture.needs_limits,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def main() -> None:
    """Write files, or list them."""
    parser = argparse.ArgumentParser(description="Write files that are hard to read.")
    parser.add_argument("out", nargs="?", type=Path, help="the folder to write to")
    parser.add_argument("names", nargs="*", help="which files; all if none is named")
    parser.add_argument("--list", action="store_true", help="say what there is, and write nothing")
    arguments = parser.parse_args()
    if arguments.list:
        for torture in TORTURE.values():
            print(f"{torture.kind:8} {torture.file!r:36} {torture.ails}")
        return
    if arguments.out is None:
        parser.error("name the folder to write to, or say --list")
    unknown = sorted(set(arguments.names) - set(TORTURE))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}: --list says what there is")
    arguments.out.mkdir(parents=True, exist_ok=True)
    entries = []
    for name in arguments.names or TORTURE:
        path = arguments.out / name
        TORTURE[name].make(path)
        entries.append(entry(TORTURE[name], path))
    (arguments.out / "manifest.json").write_text(json.dumps(entries, indent=1) + "\n")


if __name__ == "__main__":
    main()
