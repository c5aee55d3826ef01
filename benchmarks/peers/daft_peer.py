"""The same work by Daft: rows of paths, a class UDF, Parquet.

    PYTHONPATH=benchmarks/peers python daft_peer.py MANIFEST OUT --workers N ...

PYTHONPATH is needed because Daft's UDF processes do not look beside the script.
"""

from __future__ import annotations

from typing import Any

import daft
from clip_labels import ClipLabels, Networks, arguments
from daft import DataType

# Daft gives a UDF all the rows of a partition in one go, so that a single process would do all of
# a small input (it did, with 40 rows and two processes); a user cuts it up.
BATCH_ROWS = 4
RESULT = DataType.struct(
    {
        "n_frames": DataType.int64(),
        "n_patches": DataType.int64(),
        "frame_labels": DataType.list(DataType.int64()),
        "frame_scores": DataType.list(DataType.float32()),
        "sound_labels": DataType.list(DataType.int64()),
        "sound_scores": DataType.list(DataType.float32()),
    }
)


class LabelClips:
    """The UDF: loads the networks once, labels a clip a call."""

    def __init__(self, networks: Networks) -> None:
        self._label = ClipLabels(networks)

    @daft.method(return_dtype=RESULT, unnest=True)
    def label(self, uri: str) -> dict[str, Any]:
        """Label one clip."""
        return self._label(uri)


def main() -> None:
    """Label the inputs of the manifest."""
    paths, out, workers, networks = arguments(__doc__ or "")
    # Broken files shall not end the job: Daft then leaves the columns of their rows empty.
    udf = daft.cls(LabelClips, max_concurrency=workers, use_process=True, on_error="log")
    frame = daft.from_pydict({"uri": paths}).into_batches(BATCH_ROWS)
    frame.select("uri", udf(networks).label(daft.col("uri"))).write_parquet(out)


if __name__ == "__main__":
    main()
