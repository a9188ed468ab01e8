from __future__ import annotations

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from cascade_otel.statistics.risk.risk_control import (
    ALWAYS,
    NEVER,
    Counts,
    certified,
    count,
    labels_needed,
    risk_curve,
    selective_start,
    thinned,
)

CALLS = st.lists(
    st.tuples(
        st.integers(0, 10).map(lambda cell: cell / 10),
        st.sampled_from([0.0, 1.0, math.nan]),
        st.sampled_from([0.1, 1.0]),
    ),
    min_size=1,
    max_size=60,
)
TRIALS = 1000 if os.environ.get("CASCADE_OTEL_TORTURE") else 100


def test_counts_of_a_worked_example() -> None:
    counts = count([0.9, 0.5, 0.9, 0.5], [0, 1, math.nan, 1], [0.1, 1, 0.1, 1])
    assert counts.confidence.tolist() == [0.9, 0.5]
    assert counts.calls.tolist() == [[2, 0], [0, 2]]
    assert counts.labelled.tolist() == [[1, 0], [0, 2]]
    assert counts.wrong.tolist() == [[0, 0], [0, 2]]


@settings(max_examples=50)
@given(CALLS)
def test_curve_accepts_from_the_top_down_and_bounds_what_it_estimates(
    calls: list[tuple[float, float, float]],
) -> None:
    """Against a plain loop: shares, estimates weighted back to the stratum, a bound above each."""
    confidence, wrong, rate = (np.array(one) for one in zip(*calls, strict=True))
    curve = risk_curve(count(confidence, wrong, rate), 0.1)
    assert np.all(np.diff(curve.threshold) < 0)
    assert np.all(np.diff(curve.accepted) > 0)
    assert curve.accepted[-1] == pytest.approx(1)
    for place, threshold in enumerate(curve.threshold):
        above = confidence >= threshold
        expected = 0.0
        for stratum in np.unique(rate):
            own = above & (rate == stratum)
            known = own & ~np.isnan(wrong)
            expected += own.mean() * (wrong[known].mean() if known.any() else 1.0)
        assert curve.accepted[place] == pytest.approx(above.mean())
        assert curve.labelled[place] == (above & ~np.isnan(wrong)).sum()
        assert curve.estimate[place] == pytest.approx(expected)
        assert curve.upper[place] >= expected - 1e-12


@settings(max_examples=50)
@given(CALLS)
def test_stricter_levels_certify_less(calls: list[tuple[float, float, float]]) -> None:
    counts = count(*zip(*calls, strict=True))
    loose, strict = (risk_curve(counts, delta) for delta in (0.2, 0.02))
    assert np.all(strict.upper >= loose.upper - 1e-9)
    assert certified(strict, 0.3) <= certified(loose, 0.3)
    assert certified(loose, 0.1) <= certified(loose, 0.3)


def test_a_log_without_a_label_certifies_only_as_many_calls_as_may_be_wrong() -> None:
    curve = risk_curve(count(np.arange(100) / 100, np.full(100, math.nan), np.full(100, 0.05)), 0.1)
    deviation = np.sqrt(curve.accepted * (1 - curve.accepted) / 100)
    assert curve.upper == pytest.approx(curve.accepted + stats.norm.isf(0.1) * deviation)
    assert curve.accepted[certified(curve, 0.05)] == pytest.approx(0.02)


def test_one_stratum_is_the_exact_bound_up_to_the_error_of_its_share() -> None:
    confidence = np.repeat([0.9, 0.4], [400, 600])
    wrong = np.where(np.arange(1000) % 4 == 0, (np.arange(1000) % 80 == 0).astype(float), math.nan)
    curve = risk_curve(count(confidence, wrong, np.ones(1000)), 0.1)
    labelled, bad = 100, 5
    exact = 0.4 * stats.beta.ppf(0.9, bad + 1, labelled - bad)
    share = stats.norm.isf(0.1) * math.sqrt(0.4 * 0.6 * 0.05**2 / 1000)
    estimate = 0.4 * 0.05
    assert curve.estimate[0] == pytest.approx(estimate)
    assert curve.upper[0] == pytest.approx(estimate + math.hypot(exact - estimate, share))


def test_the_sequence_ends_at_the_first_failure_even_if_a_lower_threshold_passes() -> None:
    counts = Counts(
        np.array([0.9, 0.8, 0.7]), *(np.array(one)[:, None] for one in ([10] * 3, [10] * 3, [0, 9, 0]))
    )
    curve = risk_curve(counts, 0.1, selective=True)
    passing = 1 - (curve.upper[2] - curve.upper[0]) / 2
    assert certified(curve, float(passing)) == 2
    assert curve.upper[1] > curve.upper[0] > 0
    assert certified(curve, float(curve.upper[0])) == 0
    assert certified(curve, 0.0) == -1


def test_calls_that_no_threshold_decides_over_count_but_are_no_threshold() -> None:
    """Always accepted ones are wrong at every threshold; never accepted ones only enlarge the total."""
    curve = risk_curve(count([ALWAYS, 0.8, NEVER, NEVER], [1, 0, 1, 1], [1, 1, 1, 1]), 0.1)
    assert curve.threshold.tolist() == [ALWAYS, 0.8]
    assert curve.accepted.tolist() == [0.25, 0.5]
    assert curve.estimate.tolist() == [0.25, 0.25]


def test_thinning_keeps_every_call_and_never_merges_what_is_never_accepted() -> None:
    random = np.random.default_rng(2)
    confidence = np.where(random.random(5000) < 0.1, NEVER, random.random(5000))
    counts = count(confidence, (random.random(5000) < 0.1).astype(float), np.ones(5000))
    few = thinned(counts, 50)
    assert 45 <= len(few.confidence) <= 51
    assert few.confidence[-1] == NEVER
    for name in ("calls", "labelled", "wrong"):
        assert getattr(few, name).sum() == getattr(counts, name).sum()
    curve, coarse = risk_curve(counts, 0.1), risk_curve(few, 0.1)
    same = np.isin(curve.threshold, coarse.threshold)
    assert coarse.upper == pytest.approx(curve.upper[same])
    assert thinned(few, 100) is few


@pytest.mark.parametrize(("alpha", "delta", "needed"), [(0.05, 0.1, 45), (0.1, 0.1, 22), (0.01, 0.05, 299)])
def test_labels_needed_is_where_right_answers_throughout_begin_to_suffice(
    alpha: float, delta: float, needed: int
) -> None:
    assert labels_needed(alpha, delta) == needed
    assert (1 - alpha) ** needed <= delta < (1 - alpha) ** (needed - 1)


def test_selective_sequence_begins_where_labels_are_not_where_answers_are_right() -> None:
    random = np.random.default_rng(4)
    confidence = random.random(4000)
    rate = np.where(confidence >= 0.5, 0.1, 1.0)
    known = random.random(4000) < rate
    starts = {
        selective_start(count(confidence, np.where(known, wrong, math.nan), rate), 0.1, 0.1)
        for wrong in (np.zeros(4000), np.ones(4000), (random.random(4000) < 0.3).astype(float))
    }
    assert len(starts) == 1
    start = starts.pop()
    audits = known & (confidence >= 0.5)
    labelled_above = audits & (confidence >= np.sort(confidence)[::-1][start])
    assert 0.3 <= labelled_above.sum() / audits.sum() <= 0.32


@pytest.mark.parametrize(
    ("confidence", "wrong", "stratum", "message"),
    [
        ([], [], [], "at least 1"),
        ([0.5], [0, 1], [1, 1], "of one length"),
        ([math.nan], [0], [1], "leave the call out"),
    ],
)
def test_impossible_calls_are_refused(
    confidence: list[float], wrong: list[float], stratum: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        count(confidence, wrong, stratum)


def _smooth(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    ability = random.normal(1.6, 1.3, n)
    return expit(ability + random.normal(0, 0.7, n)), random.random(n) > expit(ability)


def _flat(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    return random.random(n), random.random(n) < 0.12


def _spike(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    confidence, wrong = _smooth(random, n)
    sure = random.random(n) < 0.15
    return np.where(sure, 1.0, confidence), np.where(sure, random.random(n) < 0.08, wrong)


@pytest.mark.parametrize("world", [_smooth, _flat, _spike])
@pytest.mark.parametrize("now", [0.7, 0.9])
def test_the_certified_threshold_exceeds_alpha_in_at_most_delta_of_logs(world: object, now: float) -> None:
    """3,000 calls, 5 % audits, alpha .05, delta .1: the count of bad logs has a binomial bound of .9999."""
    draw = _smooth if world is _smooth else _flat if world is _flat else _spike
    population, wrong_of = draw(np.random.default_rng(1), 400_000)
    order = np.argsort(population)
    missed_above = wrong_of[order][::-1].cumsum()[::-1] / len(order)
    bad, escalated = 0, []
    for trial in range(TRIALS):
        random = np.random.default_rng([99, trial])
        confidence, wrong = draw(random, 3000)
        rate = np.where(confidence >= now, 0.05, 1.0)
        seen = np.where(random.random(3000) < rate, wrong.astype(float), math.nan)
        curve = risk_curve(thinned(count(confidence, seen, rate), 300), 0.1)
        place = certified(curve, 0.05)
        lowest = np.searchsorted(population[order], curve.threshold[place]) if place >= 0 else len(order)
        bad += lowest < len(order) and missed_above[lowest] > 0.05
        escalated.append(lowest / len(order))
    assert bad <= stats.binom.ppf(0.9999, TRIALS, 0.1)
    assert np.mean(escalated) < 0.85
