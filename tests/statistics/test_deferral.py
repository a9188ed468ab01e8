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
    average_performance_gap_recovered,
    deferral_curve,
    given_up,
    least_escalation,
    performance_gap_recovered,
    surely_within,
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


WEIGHTED = st.lists(
    st.tuples(st.integers(0, 6).map(lambda cell: cell / 6), st.booleans(), st.booleans(), st.integers(1, 4)),
    min_size=1,
    max_size=30,
)


@given(WEIGHTED)
def test_a_call_of_weight_n_counts_as_n_calls(calls: list[tuple[float, bool, bool, int]]) -> None:
    score, cheap, strong, weight = (np.array(column) for column in zip(*calls, strict=True))
    copies = [np.repeat(one, weight) for one in (score, cheap, strong)]
    for figure in (audc, audc_normalised, average_performance_gap_recovered):
        own = figure(score, cheap, strong, None, weight)
        assert own == pytest.approx(figure(*copies, None), nan_ok=True)
    own, other = given_up(score > 0.5, cheap, strong, weight), given_up(copies[0] > 0.5, *copies[1:])
    assert own.share == pytest.approx(other.share)


@given(WEIGHTED)
def test_figures_stay_in_range(calls: list[tuple[float, bool, bool, int]]) -> None:
    score, cheap, strong, weight = (np.array(column) for column in zip(*calls, strict=True))
    normalised = audc_normalised(score, cheap, strong, None, weight)
    assert math.isnan(normalised) or -1 - 1e-9 <= normalised <= 1 + 1e-9
    turned = audc_normalised(-score, cheap, strong, None, weight)
    assert turned == pytest.approx(-normalised, nan_ok=True), (
        "the curve of the turned order lies point for point"
    )
    loss = given_up(score >= 0.5, cheap, strong, weight)
    assert -1 <= loss.low <= loss.share <= loss.high <= 1
    threshold, escalated = surely_within(score, cheap, strong, 1.0, weight)
    assert (threshold, escalated) == pytest.approx((score.min(), 0.0)), "who gives up all may accept all"
    for margin in (0.01, 0.3):
        surely = surely_within(score, cheap, strong, margin, weight)[1]
        assert least_escalation(score, cheap, strong, margin, weight) <= surely


def test_gap_recovered_is_a_share_of_the_gap() -> None:
    assert performance_gap_recovered(0.8, 0.7, 0.9) == pytest.approx(0.5)
    assert math.isnan(performance_gap_recovered(0.8, 0.8, 0.8))
    assert math.isnan(performance_gap_recovered(0.8, 0.8, 0.7)), "a tier that is worse leaves no gap to close"


def test_average_gap_recovered_of_a_coin_is_a_half() -> None:
    cheap, strong = [True, False, True, False], [True, True, True, True]
    assert average_performance_gap_recovered([0.5] * 4, cheap, strong) == pytest.approx(0.5)
    assert average_performance_gap_recovered([0.9, 0.1, 0.9, 0.1], cheap, strong, None) == pytest.approx(0.75)


def test_what_is_given_up_is_known_of_accepted_calls_alone() -> None:
    """Of 100 accepted calls the strong tier would put 5 right and break 2; they are half of all calls."""
    accepted = np.repeat([True, False], 100)
    cheap = np.ones(200, bool)
    strong = np.ones(200, bool)
    cheap[:5], strong[5:7], cheap[100:] = False, False, False
    loss = given_up(accepted, cheap, strong)
    assert loss.share == pytest.approx(0.5 * 0.03)
    assert loss.low < 0 < loss.high
    assert given_up(accepted, cheap, strong, accepted_share=0.8).share == pytest.approx(0.8 * 0.03)
    assert given_up(np.zeros(200, bool), cheap, strong) == given_up(~np.ones(200, bool), strong, cheap)


def test_no_loss_seen_is_no_proof_that_there_is_none() -> None:
    few, many = (given_up([True] * n, [True] * n, [True] * n) for n in (20, 2000))
    assert few.high > 0.05
    assert many.high < 0.002


@pytest.mark.parametrize("share", [1.0, 0.1])
def test_nine_intervals_in_ten_hold_what_is_given_up(share: float) -> None:
    """Of accepted calls only a share is audited, and all that escalate."""
    random, trials, held, middle = np.random.default_rng(5), 500, 0, []
    for _ in range(trials):
        accepted = random.random(3000) < 0.7
        kind = random.random(3000)
        cheap, strong = kind > 0.06, (kind < 0.05) | (kind > 0.08)
        kept = ~accepted | (random.random(3000) < share)
        weight = np.where(accepted, 1 / share, 1.0)[kept]
        loss = given_up(accepted[kept], cheap[kept], strong[kept], weight, 0.7)
        held += loss.low <= 0.7 * 0.03 <= loss.high
        middle.append(loss.share)
    assert np.mean(middle) == pytest.approx(0.021, abs=4 * np.std(middle) / trials**0.5)
    assert 0.9 * trials - 25 <= held <= 0.9 * trials + 30


def test_a_threshold_that_surely_keeps_the_quality_seldom_does_not() -> None:
    """The wrong share grows as the confidence falls; at most one τ in twenty gives up more than a point."""
    random, trials, bad, found = np.random.default_rng(9), 400, 0, 0
    grid = np.round(np.linspace(0.5, 1, 11), 2)
    chance = 0.3 * (1 - grid)
    lost = np.cumsum(chance[::-1])[::-1] / len(grid)  # given up by accepting from each confidence up
    for _ in range(trials):
        score = random.choice(grid, 2500)
        cheap = random.random(2500) >= 0.3 * (1 - score)
        threshold, _ = surely_within(score, cheap, np.ones(2500, bool), 0.01)
        if threshold <= 1:
            found += 1
            bad += lost[np.searchsorted(grid, threshold - 1e-9)] > 0.01
    assert found > 0.9 * trials
    assert bad <= 0.05 * trials + 3 * (0.05 * 0.95 * trials) ** 0.5


def test_what_must_escalate_at_least_is_known_of_a_useless_confidence() -> None:
    """A third of what is accepted is given up, so that two points at most need nearly all to escalate."""
    random = np.random.default_rng(4)
    cheap = random.random(3000) > 1 / 3
    least = least_escalation(random.random(3000), cheap, np.ones(3000, bool), 0.02)
    assert 0.9 < least < 0.98
    assert least_escalation([0.5] * 9, [True] * 9, [True] * 9, 0.02) == 0


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
