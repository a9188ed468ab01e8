"""Other ways to choose a threshold from the same log: the plug-in estimate, and UCCI's calibrated choice."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Floats = NDArray[np.float64]

NOTHING = 2.0
"""A threshold that accepts no call."""
CALIBRATION = 0.6
"""UCCI's split of the labelled calls: 30 to calibrate against 20 to validate."""
GRID = np.linspace(0, 1, 201)


def plug_in(confidence: Floats, wrong: Floats, rate: Floats, alpha: float) -> float:
    """The lowest threshold before the estimated risk, each label weighted by 1 / rate, passes ``alpha``."""
    levels, row = np.unique(-confidence, return_inverse=True)
    missed = np.bincount(row, np.nan_to_num(wrong) / rate, len(levels)).cumsum() / len(confidence)
    passes = missed <= alpha
    length = len(passes) if passes.all() else int(np.argmin(passes))
    return float(-levels[length - 1]) if length else NOTHING


def ucci(random: np.random.Generator, confidence: Floats, wrong: Floats, rate: Floats, alpha: float) -> float:
    """UCCI (Kotte 2026, arXiv 2605.18796), with labels weighted by 1 / rate since only some calls have one.

    An isotonic map from confidence to the probability of an error is fitted on a calibration split; on the
    validation split the greatest error probability θ of a grid of .005 is chosen at which the estimated risk
    of what is kept, P(error) <= θ, is at most ``alpha``. Nothing bounds the true risk.
    """
    known = np.flatnonzero(~np.isnan(wrong))
    fit, check = np.split(random.permutation(known), [int(CALIBRATION * len(known))])
    fit = fit[np.argsort(confidence[fit], kind="stable")]
    levels, first = np.unique(confidence[fit], return_index=True)
    weight = np.add.reduceat(1 / rate[fit], first)
    error = np.add.reduceat(wrong[fit] / rate[fit], first) / weight
    fitted = isotonic_regression(error, weights=weight, increasing=False).x
    probability = np.interp(confidence, levels, fitted)
    mass = 1 / rate[check]
    kept = probability[check] <= GRID[:, None]
    risk = (kept * wrong[check] * mass).sum(axis=1) / mass.sum()
    feasible = np.flatnonzero(risk <= alpha)
    accepted = probability <= GRID[feasible[-1]] if len(feasible) else np.zeros(len(confidence), bool)
    return float(confidence[accepted].min()) if accepted.any() else NOTHING
