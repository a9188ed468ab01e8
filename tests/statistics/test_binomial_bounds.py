from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from cascade_otel.statistics.risk.binomial_bounds import clopper_pearson, melded

SAMPLES = st.integers(0, 60).flatmap(lambda m: st.tuples(st.integers(0, m), st.just(m)))


@settings(max_examples=50)
@given(SAMPLES, st.sampled_from([0.01, 0.05, 0.1, 0.2]))
def test_bound_is_the_rate_at_which_so_few_errors_have_probability_delta(
    sample: tuple[int, int], delta: float
) -> None:
    """By definition: at the bound, P(X <= wrong) is delta; with no right label the bound is 1."""
    wrong, labelled = sample
    bound = float(clopper_pearson(wrong, labelled, delta))
    if wrong == labelled:
        assert bound == 1
    else:
        assert stats.binom.cdf(wrong, labelled, bound) == pytest.approx(delta, rel=1e-6)
        interval = stats.binomtest(wrong, labelled).proportion_ci(1 - 2 * delta, "exact")
        assert bound == pytest.approx(interval.high, rel=1e-6)


@pytest.mark.parametrize("labelled", [1, 5, 30])
def test_true_rate_exceeds_the_bound_with_probability_at_most_delta(labelled: int) -> None:
    """Summed over every outcome, for many true rates."""
    wrong = np.arange(labelled + 1)
    bound = clopper_pearson(wrong, labelled, 0.1)
    for rate in np.linspace(0.01, 0.99, 99):
        missed = stats.binom.pmf(wrong, labelled, rate)[bound < rate].sum()
        assert missed <= 0.1 + 1e-12


def test_one_informative_stratum_is_its_share_times_the_exact_bound() -> None:
    share, wrong, labelled = [0.3, 0.2, 0.0], [4, 7, 0], [50, 7, 0]
    assert melded(share, wrong, labelled, 0.1) == pytest.approx(
        0.3 * stats.beta.ppf(0.9, 5, 46) + 0.2, abs=1e-12
    )


@pytest.mark.parametrize(
    ("share", "wrong", "labelled"),
    [
        ((0.4, 0.1), (6, 40), (200, 900)),
        ((0.4, 0.1), (0, 3), (45, 30)),
        ((0.5, 0.3, 0.2), (1, 0, 9), (60, 20, 15)),
        ((0.9, 0.05), (2, 2), (2000, 10)),
    ],
)
def test_several_strata_meet_the_quantile_of_the_sum_of_their_upper_variables(
    share: tuple[float, ...], wrong: tuple[int, ...], labelled: tuple[int, ...]
) -> None:
    """Within 1.5 % of half a million draws, at three levels."""
    random = np.random.default_rng(5)
    drawn = sum(
        a * random.beta(x + 1, m - x, 500_000) for a, x, m in zip(share, wrong, labelled, strict=True)
    )
    for delta in (0.2, 0.1, 0.03):
        assert melded(share, wrong, labelled, delta) == pytest.approx(
            np.quantile(drawn, 1 - delta), rel=0.015
        )


@settings(max_examples=50)
@given(st.lists(st.tuples(SAMPLES, st.floats(0, 0.5)), min_size=1, max_size=3))
def test_one_more_error_never_lowers_the_bound_and_it_stays_within_the_shares(
    strata: list[tuple[tuple[int, int], float]],
) -> None:
    share = np.array([part for _, part in strata])
    wrong, labelled = np.array([sample for sample, _ in strata]).T
    bound = melded(share, wrong, labelled, 0.1)
    more = melded(share, np.minimum(wrong + 1, labelled), labelled, 0.1)
    # Where the last right label goes, the stratum's bound jumps to its share.
    assert bound <= more * (1 + 1e-2) + 1e-12
    assert bound <= share.sum() + 1e-12


def test_shapes_are_kept_and_a_level_outside_0_and_1_is_refused() -> None:
    assert melded(np.full((3, 2), 0.1), np.ones((3, 2)), np.full((3, 2), 9), 0.1).shape == (3,)
    assert clopper_pearson(np.zeros((2, 2)), 5, 0.1).shape == (2, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        clopper_pearson(0, 5, 1.0)
