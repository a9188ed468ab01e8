"""Causes of simulated shifts are named, and where there is none, none is."""

from __future__ import annotations

import os
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from cascade_otel.statistics.causes.evidence import measure
from cascade_otel.statistics.causes.measurements import Evidence, Measurement
from cascade_otel.statistics.causes.posterior import (
    PRIORS,
    Diagnosis,
    diagnose,
    mix_probability,
    within_posterior,
)
from tests.statistics.cause_worlds import PAIRS, SINGLE, Change, Setting, both, simulated, verdict

LONG = os.environ.get("CASCADE_OTEL_TORTURE") == "1"
WINDOWS = 300 if LONG else 24


def grades(seed: int, truth: tuple[str, ...], change: Change, setting: Setting, windows: int) -> Counter[str]:
    return Counter(
        verdict(simulated([seed, number], change, setting).diagnosis(), truth) for number in range(windows)
    )


def at_least(share: float, windows: int) -> int:
    """So many successes come with a share so large in all but one of a thousand runs."""
    return int(stats.binom.ppf(0.001, windows, share))


@pytest.mark.parametrize("name", SINGLE)
def test_a_single_cause_is_named_after_three_days(name: str) -> None:
    """In 97 % of windows, and another one is named in at most 3 %."""
    found = grades(21, (name,), SINGLE[name], Setting(), WINDOWS)
    assert found["exact"] >= at_least(0.97, WINDOWS)
    assert found["wrong"] <= stats.binom.ppf(0.999, WINDOWS, 0.03)


def test_silent_decay_is_named_and_not_called_hidden_inputs() -> None:
    found = grades(22, ("silent",), Change(silent=0.55), Setting(), WINDOWS)
    assert found["exact"] >= at_least(0.95, WINDOWS)


def test_without_a_change_no_cause_is_named() -> None:
    """In at most 1.3 % of windows one is, or something is left open."""
    windows = 1000 if LONG else 150
    found = grades(23, (), Change(), Setting(), windows)
    assert found["wrong"] <= stats.binom.ppf(0.999, windows, 0.013)


def test_two_causes_at_once_are_named() -> None:
    """In 80 % of windows over all pairs, and something that is not there in at most 4 %."""
    each = 100 if LONG else 8
    found = Counter[str]()
    for pair in PAIRS:
        found += grades(24, pair, both(*pair), Setting(), each)
    windows = each * len(PAIRS)
    assert found["exact"] >= at_least(0.8, windows)
    assert found["wrong"] <= stats.binom.ppf(0.999, windows, 0.04)


def test_after_a_false_alarm_a_cause_is_named_rarely() -> None:
    """Of the windows without a change in which the rate looks most as if: in at most a fifth."""
    windows = 2000 if LONG else 240
    cases = [simulated([25, number]) for number in range(windows)]
    moved = [abs(case.now.escalated.mean() - case.before.escalated.mean()) for case in cases]
    extreme = [cases[place] for place in np.argsort(moved)[-windows // 20 :]]
    named = sum(bool(case.diagnosis().named) for case in extreme)
    assert named <= stats.binom.ppf(0.999, len(extreme), 0.2)


def test_without_canaries_model_and_hidden_inputs_are_left_open_with_what_would_tell() -> None:
    for name in ("model", "hidden"):
        for number in range(6):
            found = simulated([26, number], SINGLE[name], Setting(canaries=0)).diagnosis()
            assert name in found.unsure
            assert "canaries" in found.wanted
            assert not found.named


def test_without_anything_known_of_answers_a_scale_is_left_open_too() -> None:
    case = simulated([27, 0], SINGLE["scale"], Setting(canaries=0, audited=0.0))
    unknown = np.full(len(case.now.day), np.nan)
    found = diagnose(measure(case.before, replace(case.now, right=unknown)))
    assert set(found.unsure) == {"model", "scale", "hidden"}
    assert found.wanted == ("canaries", "audits")


def test_a_recorded_rollout_tips_what_measurements_leave_open() -> None:
    case = simulated([28, 0], SINGLE["model"], Setting(canaries=0))
    evidence = measure(case.before, case.now)
    plain, told = diagnose(evidence), diagnose(evidence, prior={"model": 0.6, "scale": 0.6})
    assert plain.probability["model"] < 0.6 <= told.probability["model"]


def test_a_weekend_that_is_harder_every_week_is_no_cause() -> None:
    windows = 60 if not LONG else 400
    found = grades(29, (), Change(), Setting(weekend=0.5, days=2), windows)
    assert found["wrong"] <= stats.binom.ppf(0.999, windows, 0.03)
    found = grades(29, ("mix",), SINGLE["mix"], Setting(weekend=0.5), WINDOWS)
    assert found["exact"] >= at_least(0.95, WINDOWS)


NOTHING = Measurement(0.0, 1e-3)


def test_probabilities_add_up_and_nothing_measured_leaves_what_was_thought_before() -> None:
    vague = Measurement(0.0, 1e6)
    joint = within_posterior(Evidence(vague, vague, vague, vague, vague, 0.5, 0.5), PRIORS)
    assert sum(joint.values()) == pytest.approx(1)
    assert mix_probability(vague, 0.2) == pytest.approx(0.2, abs=0.01)


def test_a_threshold_is_a_cause_where_it_moved_the_rate_by_a_point() -> None:
    still = Evidence(NOTHING, NOTHING, None, None, None, np.nan, np.nan)
    assert diagnose(still, 0.2).named == ("threshold",)
    assert diagnose(still, -0.05).named == ("threshold",)
    assert diagnose(still, 0.005).named == ()


def test_opposite_calibrations_tell_a_model_from_a_scale() -> None:
    shift, tight = Measurement(-0.4, 1e-3), 2e-3

    def named(calibration: float) -> Diagnosis:
        change = Measurement(calibration, tight)
        return diagnose(Evidence(NOTHING, shift, change, shift, change, 0.8, 0.8))

    assert named(-0.2).named == ("model",)
    assert named(0.32).named == ("scale",)
    assert diagnose(Evidence(NOTHING, shift, None, shift, None, np.nan, np.nan)).unsure == ("model", "scale")


def test_better_answers_at_unchanged_confidence_are_no_decay() -> None:
    better = Measurement(0.5, 5e-3)
    found = diagnose(Evidence(NOTHING, NOTHING, better, NOTHING, better, 0.5, 0.5))
    assert "silent" not in found.named


def test_a_diagnosis_of_many_calls_is_quick() -> None:
    case = simulated([30, 0], SINGLE["model"], Setting(a_day=14_000))
    start = time.process_time()
    case.diagnosis()
    assert time.process_time() - start < 1.5
