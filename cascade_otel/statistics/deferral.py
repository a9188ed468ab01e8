"""The deferral curve of a two-tier cascade: accuracy against the share of calls sent to the strong tier.

Calls are escalated from the lowest confidence up. No threshold tells calls of equal confidence apart, so they
form one straight piece of the curve, as if a coin decided among them. AUDC is the area under the curve.
``weight``: how many calls each one stands for, as in ``calibration``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from cascade_otel.statistics.calibration import checked, effective, weights
from cascade_otel.statistics.intervals import checked_level

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

THRESHOLDS = 51
"""Published areas are taken through this many thresholds, at equally spaced quantiles of the confidence."""


@dataclass(frozen=True)
class Loss:
    """Accuracy that is given up against sending every call to the strong tier, with its interval.

    Shares of all calls; negative where the cascade is right more often than the strong tier.
    """

    share: float
    low: float
    high: float


def deferral_curve(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
    weight: ArrayLike | None = None,
) -> tuple[Floats, Floats]:
    """Corners of the deferral curve.

    Args:
        confidence: (n,) confidence of the cheap tier.
        cheap_correct: (n,) was its answer right?
        strong_correct: (n,) was, or would have been, the strong tier's answer right?
        thresholds: corners at so many quantiles of the confidence; None for one at every distinct confidence,
            which moves areas by up to .0006. Where there are weights, there is one at each in any case.
        weight: (n,) calls that each stands for; None: one.

    Returns:
        Escalated share, ascending from 0 to 1, and end accuracy, one entry per distinct corner.

    Raises:
        ValueError: no calls, lengths differ, a confidence is not a finite number, or a weight not positive.
    """
    score, cheap = checked(confidence, cheap_correct)
    _, strong = checked(confidence, strong_correct)
    if not len(score):
        raise ValueError("a deferral curve needs at least one call")
    counts = weights(weight, len(score))
    levels, index = np.unique(score, return_inverse=True)
    gain = np.bincount(index, counts * (strong.astype(np.float64) - cheap))
    escalated = np.concatenate([[0.0], np.cumsum(np.bincount(index, counts))])
    correct = (counts * cheap).sum() + np.concatenate([[0.0], np.cumsum(gain)])
    total = escalated[-1]
    if thresholds is not None and weight is None:
        # A threshold escalates what lies strictly below it, hence all levels before its own.
        below = np.searchsorted(levels, np.quantile(score, np.linspace(0, 1, thresholds)), side="left")
        corners = np.unique(np.concatenate([[0], below, [len(levels)]]))
        escalated, correct = escalated[corners], correct[corners]
    return escalated / total, correct / total


def audc(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
    weight: ArrayLike | None = None,
) -> float:
    """Area under the deferral curve: mean accuracy over all escalation rates. Raises as the curve."""
    escalated, accuracy = deferral_curve(confidence, cheap_correct, strong_correct, thresholds, weight)
    return float(np.trapezoid(accuracy, escalated))


def audc_random(
    cheap_correct: ArrayLike, strong_correct: ArrayLike, weight: ArrayLike | None = None
) -> float:
    """Area where a coin decides who is escalated: halfway between the two tiers' accuracies."""
    cheap, strong, counts = _pair(cheap_correct, strong_correct, weight)
    return float(np.average((cheap.astype(np.float64) + strong) / 2, weights=counts))


def audc_oracle(
    cheap_correct: ArrayLike, strong_correct: ArrayLike, weight: ArrayLike | None = None
) -> float:
    """Area of the best order there is: first calls the strong tier puts right, last those it breaks."""
    cheap, strong, _ = _pair(cheap_correct, strong_correct, weight)
    return audc(cheap.astype(np.float64) - strong, cheap, strong, None, weight)


def audc_normalised(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
    weight: ArrayLike | None = None,
) -> float:
    """(AUDC - random) / (oracle - random): 0 a coin, 1 perfect; nan where both tiers are right alike."""
    area = audc(confidence, cheap_correct, strong_correct, thresholds, weight)
    chance = audc_random(cheap_correct, strong_correct, weight)
    best = audc_oracle(cheap_correct, strong_correct, weight)
    return (area - chance) / (best - chance) if best - chance > 1e-12 else float("nan")


def performance_gap_recovered(end_accuracy: float, cheap_accuracy: float, strong_accuracy: float) -> float:
    """PGR (Ong et al. 2024): share of the gap between the tiers that the cascade closes.

    nan where the strong tier is not the better one: there is no gap to close.
    """
    gap = strong_accuracy - cheap_accuracy
    return (end_accuracy - cheap_accuracy) / gap if gap > 1e-12 else float("nan")


def average_performance_gap_recovered(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    thresholds: int | None = THRESHOLDS,
    weight: ArrayLike | None = None,
) -> float:
    """APGR: the mean of PGR over all escalation rates; .5 is a coin. nan where there is no gap."""
    cheap, strong, counts = _pair(cheap_correct, strong_correct, weight)
    return performance_gap_recovered(
        audc(confidence, cheap_correct, strong_correct, thresholds, weight),
        float(np.average(cheap, weights=counts)),
        float(np.average(strong, weights=counts)),
    )


def given_up(
    accepted: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    weight: ArrayLike | None = None,
    accepted_share: float | None = None,
    level: float = 0.9,
) -> Loss:
    """Accuracy given up by accepting calls: those the strong tier alone gets right, less those it breaks.

    The interval is that of Bonett and Price (2012) for the difference of two paired shares: it adds one call
    to either kind, and so stays honest where few or none were seen. It is taken among the accepted calls and
    scaled by their share.

    Args:
        accepted: (n,) which calls are accepted.
        cheap_correct: (n,)
        strong_correct: (n,)
        weight: (n,) calls that each stands for.
        accepted_share: what share of all calls is accepted, where that is known better than from these.
        level: of the interval, two-sided.

    Raises:
        ValueError: no calls, lengths differ, or a weight is not positive.
    """
    cheap, strong, counts = _pair(cheap_correct, strong_correct, weight)
    taken = np.asarray(accepted).astype(bool)
    share = float(counts[taken].sum() / counts.sum()) if accepted_share is None else accepted_share
    if not taken.any():
        return Loss(0.0, -share, share)
    own = counts[taken]
    lost, kept = (float(np.average(part[taken], weights=own)) for part in (strong & ~cheap, cheap & ~strong))
    z = float(ndtri(0.5 + checked_level(level) / 2))
    middle, spread = _paired(lost, kept, effective(own), z)
    low, high = min(float(middle - spread), lost - kept), max(float(middle + spread), lost - kept)
    return Loss(share * (lost - kept), share * max(low, -1.0), share * min(high, 1.0))


def surely_within(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    margin: float,
    weight: ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[float, float]:
    """The lowest threshold at which the accuracy given up is surely at most ``margin``.

    Thresholds are tested from the top down and the first that fails ends it (a fixed sequence), so that
    trying many costs nothing: with probability ``level`` none is returned that gives up more.

    Returns:
        The threshold (calls below it are escalated) and the share escalated; inf and 1 where only escalating
        everything will do. Raises as :func:`deferral_curve`.
    """
    levels, escalated, _, high = _given_up_from(confidence, cheap_correct, strong_correct, weight, level)
    fails = high > margin
    passed = int(np.argmax(fails)) if fails.any() else len(levels)
    return (float(levels[passed - 1]), float(escalated[passed - 1])) if passed else (float("inf"), 1.0)


def least_escalation(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    margin: float,
    weight: ArrayLike | None = None,
    level: float = 0.95,
) -> float:
    """Share escalated below which every threshold surely gives up more accuracy than ``margin``.

    Each threshold is tested at ``level``: to say that none is within the margin all must fail, which needs no
    allowance for their number. Returns 1 where only escalating everything may do; raises as the curve.
    """
    _, escalated, low, _ = _given_up_from(confidence, cheap_correct, strong_correct, weight, level)
    return float(escalated[low <= margin].min(initial=1.0))


def _given_up_from(
    confidence: ArrayLike,
    cheap_correct: ArrayLike,
    strong_correct: ArrayLike,
    weight: ArrayLike | None,
    level: float,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Of each distinct confidence as the threshold, from the top down: itself, the share escalated, and
    bounds of what is given up, each at ``level``."""
    score, cheap = checked(confidence, cheap_correct)
    counts = weights(weight, len(score))
    _, strong = checked(confidence, strong_correct)
    order = np.argsort(-score, kind="stable")
    levels, first = np.unique(-score[order], return_index=True)
    last = np.append(first[1:], len(score)) - 1
    mass, squared, lost, kept = (
        np.cumsum(values[order])[last]
        for values in (counts, counts**2, counts * (strong & ~cheap), counts * (cheap & ~strong))
    )
    middle, spread = _paired(lost / mass, kept / mass, mass**2 / squared, float(ndtri(checked_level(level))))
    share = mass / counts.sum()
    low, high = share * np.maximum(middle - spread, -1), share * np.minimum(middle + spread, 1)
    return -levels, 1 - share, low, high


def _paired(lost: ArrayLike, kept: ArrayLike, calls: ArrayLike, z: float) -> tuple[Floats, Floats]:
    """Middle and half width of the interval of Bonett and Price (2012) for the difference of two shares."""
    size = np.asarray(calls, np.float64)
    more, less = ((np.asarray(part) * size + 1) / (size + 2) for part in (lost, kept))
    return more - less, z * np.sqrt(np.maximum(more + less - (more - less) ** 2, 0) / (size + 2))


def _pair(
    cheap_correct: ArrayLike, strong_correct: ArrayLike, weight: ArrayLike | None
) -> tuple[Bools, Bools, Floats]:
    cheap, strong = np.asarray(cheap_correct).astype(bool), np.asarray(strong_correct).astype(bool)
    if cheap.ndim != 1 or cheap.shape != strong.shape or not len(cheap):
        raise ValueError(
            f"both tiers need the same calls, at least one, not {cheap.shape} and {strong.shape}"
        )
    return cheap, strong, weights(weight, len(cheap))
