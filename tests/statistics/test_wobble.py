from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.detector.fleet_prior import SIZES, FleetPrior
from cascade_otel.statistics.detector.wobble import day_transition, wobble_posterior

KNOWN = [FleetPrior.default()]


def test_size_and_memory_of_a_fleet_are_found() -> None:
    """100 streams of 28 days with a day effect of .2 and memory .6."""
    random = np.random.default_rng(1)
    effect = np.empty((100, 28))
    effect[:, 0] = random.normal(0, 1, 100)
    for day in range(1, 28):
        effect[:, day] = 0.6 * effect[:, day - 1] + 0.8 * random.normal(0, 1, 100)
    noise = np.full(effect.shape, 0.05**2)
    wobble = wobble_posterior(
        0.2 * effect + random.normal(0, 0.05, effect.shape),
        noise,
        np.ones(effect.shape),
        [np.arange(100)],
        [FleetPrior.default()],
        4,
    )
    assert wobble.weight.sum((1, 2)) == pytest.approx(np.ones(100))
    assert np.sqrt((wobble.size_weight * SIZES**2).sum(1)).mean() == pytest.approx(0.2, rel=0.15)
    assert wobble.memory.mean() == pytest.approx(0.6, abs=0.15)


def test_level_and_its_error_are_calibrated() -> None:
    """Levels lie within twice their standard error in about 95 % of the streams."""
    random = np.random.default_rng(2)
    level = random.normal(0, 0.3, 300)
    residual = level[:, None] + random.normal(0, 0.1, (300, 14))
    wobble = wobble_posterior(
        residual,
        np.full(residual.shape, 1e-4),
        np.ones(residual.shape),
        [np.arange(300)],
        [FleetPrior.default()],
        4,
    )
    inside = np.abs(wobble.mean_level - level) < 2 * np.sqrt(wobble.mean_level_variance)
    assert 0.9 < inside.mean() < 0.99


def test_a_stream_without_days_takes_the_fleets_size() -> None:
    random = np.random.default_rng(3)
    residual = random.normal(0, 0.15, (40, 28))
    seen = np.ones(residual.shape)
    seen[0] = 0
    wobble = wobble_posterior(residual, np.full(residual.shape, 1e-4), seen, [np.arange(40)], KNOWN, 4)
    assert (wobble.size_weight[0] * SIZES).sum() == pytest.approx(0.15, rel=0.3)
    assert wobble.mean_level_variance[0] > 100


def test_default_prior_is_a_distribution() -> None:
    assert FleetPrior.default().wobble.sum() == pytest.approx(1)
    assert np.all(FleetPrior.default().wobble > 0)


@given(st.floats(0, 0.8), st.floats(3, 30))
def test_day_effects_move_by_a_markov_chain_that_keeps_its_law(memory: float, freedom: float) -> None:
    nodes = np.array([-4.2, -2.4, -1.4, -0.65, 0, 0.65, 1.4, 2.4, 4.2])
    step, law = day_transition(nodes, memory, freedom)
    assert step.sum(1) == pytest.approx(np.ones(9))
    assert law @ step == pytest.approx(law, abs=1e-9)
    assert law == pytest.approx(law[::-1], abs=1e-6)


def test_without_memory_tomorrow_is_drawn_anew() -> None:
    step, law = day_transition(np.array([-1.0, 0.0, 1.0]), 0.0, 6)
    assert step == pytest.approx(np.tile(law, (3, 1)))
