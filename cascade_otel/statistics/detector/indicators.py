"""Cuts that turn the shape of a confidence distribution into hit counts the detector can watch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

QUANTILES = (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
NEAR_CONSTANT = 0.01
"""A cut that fewer (or all but fewer) than this share of the calls pass says nothing."""


def indicators(histogram: NDArray[np.integer], threshold_cell: Ints) -> Ints:
    """Cells at which the confidence distribution of each task is cut.

    Confidences are lumpy, so cuts are cells, and a cut counts the calls in its cell and below. The cuts are
    reference quantiles, the cell just below the threshold (escalated or not), and the one below 1.0.

    Args:
        histogram: (M, C) calls per confidence cell in the reference, or (M, R, C) hour by hour.
        threshold_cell: (M,) first cell that is accepted; -1 where no threshold is declared, the median then.

    Returns:
        (M, J) cells, each in 0 to C-2.
    """
    counts = np.asarray(histogram.sum(1) if histogram.ndim == 3 else histogram)
    cumulative = np.cumsum(counts, axis=1)
    share = cumulative / np.maximum(cumulative[:, -1:], 1)
    cells = counts.shape[1]
    cuts = [(share < quantile).sum(1) for quantile in QUANTILES]
    below = np.where(threshold_cell > 0, threshold_cell - 1, cuts[QUANTILES.index(0.5)])
    chosen: Ints = np.stack([*cuts, below, np.full(len(counts), cells - 2)], axis=1)
    return np.asarray(np.minimum(chosen, cells - 2))


def hits_below(histogram: NDArray[np.integer], cuts: Ints) -> Ints:
    """Calls at or below each cut: (M, J) from (M, C), or (M, T, J) from (M, T, C); ``cuts`` is (M, J)."""
    cumulative = np.cumsum(histogram, axis=-1, dtype=np.int64)
    index = cuts if histogram.ndim == 2 else cuts[:, None]
    return np.take_along_axis(cumulative, index, axis=histogram.ndim - 1)


def useful(rate: NDArray[np.float64], groups: Ints) -> Bools:
    """Which streams (B,) should count in their task's average, given their reference rates (B,).

    Near-constant ones do not, unless the task ``groups`` (B,) has no other.
    """
    varied = np.minimum(rate, 1 - rate) > NEAR_CONSTANT
    if not len(groups):
        return varied
    return np.asarray(varied | (np.bincount(groups, varied) == 0)[groups])
