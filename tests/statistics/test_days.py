from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from cascade_otel.statistics.causes.days import day_effects, day_effects_from, turning_hour

DAYS = 14
HOURS = np.arange(480_000, 480_000 + DAYS * 24)


def world(turn: int, size: float, streams: int = 30, traffic: int = 80) -> tuple[np.ndarray, np.ndarray]:
    """Calls and hits around .2 whose day effects begin at the hour ``turn``."""
    random = np.random.default_rng([turn, streams])
    effect = size * random.normal(0, 1, (streams, DAYS + 1))
    day = (HOURS - turn) // 24
    rate = expit(logit(0.2) + effect[:, day - day[0]])
    calls = np.full(rate.shape, float(traffic))
    return calls, random.binomial(traffic, rate).astype(float)


@pytest.mark.parametrize("turn", [0, 7, 16])
def test_the_hour_at_which_days_begin_is_found(turn: int) -> None:
    """Day effects of .25 at 80 calls an hour: in nine streams of ten within an hour."""
    calls, hits = world(turn, 0.25)
    found = turning_hour(calls, hits, np.full(calls.shape, 0.2), HOURS)
    assert np.mean(np.abs(found - turn) <= 1) >= 0.9


def test_without_a_sign_days_begin_at_midnight() -> None:
    calls, hits = world(7, 0.0)
    found = turning_hour(calls, hits, np.full(calls.shape, 0.2), HOURS)
    assert np.mean(found == 0) >= 0.95


def test_effects_are_those_of_the_days_that_begin_at_the_hour() -> None:
    """Every stream has one day from 06:00 to 06:00 that is higher by .5."""
    calls = np.full((2, len(HOURS)), 1000.0)
    day = (HOURS - 6) // 24 - HOURS[0] // 24
    hits = calls * expit(logit(0.2) + 0.5 * (day == 4))
    p = np.full(calls.shape, 0.2)
    found = day_effects_from(calls, hits, p, HOURS, np.array([6, 0]))
    assert (np.abs(found.residual) > 0.1).sum(1).tolist() == [1, 2]
    assert found.seen.sum(1).tolist() == [15, 14]


def test_a_day_without_calls_is_not_seen() -> None:
    calls = np.zeros((1, 48))
    calls[:, 24:] = 10
    by_day = np.repeat(np.eye(2), 24, axis=0)
    found = day_effects(calls, calls * 0.2, np.full(calls.shape, 0.2), by_day)
    assert found.seen.tolist() == [[0, 1]]
    assert found.residual.tolist() == [[0, 0]]
