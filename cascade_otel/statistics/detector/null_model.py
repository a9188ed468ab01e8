"""The null model of a stream: what its counts look like as long as nothing has happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, gammaln

from cascade_otel.statistics.causes.days import day_effects, day_effects_from, turning_hour
from cascade_otel.statistics.detector.fleet_prior import HOURS, MOST_STREAMS, SIZES, WEEK, FleetPrior
from cascade_otel.statistics.detector.profile import (
    Profile,
    WeekProfile,
    days_matrix,
    effective,
    hour_profile,
    week_profile,
)
from cascade_otel.statistics.detector.wobble import Wobble, wobble_posterior

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

MONDAY = 3
"""Day 0 (1970-01-01) was a Thursday, and Monday is weekday 0."""

SIZE_GROUPS = (0.0, 0.65, 0.97, 1.0)
"""Quantiles that cut the posterior of the day effect's size into groups: usual, large, extreme."""


@dataclass(frozen=True)
class Settings:
    """What the detector believes before it has seen a stream; the page budget enters by ``log_needed``."""

    tolerance: float = 0.005
    """Change of a rate below which nobody wants a page (standard deviation, as a fraction)."""
    most_calls: float = 100.0
    """No hour counts for more calls than this, however many it had."""
    day_freedom: float = 6.0
    """Degrees of freedom of the day effect: days are wilder than normal."""
    most_memory: float = 0.6
    """Cap of the correlation between the day effects of consecutive days."""
    prior_streams: float = 4.0
    """How many streams the default prior of the day effect is worth in a small fleet; less in a large one."""
    caution: float = 1.0
    """The group of largest sizes of the day effect is taken for so many times as large."""
    spikes: float = 1 / 240
    """Chance that an hour is a spike: its rate may be anything and tells nothing about other hours."""


@dataclass(frozen=True)
class Reference:
    """Counts from which the null is learned: B streams over R consecutive hours."""

    hours: Ints
    """(R,) hours since 1970-01-01 UTC, ascending."""
    calls: NDArray[np.generic]
    """(B, R)"""
    hits: NDArray[np.generic]
    """(B, R) calls that had the property watched (escalated; confidence at most a cut)."""
    fleet: Sequence[Ints]
    """Index arrays of streams that share a prior; every stream is in exactly one."""
    valid: Bools
    """(B, R) hours that belong to the stream's own reference; the others are taken as hours without calls."""


@dataclass(frozen=True)
class Null:
    """Null of B streams: hits ~ Binomial(effective calls, expit(base + week + x + size z)).

    x ~ N(0, level_se^2) is the error of the reference level and the tolerance; z is the day effect.
    """

    base: Floats
    """(B, 24) logit by hour of the day."""
    week: Floats
    """(B, 7) logit by weekday, Monday first, added to ``base``."""
    dispersion: Floats
    """(B,) correlation of calls within an hour."""
    sigma: Floats
    """(B, S) size of the day effect in S groups of its posterior, logit."""
    weights: Floats
    """(B, S) posterior probability of the groups."""
    phi: Floats
    """(B,) memory of the day effect."""
    turn: Ints
    """(B,) hour of the day, UTC, at which a new day effect begins."""
    level_se: Floats
    """(B,) standard error of the reference level, tolerance included, logit."""
    rate: Floats
    """(B,) mean rate of the reference over the hours of the day."""
    settings: Settings = Settings()
    fleet: tuple[FleetPrior, ...] = ()
    """Of each fleet of the reference, what its streams and those known before teach about one more."""

    def take(self, streams: ArrayLike) -> Null:
        """The same of some streams, in the order given; the fleets' priors stay as they are."""
        chosen = np.asarray(streams, np.int64)
        taken: dict[str, Any] = {name: getattr(self, name)[chosen] for name in _OF_STREAMS}
        return replace(self, **taken)

    @classmethod
    def join(cls, parts: Sequence[Null]) -> Null:
        """The streams of all parts, one part after the other, with the first one's settings and fleets.

        Raises:
            ValueError: no parts.
        """
        if not parts:
            raise ValueError("at least one null is needed")
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name in _OF_STREAMS
        }
        return replace(parts[0], **joined)

    def logit(self, hour: Ints) -> Floats:
        """Expected logit (B, T) at hours (T,)."""
        hour = np.asarray(hour)
        return self.base[:, hour % HOURS] + self.week[:, weekday(hour // HOURS)]


_OF_STREAMS = tuple(field.name for field in fields(Null) if field.name not in ("settings", "fleet"))


def weekday(day: Ints) -> Ints:
    """Weekday, 0 Monday to 6 Sunday, of days since 1970-01-01."""
    return np.asarray((day + MONDAY) % WEEK)


def learn(
    reference: Reference, settings: Settings | None = None, fleet: Sequence[FleetPrior] | None = None
) -> Null:
    """Learn the null of every stream from its reference hours.

    Args:
        reference: counts of the streams.
        settings: what is believed beforehand.
        fleet: per entry of ``reference.fleet`` what is known from other streams, as ``Null.fleet`` of an
            earlier ``learn`` has it; the shipped default by default.

    Raises:
        ValueError: shapes do not fit, or a stream is in no fleet or in two.
    """
    settings = settings or Settings()
    _check(reference)
    known = [FleetPrior.default() for _ in reference.fleet] if fleet is None else list(fleet)
    if len(known) != len(reference.fleet):
        raise ValueError(f"{len(reference.fleet)} fleets need as many priors, not {len(known)}")
    taught = [place for place, members in enumerate(reference.fleet) if len(members)]
    members = [np.asarray(reference.fleet[place], dtype=np.int64) for place in taught]
    priors = [known[place] for place in taught]

    hours = reference.hours
    calls = np.where(reference.valid, reference.calls, 0).astype(np.float64)
    hits = np.where(reference.valid, reference.hits, 0).astype(np.float64)
    day = hours // HOURS - hours[0] // HOURS
    days = int(day[-1]) + 1
    by_day = days_matrix(day, days)
    days_valid = ((reference.valid.astype(np.float64) @ by_day) > 0).sum(1)

    profile = hour_profile(calls, hits, hours % HOURS, day, days_valid, members, priors)
    if settings.spikes > 0:
        # A spike would widen the day effect and the dispersion, and hide real shifts behind them.
        at = profile.base[:, hours % HOURS]
        ordinary = ~_spikes(calls, hits, at, profile.dispersion, by_day, settings)
        calls, hits = calls * ordinary, hits * ordinary
        profile = hour_profile(calls, hits, hours % HOURS, day, days_valid, members, priors)
    calls, hits = effective(calls, hits, profile.dispersion, settings.most_calls)
    p = expit(profile.base[:, hours % HOURS])
    by_midnight = day_effects(calls, hits, p, by_day)
    of_week = weekday(hours[0] // HOURS + np.arange(days))
    week = week_profile(by_midnight.residual, by_midnight.seen, of_week, days_valid, members, priors)
    p = expit(profile.base[:, hours % HOURS] + week.week[:, weekday(hours // HOURS)])
    turn = turning_hour(calls, hits, p, hours)
    effects = day_effects_from(calls, hits, p, hours, turn)
    wobble = wobble_posterior(
        effects.residual, effects.variance, effects.seen, members, priors, settings.prior_streams
    )

    base = profile.base + wobble.mean_level[:, None]
    rate = np.clip(expit(base).mean(1), 1e-4, 1 - 1e-4)
    tolerance = np.minimum(settings.tolerance / (rate * (1 - rate)), 1.0)
    sigma, weights = _size_groups(wobble.size_weight)
    sigma[:, -1] *= settings.caution
    for place, prior in zip(taught, _taught(members, priors, profile, week, wobble), strict=True):
        known[place] = prior
    return Null(
        base=base,
        week=week.week,
        dispersion=profile.dispersion,
        sigma=sigma,
        weights=weights,
        phi=np.minimum(wobble.memory, settings.most_memory),
        turn=turn,
        level_se=np.sqrt(np.minimum(wobble.mean_level_variance, 1.0) + tolerance**2),
        rate=rate,
        settings=settings,
        fleet=tuple(known),
    )


def _taught(
    fleet: Sequence[Ints],
    priors: Sequence[FleetPrior],
    profile: Profile,
    week: WeekProfile,
    wobble: Wobble,
) -> list[FleetPrior]:
    """What each fleet and its prior teach together."""
    return [
        FleetPrior(
            streams=min(prior.streams + len(members), MOST_STREAMS),
            waves=profile.waves[place],
            waves_variance=profile.waves_variance[place],
            dispersion=float(profile.fleet_dispersion[place]),
            week=week.common[place],
            week_variance=float(week.variance[place]),
            wobble=wobble.fleet[place],
        )
        for place, (members, prior) in enumerate(zip(fleet, priors, strict=True))
    ]


def _check(reference: Reference) -> None:
    """Raise ValueError unless everything fits."""
    shape = reference.calls.shape
    if len(shape) != 2 or shape[1] != len(reference.hours) or not shape[1]:
        raise ValueError(f"calls must be (streams, hours) over {len(reference.hours)} > 0 hours, not {shape}")
    for name, array in (("hits", reference.hits), ("valid", reference.valid)):
        if array.shape != shape:
            raise ValueError(f"{name} must have the shape {shape} of calls, not {array.shape}")
    members = np.sort(np.concatenate([np.zeros(0, np.int64), *reference.fleet]))
    if not np.array_equal(members, np.arange(shape[0])):
        raise ValueError(f"every one of {shape[0]} streams must be in exactly one fleet")


def spike_log_likelihood(calls: Floats, hits: Floats, spikes: float | Floats) -> Floats:
    """Log of a spike's prior odds times its likelihood, as hits logit - calls log(1 + exp(logit)) is one.

    In a spike every number of hits from 0 to ``calls`` is equally likely. Counts may be fractional.
    """
    arrangements = gammaln(calls + 1) - gammaln(hits + 1) - gammaln(calls - hits + 1)
    return np.asarray(np.log(spikes / (1 - spikes)) - np.log(calls + 1) - arrangements)


def _spikes(
    calls: Floats, hits: Floats, logit: Floats, dispersion: Floats, by_day: Floats, settings: Settings
) -> Bools:
    """Reference hours (B, R) that are more likely a spike than like the others of their day, and stand alone.

    Where neighbours are as wild, the stream is like that, and the null must know.
    """
    calls, hits = effective(calls, hits, dispersion, settings.most_calls)
    p = expit(logit)
    day_effect = ((hits - calls * p) @ by_day) / np.maximum((calls * p * (1 - p)) @ by_day, 0.3)
    logit = logit + np.clip(day_effect, -3, 3) @ by_day.T
    usual = hits * logit - calls * np.logaddexp(0, logit)
    wild = np.asarray(spike_log_likelihood(calls, hits, settings.spikes) > usual)
    neighbours = np.zeros(wild.shape, bool)
    neighbours[:, 1:] |= wild[:, :-1]
    neighbours[:, :-1] |= wild[:, 1:]
    return wild & ~neighbours


def _size_groups(size_weight: Floats) -> tuple[Floats, Floats]:
    """Root mean square size (B, S) and probability (B, S) of the posterior (B, K) cut at its quantiles."""
    cumulative = np.cumsum(np.concatenate([np.zeros((len(size_weight), 1)), size_weight], axis=1), axis=1)
    cumulative /= cumulative[:, -1:]
    cuts = np.asarray(SIZE_GROUPS)
    mass = np.diff(np.clip(cumulative[:, :, None] - cuts[:-1], 0, np.diff(cuts)), axis=1)
    weights = mass.sum(1)
    return np.sqrt((mass * SIZES[:, None] ** 2).sum(1) / weights), weights
