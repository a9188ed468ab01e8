from __future__ import annotations

from dataclasses import replace

import pytest

from cascade_otel.analysis.value.labels import Quality
from cascade_otel.analysis.value.savings import Spending
from cascade_otel.analysis.value.verdict import verdict
from cascade_otel.statistics.deferral import Loss

RATE = (0.2, 0.18, 0.22)
SAVES = Spending(10.0, 0.7, 0.65, 0.75, "audits", cheap_per_call=0.1, strong_per_call=1.0)
COSTS_MORE = replace(SAVES, savings=-0.2, low=-0.25, high=-0.15)
FREE_OF_COSTS = Spending()
GOOD = Quality(
    labelled=900, pairs=900, auroc=0.85, low=0.8, high=0.9, enough=True, accepted=700, basis="labels",
    loss=Loss(0.005, 0.0, 0.01), within=(0.7, 0.1), least=0.05,
)  # fmt: skip
LOSES = replace(GOOD, loss=Loss(0.12, 0.1, 0.14), within=(0.95, 0.4), least=0.3)
NOWHERE_BETTER = replace(GOOD, within=(float("inf"), 1.0))
NOWHERE = replace(LOSES, within=(float("inf"), 1.0), least=0.9)
COIN = replace(GOOD, auroc=0.52, low=0.46, high=0.58, loss=Loss(0.03, 0.0, 0.06), within=None)


def test_what_saves_and_keeps_the_quality_pays() -> None:
    found = verdict(900, RATE, SAVES, GOOD)
    assert (found.pays, found.as_it_runs) == ("yes", True)
    assert found.reason == (
        "it saves 70% (65% to 75%) against the strong tier alone; it breaks even at 90% escalated, now 20%; "
        "it gives up 0.5 points of right answers (0.0 to 1.0); AUROC 0.85 (0.80 to 0.90)"
    )


@pytest.mark.parametrize(
    ("money", "quality", "word"),
    [
        (
            COSTS_MORE,
            replace(GOOD, within=None, least=0.0),
            "it costs 20% more than the strong tier alone (15% to 25%)",
        ),
        (replace(COSTS_MORE, savings=-0.001, high=0), Quality(), "it costs as much as the strong tier alone"),
        (SAVES, NOWHERE, "it gives up 12.0 points of right answers"),
        (SAVES, COIN, "a coin would do: AUROC 0.52 (0.46 to 0.58)"),
        (SAVES, replace(COIN, low=0.1, high=0.3), "points the wrong way"),
    ],
)
def test_what_surely_fails_in_one_respect_does_not_pay(money: Spending, quality: Quality, word: str) -> None:
    found = verdict(900, RATE, money, quality)
    assert (found.pays, found.as_it_runs) == ("no", False)
    assert word in found.reason


@pytest.mark.parametrize(
    ("money", "quality", "word"),
    [
        (replace(SAVES, low=-0.1), NOWHERE_BETTER, "whether it saves is open: 70% (-10% to 75%)"),
        (replace(SAVES, low=None, high=None), NOWHERE_BETTER, "so short a time"),
        (Spending(1.0, reason="tier small records no cost"), GOOD, "one that is free says cost=0"),
        (Spending(1.0), GOOD, "no strong call has a price"),
        (SAVES, Quality(), "no labels tell"),
        (SAVES, replace(GOOD, loss=None, enough=False, labelled=40), "40 labelled calls do not tell"),
        (
            SAVES,
            replace(GOOD, loss=None, low=0.4),
            "too few labels to tell whether the confidence beats a coin",
        ),
        (
            SAVES,
            replace(GOOD, loss=None, within=None),
            "audit a random share of accepted calls and label both answers",
        ),
        (SAVES, replace(NOWHERE, loss=Loss(0.01, -0.02, 0.04)), "2 are wanted at most; about 6,000 would"),
        (
            SAVES,
            replace(GOOD, within=None, basis="agreement", loss=Loss(0.05, -0.06, 0.06)),
            "label answers where they differ",
        ),
    ],
)
def test_what_is_not_sure_is_left_open_with_what_to_do(money: Spending, quality: Quality, word: str) -> None:
    found = verdict(900, RATE, money, quality)
    assert (found.pays, found.as_it_runs) == ("unknown", None)
    assert word in found.reason


def test_no_calls_are_no_verdict() -> None:
    assert verdict(0, None, Spending(), Quality()).pays == "unknown"


def test_another_threshold_that_surely_does_better_is_named() -> None:
    found = verdict(900, RATE, SAVES, LOSES)
    assert (found.pays, found.as_it_runs) == ("yes", False)
    assert found.reason.startswith("not as it runs, but with another τ: it gives up 12.0 points")
    assert found.reason.endswith("τ 0.95 would escalate 40% and give up at most 2 points, and save 50%")
    assert verdict(900, (0.97, 0.96, 0.98), COSTS_MORE, GOOD).pays == "yes"


def test_another_threshold_that_surely_does_settles_what_is_open() -> None:
    found = verdict(900, RATE, SAVES, replace(LOSES, loss=Loss(0.02, 0.01, 0.03)))
    assert (found.pays, found.as_it_runs) == ("yes", None)
    assert found.reason.startswith("open as it runs, but surely with another τ: τ 0.95 would escalate 40%")


def test_another_threshold_must_be_worth_the_move() -> None:
    found = verdict(900, RATE, SAVES, replace(LOSES, within=(0.99, 0.87), least=0.86))
    assert found.pays == "no"


def test_a_threshold_that_may_do_leaves_it_open() -> None:
    found = verdict(900, RATE, SAVES, replace(NOWHERE, least=0.3))
    assert (found.pays, found.as_it_runs) == ("unknown", False)
    assert found.reason.endswith(
        "900 calls with both answers labelled do not tell whether another τ would do"
    )


def test_audits_that_agree_suffice() -> None:
    agreed = Quality(loss=Loss(0.004, -0.01, 0.01), basis="agreement", accepted=500)
    found = verdict(900, RATE, SAVES, agreed)
    assert found.pays == "yes"
    assert "at most 1.0 points of right answers, as far as audits agree" in found.reason


def test_where_both_tiers_are_as_good_the_confidence_is_not_what_saves() -> None:
    found = verdict(900, RATE, SAVES, replace(COIN, loss=Loss(0.0, -0.01, 0.01)))
    assert found.pays == "yes"
    assert "the first tier alone may do" in found.reason


@pytest.mark.parametrize(
    ("rate", "pays", "word"),
    [
        ((0.1, 0.08, 0.12), "yes", "costs less than 88% of one of the strongest"),
        ((0.6, 0.55, 0.65), "unknown", "costs are unknown, and it saves if"),
    ],
)
def test_without_costs_it_says_how_cheap_the_first_tier_must_be(
    rate: tuple[float, float, float], pays: str, word: str
) -> None:
    found = verdict(900, rate, FREE_OF_COSTS, NOWHERE_BETTER)
    assert found.pays == pays
    assert word in found.reason


def test_without_costs_quality_alone_may_settle_it() -> None:
    assert verdict(900, RATE, FREE_OF_COSTS, NOWHERE).pays == "no"
