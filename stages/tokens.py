"""Several backbones of one sense as one stream of tokens."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def join_tokens(
    times_s: Sequence[NDArray[np.float64]], values: Sequence[NDArray[np.floating]]
) -> tuple[NDArray[np.float64], NDArray[np.floating]]:
    """Tokens of several backbones in order of time, each in its backbone's own columns.

    A linear layer on such a token is the layer of its backbone, so that every fusion takes them,
    whatever the sizes and rates are. Of equal times the first backbone's comes first.

    Args:
        times_s: of each backbone, (n_i,).
        values: of each backbone, (n_i, dim_i); n_i may be 0.

    Returns:
        The times (n,) and the tokens (n, sum of dims), zero outside of their columns.
    """
    if len(values) == 1:
        return times_s[0], values[0]
    joined = np.zeros(
        (sum(len(each) for each in values), sum(each.shape[1] for each in values)),
        dtype=values[0].dtype,
    )
    row = column = 0
    for each in values:
        joined[row : row + len(each), column : column + each.shape[1]] = each
        row, column = row + len(each), column + each.shape[1]
    every = np.concatenate(times_s)
    order = order_in_time(times_s)
    return every[order], joined[order]


def order_in_time(times_s: Sequence[NDArray[np.float64]]) -> NDArray[np.int64]:
    """Where in the joined stream's order, (n,), the tokens stand that lie one backbone after
    the other."""
    return np.argsort(np.concatenate(times_s), kind="stable")
