"""What the code says in its middle, where neither the tier's result nor an exception tells it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cascade_otel import annotate, cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import total


@tier("small", model="gpt-5-nano", provider="openai", threshold=0.8)
def small(**said: Any) -> str:
    annotate(**said)
    return "yes"


@tier("large", cost=0.02)
def large() -> str:
    return "no"


def after(**said: Any) -> Any:
    """Said after the call, in the cascade's own code."""

    @cascade("extract")
    def run() -> str:
        answer = small()
        annotate(**said)
        return answer

    return run


WAYS = [lambda **said: cascade("extract")(small)(**said), lambda **said: after(**said)()]


@pytest.mark.parametrize("say", WAYS)
def test_usage_and_model_are_recorded_counted_and_priced(seen: Recorded, say: Any) -> None:
    say(usage=(1000, 100), model="gpt-5-nano-2025-08-07")
    (only,) = seen.tiers
    assert (only.input_tokens, only.output_tokens) == (1000, 100)
    assert only.response_model == "gpt-5-nano-2025-08-07"
    assert (only.cost, only.cost_source) == (pytest.approx(0.00009), "genai-prices")
    assert total(seen, semconv.TIER_TOKENS) == 1100
    assert seen.cascades[0].cost == pytest.approx(0.00009)


@pytest.mark.parametrize("say", WAYS)
def test_a_cost_that_is_said_goes_before_a_price(seen: Recorded, say: Any) -> None:
    say(usage=(1000, 100), cost=0.5)
    assert (seen.tiers[0].cost, seen.tiers[0].cost_source) == (0.5, "user")


@pytest.mark.parametrize("say", WAYS)
def test_a_failure_that_was_returned_is_an_error(seen: Recorded, say: Any) -> None:
    say(error="RateLimited")
    (only,) = seen.tiers
    assert (only.outcome, only.error, only.escalated) == ("error", "RateLimited", False)
    assert (seen.cascades[0].outcome, seen.cascades[0].final_tier) == ("exhausted", None)


def test_a_returned_failure_that_another_tier_follows_escalated_for_that(seen: Recorded) -> None:
    @cascade("extract")
    def run() -> str:
        small(error="RateLimited")
        return large()

    run()
    assert [(each.outcome, each.reason) for each in seen.tiers] == [
        ("escalated", "error"),
        ("accepted", None),
    ]
    assert seen.cascades[0].final_tier == "large"


def test_outside_a_cascade_too(seen: Recorded) -> None:
    small(error="RateLimited", usage=(3, 4))
    assert (seen.tiers[0].error, seen.tiers[0].output_tokens) == ("RateLimited", 4)


@pytest.mark.parametrize("wrong", [{"usage": "many"}, {"error": 7}, {"model": 7}])
def test_what_cannot_be_used_is_left_out_and_counted(
    seen: Recorded, lenient: None, wrong: dict[str, Any]
) -> None:
    assert cascade("extract")(small)(**wrong) == "yes"
    assert seen.dropped == {"value": 1}


def test_a_caller_who_gives_up_on_the_strong_tier_changes_nothing_of_the_cheap_one(seen: Recorded) -> None:
    """It had answered, below its threshold: a client's time-out is none of its own."""

    @tier("small", threshold=0.8, confidence=lambda answer: answer)
    async def cheap() -> float:
        return 0.3

    @tier("large")
    async def strong() -> None:
        await asyncio.sleep(10)

    @cascade("extract")
    async def run() -> None:
        await cheap()
        await strong()

    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(run(), 0.05))
    assert (seen.tiers[0].outcome, seen.tiers[0].reason) == ("escalated", "low_confidence")
    assert seen.cascades[0].outcome == "cancelled"


def test_where_the_code_says_why_no_threshold_is_held_against_it(
    seen: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    @cascade("extract")
    def run() -> str:
        small(confidence=0.99)
        annotate(reason="policy")
        return large()

    run()
    assert seen.tiers[0].reason == "policy"
    assert "the code behaves otherwise" not in caplog.text


def test_the_cost_of_a_cascade_within_a_tier_is_that_tiers(seen: Recorded) -> None:
    @tier("deep")
    def deep() -> str:
        return cascade("inner")(large)()

    cascade("outer")(deep)()
    outer = next(each for each in seen.cascades if each.name == "outer")
    assert outer.cost == 0.02
    assert [(each.tier, each.cost) for each in outer.tiers] == [("deep", 0.02)]


def test_a_tier_inside_itself_is_told_once(seen: Recorded, caplog: pytest.LogCaptureFixture) -> None:
    inner = tier("door", cost=0.01)(lambda: "yes")
    outer = tier("door", cost=0.01)(lambda: inner())
    run = cascade("extract")(lambda: outer())
    run()
    run()
    assert caplog.text.count("both count as calls") == 1
