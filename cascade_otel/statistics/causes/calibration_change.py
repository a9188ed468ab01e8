"""Whether answers are right as often as before, at the same confidence and in the same kind of input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from cascade_otel.statistics.causes.day_to_day import ordinary
from cascade_otel.statistics.causes.measurements import (
    FEWEST_BEFORE,
    FEWEST_NOW,
    Calls,
    Canaries,
    Floats,
    Ints,
    Measurement,
    Scores,
    normal_scores,
)

MOST_KNOWN = 20_000
"""Of more calls with a known strong answer, evenly spaced ones are enough."""
RIDGE = 1.0
STEPS = 25
LEAST_SLOPE = 0.1
SMALL_SHIFT = 0.1
"""Below it the effect of a rescaling is taken from the slope of the fit, above it from ranks."""


@dataclass(frozen=True)
class Fit:
    """Log-odds of a right answer by stratum and by score: level, slope and bend."""

    strata: Floats
    bend: float
    slope: float
    level: float
    residual: Floats
    """Of the reference's calls with a known answer, in log-odds."""
    day: Ints
    """Of the same."""

    def log_odds(self, stratum: Ints | None, score: Floats) -> Floats:
        """(n,) of calls; without a stratum those of a stratum in the middle."""
        known: Floats | float = 0.0 if stratum is None else self.strata[stratum]
        return np.asarray(known + self.bend * score * score + self.slope * score + self.level, np.float64)


def _known(calls: Calls) -> Calls:
    """The calls whose answer is known to be right or wrong, at most ``MOST_KNOWN`` of them."""
    place = np.flatnonzero(~np.isnan(calls.right))
    place = place[:: -(-len(place) // MOST_KNOWN) or 1]
    return Calls(
        calls.day[place],
        calls.stratum[place],
        calls.confidence[place],
        calls.escalated[place],
        calls.right[place],
    )


def fit(before: Calls, score: Scores, strata: int) -> Fit | None:
    """Ridge logistic regression of right answers on stratum and score in the reference."""
    known = _known(before)
    if len(known.day) < FEWEST_BEFORE:
        return None
    z = score(known.confidence)
    design = np.column_stack([np.eye(strata)[known.stratum], z * z, z, np.ones(len(z))])
    shrink = np.diag(np.r_[np.full(strata + 2, RIDGE), 1e-6])
    weights = np.zeros(strata + 3)
    for _ in range(STEPS):
        chance = expit(design @ weights)
        bent = (design * (chance * (1 - chance))[:, None]).T @ design + shrink
        step = np.linalg.solve(bent, design.T @ (known.right - chance) - shrink @ weights)
        weights = weights + step
        if np.abs(step).max() < 1e-8:
            break
    chance = expit(design @ weights)
    residual = (known.right - chance) / max(float((chance * (1 - chance)).mean()), 1e-6)
    return Fit(
        weights[:strata], float(weights[-3]), float(weights[-2]), float(weights[-1]), residual, known.day
    )


def calibration_change(
    model: Fit, before: Calls, now: Calls, score: Scores, shift: float
) -> tuple[Measurement | None, float]:
    """Change of the log-odds of a right answer at given confidence and stratum, and the rescaling's effect.

    Whether a strong answer is known depends on the confidence alone (below τ, or an auditor's coin), and
    given the confidence that is ignorable (Rubin 1976): no call needs a weight, and escalated calls tell as
    much as audited ones.
    """
    known = _known(now)
    if len(known.day) < FEWEST_NOW:
        return None, np.nan
    expected = expit(model.log_odds(known.stratum, score(known.confidence)))
    information = max(float((expected * (1 - expected)).sum()), 1e-6)
    calls = information * max(float(model.residual.var()), 1e-6)
    usual = ordinary(model.residual, model.day, known.day, calls)
    change = Measurement(float((known.right - expected).sum()) / information - usual.mean, usual.variance)
    # Confidences that keep their rank, and lose their scale, had the reference's score of the same rank.
    count = np.maximum(np.bincount(now.stratum, minlength=len(model.strata)), 1)
    usual_mix = np.bincount(before.stratum, minlength=len(model.strata)) / count
    ranked = normal_scores(now.confidence, usual_mix[now.stratum] + 1e-9)
    undone = expit(model.log_odds(known.stratum, ranked(known.confidence)))
    return change, _per_shift(float((undone - expected).sum()) / information, shift, model.slope)


def _per_shift(change: float, shift: float, slope: float) -> float:
    """Log-odds per unit of shift of a rescaling, from its whole effect or, where that is small, the slope."""
    small = SMALL_SHIFT**2
    return max((max(slope, LEAST_SLOPE) * small - change * shift) / (small + shift**2), 0.0)


def canary_calibration_change(
    model: Fit, canaries: Canaries, score: Scores, shift: float
) -> tuple[Measurement | None, float]:
    """The calibration change on the same prompts, and the rescaling's effect on them."""
    known = ~np.isnan(canaries.right_before + canaries.right_now)
    known &= ~np.isnan(canaries.confidence_before + canaries.confidence_now)
    if known.sum() < FEWEST_NOW:
        return None, np.nan
    right_before, right_now = canaries.right_before[known], canaries.right_now[known]
    before, now = (
        model.log_odds(None, score(confidence[known]))
        for confidence in (canaries.confidence_before, canaries.confidence_now)
    )
    level = 0.0  # stored prompts are easier or harder than the traffic
    for _ in range(STEPS):
        chance = expit(before + level)
        level += float((right_before - chance).sum()) / max(float((chance * (1 - chance)).sum()), 1.0)
    chance_before, chance_now = expit(before + level), expit(now + level)
    moved = (right_now - chance_now) - (right_before - chance_before)
    both = chance_before * (1 - chance_before) + chance_now * (1 - chance_now)
    information = max(float(both.sum()) / 2, 1e-6)
    change = Measurement(
        float(moved.sum()) / information, (len(moved) * float(moved.var()) + 1) / information**2
    )
    undone = float((chance_before - chance_now).sum()) / information
    return change, _per_shift(undone, shift, model.slope)
