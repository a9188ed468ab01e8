"""What a changed window shows about causes: five measurements, each with its variance without a change.

How much a measurement wanders from day to day by itself is learned from the days of the reference. Where the
days of the reference follow the week, a window is compared with the same days of the week.
"""

from __future__ import annotations

import numpy as np

from cascade_otel.statistics.causes.calibration_change import (
    calibration_change,
    canary_calibration_change,
    fit,
)
from cascade_otel.statistics.causes.day_to_day import ordinary
from cascade_otel.statistics.causes.measurements import (
    FEWEST_NOW,
    RIM,
    Calls,
    Canaries,
    Evidence,
    Floats,
    Measurement,
    Scores,
    normal_scores,
)

CLEARLY = 3.0
"""Standard deviations by which another measure of the shift must be the larger one to be preferred."""


def measure(
    before: Calls, now: Calls, canaries: Canaries | None = None, threshold: float | None = None
) -> Evidence:
    """The measurements of a window ``now`` against its reference ``before``.

    Calls whose confidence is missing count in the mix alone.

    Args:
        before: the reference.
        now: the window.
        canaries: asked in both.
        threshold: τ of the reference. Another spread of confidences can move many across τ while their mean
            stays: where the share below τ has clearly moved more than the mean score, it is what shifted.

    Raises:
        ValueError: a window has no calls.
    """
    if not len(before.day) or not len(now.day):
        raise ValueError("both windows need at least one call")
    strata = 1 + int(max(before.stratum.max(), now.stratum.max()))
    mix = _mix(before, now, strata)
    before, now = _scored(before), _scored(now)
    if not len(before.day) or not len(now.day):
        return Evidence(mix, None, None, None, None, np.nan, np.nan)
    score = normal_scores(before.confidence)
    within = _within(before, now, score, strata)
    model = fit(before, score, strata)
    shifted = score
    if threshold is not None:
        sides = _sides(before.confidence, threshold)
        across = _within(before, now, sides, strata)
        if _size(across) > _size(within) + CLEARLY:
            within, shifted = across, sides
    canary = None if canaries is None else _canary_shift(canaries, shifted)
    calibration = canary_calibration = None
    rescale = canary_rescale = np.nan
    if model is not None:
        calibration, rescale = calibration_change(model, before, now, score, within.estimate)
        if canaries is not None and canary is not None:
            canary_calibration, canary_rescale = canary_calibration_change(
                model, canaries, score, canary.estimate
            )
    return Evidence(mix, within, calibration, canary, canary_calibration, rescale, canary_rescale)


def _sides(confidence: Floats, threshold: float) -> Scores:
    """A function that gives the side of τ a confidence lies on, with mean 0 and variance 1 among these."""
    below = float(np.mean(confidence < threshold))
    spread = max(float(np.sqrt(below * (1 - below))), RIM)
    return lambda asked: np.where(np.isnan(asked), np.nan, (below - (asked < threshold)) / spread)


def _size(measured: Measurement) -> float:
    """How many standard deviations a measurement is from none."""
    return abs(measured.estimate) / float(np.sqrt(measured.variance + 1e-12))


def _scored(calls: Calls) -> Calls:
    has = ~np.isnan(calls.confidence)
    if has.all():
        return calls
    return Calls(
        calls.day[has], calls.stratum[has], calls.confidence[has], calls.escalated[has], calls.right[has]
    )


def _mix(before: Calls, now: Calls, strata: int) -> Measurement:
    """What the new strata would do to the rate at the reference's rate of each."""
    rates = []
    for calls in (before, now):
        count = np.bincount(calls.stratum, minlength=strata)
        rates.append((count, np.bincount(calls.stratum, calls.escalated, strata) / np.maximum(count, 1)))
    (known, own), (_, other) = rates
    rate = np.where(known > 0, own, other)
    usual = ordinary(rate[before.stratum], before.day, now.day)
    return Measurement(float(rate[now.stratum].mean()) - usual.mean, usual.variance)


def _within(before: Calls, now: Calls, score: Scores, strata: int) -> Measurement:
    """Shift of the scores inside strata, which are pooled by how well each is known."""
    scores = score(before.confidence), score(now.confidence)
    counts, means = [], []
    for calls, values in zip((before, now), scores, strict=True):
        counts.append(np.bincount(calls.stratum, minlength=strata))
        means.append(np.bincount(calls.stratum, values, strata) / np.maximum(counts[-1], 1))
    weight = counts[0] * counts[1] / np.maximum(counts[0] + counts[1], 1)
    usual = ordinary(scores[0] - means[0][before.stratum], before.day, now.day)
    if not weight.any():
        return Measurement(0.0, 1.0)
    shift = float((weight * (means[1] - means[0])).sum() / weight.sum())
    return Measurement(shift - usual.mean, usual.variance)


def _canary_shift(canaries: Canaries, score: Scores) -> Measurement | None:
    """Mean shift of the scores of the same prompts."""
    moved = score(canaries.confidence_now) - score(canaries.confidence_before)
    moved = moved[~np.isnan(moved)]
    if len(moved) < FEWEST_NOW:
        return None
    return Measurement(float(moved.mean()), float(moved.var()) / len(moved))
