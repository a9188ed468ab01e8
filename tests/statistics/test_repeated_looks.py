from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from cascade_otel.statistics.risk.repeated_looks import crossing_probability, pocock


@pytest.mark.parametrize("looks", [2, 3])
def test_crossing_probability_is_that_of_the_joint_normal(looks: int) -> None:
    """Standardised sums of the first j and k steps correlate as sqrt(j / k)."""
    number = np.arange(1, looks + 1)
    correlation = np.sqrt(np.minimum.outer(number, number) / np.maximum.outer(number, number))
    for boundary in (1.3, 2.0, 2.8):
        stays = stats.multivariate_normal.cdf(np.full(looks, boundary), cov=correlation, abseps=1e-5)
        assert crossing_probability(boundary, looks) == pytest.approx(1 - stays, abs=3e-4)


@pytest.mark.parametrize(("looks", "level"), [(1, 0.1), (8, 0.0289), (52, 0.0133)])
def test_levels_of_known_numbers_of_looks(looks: int, level: float) -> None:
    assert pocock(0.1, looks) == pytest.approx(level, abs=1e-4)


def test_levels_fall_with_looks_and_lie_between_equal_shares_and_delta() -> None:
    levels = [pocock(0.1, looks) for looks in (1, 2, 4, 8, 16)]
    assert levels == sorted(levels, reverse=True)
    assert all(0.1 / looks <= level <= 0.1 for looks, level in zip((1, 2, 4, 8, 16), levels, strict=True))


def test_no_look_and_no_level_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one look"):
        pocock(0.1, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        pocock(0, 3)
