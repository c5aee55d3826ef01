"""Slices of long videos that are done while the video is not: kept in the output, so that a
killed run goes on where it was, and so that they need not wait in memory.

    OUT/ledger/slices/<run>/<video_id>/<first window>-<stop window>.npz
"""

from __future__ import annotations

import hashlib
import io
import json
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightsound.pipeline.ledger import RunKey
from sightsound.pipeline.output import Output
from sightsound.stages.records import Slice, SliceResult, TaskScores, Window, WindowScores

_NAME = re.compile(r"^([0-9a-f]{32})/(\d+)-(\d+)\.npz$")

Span = tuple[int, int]


def span_of(piece: Slice) -> Span:
    """First window of a slice, and the one after its last."""
    return piece.windows[0].index, piece.windows[-1].index + 1


class StoredSlices:
    """The slices of one run (model and configuration) that wait for the rest of their video."""

    def __init__(self, output: Output, run: RunKey) -> None:
        self._output = output
        name = hashlib.sha256(f"{run.model_id} {run.config_id}".encode()).hexdigest()[:16]
        self._folder = f"ledger/slices/{name}"
        self._videos = set(self.spans())

    def spans(self) -> dict[str, set[Span]]:
        """Which slices are there, by video."""
        found: dict[str, set[Span]] = {}
        for name in self._output.names(self._folder, suffix=".npz"):
            match = _NAME.match(name)
            if match:
                span = int(match[2]), int(match[3])
                found.setdefault(match[1], set()).add(span)
        return found

    def put(self, video_id: str, span: Span, result: SliceResult) -> None:
        """Store a slice.

        Raises:
            OSError: it cannot be written.
        """
        self._output.write(self._name(video_id, span), encode_slice(result))
        self._videos.add(video_id)

    def has(self, video_id: str) -> bool:
        """Whether there are slices of a video."""
        return video_id in self._videos

    def get(self, video_id: str, span: Span) -> SliceResult:
        """A slice that was stored.

        Raises:
            OSError: it cannot be read.
        """
        return decode_slice(self._output.read(self._name(video_id, span)))

    def forget(self, video_id: str) -> None:
        """Delete the slices of a video that is committed."""
        self._output.delete_folder(f"{self._folder}/{video_id}")
        self._videos.discard(video_id)

    def clear(self) -> None:
        """Delete all slices, of other runs too: nothing waits any more."""
        self._output.delete_folder("ledger/slices")

    def _name(self, video_id: str, span: Span) -> str:
        return f"{self._folder}/{video_id}/{span[0]}-{span[1]}.npz"


def encode_slice(result: SliceResult) -> bytes:
    """A SliceResult as an npz archive: arrays over windows, one set for each task."""
    windows = result.windows
    meta = {
        "index": result.index,
        "n_frames_decoded": result.n_frames_decoded,
        "n_frames_corrupt": result.n_frames_corrupt,
        "rotation": result.rotation,
        "decoded_in_full": result.decoded_in_full,
        "decoder_fallback": result.decoder_fallback,
        "stage_s": result.stage_s,
        "tasks": [list(scored.tasks) for scored in windows],
    }
    arrays: dict[str, NDArray[Any]] = {
        "meta": np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8),
        "window": np.array([scored.window.index for scored in windows], dtype=np.int64),
        "start_s": np.array([scored.window.start_s for scored in windows]),
        "end_s": np.array([scored.window.end_s for scored in windows]),
        "flags": np.array(
            [(scored.has_video, scored.has_audio, scored.corrupt) for scored in windows],
            dtype=bool,
        ).reshape(-1, 3),
    }
    for task in dict.fromkeys(name for scored in windows for name in scored.tasks):
        scores = [scored.tasks[task] for scored in windows if task in scored.tasks]
        arrays[f"{task}.indices"] = np.stack([item.indices for item in scores])
        arrays[f"{task}.scores"] = np.stack([item.scores for item in scores])
        arrays[f"{task}.peaks_s"] = np.stack([item.peaks_s for item in scores])
        arrays[f"{task}.shares"] = np.array(
            [(item.visual_share, item.audio_share) for item in scores]
        )
    embedded = [scored.embedding for scored in windows if scored.embedding is not None]
    if embedded:
        arrays["embedded"] = np.array([scored.embedding is not None for scored in windows])
        arrays["embedding"] = np.stack(embedded)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def decode_slice(data: bytes) -> SliceResult:
    """The SliceResult of ``encode_slice``. Nothing in the archive is executed."""
    with np.load(io.BytesIO(data), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    meta = json.loads(arrays["meta"].tobytes())
    seen: dict[str, int] = {}
    n_embedded = 0
    windows = []
    for i, (index, start_s, end_s, flags) in enumerate(
        zip(arrays["window"], arrays["start_s"], arrays["end_s"], arrays["flags"], strict=True)
    ):
        tasks = {}
        for task in meta["tasks"][i]:
            row = seen.get(task, 0)
            seen[task] = row + 1
            visual, audio = arrays[f"{task}.shares"][row]
            tasks[task] = TaskScores(
                indices=arrays[f"{task}.indices"][row],
                scores=arrays[f"{task}.scores"][row],
                peaks_s=arrays[f"{task}.peaks_s"][row],
                visual_share=float(visual),
                audio_share=float(audio),
            )
        embedding = None
        if "embedded" in arrays and arrays["embedded"][i]:
            embedding = arrays["embedding"][n_embedded]
            n_embedded += 1
        has_video, has_audio, corrupt = (bool(flag) for flag in flags)
        windows.append(
            WindowScores(
                window=Window(index=int(index), start_s=float(start_s), end_s=float(end_s)),
                has_video=has_video,
                has_audio=has_audio,
                corrupt=corrupt,
                tasks=tasks,
                embedding=embedding,
            )
        )
    del meta["tasks"]
    return SliceResult(windows=tuple(windows), **meta)
