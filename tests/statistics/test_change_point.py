from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from cascade_otel.statistics.detector.change_point import ChangePoint, change_point

HOURS = 9 * 24


def locate(
    random: np.random.Generator, base: float, to: float, wobble: float, traffic: float
) -> tuple[int, ChangePoint]:
    """True hour of change and what is found; a daily rhythm, day effects that turn at UTC midnight."""
    first_hour = int(random.integers(0, 24))
    hour = np.arange(HOURS)
    usual = logit(base) + 0.1 * np.sin(2 * np.pi * hour / 24)
    calls = random.poisson(traffic * (1 + 0.7 * np.sin(2 * np.pi * hour / 24)))
    change = int(HOURS - random.integers(36, 73))
    effect = random.normal(0, wobble, HOURS // 24 + 2)[(first_hour + hour) // 24]
    rate = expit(usual + effect + (hour >= change) * (logit(to) - logit(base)))
    hits = random.binomial(calls, rate)
    return change, change_point(usual, calls, hits, first_hour=first_hour, wobble=wobble, level_se=0.03)


@pytest.mark.parametrize(
    ("base", "to", "wobble", "traffic"),
    [(0.2, 0.3, 0.05, 80), (0.2, 0.12, 0.05, 80), (0.45, 0.53, 0.1, 40), (0.3, 0.5, 0.15, 20)],
)
def test_interval_covers_the_true_hour(base: float, to: float, wobble: float, traffic: float) -> None:
    """Of 100 simulated changes at least 85 lie in the 90 % interval."""
    random = np.random.default_rng(7)
    found = [locate(random, base, to, wobble, traffic) for _ in range(100)]
    assert sum(result.low <= truth <= result.high for truth, result in found) >= 85
    assert np.median([result.high - result.low for _, result in found]) < 72


def test_a_clear_change_is_dated_to_the_hour() -> None:
    calls = np.full(100, 100)
    hits = np.where(np.arange(100) < 60, 20, 60)
    found = change_point(np.full(100, logit(0.2)), calls, hits)
    assert (found.index, found.low, found.high) == (60, 60, 60)
    assert found.probability > 0.999
    assert found.change == pytest.approx(logit(0.6) - logit(0.2), abs=0.05)
    assert found.posterior.sum() == pytest.approx(1)


@pytest.mark.parametrize(("base", "to"), [(0.02, 0.1), (0.05, 0.25), (0.2, 0.5), (0.9, 0.6), (0.3, 0.9)])
@pytest.mark.parametrize("wobble", [0.1, 0.2])
def test_day_effects_do_not_pass_for_a_great_change(base: float, to: float, wobble: float) -> None:
    """Two days at the usual level, then two far from it, that begin at midnight as day effects do."""
    rate = np.where(np.arange(96) < 48, base, to)
    hits = np.random.default_rng(1).binomial(100, rate)
    found = change_point(np.full(96, logit(base)), np.full(96, 100), hits, wobble=wobble, level_se=0.1)
    assert found.index == 48
    assert found.low <= 48 <= found.high <= 52
    assert found.log_odds > 20


def test_without_a_change_there_is_no_evidence_for_one() -> None:
    random = np.random.default_rng(3)
    calls = random.poisson(50, HOURS)
    odds = [
        change_point(np.full(HOURS, -1.0), calls, random.binomial(calls, expit(-1.0)), level_se=0.03).log_odds
        for _ in range(40)
    ]
    assert np.mean(np.array(odds) > 0) < 0.2


def test_a_wild_day_is_no_change_where_days_are_wild() -> None:
    """The same counts are clear evidence for quiet days and none for days that wobble by half a logit."""
    hour = np.arange(120)
    hits = np.where(hour >= 96, 28, 20)
    quiet = change_point(np.full(120, logit(0.2)), np.full(120, 100), hits, wobble=0.01)
    wild = change_point(np.full(120, logit(0.2)), np.full(120, 100), hits, wobble=0.5)
    assert quiet.log_odds > 10
    assert wild.log_odds < 1


def test_hours_without_calls_say_nothing() -> None:
    found = change_point(np.zeros(10), np.zeros(10), np.zeros(10), wobble=0.1, level_se=0.1)
    assert found.posterior == pytest.approx(np.full(10, 0.1))
    assert found.log_odds == pytest.approx(0)
    assert found.high - found.low >= 8


def test_misfitting_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="one length"):
        change_point([0.0], [1, 2], [0, 0])
    with pytest.raises(ValueError, match="one length"):
        change_point([], [], [])
