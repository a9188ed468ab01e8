"""The shapes that a diagnosis passes on: calls of a window, canaries, and what was measured on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Scores = Callable[[Floats], Floats]

RIM = 1e-4
"""A normal score never lies outside the quantiles of this probability and of 1 minus it."""
FEWEST_BEFORE, FEWEST_NOW = 50, 20
"""Calls with a known strong answer, of each window, to say anything about right and wrong; canaries."""


@dataclass(frozen=True)
class Calls:
    """N decided calls of one window."""

    day: Ints
    """(N,) days since some Thursday at midnight, such as 1970-01-01."""
    stratum: Ints
    """(N,) kind of input, 0 or greater."""
    confidence: Floats
    """(N,) nan where missing."""
    escalated: NDArray[np.bool_]
    """(N,)"""
    right: Floats
    """(N,) 1 where the cheap answer was right (a strong tier agreed), 0 where not, nan where unknown."""


@dataclass(frozen=True)
class Canaries:
    """K stored prompts, each asked again in both windows; means where one was asked more than once."""

    confidence_before: Floats
    confidence_now: Floats
    right_before: Floats
    """(K,) share of right answers, nan where unknown."""
    right_now: Floats


@dataclass(frozen=True)
class Measurement:
    """An estimate and its variance where nothing has changed."""

    estimate: float
    variance: float


@dataclass(frozen=True)
class Evidence:
    """The five measurements; None where there is nothing to measure.

    Shifts are in normal scores of the reference's confidences (-1: one standard deviation lower), calibration
    changes in log-odds of a right answer at given confidence and stratum.
    """

    mix: Measurement
    """Change of the escalation rate that the change of strata alone makes, as a fraction."""
    within: Measurement | None
    """Shift of confidences within strata."""
    calibration: Measurement | None
    canary: Measurement | None
    """Shift of confidences of the canaries."""
    canary_calibration: Measurement | None
    rescale: float
    """Log-odds by which the calibration would change for one unit of shift if confidences were rescaled
    and answers stayed as they were, with the opposite sign."""
    canary_rescale: float
    """The same of the canaries."""


def normal_scores(confidence: Floats, weight: Floats | None = None) -> Scores:
    """A function that gives the normal score of confidences among these.

    Scores are those of mid-ranks, which ties share: confidences may be lumpy or pile up at 1 (van der Waerden
    1952). Between values seen they are interpolated.

    Args:
        confidence: (N,)
        weight: (N,) of each; by default all the same.
    """
    values, place = np.unique(confidence, return_inverse=True)
    count = np.bincount(place, weight)
    middle = (count.cumsum() - count / 2) / count.sum()
    scores = stats.norm.ppf(np.clip(middle, RIM, 1 - RIM))
    return lambda asked: np.interp(asked, values, scores)
