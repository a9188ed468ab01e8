from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from cascade_otel.analysis.value import usage
from cascade_otel.analysis.value.savings import spending, without_cost
from cascade_otel.storage.schema import CASCADE, TIER

CENT = 10_000_000


def visits(*rows: tuple[str, int, int]) -> pd.DataFrame:
    """Tier, calls that ended well, calls that have a cost."""
    return pd.DataFrame(rows, columns=["tier", "done", "costed"]).assign(task="t")


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ((("small", 100, 100), ("large", 10, 10)), ""),
        ((("small", 100, 0), ("large", 10, 10)), "tier small records no cost"),
        ((("small", 100, 100), ("large", 10, 0)), "tier large records no cost"),
        ((("small", 100, 99), ("large", 10, 10)), ""),
        ((("small", 100, 75), ("large", 10, 10)), "tier small records no cost for 25% of its calls"),
        ((("small", 50, 50), ("small", 50, 0)), "tier small records no cost for 50% of its calls"),
        # A call that failed may have cost something nonetheless.
        ((("small", 90, 100), ("large", 0, 0)), ""),
        ((("a\x1bb", 5, 0),), "tier a?b records no cost"),
        ((), ""),
    ],
)
def test_a_tier_without_costs_is_named(rows: tuple[tuple[str, int, int], ...], reason: str) -> None:
    found = without_cost(visits(*rows))
    assert (found.get("t", ""), found.get(None, "")) == (reason, reason)


NAMES = (
    *usage.BY, "n", "escalated", "errors", "cancelled", "abandoned", "repeated", "costed", "cost_nano",
    "weight_ppm", "block",
)  # fmt: skip


def rows(
    calls: int = 100,
    escalated: int = 20,
    audits: int = 0,
    cheap: float | None = 0.1,
    strong: float | None = 1.0,
    audit: float = 1.0,
    task: str = "t",
    block: int = 0,
    weight: float = 1.0,
) -> list[tuple[object, ...]]:
    """One task's sums: of so many cascade calls some escalate and some are audited; prices are in cents."""

    def row(
        kind: int, tier: str, index: int, purpose: str, n: int, price: float | None, up: int
    ) -> tuple[object, ...]:
        known = n if price is not None else 0
        spent, stands_for = known * (price or 0) * CENT, weight * n * 1e6
        return kind, task, tier, index, purpose, n, up, 0, 0, 0, 0, known, spent, stands_for, block

    both = None if cheap is None or strong is None else cheap + strong
    found = [
        row(CASCADE, "small", -1, "", calls - escalated, cheap, 0),
        row(CASCADE, "large", -1, "", escalated, both, escalated),
        row(TIER, "small", 0, "", calls, cheap, escalated),
        row(TIER, "large", 1, "", escalated, strong, 0),
        row(TIER, "large", 1, "audit", audits, audit, 0),
    ]
    return [one for one in found if one[NAMES.index("n")]]


def sums(*arguments: int, **more: float | str | None) -> pd.DataFrame:
    return pd.DataFrame(rows(*arguments, **more), columns=list(NAMES))  # type: ignore[arg-type]  # as rows takes them


def weeks(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    return pd.concat([part.assign(block=number) for number, part in enumerate(parts)], ignore_index=True)


def test_savings_compare_with_the_strong_tier_alone() -> None:
    one = spending(sums())["t"]
    assert one.cost == pytest.approx(0.01 * (100 * 0.1 + 20))
    assert one.savings == pytest.approx(1 - (100 * 0.1 + 20) / 100)
    assert (one.source, one.reason) == ("estimated", "")
    assert (one.cheap_per_call, one.strong_per_call) == pytest.approx((0.001, 0.01))
    assert one.break_even == pytest.approx(0.9)
    assert one.wasted == pytest.approx(0.01 * 20 * 0.1)


@pytest.mark.parametrize(
    ("calls", "audits", "price", "source"),
    [(100, 30, 5.0, "audits"), (100, 29, 1.0, "estimated"), (40, 20, 5.0, "audits")],
)
def test_accepted_calls_are_priced_by_audits_where_there_are_enough(
    calls: int, audits: int, price: float, source: str
) -> None:
    """Thirty, or one for each."""
    one = spending(sums(calls, 20, audits, audit=5.0))["t"]
    assert one.source == source
    assert one.savings == pytest.approx(1 - (calls * 0.1 + 20) / (20 + (calls - 20) * price))


def test_a_strong_tier_nobody_reached_leaves_savings_unknown() -> None:
    one = spending(sums(20, 0))["t"]
    assert (one.savings, one.source, one.break_even, one.wasted) == (None, "unknown", None, 0)
    assert one.cost == pytest.approx(0.02)


@pytest.mark.parametrize("silent", ["cheap", "strong"])
def test_savings_are_unknown_where_a_tier_records_no_cost_and_the_cost_is_still_told(silent: str) -> None:
    one = spending(sums(**{silent: None}))["t"]
    tier = {"cheap": "small", "strong": "large"}[silent]
    assert (one.savings, one.source, one.reason) == (None, "unknown", f"tier {tier} records no cost")
    assert one.cost is not None
    assert one.cost > 0


def test_one_silent_task_leaves_the_savings_of_all_unknown_but_not_those_of_others() -> None:
    both = pd.concat([sums(), sums(task="u", cheap=None)])
    found = spending(both)
    assert found["t"].savings is not None
    assert (found["u"].savings, found[None].savings) == (None, None)
    assert found[None].reason == "tier small records no cost"


def test_tiers_outside_a_cascade_do_not_hide_the_savings() -> None:
    outside = sums(task="small", cheap=None)
    found = spending(pd.concat([sums(), outside[outside["kind"] == TIER]]))
    assert found[None].reason == ""
    assert "small" not in found


def test_pooled_savings_are_those_of_all_money_together() -> None:
    found = spending(pd.concat([sums(), sums(300, 30, task="u", cheap=0.2, strong=2.0)]))
    spent = (100 * 0.1 + 20) + (300 * 0.2 + 30 * 2)
    assert found[None].savings == pytest.approx(1 - spent / (100 + 300 * 2))


def test_spans_kept_by_a_sampler_count_for_those_it_dropped() -> None:
    """A task of which one call in ten was kept has ten times the cost, and the same savings."""
    kept, whole = spending(sums(weight=10.0)), spending(sums(1000, 200))
    assert kept["t"].cost == pytest.approx(whole["t"].cost)
    assert kept["t"].savings == pytest.approx(whole["t"].savings)
    assert kept["t"].strong_per_call == pytest.approx(whole["t"].strong_per_call)


def test_days_that_differ_widen_the_interval_and_days_alike_leave_none() -> None:
    alike = spending(weeks([sums()] * 8))["t"]
    assert (alike.low, alike.high) == pytest.approx((alike.savings, alike.savings))
    differ = spending(weeks([sums(escalated=up) for up in (10, 30) * 4]))["t"]
    assert differ.savings == pytest.approx(alike.savings)
    assert (differ.low or 0) < (alike.savings or 0) - 0.04
    assert spending(weeks([sums()] * 3))["t"].low is None, "three blocks say nothing about a fourth"


def test_few_audits_of_calls_that_differ_widen_the_interval() -> None:
    random = np.random.default_rng(1)
    few, many = (
        spending(weeks([sums(audits=n, audit=float(random.gamma(n) / n)) for _ in range(14)]))["t"]
        for n in (3, 300)
    )
    assert (few.high or 0) - (few.low or 0) > 3 * ((many.high or 0) - (many.low or 0))


def test_nine_intervals_in_ten_hold_the_savings_of_days_that_differ() -> None:
    """Rates differ from day to day, strong prices from call to call; audits price the accepted calls."""
    random, trials = np.random.default_rng(7), 300
    truth = 1 - (0.1 + 0.25 * 1.0) / 1.0
    found = []
    for trial in range(trials):
        for day, rate in enumerate(random.beta(25, 75, 14)):
            calls = int(random.poisson(300))
            up = int(random.binomial(calls, rate))
            audits = int(random.binomial(calls - up, 0.1))
            strong, audit = (float(random.gamma(2 * n, 0.5) / n) if n else 1.0 for n in (up, audits))
            found += rows(calls, up, audits, 0.1, strong, audit, f"t{trial}", day)
    told = spending(pd.DataFrame(found, columns=list(NAMES)))
    held = sum((one.low or 1) <= truth <= (one.high or 0) for task, one in told.items() if task)
    # Three standard deviations of a binomial count.
    assert 0.9 * trials - 16 <= held <= 0.9 * trials + 16
