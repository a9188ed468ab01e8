from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.detector.indicators import QUANTILES, hits_below, indicators, useful


def histogram(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(seed).poisson(1.0, (*shape, 101))


def test_cuts_are_quantiles_threshold_and_below_one() -> None:
    even = np.ones((1, 101), int)
    assert indicators(even, np.array([80]))[0].tolist() == [10, 20, 35, 50, 65, 80, 90, 79, 99]


def test_without_a_threshold_the_median_stands_in() -> None:
    assert indicators(np.ones((1, 101), int), np.array([-1]))[0, 7] == 50


def test_the_cut_at_the_threshold_counts_what_escalates() -> None:
    counts = histogram(1, (3, 5))
    cuts = indicators(counts, np.array([70, 80, 90]))
    hits = hits_below(counts, cuts)
    assert hits.shape == (3, 5, len(QUANTILES) + 2)
    assert np.array_equal(hits[1, :, 7], counts[1, :, :80].sum(1))
    assert np.array_equal(hits[:, :, 8], counts[:, :, :100].sum(2))


@given(st.integers(0, 1000))
def test_hours_and_their_sum_have_the_same_cuts(seed: int) -> None:
    counts = histogram(seed, (2, 4))
    cuts = indicators(counts, np.array([80, -1]))
    assert np.array_equal(cuts, indicators(counts.sum(1), np.array([80, -1])))
    assert np.array_equal(hits_below(counts, cuts).sum(1), hits_below(counts.sum(1), cuts))
    assert np.all((cuts >= 0) & (cuts <= 99))


def test_near_constant_cuts_count_only_where_a_task_has_no_other() -> None:
    rate = np.array([0.5, 0.001, 0.999, 0.001])
    assert useful(rate, np.array([0, 0, 1, 1])).tolist() == [True, False, True, True]
    assert useful(np.zeros(0), np.zeros(0, int)).tolist() == []


def test_a_task_without_confidences_has_cuts_too() -> None:
    cuts = indicators(np.zeros((1, 101), int), np.array([-1]))
    assert hits_below(np.zeros((1, 101), int), cuts).tolist() == [[0] * 9]
