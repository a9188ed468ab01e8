from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.intervals import central, wilson


def test_wilson_equals_published_values() -> None:
    low, high = wilson([8, 0, 10], [10, 10, 10], 0.95)
    assert low == pytest.approx([0.4902, 0.0, 0.7225], abs=1e-4)
    assert high == pytest.approx([0.9433, 0.2775, 1.0], abs=1e-4)


def test_wilson_without_calls_is_everything() -> None:
    low, high = wilson(0, 0)
    assert (low, high) == (0.0, 1.0)


@given(st.integers(0, 500), st.integers(1, 500), st.floats(0.01, 0.99))
def test_wilson_contains_the_share(hits: int, extra: int, level: float) -> None:
    low, high = wilson(hits, hits + extra, level)
    assert 0 <= low <= hits / (hits + extra) <= high <= 1


def test_wilson_covers_at_its_level() -> None:
    """Of 20,000 binomial draws about 90 % have the true share inside."""
    hits = np.random.default_rng(1).binomial(60, 0.12, 20_000)
    low, high = wilson(hits, np.full(20_000, 60), 0.9)
    assert 0.87 < np.mean((low <= 0.12) & (high >= 0.12)) < 0.95


def test_central_takes_quantiles_of_each_column() -> None:
    low, high = central(np.stack([np.arange(101), 2 * np.arange(101)], axis=1).astype(float), 0.9)
    assert low == pytest.approx([5, 10])
    assert high == pytest.approx([95, 190])


@pytest.mark.parametrize("level", [0.0, 1.0, 90])
def test_a_level_outside_0_to_1_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, level)
