from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade_otel.statistics.deferral import (
    audc,
    audc_normalised,
    audc_oracle,
    audc_random,
    deferral_curve,
    performance_gap_recovered,
)

CALLS = st.lists(
    st.tuples(st.integers(0, 10).map(lambda cell: cell / 10), st.booleans(), st.booleans()),
    min_size=1,
    max_size=40,
)


def test_curve_of_a_worked_example() -> None:
    """The unsure wrong answer is put right first; the two of equal confidence are one straight piece."""
    escalated, accuracy = deferral_curve([0.2, 0.9, 0.9], [False, True, True], [True, True, False])
    assert escalated.tolist() == pytest.approx([0, 1 / 3, 1])
    assert accuracy.tolist() == pytest.approx([2 / 3, 1, 2 / 3])
    assert audc([0.2, 0.9, 0.9], [False, True, True], [True, True, False]) == pytest.approx(5 / 6)


@given(CALLS)
def test_curve_runs_from_cheap_to_strong(calls: list[tuple[float, bool, bool]]) -> None:
    score, cheap, strong = zip(*calls, strict=True)
    for thresholds in (None, 51):
        escalated, accuracy = deferral_curve(score, cheap, strong, thresholds)
        assert (escalated[0], escalated[-1]) == (0, 1)
        assert np.all(np.diff(escalated) > 0)
        assert (accuracy[0], accuracy[-1]) == pytest.approx((np.mean(cheap), np.mean(strong)))


@given(CALLS)
def test_no_order_beats_the_oracle(calls: list[tuple[float, bool, bool]]) -> None:
    score, cheap, strong = zip(*calls, strict=True)
    assert audc(score, cheap, strong, None) <= audc_oracle(cheap, strong) + 1e-12


def test_random_area_is_the_mean_over_all_orders() -> None:
    cheap, strong = [True, False, False, True], [True, True, False, False]
    areas = [audc(order, cheap, strong, None) for order in itertools.permutations(range(4))]
    assert np.mean(areas) == pytest.approx(audc_random(cheap, strong))


def test_oracle_confidence_is_normalised_to_one_and_a_constant_to_zero() -> None:
    cheap, strong = [True, False, True, False], [True, True, False, True]
    assert audc_normalised([0.5, 0.1, 0.9, 0.1], cheap, strong) == pytest.approx(1)
    assert audc_normalised([0.5] * 4, cheap, strong) == pytest.approx(0)
    assert math.isnan(audc_normalised([0.1, 0.2], [True, False], [True, False]))


def test_gap_recovered_is_a_share_of_the_gap() -> None:
    assert performance_gap_recovered(0.8, 0.7, 0.9) == pytest.approx(0.5)
    assert math.isnan(performance_gap_recovered(0.8, 0.8, 0.8))


def test_no_calls_have_no_curve() -> None:
    with pytest.raises(ValueError, match="at least one"):
        deferral_curve([], [], [])
    with pytest.raises(ValueError, match="same calls"):
        audc_random([True], [True, False])


def test_areas_of_published_logs_are_reproduced(published_logs: Path) -> None:
    """Every row of the published table, pooled and per task, within 1e-4."""
    pairs = pd.read_parquet(published_logs / "pairs.parquet")
    summary = pd.read_csv(published_logs / "summary.csv")
    groups = pairs.groupby(["dataset", "split", "cheap_model", "strong_model"])
    for row in summary.itertuples():
        calls = groups.get_group((row.dataset, row.split, row.cheap, row.strong))
        calls = calls[calls.confidence_kind == row.confidence_kind]
        calls = calls if row.task == "ALL" else calls[calls.task == row.task]
        cheap, strong = calls.cheap_correct, calls.strong_correct
        figures = [
            audc(calls.cheap_confidence, cheap, strong),
            audc_random(cheap, strong),
            audc_oracle(cheap, strong),
            audc_normalised(calls.cheap_confidence, cheap, strong),
        ]
        published = [row.audc, row.audc_random, row.audc_oracle, row.audc_norm]
        assert figures == pytest.approx(published, abs=1e-4, nan_ok=True), (row.task, row.cheap, row.strong)
    assert len(summary) > 100
