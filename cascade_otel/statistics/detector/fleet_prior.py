"""What a fleet of like streams teaches about one more of them: the prior that empirical Bayes learns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HOURS = 24
WEEK = 7
HARMONICS = 6
"""Sines and cosines a day: finer structure than four hours is taken for noise."""

SIZES = np.array([0.005, 0.02, 0.04, 0.06, 0.085, 0.115, 0.155, 0.21, 0.29, 0.4, 0.6])
"""Grid of the day effect's standard deviation, logit."""
MEMORIES = np.array([0.0, 0.15, 0.3, 0.45, 0.6, 0.7, 0.8])
"""Grid of its correlation from one day to the next."""

MOST_STREAMS = 500.0
"""A prior is worth at most so many streams, however many it was learned from."""


@dataclass(frozen=True)
class FleetPrior:
    """Learned from one fleet; ``default`` before any is seen."""

    streams: float
    """How many streams it was learned from; 0: none, it is the one that is shipped."""
    waves: Floats
    """(2 HARMONICS,) mean of the daily profile's cosines, then sines, logit."""
    waves_variance: Floats
    """(HARMONICS,) variance of either, between streams."""
    dispersion: float
    """Median correlation of calls within an hour."""
    week: Floats
    """(7,) common profile of the week, Monday first, logit."""
    week_variance: float
    """Variance of a stream's own deviation from it."""
    wobble: Floats
    """(K, P) distribution of size and memory of the day effect over SIZES x MEMORIES."""

    @classmethod
    def default(cls) -> FleetPrior:
        """Before any fleet is seen: no rhythm, sizes around .1 within a factor e, rather short memories."""
        wobble = np.exp(-0.5 * np.log(SIZES / 0.1) ** 2)[:, None] * np.exp(-3 * MEMORIES)
        return cls(
            streams=0.0,
            waves=np.zeros(2 * HARMONICS),
            waves_variance=np.full(HARMONICS, 0.02),
            dispersion=0.0,
            week=np.zeros(WEEK),
            week_variance=0.0,
            wobble=wobble / wobble.sum(),
        )
