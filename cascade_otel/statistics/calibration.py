"""Does the confidence separate right from wrong, and does it mean what it says?

Every figure takes ``weight``: how many calls each one stands for, as a call that was drawn at random with
probability 1/20 to be labelled stands for twenty. Without it each stands for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from cascade_otel.statistics.intervals import checked_level, wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Side = Literal["right", "left"]


@dataclass(frozen=True)
class Reliability:
    """Confidence against correctness in K equal bins; nan where a bin is empty."""

    edges: Floats
    """(K+1,)"""
    calls: Ints
    """(K,) as many as there are, whatever they stand for."""
    share: Floats
    """(K,) of all calls, those they stand for."""
    confidence: Floats
    """(K,) mean confidence."""
    accuracy: Floats
    """(K,) share correct."""
    low: Floats
    """(K,) lower end of the Wilson interval of the accuracy; 0 where empty."""
    high: Floats
    """(K,) upper end; 1 where empty."""


def auroc(confidence: ArrayLike, correct: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Probability that a right answer has a higher confidence than a wrong one, ties counted half.

    Args:
        confidence: (n,)
        correct: (n,) booleans or 0/1.
        weight: (n,) calls that each stands for; None: one.

    Returns:
        nan unless there are both right and wrong answers.

    Raises:
        ValueError: lengths differ, a confidence is not a finite number, or a weight is not positive.
    """
    score, right = checked(confidence, correct)
    counts = weights(weight, len(score))
    if right.all() or not right.any():
        return float("nan")
    return float(np.average(_won(score[right], score[~right], counts[~right]), weights=counts[right]))


def auroc_interval(
    confidence: ArrayLike, correct: ArrayLike, weight: ArrayLike | None = None, level: float = 0.9
) -> tuple[float, float]:
    """Interval of the AUROC after DeLong, DeLong and Clarke-Pearson (1988), with weights.

    The variance is that of two independent means: over right answers of the share of wrong ones they beat,
    and over wrong answers of the share of right ones that beat them. An order without a fault has none; there
    it is the largest there is, A (1 - A) / min(right, wrong), of an order half a pair short of it.

    Returns:
        Its ends within [0, 1]; (0, 1) unless there are two right and two wrong answers. Raises as
        :func:`auroc`.
    """
    score, right = checked(confidence, correct)
    counts = weights(weight, len(score))
    z = float(ndtri(0.5 + checked_level(level) / 2))
    if min(right.sum(), (~right).sum()) < 2:
        return 0.0, 1.0
    wins = _won(score[right], score[~right], counts[~right])
    losses = _won(-score[~right], -score[right], counts[right])
    area = float(np.average(wins, weights=counts[right]))
    good, bad = effective(counts[right]), effective(counts[~right])
    variance = _variance_of_mean(wins, counts[right]) + _variance_of_mean(losses, counts[~right])
    if area in (0, 1):
        short = 0.5 / (good * bad)
        variance = short * (1 - short) / min(good, bad)
    spread = z * float(np.sqrt(variance))
    return max(area - spread, 0.0), min(area + spread, 1.0)


def ece(
    confidence: ArrayLike,
    correct: ArrayLike,
    bins: int = 10,
    weight: ArrayLike | None = None,
    closed: Side = "right",
) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins, weighted by calls.

    Bins have equal width and are closed on the right, (0, .1] … (.9, 1], and 0 belongs to the first; or on
    the left, as other people's figures may be, and 1 belongs to the last. Confidences are heaped on the
    edges, so the rule decides up to several points: say it with the figure.

    Returns:
        A fraction; nan without calls. Raises as :func:`auroc`.
    """
    table = reliability(confidence, correct, bins, weight=weight, closed=closed)
    filled = table.calls > 0
    if not filled.any():
        return float("nan")
    return float((np.abs(table.confidence - table.accuracy) * table.share)[filled].sum())


def brier(confidence: ArrayLike, correct: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared gap of confidence and correctness; nan without calls. Raises as :func:`auroc`."""
    score, right = checked(confidence, correct)
    counts = weights(weight, len(score))
    return float(np.average((score - right) ** 2, weights=counts)) if len(score) else float("nan")


def reliability(
    confidence: ArrayLike,
    correct: ArrayLike,
    bins: int = 10,
    level: float = 0.9,
    weight: ArrayLike | None = None,
    closed: Side = "right",
) -> Reliability:
    """The reliability diagram's numbers, in bins as of :func:`ece`.

    ``level`` is that of the interval of each bin's accuracy.

    Raises:
        ValueError: as :func:`auroc`, or a confidence lies outside [0, 1].
    """
    score, right = checked(confidence, correct)
    counts = weights(weight, len(score))
    if len(score) and (score.min() < 0 or score.max() > 1):
        raise ValueError(f"confidences must lie in [0, 1], not in [{score.min():g}, {score.max():g}]")
    # Edges by division, not by steps: .3 must be the same number here as in the data.
    edges = np.arange(bins + 1) / bins
    index = np.searchsorted(edges[1:-1], score, side="left" if closed == "right" else "right")
    calls = np.bincount(index, minlength=bins)
    mass, squared = (np.bincount(index, values, bins) for values in (counts, counts**2))
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(index, counts * right, bins) / mass
        mean = np.bincount(index, counts * score, bins) / mass
        independent = np.where(calls > 0, mass**2 / squared, 0.0)
    low, high = wilson(np.where(calls > 0, accuracy, 0.0) * independent, independent, level)
    return Reliability(
        edges=edges,
        calls=calls,
        share=mass / max(float(counts.sum()), 1e-300),
        confidence=mean,
        accuracy=accuracy,
        low=low,
        high=high,
    )


def checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, Bools]:
    """Confidences (n,) as floats and correctness (n,) as booleans.

    Raises:
        ValueError: lengths differ, or a confidence is not a finite number.
    """
    score, right = np.asarray(confidence, np.float64), np.asarray(correct).astype(bool)
    if score.ndim != 1 or score.shape != right.shape:
        raise ValueError(
            f"confidence and correctness must be of one length, not {score.shape} and {right.shape}"
        )
    if not np.isfinite(score).all():
        raise ValueError("confidences must be finite numbers: leave out the calls without one")
    return score, right


def weights(weight: ArrayLike | None, calls: int) -> Floats:
    """(calls,) weights as floats, ones where there are none.

    Raises:
        ValueError: another number of them, or one that is not positive and finite.
    """
    if weight is None:
        return np.ones(calls)
    counts = np.asarray(weight, np.float64)
    if counts.shape != (calls,) or not (np.isfinite(counts) & (counts > 0)).all():
        raise ValueError(f"{calls} positive weights are wanted, one for each call")
    return counts


def effective(weight: Floats) -> float:
    """How many calls of equal weight would tell as much, after Kish (1965); 0 without calls."""
    return float(weight.sum() ** 2 / (weight**2).sum()) if len(weight) else 0.0


def _won(own: Floats, others: Floats, counts: Floats) -> Floats:
    """Of each own score the share of the others, by their counts, that lie below it, ties counted half."""
    order = np.argsort(others, kind="stable")
    below = np.concatenate([[0.0], np.cumsum(counts[order])])
    sides = (np.searchsorted(others[order], own, side=side) for side in ("left", "right"))
    return np.asarray(sum(below[place] for place in sides) / (2 * below[-1]))


def _variance_of_mean(values: Floats, counts: Floats) -> float:
    size = effective(counts)
    mean = np.average(values, weights=counts)
    spread = float((counts**2 * (values - mean) ** 2).sum() / counts.sum() ** 2)
    return spread * size / max(size - 1, 1.0)
