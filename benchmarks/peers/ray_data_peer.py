"""The same work by plain Ray Data: rows of paths, a pool of actors, Parquet.

    python ray_data_peer.py MANIFEST OUT --workers N ...

``ray.data.read_videos`` is not used: see ``peers.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import ray
from clip_labels import ClipLabels, Networks, arguments


class LabelClips:
    """The actor: loads the networks once, labels the clips of a batch."""

    def __init__(self, networks: Networks) -> None:
        self._label = ClipLabels(networks)

    def __call__(self, batch: dict[str, np.ndarray[Any, Any]]) -> pa.Table:
        """Label every clip of a batch."""
        return pa.Table.from_pylist([{"uri": uri, **self._label(uri)} for uri in batch["uri"]])


def main() -> None:
    """Label the inputs of the manifest."""
    paths, out, workers, networks = arguments(__doc__ or "")
    ray.init()
    # Broken files shall not end the job: Ray Data then leaves out the blocks that they are in.
    ray.data.DataContext.get_current().max_errored_blocks = -1
    ray.data.from_items([{"uri": path} for path in paths]).map_batches(
        LabelClips,
        fn_constructor_args=(networks,),
        compute=ray.data.ActorPoolStrategy(size=workers),
    ).write_parquet(out)


if __name__ == "__main__":
    main()
