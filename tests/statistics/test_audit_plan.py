from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from cascade_otel.statistics.risk.audit_plan import RATES, audit_plan, least_rate, most_wrong, typical_curve
from cascade_otel.statistics.risk.risk_control import certified, count, risk_curve


def test_below_2_3_expected_wrong_audits_at_alpha_nothing_can_be_certified() -> None:
    assert 5000 * least_rate(5000, 0.05, 0.1) * 0.05 == pytest.approx(2.3026, abs=1e-4)
    plan = audit_plan(900, 0.05, 0.1, *typical_curve(0.05))
    hopeless = plan.rate < plan.least
    assert plan.least == pytest.approx(math.log(10) / 45)
    assert np.all(plan.escalation[hopeless] == 1)
    assert np.all(plan.escalation[~hopeless] < 1)
    assert audit_plan(20, 0.05, 0.1, *typical_curve(0.05)).least > 1


@pytest.mark.parametrize("limit", [0.5, 2.3, 2.31, 12.5, 100.0])
def test_most_wrong_is_the_greatest_count_with_an_exact_bound_within_the_limit(limit: float) -> None:
    """At a mean of ``limit`` so few have probability at most delta, one more would have more."""
    allowed = most_wrong(limit, 0.1)
    assert stats.poisson.cdf(allowed, limit) <= 0.1
    assert stats.poisson.cdf(allowed + 1, limit) > 0.1


def test_more_calls_want_a_smaller_share_audited_and_certify_more() -> None:
    plans = [audit_plan(calls, 0.05, 0.1, *typical_curve(0.05)) for calls in (2_000, 20_000, 200_000)]
    best = [plan.rate[plan.best] for plan in plans]
    assert best == sorted(best, reverse=True)
    assert len(set(best)) == 3
    strong = [plan.strong_calls[plan.best] for plan in plans]
    assert strong == sorted(strong, reverse=True)
    for plan in plans:
        assert plan.strong_calls[plan.best] <= plan.strong_calls.min() + 0.002
        assert plan.strong_calls == pytest.approx(plan.escalation + plan.rate * (1 - plan.escalation))


def test_a_plan_is_what_advice_then_certifies_on_average() -> None:
    """20,000 calls of errors that rise as confidence falls, 7 % audited: within .02 of 40 logs' mean."""

    def missed(confidence: np.ndarray) -> np.ndarray:
        return 0.3 * (1 - confidence) ** 2

    escalated = []
    for trial in range(40):
        random = np.random.default_rng([3, trial])
        confidence = np.round(random.random(20_000), 2)
        wrong = (random.random(20_000) < missed(confidence)).astype(float)
        seen = np.where(random.random(20_000) < 0.07, wrong, math.nan)
        curve = risk_curve(count(confidence, seen, np.full(20_000, 0.07)), 0.1)
        escalated.append(1 - curve.accepted[certified(curve, 0.05)])
    levels = np.round(np.arange(100, -1, -1) / 100, 2)
    weight = np.where((levels == 0) | (levels == 1), 0.005, 0.01)
    plan = audit_plan(20_000, 0.05, 0.1, weight.cumsum(), (weight * missed(levels)).cumsum())
    assert plan.escalation[RATES.index(0.07)] == pytest.approx(np.mean(escalated), abs=0.02)
