"""Day effects of a reference: how far each day lies from the usual, and at which hour a day begins."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_otel.statistics.detector.fleet_prior import HOURS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_INFORMATION = 0.3
"""A day with less (1 / variance of its logit) does not count."""
MIDNIGHT_WEIGHT = 0.8
"""Prior probability that day effects change at midnight UTC; every other hour shares the rest."""


@dataclass(frozen=True)
class DayEffects:
    """Of B streams on D days."""

    residual: Floats
    """(B, D) mean deviation of the day from the usual, logit."""
    variance: Floats
    """(B, D) its binomial variance."""
    seen: Floats
    """(B, D) 1 where the day has calls enough to count, else 0."""


def day_effects(calls: Floats, hits: Floats, p: Floats, by_day: Floats) -> DayEffects:
    """One Newton step from the usual rate towards each day's own.

    Args:
        calls: (B, R) effective calls.
        hits: (B, R) hits among them.
        p: (B, R) usual rate.
        by_day: (R, D) which day each hour belongs to.
    """
    information = (calls * p * (1 - p)) @ by_day
    variance = 1 / np.maximum(information, LEAST_INFORMATION)
    residual = np.clip(((hits - calls * p) @ by_day) * variance, -3, 3)
    return DayEffects(residual, variance, (information > LEAST_INFORMATION).astype(np.float64))


def day_effects_from(calls: Floats, hits: Floats, p: Floats, hours: Ints, turn: Ints) -> DayEffects:
    """The same with days that begin at each stream's own hour ``turn`` (B,)."""
    days = (hours[-1] - hours[0]) // HOURS + 2
    found = DayEffects(np.zeros((len(turn), days)), np.ones((len(turn), days)), np.zeros((len(turn), days)))
    for hour in np.unique(turn):
        chosen = turn == hour
        part = day_effects(calls[chosen], hits[chosen], p[chosen], _days(hours, int(hour), days))
        found.residual[chosen], found.variance[chosen] = part.residual, part.variance
        found.seen[chosen] = part.seen
    return found


def turning_hour(calls: Floats, hits: Floats, p: Floats, hours: Ints) -> Ints:
    """Most probable hour of the day (B,), UTC, at which a new day effect begins.

    The hours of a day share a normal effect, integrated out: its size is the one, of a few, that fits best.
    """
    days = (hours[-1] - hours[0]) // HOURS + 2
    score, information = hits - calls * p, calls * p * (1 - p)
    fit = np.empty((HOURS, len(calls)))
    for hour in range(HOURS):
        by_day = _days(hours, hour, days)
        slope, curve = score @ by_day, information @ by_day
        each = [
            (0.5 * size**2 * slope**2 / (1 + size**2 * curve) - 0.5 * np.log1p(size**2 * curve)).sum(1)
            for size in (0.05, 0.1, 0.2, 0.4)
        ]
        fit[hour] = np.max(each, axis=0)
    prior = np.full(HOURS, (1 - MIDNIGHT_WEIGHT) / (HOURS - 1))
    prior[0] = MIDNIGHT_WEIGHT
    return np.asarray((fit + np.log(prior)[:, None]).argmax(0), np.int64)


def _days(hours: Ints, turn: int, days: int) -> Floats:
    """(R, days) which day each hour belongs to, when days begin at the hour ``turn``."""
    day = (hours - turn) // HOURS
    return np.asarray((day - day[0])[:, None] == np.arange(days), np.float64)
