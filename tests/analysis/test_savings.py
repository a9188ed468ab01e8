from __future__ import annotations

import pandas as pd
import pytest

from cascade_otel.analysis.savings import Strongest, spending, strong_only, without_cost

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
    assert without_cost(visits(*rows)) == reason


def test_calls_that_were_kept_are_priced_by_audits_where_there_are_enough() -> None:
    assert strong_only(100, Strongest(10, 50.0, 30, 300.0)) == (50.0 + 100 * 10.0, "audits")
    assert strong_only(100, Strongest(10, 50.0, 29, 290.0)) == (50.0 + 100 * 5.0, "estimated")
    assert strong_only(20, Strongest(10, 50.0, 20, 200.0)) == (50.0 + 20 * 10.0, "audits")
    assert strong_only(20, Strongest(0, 0.0, 0, 0.0)) == (None, "unknown")


def store(cheap: float | None, error: str | None = None) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Ten calls of one task, the first two escalated; tier calls that have ``error`` beside them."""
    calls = pd.DataFrame(
        {"task": "t", "trace_hi": range(10), "trace_lo": 1, "escalated": [True] * 2 + [False] * 8}
    )
    calls["cost_nano"] = [CENT + (cheap or 0)] * 2 + [float("nan") if cheap is None else cheap] * 8
    small = pd.DataFrame(
        {"trace_hi": range(10), "tier": "small", "cost_nano": cheap, "first": True, "last": False}
    )
    large = pd.DataFrame(
        {"trace_hi": range(2), "tier": "large", "cost_nano": CENT, "first": False, "last": True}
    )
    tiers = pd.concat([small.astype({"cost_nano": float}), large.astype({"cost_nano": float})])
    tiers = tiers.assign(task="t", trace_lo=1, purpose="", outcome="accepted", error_type=None, reason=None)
    if error is not None:
        broken = small.assign(
            task="t", trace_lo=1, purpose="", outcome="error", error_type=error, reason="error"
        )
        tiers = pd.concat([tiers, broken.assign(cost_nano=float("nan"))])
    return calls, tiers


def test_savings_are_unknown_where_a_tier_records_no_cost_and_the_cost_is_still_told() -> None:
    found = spending(*store(None))
    assert (found.savings, found.source, found.reason) == (None, "unknown", "tier small records no cost")
    assert found.cost == pytest.approx(0.02)
    assert found.break_even is None


@pytest.mark.parametrize("error", [None, "TimeoutError"])
def test_calls_that_failed_need_no_cost(error: str | None) -> None:
    found = spending(*store(CENT / 10, error))
    assert (found.source, found.reason) == ("estimated", "")
    assert found.savings == pytest.approx(1 - (2 * 1.0 + 10 * 0.1) / 10)


def test_tiers_outside_a_cascade_do_not_hide_the_savings() -> None:
    calls, tiers = store(CENT / 10)
    outside = tiers[tiers["tier"] == "small"].assign(task="small", cost_nano=float("nan"))
    assert spending(calls, pd.concat([tiers, outside])).reason == ""
