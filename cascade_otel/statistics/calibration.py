"""Does the confidence separate right from wrong, and does it mean what it says?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.intervals import wilson

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Reliability:
    """Confidence against correctness in K equal bins, closed on the right; nan where a bin is empty."""

    edges: Floats
    """(K+1,)"""
    calls: Ints
    """(K,)"""
    confidence: Floats
    """(K,) mean confidence."""
    accuracy: Floats
    """(K,) share correct."""
    low: Floats
    """(K,) lower end of the Wilson interval of the accuracy; 0 where empty."""
    high: Floats
    """(K,) upper end; 1 where empty."""


def auroc(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Probability that a right answer has a higher confidence than a wrong one, ties counted half.

    Args:
        confidence: (n,)
        correct: (n,) booleans or 0/1.

    Returns:
        nan unless there are both right and wrong answers.

    Raises:
        ValueError: lengths differ, or a confidence is not a finite number.
    """
    score, right = checked(confidence, correct)
    positives = int(right.sum())
    negatives = len(right) - positives
    if not positives or not negatives:
        return float("nan")
    _, index, count = np.unique(score, return_inverse=True, return_counts=True)
    middle_rank = np.cumsum(count) - (count - 1) / 2
    return float(
        (middle_rank[index][right].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    )


def ece(confidence: ArrayLike, correct: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: mean gap between confidence and accuracy over bins, weighted by calls.

    Bins have equal width and are closed on the right, (0, .1] … (.9, 1], and 0 belongs to the first.
    Confidences are heaped on the edges, so this rule decides up to several points: say it with the figure.

    Returns:
        A fraction; nan without calls. Raises as :func:`auroc`.
    """
    table = reliability(confidence, correct, bins)
    filled = table.calls > 0
    if not filled.any():
        return float("nan")
    gap = np.abs(table.confidence - table.accuracy)[filled]
    return float((gap * table.calls[filled]).sum() / table.calls.sum())


def brier(confidence: ArrayLike, correct: ArrayLike) -> float:
    """Mean squared gap of confidence and correctness; nan without calls. Raises as :func:`auroc`."""
    score, right = checked(confidence, correct)
    return float(((score - right) ** 2).mean()) if len(score) else float("nan")


def reliability(confidence: ArrayLike, correct: ArrayLike, bins: int = 10, level: float = 0.9) -> Reliability:
    """The reliability diagram's numbers; ``level`` is that of the interval of each bin's accuracy.

    Raises:
        ValueError: as :func:`auroc`, or a confidence lies outside [0, 1].
    """
    score, right = checked(confidence, correct)
    if len(score) and (score.min() < 0 or score.max() > 1):
        raise ValueError(f"confidences must lie in [0, 1], not in [{score.min():g}, {score.max():g}]")
    # Edges by division, not by steps: .3 must be the same number here as in the data.
    edges = np.arange(bins + 1) / bins
    index = np.searchsorted(edges[1:-1], score, side="left")
    calls = np.bincount(index, minlength=bins)
    hits = np.bincount(index, right, bins)
    filled = calls > 0
    share = np.where(filled, 1.0, np.nan) / np.maximum(calls, 1)
    low, high = wilson(hits, calls, level)
    return Reliability(
        edges=edges,
        calls=calls,
        confidence=np.bincount(index, score, bins) * share,
        accuracy=hits * share,
        low=low,
        high=high,
    )


def checked(confidence: ArrayLike, correct: ArrayLike) -> tuple[Floats, NDArray[np.bool_]]:
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
