"""The interval of a ratio of totals, from how it moves between blocks of time."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

from cascade_otel.statistics.intervals import checked_level

FEWEST_BLOCKS = 4


def ratio_interval(above: ArrayLike, below: ArrayLike, level: float = 0.9) -> tuple[float, float] | None:
    """Interval of sum(above) / sum(below), by the delta method with the blocks as the units.

    The ratio is a smooth function of two totals. To first order a block moves it by
    (above - ratio * below) / sum(below); these moves are independent where blocks are long against whatever
    lasts from one call to the next, and their spread, with the quantile of Student's t, is the interval's.

    Args:
        above: (B,) totals of each block.
        below: (B,) totals of each block; blocks in which both are 0 do not count.
        level: two-sided.

    Returns:
        Both ends, or None: fewer than four blocks, or nothing below.
    """
    checked_level(level)
    upper, lower = np.asarray(above, np.float64), np.asarray(below, np.float64)
    used = (upper != 0) | (lower != 0)
    count, total = int(used.sum()), float(lower.sum())
    if count < FEWEST_BLOCKS or total <= 0:
        return None
    ratio = float(upper.sum()) / total
    moves = (upper - ratio * lower)[used] / total
    spread = float(stdtrit(count - 1, 0.5 + level / 2)) * float(
        np.sqrt(count / (count - 1) * (moves**2).sum())
    )
    return ratio - spread, ratio + spread
