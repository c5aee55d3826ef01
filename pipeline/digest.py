"""One number for all results of a run, the same whatever the order and the way they came.

The digest of a video is over its rows in the three tables; that of a run over the digests of
its videos, sorted by input. ``processing_s`` is left out, as are the columns of a manifest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from sightsound.pipeline.keys import KEY_BYTES, Keys
from sightsound.stages.tables import VIDEOS_SCHEMA

_VIDEO_COLUMNS = tuple(name for name in VIDEOS_SCHEMA.names if name != "processing_s")


def video_digest(
    video: dict[str, Any],
    windows: Iterable[dict[str, Any]],
    segments: Iterable[dict[str, Any]],
) -> bytes:
    """The digest of one input's rows: those that were written, or as read again."""
    rows = [
        {name: video[name] for name in _VIDEO_COLUMNS},
        sorted(windows, key=lambda row: row["window"]),
        sorted(segments, key=lambda row: (row["task"], row["start_s"], row["label"])),
    ]
    text = json.dumps(rows, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def run_digest(keys: Keys, digests: Keys) -> str:
    """The digest of a run, in hex: of each input its key and the digest of its rows."""
    order = np.lexsort((keys["low"], keys["high"]))
    return hashlib.sha256(np.ascontiguousarray(digests[order]).tobytes()).hexdigest()
