"""Measurements of a changed window, and what they wander by without a change."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cascade_otel.statistics.causes.day_to_day import ordinary
from cascade_otel.statistics.causes.evidence import measure
from cascade_otel.statistics.causes.measurements import Calls, Canaries, normal_scores
from cascade_otel.statistics.causes.posterior import diagnose
from tests.statistics.cause_worlds import SINGLE, Change, Setting, simulated

GRID = np.linspace(0, 1, 101)


def z(estimate: float, variance: float) -> float:
    return estimate / np.sqrt(variance)


@pytest.mark.parametrize("days", [1, 3])
def test_without_a_change_measurements_stay_within_their_variance(days: int) -> None:
    """Of 150 windows no more lie beyond 1.96 standard deviations than 7 % allow; their spread is about 1."""
    found: dict[str, list[float]] = {}
    for seed in range(150):
        case = simulated([1, days, seed], setting=Setting(days=days))
        evidence = measure(case.before, case.now, case.canaries)
        for name in ("mix", "within", "calibration", "canary", "canary_calibration"):
            one = getattr(evidence, name)
            found.setdefault(name, []).append(z(one.estimate, one.variance))
    for name, scores in found.items():
        beyond = int(np.sum(np.abs(scores) > 1.96))
        assert beyond <= stats.binom.ppf(0.999, 150, 0.07), name
        assert 0.6 < np.std(scores) < 1.25, name


@pytest.mark.parametrize(
    ("cause", "moved", "still"),
    [
        ("mix", ["mix"], ["within", "calibration", "canary", "canary_calibration"]),
        ("model", ["within", "canary"], ["mix"]),
        ("scale", ["within", "canary", "calibration"], ["mix"]),
        ("hidden", ["within"], ["mix", "canary", "canary_calibration"]),
        ("threshold", [], ["mix", "within", "calibration", "canary", "canary_calibration"]),
    ],
)
def test_each_cause_moves_its_own_measurements(cause: str, moved: list[str], still: list[str]) -> None:
    found: dict[str, list[float]] = {}
    for seed in range(12):
        case = simulated([2, seed], SINGLE[cause])
        evidence = measure(case.before, case.now, case.canaries)
        for name in (*moved, *still):
            one = getattr(evidence, name)
            found.setdefault(name, []).append(z(one.estimate, one.variance))
    for name in moved:
        assert np.mean(np.abs(found[name])) > 3, name
    for name in still:
        assert abs(np.mean(found[name])) < 4 / np.sqrt(12), name


def test_silent_decay_moves_the_calibration_down_and_nothing_else() -> None:
    case = simulated([3, 0], Change(silent=0.55))
    evidence = measure(case.before, case.now, case.canaries)
    assert evidence.calibration is not None
    assert evidence.within is not None
    assert evidence.calibration.estimate < -0.3
    assert abs(z(evidence.within.estimate, evidence.within.variance)) < 3


def test_normal_scores_share_ties_and_stay_finite() -> None:
    score = normal_scores(np.array([0.5, 0.9, 0.9, 1.0]))
    assert score(np.array([0.9]))[0] == pytest.approx(0.0)
    assert np.isfinite(score(np.array([0.0, 0.5, 1.0]))).all()
    assert (np.diff(score(np.linspace(0, 1, 50))) >= 0).all()


def test_a_reference_that_follows_the_week_is_compared_with_the_same_weekdays() -> None:
    """Weekends are .3 higher: a weekend is ordinary then, and a weekday like a weekend is not."""
    random = np.random.default_rng(4)
    day = np.repeat(np.arange(21), 200)
    values = random.normal(0, 0.5, len(day)) + 0.3 * (day % 7 < 2) + random.normal(0, 0.02, 21)[day]
    weekend, weekday = (ordinary(values, day, np.repeat(of, 200)) for of in ([21, 22], [23, 24]))
    assert weekend.mean == pytest.approx(0.3, abs=0.05)
    assert weekday.mean == pytest.approx(0.0, abs=0.05)
    assert z(0.3 - weekday.mean, weekday.variance) > 5


def test_weekdays_that_the_reference_does_not_have_twice_are_compared_with_all_days() -> None:
    random = np.random.default_rng(5)
    day = np.repeat(np.arange(9), 200)
    values = random.normal(0, 0.5, len(day)) + 0.3 * (day % 7 < 2)
    usual = ordinary(values, day, np.array([12]))
    assert usual.mean == pytest.approx(values.mean())


def test_a_longer_window_varies_less_and_a_short_reference_makes_unsure() -> None:
    random = np.random.default_rng(6)
    day = np.repeat(np.arange(14), 300)
    values = random.normal(0, 1, len(day)) + random.normal(0, 0.3, 14)[day]
    one, five = (ordinary(values, day, np.repeat(np.arange(20, 20 + n), 300)) for n in (1, 5))
    assert one.variance > 2.5 * five.variance
    short = day < 3
    assert ordinary(values[short], day[short], np.repeat(20, 300)).variance > 0.5 * one.variance


def test_what_was_not_recorded_is_not_measured() -> None:
    case = simulated([7, 0], setting=Setting(canaries=0, audited=0.0))
    unknown = np.full(len(case.now.right), np.nan)
    evidence = measure(case.before, replace(case.now, right=unknown))
    assert evidence.calibration is None
    assert evidence.canary is None
    assert evidence.within is not None
    bare = measure(replace(case.before, confidence=np.full(len(case.before.day), np.nan)), case.now)
    assert bare.within is None
    few = Canaries(*(np.full(5, 0.5) for _ in range(4)))
    assert measure(case.before, case.now, few).canary is None


def test_windows_without_calls_are_refused() -> None:
    none = Calls(*(np.array([], kind) for kind in (int, int, float, bool, float)))
    with pytest.raises(ValueError, match="at least one call"):
        measure(none, none)


def test_a_stratum_that_only_one_window_has_does_no_harm() -> None:
    case = simulated([8, 0])
    new = replace(case.now, stratum=np.full(len(case.now.day), 9))
    evidence = measure(case.before, new, case.canaries)
    assert evidence.within is not None
    assert np.isfinite(evidence.within.estimate)
    assert np.isfinite(evidence.mix.estimate)


def test_another_spread_of_confidences_shows_in_the_share_below_tau() -> None:
    """Confidences that gather just above τ, at the same mean score: the mean shows nothing, τ shows all."""
    case = simulated([10, 0], setting=Setting(canaries=0))
    score = normal_scores(case.before.confidence)
    middle = np.interp(score(case.now.confidence) * 0.3, score(GRID), GRID)
    gathered = replace(case.now, confidence=np.round(middle, 2))
    tau = 0.7
    by_mean, by_tau = measure(case.before, gathered).within, measure(case.before, gathered, None, tau).within
    assert by_mean is not None
    assert by_tau is not None
    assert by_tau.estimate > 0.3
    assert abs(by_mean.estimate) < 0.2
    assert diagnose(measure(case.before, gathered, None, tau)).named == ("scale",)
    plain = simulated([10, 1], SINGLE["model"])
    assert measure(plain.before, plain.now, None, tau).within == measure(plain.before, plain.now).within
