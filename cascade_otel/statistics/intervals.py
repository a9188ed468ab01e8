"""Confidence intervals of shares, and quantile intervals of draws."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]


def wilson(hits: ArrayLike, calls: ArrayLike, level: float = 0.9) -> tuple[Floats, Floats]:
    """Wilson score interval of a share.

    Args:
        hits: successes, any shape.
        calls: trials, same shape; where 0, the interval is [0, 1].
        level: two-sided confidence level.

    Returns:
        Lower and upper ends, same shape, within [0, 1].
    """
    checked_level(level)
    k, n = np.asarray(hits, np.float64), np.asarray(calls, np.float64)
    z = float(ndtri(0.5 + level / 2))
    trials = np.maximum(n, 1)
    share = k / trials
    centre = (share + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) / (1 + z * z / trials)
    # Rounding may leave the ends a hair inside the share where it is 0 or 1.
    low = np.where(k == 0, 0.0, np.maximum(centre - half, 0))
    high = np.where(k == n, 1.0, np.minimum(centre + half, 1))
    return np.where(n > 0, low, 0.0), np.where(n > 0, high, 1.0)


def central(draws: Floats, level: float = 0.9) -> tuple[Floats, Floats]:
    """Equal-tailed interval of draws along the first axis: (N, ...) to two arrays (...)."""
    checked_level(level)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def checked_level(level: float) -> float:
    """The level itself.

    Raises:
        ValueError: it is not strictly between 0 and 1.
    """
    if not 0 < level < 1:
        raise ValueError(f"a confidence level lies between 0 and 1, as .9 does, not {level}")
    return level
