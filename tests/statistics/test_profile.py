from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from cascade_otel.statistics.detector.fleet_prior import FleetPrior
from cascade_otel.statistics.detector.profile import effective, hour_profile, week_profile

DAYS = 28
HOUR = np.arange(DAYS * 24)


def learned(calls: np.ndarray, hits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    profile = hour_profile(
        calls.astype(float),
        hits.astype(float),
        HOUR % 24,
        HOUR // 24,
        np.full(len(calls), DAYS),
        [np.arange(len(calls))],
        [FleetPrior.default()],
    )
    return profile.base, profile.dispersion


def test_a_daily_rhythm_is_found() -> None:
    random = np.random.default_rng(1)
    true = logit(0.2) + 0.4 * np.sin(2 * np.pi * np.arange(24) / 24)
    calls = np.full((30, len(HOUR)), 50)
    base, dispersion = learned(calls, random.binomial(calls, expit(true)[HOUR % 24]))
    assert np.sqrt(np.mean((base - true) ** 2)) < 0.05
    assert np.all(dispersion < 0.003)


def test_a_flat_stream_stays_flat() -> None:
    random = np.random.default_rng(2)
    calls = np.full((30, len(HOUR)), 5)
    base, _ = learned(calls, random.binomial(calls, 0.2))
    assert np.max(np.std(base, axis=1)) < 0.1


def test_bursts_are_learned_as_dispersion() -> None:
    """Hours whose rate wobbles by .06 (beta: correlation .0225) are worth far fewer calls than they had."""
    random = np.random.default_rng(3)
    calls = np.full((20, len(HOUR)), 400)
    rate = random.beta(0.2 * 43.4, 0.8 * 43.4, calls.shape)
    _, dispersion = learned(calls, random.binomial(calls, rate))
    assert np.median(dispersion) == pytest.approx(1 / 44.4, rel=0.2)
    worth, _ = effective(calls.astype(float), calls.astype(float), dispersion, 1e9)
    assert np.median(worth) < 60


def test_no_hour_counts_for_more_than_the_cap() -> None:
    calls, hits = effective(np.array([10.0, 1000.0]), np.array([5.0, 100.0]), np.zeros(2), 100)
    assert calls.tolist() == [10, 100]
    assert hits.tolist() == [5, 10]


def test_streams_without_calls_have_a_profile_and_do_not_disturb_the_others() -> None:
    random = np.random.default_rng(4)
    calls = np.full((8, len(HOUR)), 30)
    hits = random.binomial(calls, 0.3)
    calls[4:], hits[4:] = 0, 0
    base, dispersion = learned(calls, hits)
    assert np.all(np.isfinite(base))
    assert np.all(np.isfinite(dispersion))
    assert np.abs(base[:4].mean() - logit(0.3)) < 0.05


def test_a_common_weekend_is_found_and_its_own_day_too() -> None:
    """Weekends lower by .4 in all streams; stream 0 has Mondays higher by .5 too, partly shrunk."""
    random = np.random.default_rng(5)
    weekday = np.arange(DAYS) % 7
    true = np.where(weekday >= 5, -0.4, 0.0) + np.zeros((20, 1))
    true[0] += 0.5 * (weekday == 0)
    found = week_profile(
        true + random.normal(0, 0.05, true.shape),
        np.ones(true.shape),
        weekday,
        np.full(20, DAYS),
        [np.arange(20)],
        [FleetPrior.default()],
    ).week
    assert found[1:, 5:].mean() - found[1:, :5].mean() == pytest.approx(-0.4, abs=0.05)
    assert 0.25 < found[0, 0] - found[0, 1:5].mean() < 0.5


def test_a_week_needs_two_weeks() -> None:
    residual = np.tile([0.5, 0, 0, 0, 0, 0, -0.5], (3, 1))
    found = week_profile(
        residual, np.ones((3, 7)), np.arange(7), np.full(3, 7), [np.arange(3)], [FleetPrior.default()]
    )
    assert not found.week.any()


def test_a_young_stream_takes_the_fleets_week_only() -> None:
    random = np.random.default_rng(6)
    weekday = np.arange(DAYS) % 7
    residual = np.where(weekday >= 5, -0.4, 0.0) + random.normal(0, 0.05, (20, DAYS))
    seen = np.ones(residual.shape)
    seen[0, :-8] = 0
    residual[0] += 1.0 * (weekday == 2)
    found = week_profile(
        residual, seen, weekday, seen.sum(1).astype(int), [np.arange(20)], [FleetPrior.default()]
    ).week
    assert np.allclose(found[0], found[1:].mean(0), atol=0.03)
