from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.causes.blocks import ratio_interval

TOTALS = st.lists(st.tuples(st.floats(0, 1e6), st.floats(1, 1e6)), min_size=4, max_size=30)  # above, below


@given(TOTALS, st.floats(0.01, 100))
def test_the_interval_holds_the_ratio_and_does_not_depend_on_units(
    totals: list[tuple[float, float]], unit: float
) -> None:
    above, below = np.array(totals).T
    low, high = ratio_interval(above, below) or (np.nan, np.nan)
    assert low <= above.sum() / below.sum() + 1e-9
    assert high >= above.sum() / below.sum() - 1e-9
    assert ratio_interval(above * unit, below * unit) == pytest.approx((low, high), rel=1e-6, abs=1e-6)


@given(TOTALS)
def test_empty_blocks_do_not_count(totals: list[tuple[float, float]]) -> None:
    above, below = np.array(totals).T
    padded = [np.append(one, [0.0] * 20) for one in (above, below)]
    assert ratio_interval(*padded) == pytest.approx(ratio_interval(above, below), rel=1e-6, abs=1e-9)


def test_blocks_that_are_alike_leave_no_doubt_and_too_few_say_nothing() -> None:
    assert ratio_interval([3] * 5, [10] * 5) == pytest.approx((0.3, 0.3))
    assert ratio_interval([3] * 3, [10] * 3) is None
    assert ratio_interval([0] * 5, [0] * 5) is None


def test_nine_intervals_in_ten_hold_the_rate_of_days_that_differ() -> None:
    """Binomial calls would be far too sure here: each day has a rate of its own."""
    random, trials, days = np.random.default_rng(3), 1000, 14
    rates = random.beta(20, 60, (trials, days))
    calls = random.poisson(400, (trials, days))
    hits = random.binomial(calls, rates)
    ends = [ratio_interval(*both) or (0, 1) for both in zip(hits, calls, strict=True)]
    held = sum(low <= 0.25 <= high for low, high in ends)
    # Three standard deviations of a binomial count at 90 %, and 2 points for what is not normal.
    assert 0.9 * trials - 20 - 29 <= held <= 0.9 * trials + 20 + 29
