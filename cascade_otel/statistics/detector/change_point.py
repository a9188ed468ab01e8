"""Since when is the level another? The posterior of the hour of change, day effects and bursts included.

Each hour's binomial log-likelihood is expanded to second order: before the change around the most probable
effect of its day, after it around the new level. Day effects, the error of the usual level and what is left
of the change are then normal and integrated out in closed form, so every hour's posterior costs a few sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logsumexp

from cascade_otel.statistics.detector.fleet_prior import HOURS
from cascade_otel.statistics.detector.profile import effective
from cascade_otel.statistics.intervals import checked_level

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CHANGES = np.linspace(-3, 3, 41)
"""Changes of level, logit, to expand the likelihood around; every hour uses the one nearest to its own."""
CHANGE_SD = 1.0
"""Prior standard deviation of the change, logit."""
NEWTON_STEPS = 12
"""Enough for the most probable day effects to settle."""


@dataclass(frozen=True)
class ChangePoint:
    """Posterior of the first hour at the new level, every hour equally likely before looking."""

    index: int
    """Most probable hour, 0 to T-1."""
    low: int
    """First hour of the interval."""
    high: int
    """Last hour of the interval, inclusive."""
    change: float
    """Mean change of the level, logit."""
    log_odds: float
    """Log odds of a change somewhere in the window against none, at even odds before looking."""
    posterior: Floats
    """(T,)"""

    @property
    def probability(self) -> float:
        """Probability of a change in the window, at even odds before looking."""
        return float(expit(self.log_odds))


def change_point(
    base_logit: ArrayLike,
    calls: ArrayLike,
    hits: ArrayLike,
    *,
    first_hour: int = 0,
    dispersion: float = 0.0,
    wobble: float = 0.0,
    level_se: float = 0.0,
    most_calls: float = 100.0,
    level: float = 0.9,
) -> ChangePoint:
    """Locate the hour from which one stream's level is another.

    Args:
        base_logit: (T,) usual logit of the rate, hour by hour.
        calls: (T,)
        hits: (T,)
        first_hour: hour since 1970-01-01 UTC of the first entry: day effects change at midnight.
        dispersion: correlation of calls within an hour.
        wobble: standard deviation of the day effect, logit.
        level_se: standard error of ``base_logit``'s level.
        most_calls: no hour counts for more calls than this.
        level: probability of the interval, the hull of the most probable hours.

    Raises:
        ValueError: no hours, lengths differ, or ``level`` is not between 0 and 1.
    """
    checked_level(level)
    base = np.asarray(base_logit, np.float64)
    counts = np.asarray(calls, np.float64), np.asarray(hits, np.float64)
    if base.ndim != 1 or not len(base) or any(array.shape != base.shape for array in counts):
        raise ValueError(f"base_logit, calls and hits must be of one length > 0, not {base.shape}")
    n, k = (
        part[0] for part in effective(counts[0][None], counts[1][None], np.array([dispersion]), most_calls)
    )
    day = (first_hour + np.arange(len(base))) // HOURS
    day = day - day[0]

    effect = _day_effects(base, n, k, day, float(np.hypot(wobble, level_se)))
    each = [_log_odds_by_hour(base, n, k, day, wobble, level_se, change, effect) for change in CHANGES]
    means = np.stack([mean for _, mean in each])
    # Far from its own optimum an expansion promises too much: take the one with the least left to explain.
    nearest = np.abs(means - CHANGES[:, None]).argmin(0)[None]
    log_odds = np.take_along_axis(np.stack([odds for odds, _ in each]), nearest, axis=0)[0]
    mean = np.take_along_axis(means, nearest, axis=0)[0]
    posterior = np.exp(log_odds - logsumexp(log_odds))
    order = np.argsort(-posterior, kind="stable")
    likely = order[: int(np.searchsorted(np.cumsum(posterior[order]), level)) + 1]
    return ChangePoint(
        index=int(order[0]),
        low=int(likely.min()),
        high=int(likely.max()),
        change=float((posterior * mean).sum()),
        log_odds=float(logsumexp(log_odds) - np.log(len(base))),
        posterior=posterior,
    )


@dataclass(frozen=True)
class _Expansion:
    """log-likelihood(level + e) ~ value + slope e - information e^2 / 2, hour by hour (T,)."""

    value: Floats
    slope: Floats
    information: Floats

    @classmethod
    def at(cls, logit: Floats, calls: Floats, hits: Floats, near: Floats | float) -> _Expansion:
        """In e, expanded around e = ``near``, where the quadratic is exact."""
        odds = logit + near
        p = expit(odds)
        slope, information = hits - calls * p, calls * p * (1 - p)
        return cls(
            hits * odds - calls * np.logaddexp(0, odds) - slope * near - information * near**2 / 2,
            slope + information * near,
            information,
        )


def _day_effects(base: Floats, calls: Floats, hits: Floats, day: Ints, sd: float) -> Floats:
    """Most probable effect of each hour's day (T,) without a change, by Newton's method in short steps."""
    precision = 1 / max(sd, 1e-6) ** 2
    effect = np.zeros(int(day[-1]) + 1)
    for _ in range(NEWTON_STEPS):
        p = expit(base + effect[day])
        slope = np.bincount(day, hits - calls * p) - precision * effect
        effect = effect + np.clip(slope / (np.bincount(day, calls * p * (1 - p)) + precision), -1, 1)
    return effect[day]


def _log_odds_by_hour(
    base: Floats,
    calls: Floats,
    hits: Floats,
    day: Ints,
    wobble: float,
    level_se: float,
    change: float,
    effect: Floats,
) -> tuple[Floats, Floats]:
    """Log odds (T,) of a change at each hour against none, and the mean change (T,) if it was then.

    ``effect`` (T,) is what each hour's day would be without a change: expanded around the usual level, a far
    day effect would promise more than it keeps, and pass for every change.

    With day effect z (variance V), level error u and remainder d of the change, a day contributes
    G0 u + G1 d - (I0 u^2 + I1 d^2) / 2 + V (G0 + G1 - I0 u - I1 d)^2 / 2(1 + V I) - log(1 + V I) / 2
    after z is integrated out; G, I: slopes, information of its hours before (0) and after (1); I = I0 + I1.
    """
    before, after = _Expansion.at(base, calls, hits, effect), _Expansion.at(base + change, calls, hits, 0.0)
    variance = wobble**2
    days = int(day[-1]) + 1

    def of_days(values: Floats) -> Floats:
        return np.bincount(day, values, days).astype(np.float64)

    def so_far(values: Floats) -> Floats:
        """Sum over the hours of the same day that come before each hour."""
        total = np.concatenate([[0.0], np.cumsum(values)])
        return np.asarray(total[:-1] - total[np.searchsorted(day, day)])

    whole_0 = _quadratic(of_days(before.slope), 0.0, of_days(before.information), 0.0, variance)
    whole_1 = _quadratic(0.0, of_days(after.slope), 0.0, of_days(after.information), variance)
    slope_0, information_0 = so_far(before.slope), so_far(before.information)
    slope_1 = of_days(after.slope)[day] - so_far(after.slope)
    information_1 = of_days(after.information)[day] - so_far(after.information)
    split = _quadratic(slope_0, slope_1, information_0, information_1, variance)

    earlier = np.concatenate([np.zeros((6, 1)), np.cumsum(whole_0, axis=1)], axis=1)
    later = np.concatenate([np.zeros((6, 1)), np.cumsum(whole_1, axis=1)], axis=1)
    total = earlier[:, day] + (later[:, -1:] - later[:, day + 1]) + split
    value = np.cumsum(before.value) - before.value + after.value[::-1].cumsum()[::-1]

    constant, b0, b1, h00, h01, h11 = total
    # Priors: u ~ N(0, level_se^2); the change itself, not the rest of it, ~ N(0, CHANGE_SD^2).
    prior_0, prior_1 = 1 / max(level_se, 1e-6) ** 2, 1 / CHANGE_SD**2
    h00, h11, b1 = h00 + prior_0, h11 + prior_1, b1 - change * prior_1
    determinant = h00 * h11 - h01**2
    fit = (b0 * b0 * h11 - 2 * b0 * b1 * h01 + b1 * b1 * h00) / (2 * determinant)
    changed = (
        value + constant + fit - 0.5 * np.log(determinant / (prior_0 * prior_1)) - change**2 * prior_1 / 2
    )

    constant, b0, _, h00, _, _ = earlier[:, -1]
    same = before.value.sum() + constant + b0**2 / (2 * (h00 + prior_0)) - 0.5 * np.log(h00 / prior_0 + 1)
    return changed - same, change + (b1 * h00 - b0 * h01) / determinant


def _quadratic(
    slope_0: Floats | float,
    slope_1: Floats | float,
    information_0: Floats | float,
    information_1: Floats | float,
    variance: float,
) -> Floats:
    """Coefficients (6, n) of c + b0 u + b1 d - (h00 u^2 + 2 h01 u d + h11 d^2) / 2 without the day effect."""
    scale = 1 + variance * (information_0 + information_1)
    pull = variance * (slope_0 + slope_1) / scale
    constant = 0.5 * pull * (slope_0 + slope_1) - 0.5 * np.log(scale)
    return np.array(
        np.broadcast_arrays(
            constant,
            slope_0 - pull * information_0,
            slope_1 - pull * information_1,
            information_0 - variance * information_0**2 / scale,
            -variance * information_0 * information_1 / scale,
            information_1 - variance * information_1**2 / scale,
        )
    )
