"""A batch run whose workers neither decode nor infer: what the running of it costs by itself.

    python benchmarks/stand_in.py MANIFEST OUT [KEY=VALUE ...]

Every input is said to be 0.1 s long and gets one window with made-up scores; all else (listing,
Ray, ledger, tables, accounts) is the real thing. Prints its own peak memory.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from sightsound.models.bundle import load_bundle
from sightsound.pipeline.batch import batch
from sightsound.pipeline.config import Config, load_config
from sightsound.pipeline.tasks import InspectTask, Task
from sightsound.pipeline.workers import Handler
from sightsound.stages.records import (
    MediaInfo,
    Slice,
    SliceResult,
    TaskScores,
    VideoPlan,
    Window,
    WindowScores,
)

_WINDOW = Window(index=0, start_s=0.0, end_s=0.1)
_STREAM_FREE: dict[str, Any] = {"claimed_duration_s": 0.1, "video": None, "audio": None}


def make_stand_in(config: Config) -> Handler:
    """A worker's handler that makes results up from the name of the input."""
    names = [task.name for task in load_bundle(config.model).tasks]

    def handle(task: Task, alive: Callable[[], None]) -> Any:
        if isinstance(task, InspectTask):
            digest = hashlib.sha256(task.path.encode()).hexdigest()[:32]
            info = MediaInfo(
                path=task.path, video_id=digest, size_bytes=1, container="none", **_STREAM_FREE
            )
            return info, _plan()
        seed = int(task.info.video_id[:4], 16)
        scores = TaskScores(
            indices=(np.arange(20, dtype=np.int32) + seed) % 100,
            scores=(0.8 * 0.3 ** np.arange(20)).astype(np.float32),
            peaks_s=np.full(20, 0.05),
            visual_share=1.0,
            audio_share=0.0,
        )
        scored = WindowScores(
            window=_WINDOW,
            has_video=True,
            has_audio=False,
            corrupt=False,
            tasks=dict.fromkeys(names, scores),
        )
        return SliceResult(
            index=0,
            windows=(scored,),
            n_frames_decoded=2,
            n_frames_corrupt=0,
            rotation=0,
            decoded_in_full=False,
            stage_s={"decode": 0.0},
        )

    return handle


def _plan() -> VideoPlan:
    piece = Slice(
        index=0,
        windows=(_WINDOW,),
        first_sample=0,
        sample_pts=np.zeros(2, dtype=np.int64),
        owned_from=0,
        owned_to=2,
        packets=None,
    )
    return VideoPlan(
        origin_s=Fraction(0),
        duration_s=0.1,
        fps=Fraction(2),
        video_span_s=(0.0, 0.1),
        audio_span_s=None,
        n_windows=1,
        slices=(piece,),
        truncated=False,
    )


def main() -> None:
    """Run it, and say how long it took and how much memory the driver had."""
    manifest, out, *settings = sys.argv[1:]
    began = time.monotonic()
    # By its importable name: workers have to find it.
    from stand_in import make_stand_in as importable

    batch([manifest], load_config(settings=tuple(settings)), out=out, make_handler=importable)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"{time.monotonic() - began:.1f} s, {peak / 1e6:.0f} MB", flush=True)


if __name__ == "__main__":
    main()
