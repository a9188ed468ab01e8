"""What each of several looks at the same growing log may spend of the permitted error."""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from cascade_otel.statistics.intervals import checked_level

STEP = 0.05
"""Of the grid on which the random walk is followed, in standard deviations of one look."""
FAR = 8.0
"""Standard deviations beyond which nothing is followed."""


def pocock(delta: float, looks: int) -> float:
    """Level of each of ``looks`` equally spaced looks, so that any of them errs with probability ``delta``.

    Pocock (1977): the score of a growing log is a random walk with normal steps; the level is such that the
    walk crosses a constant boundary on its standardised scale with probability ``delta``. ``delta / looks``
    would hold too, and is stricter.

    Raises:
        ValueError: ``delta`` is not in (0, 1), or there is no look.
    """
    checked_level(delta)
    if looks < 1:
        raise ValueError(f"at least one look is needed, not {looks}")
    if looks == 1:
        return delta
    strictest, loosest = float(-ndtri(delta / looks)), float(-ndtri(delta))
    boundary = brentq(lambda z: crossing_probability(z, looks) - delta, loosest, strictest, xtol=1e-4)
    return float(ndtr(-boundary))


def crossing_probability(boundary: float, looks: int) -> float:
    """Probability that a standard normal walk exceeds boundary * sqrt(k) at any k of 1 to ``looks``."""
    lowest = -FAR * math.sqrt(looks)
    walk = np.arange(lowest, boundary * math.sqrt(looks) + STEP, STEP)
    jumps = np.arange(-FAR, FAR + STEP / 2, STEP)
    step = np.exp(-(jumps**2) / 2) * STEP / math.sqrt(2 * math.pi)
    density = np.exp(-(walk**2) / 2) / math.sqrt(2 * math.pi)
    for look in range(1, looks + 1):
        if look > 1:
            density = np.convolve(density, step)[len(jumps) // 2 :][: len(walk)]
        # The cell in which the boundary lies counts in part.
        density *= np.clip((boundary * math.sqrt(look) - walk) / STEP + 0.5, 0, 1)
    return float(1 - density.sum() * STEP)
