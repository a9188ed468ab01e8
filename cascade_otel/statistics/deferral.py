"""The deferral curve of a two-tier cascade: accuracy against the share of calls sent to the strong tier.

Calls are escalated from the lowest confidence up. No threshold tells calls of equal confidence apart, so they
form one straight piece of the curve, as if a coin decided among them. AUDC is the area under the curve.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cascade_otel.statistics.calibration import checked

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

THRESHOLDS = 51
"""Published areas are taken through this many thresholds, at equally spaced quantiles of the confidence."""


def deferral_curve(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
) -> tuple[Floats, Floats]:
    """Corners of the deferral curve.

    Args:
        confidence: (n,) confidence of the cheap tier.
        cheap_correct: (n,) was its answer right?
        strong_correct: (n,) was, or would have been, the strong tier's answer right?
        thresholds: corners at so many quantiles of the confidence; None for one at every distinct confidence,
            which moves areas by up to .0006.

    Returns:
        Escalated share, ascending from 0 to 1, and end accuracy, one entry per distinct corner.

    Raises:
        ValueError: no calls, lengths differ, or a confidence is not a finite number.
    """
    score, cheap = checked(confidence, cheap_correct)
    _, strong = checked(confidence, strong_correct)
    if not len(score):
        raise ValueError("a deferral curve needs at least one call")
    levels, index, count = np.unique(score, return_inverse=True, return_counts=True)
    gain = np.bincount(index, strong.astype(np.float64) - cheap)
    escalated = np.concatenate([[0], np.cumsum(count)])
    correct = cheap.sum() + np.concatenate([[0.0], np.cumsum(gain)])
    if thresholds is not None:
        # A threshold escalates what lies strictly below it, hence all levels before its own.
        below = np.searchsorted(levels, np.quantile(score, np.linspace(0, 1, thresholds)), side="left")
        corners = np.unique(np.concatenate([[0], below, [len(levels)]]))
        escalated, correct = escalated[corners], correct[corners]
    return escalated / len(score), correct / len(score)


def audc(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
) -> float:
    """Area under the deferral curve: mean accuracy over all escalation rates. Raises as the curve."""
    escalated, accuracy = deferral_curve(confidence, cheap_correct, strong_correct, thresholds)
    return float(np.trapezoid(accuracy, escalated))


def audc_random(cheap_correct: ArrayLike, strong_correct: ArrayLike) -> float:
    """Area where a coin decides who is escalated: halfway between the two tiers' accuracies."""
    cheap, strong = _pair(cheap_correct, strong_correct)
    return float((cheap.mean() + strong.mean()) / 2)


def audc_oracle(cheap_correct: ArrayLike, strong_correct: ArrayLike) -> float:
    """Area of the best order there is: first calls the strong tier puts right, last those it breaks."""
    cheap, strong = _pair(cheap_correct, strong_correct)
    return audc(cheap.astype(np.float64) - strong, cheap, strong, thresholds=None)


def audc_normalised(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
) -> float:
    """(AUDC - random) / (oracle - random): 0 a coin, 1 perfect; nan where both tiers are right alike."""
    area = audc(confidence, cheap_correct, strong_correct, thresholds)
    chance = audc_random(cheap_correct, strong_correct)
    best = audc_oracle(cheap_correct, strong_correct)
    return (area - chance) / (best - chance) if best > chance else float("nan")


def performance_gap_recovered(end_accuracy: float, cheap_accuracy: float, strong_accuracy: float) -> float:
    """PGR: share of the gap between the tiers that the cascade closes; nan where there is no gap."""
    gap = strong_accuracy - cheap_accuracy
    return (end_accuracy - cheap_accuracy) / gap if gap else float("nan")


def _pair(cheap_correct: ArrayLike, strong_correct: ArrayLike) -> tuple[Bools, Bools]:
    cheap, strong = np.asarray(cheap_correct).astype(bool), np.asarray(strong_correct).astype(bool)
    if cheap.ndim != 1 or cheap.shape != strong.shape or not len(cheap):
        raise ValueError(
            f"both tiers need the same calls, at least one, not {cheap.shape} and {strong.shape}"
        )
    return cheap, strong
