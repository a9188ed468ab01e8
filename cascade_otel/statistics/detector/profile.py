"""What a stream's rate usually is, by hour of the day and day of the week, and how bursty its hours are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from cascade_otel.statistics.detector.fleet_prior import HARMONICS, HOURS, WEEK, FleetPrior

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ITERATIONS = 10
PSEUDO_STREAMS = 10.0
"""The fleet's common daily shape is shrunk to flat as if ten flat streams had been seen too."""

WEEK_NEEDS_DAYS = 14
"""A weekday seen once cannot be told from a day effect."""


def days_matrix(day: Ints, count: int) -> Floats:
    """Indicator matrix (R, count): which of ``count`` days each of R hours belongs to."""
    return np.asarray(day[:, None] == np.arange(count), np.float64)


def effective(calls: Floats, hits: Floats, dispersion: Floats, most: float) -> tuple[Floats, Floats]:
    """Counts an hour may stand for, given its bursts and a cap.

    Args:
        calls: calls, (B,) or (B, R).
        hits: hits among them, same shape.
        dispersion: within-hour correlation (B,): var(hits/calls) is p(1-p)(1 + (calls-1) dispersion)/calls.
        most: no hour counts for more than this many calls.

    Returns:
        Effective calls and hits, same shape; the hour's rate is unchanged.
    """
    burst = dispersion[:, None] if calls.ndim == 2 else dispersion
    share = np.minimum(1 / (1 + np.maximum(calls - 1, 0) * burst), most / np.maximum(calls, 1))
    return np.asarray(calls * share), np.asarray(hits * share)


@dataclass(frozen=True)
class Profile:
    """Of B streams in F fleets."""

    base: Floats
    """(B, 24) logit of the rate by hour of the day."""
    dispersion: Floats
    """(B,) correlation of calls within an hour, see :func:`effective`."""
    waves: Floats
    """(F, 2 HARMONICS) mean of each fleet's cosines and sines."""
    waves_variance: Floats
    """(F, HARMONICS)"""
    fleet_dispersion: Floats
    """(F,) median of each fleet."""


def hour_profile(
    calls: Floats,
    hits: Floats,
    hour_of_day: Ints,
    day: Ints,
    days_valid: Ints,
    fleet: Sequence[Ints],
    priors: Sequence[FleetPrior],
) -> Profile:
    """Hour-of-day profile of the rate, and within-hour dispersion.

    A logistic Fourier series per stream. Its harmonics have a normal prior whose mean and variance are
    learned from the fleet (empirical Bayes: a Newton step for the streams, then an EM step for the prior).

    Args:
        calls: (B, R) calls per reference hour, 0 outside a stream's reference.
        hits: (B, R) hits among them.
        hour_of_day: (R,) 0 to 23.
        day: (R,) day number from 0.
        days_valid: (B,) days of each stream's reference.
        fleet: index arrays of streams that share a prior.
        priors: of each fleet, what is known from other streams.
    """
    design = _daily_waves()
    size, width = len(calls), design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(HOURS, -1)
    by_hour = (hour_of_day[:, None] == np.arange(HOURS)).astype(np.float64)
    by_day = days_matrix(day, int(day[-1]) + 1)
    calls_at, hits_at = calls @ by_hour, hits @ by_hour

    total = calls.sum(1)
    rate = np.clip((hits.sum(1) + 0.5) / (total + 1), 1e-4, 1 - 1e-4)
    coefficients, prior_mean = np.zeros((size, width)), np.zeros((size, width))
    coefficients[:, 0] = prior_mean[:, 0] = np.log(rate / (1 - rate))
    prior_variance = np.full((size, width), 100.0)
    for members, prior in zip(fleet, priors, strict=True):
        prior_mean[members, 1:] = prior.waves
        prior_variance[members, 1:] = np.tile(prior.waves_variance, 2)
    worth = np.ones((size, HOURS))
    dispersion, medians = np.zeros(size), np.zeros(len(fleet))

    for step in range(ITERATIONS):
        logit = coefficients @ design.T
        p = expit(logit)
        weight = calls_at * p * (1 - p) + 1e-9
        target = logit + np.clip((hits_at - calls_at * p) / np.maximum(weight, 0.3), -2, 2)
        weight = weight * worth
        precision = (weight @ products).reshape(size, width, width)
        precision += np.eye(width) / prior_variance[:, None]
        covariance = np.linalg.inv(precision)
        pull = (weight * target) @ design + prior_mean / prior_variance
        coefficients = (covariance @ pull[..., None])[..., 0]
        _learn_prior(
            coefficients, np.einsum("bii->bi", covariance), fleet, priors, prior_mean, prior_variance
        )
        if step in (ITERATIONS // 2 - 1, ITERATIONS - 1):
            at = (coefficients @ design.T)[:, hour_of_day]
            dispersion, medians = _dispersion(calls, hits, at, by_day, days_valid, fleet, priors)
            counted = calls / (1 + np.maximum(calls - 1, 0) * dispersion[:, None])
            worth = (counted @ by_hour + 1e-9) / (calls_at + 1e-9)
    first = [members[0] for members in fleet]
    return Profile(
        base=coefficients @ design.T,
        dispersion=dispersion,
        waves=prior_mean[first, 1:],
        waves_variance=prior_variance[first, 1 : 1 + HARMONICS],
        fleet_dispersion=medians,
    )


@dataclass(frozen=True)
class WeekProfile:
    """Of B streams in F fleets."""

    week: Floats
    """(B, 7) logit, Monday first."""
    common: Floats
    """(F, 7) what the streams of each fleet have in common."""
    variance: Floats
    """(F,) variance of the streams' own deviations from it."""


def week_profile(
    residual: Floats,
    seen: Floats,
    weekday: Ints,
    days_valid: Ints,
    fleet: Sequence[Ints],
    priors: Sequence[FleetPrior],
) -> WeekProfile:
    """Day-of-week profile: the fleet's common week plus each stream's own deviation, both shrunk to noise.

    A stream whose reference is shorter than 14 days has no deviation of its own; where all are, the common
    week is what is known from other streams.

    Args:
        residual: (B, D) day residuals on the logit scale.
        seen: (B, D) 1 where the day has calls enough to count, else 0.
        weekday: (D,) 0 (Monday) to 6.
        days_valid: (B,) days of each stream's reference.
        fleet: index arrays of streams that share a common week.
        priors: of each fleet, what is known from other streams.
    """
    size, days = residual.shape
    found = WeekProfile(
        week=np.zeros((size, WEEK)),
        common=np.stack([prior.week for prior in priors]) if priors else np.zeros((0, WEEK)),
        variance=np.array([prior.week_variance for prior in priors]),
    )
    if days < WEEK_NEEDS_DAYS:
        for members, common in zip(fleet, found.common, strict=True):
            found.week[members] = common
        return found
    of_weekday = (weekday[:, None] == np.arange(WEEK)).astype(np.float64)
    mean = (residual * seen).sum(1, keepdims=True) / np.maximum(seen.sum(1, keepdims=True), 1)
    centred = (residual - mean) * seen
    count = seen @ of_weekday
    own = (centred @ of_weekday) / np.maximum(count, 1)
    within = (centred - own[:, weekday]) * seen
    for place, (members, prior) in enumerate(zip(fleet, priors, strict=True)):
        known = prior.streams / (prior.streams + len(members))
        common_day = centred[members].sum(0) / np.maximum(seen[members].sum(0), 1)
        repeats = of_weekday.sum(0)
        common_week = (common_day @ of_weekday) / np.maximum(repeats, 1)
        noise = ((common_day - common_week[weekday]) ** 2).sum() / max(days - WEEK, 1)
        error = noise / np.maximum(repeats, 1)[None]
        common = known * prior.week + (1 - known) * _shrink(
            common_week[None], error, _signal(common_week, error)
        )
        freedom = np.maximum(seen[members].sum(1) - WEEK, 1)
        variance = (within[members] ** 2).sum(1) / freedom
        variance = 0.5 * variance + 0.5 * variance.mean()
        error = variance[:, None] / np.maximum(count[members], 1)
        signal = known * prior.week_variance + (1 - known) * _signal(own[members] - common, error)
        deviation = _shrink(own[members] - common, error, signal)
        young = days_valid[members, None] < WEEK_NEEDS_DAYS
        found.week[members] = common + np.where(young, 0.0, deviation)
        found.common[place], found.variance[place] = common[0], signal
    return found


def _daily_waves() -> Floats:
    """Design matrix (24, 1 + 2 * HARMONICS): constant, cosines, sines of the hour of the day."""
    angle = 2 * np.pi * np.arange(HOURS)[:, None] * np.arange(1, HARMONICS + 1) / HOURS
    return np.concatenate([np.ones((HOURS, 1)), np.cos(angle), np.sin(angle)], axis=1)


def _learn_prior(
    coefficients: Floats,
    variance: Floats,
    fleet: Sequence[Ints],
    priors: Sequence[FleetPrior],
    prior_mean: Floats,
    prior_variance: Floats,
) -> None:
    """EM step, in place: prior mean per coefficient, prior variance per harmonic, over each fleet."""
    for members, prior in zip(fleet, priors, strict=True):
        waves, known = coefficients[members, 1:], prior.streams
        together = len(members) + known
        prior_mean[members, 1:] = (waves.sum(0) + known * prior.waves) / (together + PSEUDO_STREAMS)
        spread = ((waves - prior_mean[members, 1:]) ** 2 + variance[members, 1:]).sum(0)
        spread = spread.reshape(2, HARMONICS).mean(0) + known * prior.waves_variance
        prior_variance[members, 1:] = np.tile(np.maximum(spread / together, 1e-6), 2)


def _dispersion(
    calls: Floats,
    hits: Floats,
    logit: Floats,
    by_day: Floats,
    days_valid: Ints,
    fleet: Sequence[Ints],
    priors: Sequence[FleetPrior],
) -> tuple[Floats, Floats]:
    """Within-hour correlation (B,) from Pearson residuals inside days, shrunk to its fleet's median (F,)."""
    p = expit(logit)
    day_effect = ((hits - calls * p) @ by_day) / np.maximum((calls * p * (1 - p)) @ by_day, 0.3)
    p = expit(logit + np.clip(day_effect, -3, 3) @ by_day.T)
    squared = (hits - calls * p) ** 2 / np.maximum(calls * p * (1 - p), 0.05)
    with_calls = calls > 0
    hours = with_calls.sum(1)
    # The plain mean over hours: weighted by volume, a daily rhythm makes the dispersion low by a third.
    typical = calls.sum(1) / np.maximum(hours, 1)
    chi = (squared * with_calls).sum(1) / np.maximum(hours - days_valid - 6, 1)
    raw = (chi - 1) / np.maximum(typical - 1, 1)
    out, medians = np.zeros(len(calls)), np.zeros(len(fleet))
    for place, (members, prior) in enumerate(zip(fleet, priors, strict=True)):
        called = members[hours[members] > 0]
        median = max(float(np.median(raw[called])), 0.0) if len(called) else 0.0
        weight = prior.streams + len(called)
        median = (prior.streams * prior.dispersion + len(called) * median) / max(weight, 1)
        trust = np.clip(typical[members] / 50, 0.1, 0.7)
        own = np.where(hours[members] > 0, raw[members], median)
        out[members] = np.maximum(trust * own + (1 - trust) * median, 0.5 * median)
        medians[place] = median
    return out, medians


def _signal(mean: Floats, error: Floats) -> float:
    """Variance of the true means behind ``mean``, given the variance ``error`` of each."""
    return max(float((mean**2).mean() - 1.2 * error.mean()), 0.0)


def _shrink(mean: Floats, error: Floats, signal: float) -> Floats:
    """Means shrunk to 0 by the share of their spread that is error."""
    return np.asarray(mean * signal / (signal + error + 1e-12))
