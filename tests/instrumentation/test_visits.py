"""What is observed of a cascade: who escalated, and why."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import time
from typing import Any

import pytest

from cascade_otel import cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import Answer, outcomes, total, two_tiers


def test_a_tier_with_nobody_after_it_is_accepted(seen: Recorded) -> None:
    small, _ = two_tiers()

    @cascade(task="organic")
    def extract() -> Any:
        return small()

    extract()
    (whole,) = seen.cascades
    (only,) = whole.tiers
    assert (only.outcome, only.escalated, only.index, only.reason) == ("accepted", False, 0, None)
    assert (whole.name, whole.task, whole.final_tier, whole.escalated) == (
        "extract",
        "organic",
        "small",
        False,
    )


def test_an_escalation_is_on_the_tiers_own_span_and_metrics(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5, 0.25))

    @cascade(task="t")
    def c() -> Any:
        return small().confidence >= 0.8 or large()

    c()
    (whole,) = seen.cascades
    first, second = whole.tiers
    assert (first.outcome, first.escalated, first.reason) == ("escalated", True, "low_confidence")
    assert (second.outcome, second.escalated, second.index) == ("accepted", False, 1)
    assert (whole.final_tier, whole.escalated, whole.cost) == ("large", True, 0.25)
    base = {(semconv.CASCADE_NAME, "c"), (semconv.CASCADE_TASK, "t"), (semconv.TIER_NAME, "small")}
    low = frozenset(base | {(semconv.ESCALATION_REASON, "low_confidence")})
    assert seen.metric(semconv.ESCALATIONS)[low] == 1
    assert seen.metric(semconv.TIER_CALLS)[frozenset(base | {(semconv.OUTCOME, "escalated")})] == 1
    assert seen.metric(semconv.TIER_COST) == {frozenset(base | {(semconv.REQUEST_MODEL, "m1")}): 0.25}
    assert total(seen, semconv.OPERATION_DURATION) == 2
    assert total(seen, semconv.CASCADE_DURATION) == 1


def test_a_span_keeps_the_end_of_its_call_and_is_handed_on_at_the_end_of_the_cascade(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5))

    @cascade("c")
    def c() -> None:
        small()
        assert not seen.spans
        time.sleep(0.02)
        large()
        assert not seen.spans
        time.sleep(0.02)

    c()
    first, second, root = seen.spans
    assert [each.name for each in seen.spans] == ["chat m1", "chat m2", "cascade c"]
    assert (first.end_time or 0) <= (second.start_time or 0) - 15_000_000
    assert (second.end_time or 0) <= (root.end_time or 0) - 15_000_000
    assert [each.parent for each in (first, second)] == [root.context] * 2


@pytest.mark.parametrize(
    ("small", "threshold", "reason"),
    [
        (Answer(0.5), 0.8, "low_confidence"),
        (Answer(None), 0.8, "missing_confidence"),
        (ValueError, 0.8, "error"),
        (TimeoutError, 0.8, "timeout"),
        (Answer(0.9), 0.8, "policy"),
        (Answer(0.1), None, "policy"),
    ],
)
def test_a_later_tier_is_an_escalation_and_the_reason_says_what_is_known(
    seen: Recorded, small: Any, threshold: float | None, reason: str
) -> None:
    cheap, strong = two_tiers(small, threshold=threshold)

    @cascade
    def c() -> Any:
        try:
            cheap()
        except Exception:
            return strong()
        return strong()

    c()
    first = seen.tiers[0]
    assert (first.outcome, first.escalated, first.reason) == ("escalated", True, reason)
    assert (first.error is not None) == isinstance(small, type)


def test_an_answer_of_none_is_missing_confidence(seen: Recorded) -> None:
    """A fallback that escalates because the cheap tier returned nothing."""

    @tier("small", confidence=lambda answer: answer.confidence)
    def small() -> None:
        return None

    @tier("large")
    def large() -> str:
        return "yes"

    @cascade
    def c() -> str:
        small()
        return large()

    c()
    assert seen.tiers[0].reason == "missing_confidence"


def test_samples_are_one_visit(seen: Recorded) -> None:
    small, large = two_tiers(Answer(0.5))

    @cascade
    def c() -> None:
        for _ in range(20):
            small()
        large()

    c()
    assert outcomes(seen) == {"small": ["repeated"] * 19 + ["escalated"], "large": ["accepted"]}
    assert total(seen, semconv.ESCALATIONS) == 1
    assert [each.escalated for each in seen.tiers] == [None] * 19 + [True, False]


def test_a_retry_after_an_error_is_one_visit(seen: Recorded) -> None:
    answers = iter([ValueError(), Answer(0.9)])

    @tier("small")
    def small() -> Any:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @cascade
    def c() -> Any:
        try:
            return small()
        except ValueError:
            return small()

    c()
    first, second = seen.tiers
    assert (first.outcome, first.error, first.escalated) == ("repeated", "ValueError", None)
    assert (second.outcome, second.escalated) == ("accepted", False)


def test_tiers_that_only_overlap_do_not_escalate_to_one_another(seen: Recorded) -> None:
    @tier("small")
    async def small() -> None:
        await asyncio.sleep(0.01)

    @tier("large")
    async def large() -> None:
        await asyncio.sleep(0.02)

    @cascade
    async def hedged() -> None:
        await asyncio.gather(small(), large())

    asyncio.run(hedged())
    assert outcomes(seen) == {"small": ["accepted"], "large": ["accepted"]}
    assert [each.escalated for each in seen.tiers] == [False, False]


def test_only_the_one_that_had_answered_escalates_to_a_third(seen: Recorded) -> None:
    @tier("a")
    async def a() -> None:
        await asyncio.sleep(0.01)

    @tier("b")
    async def b() -> None:
        await asyncio.sleep(0.03)

    @tier("c")
    async def c() -> None:
        pass

    @cascade
    async def hedged() -> None:
        running = asyncio.ensure_future(b())
        await a()
        await c()
        await running

    asyncio.run(hedged())
    assert outcomes(seen) == {"a": ["escalated"], "b": ["accepted"], "c": ["accepted"]}


def test_two_samples_then_a_third_beside_the_strong_tier_are_one_escalated_visit(seen: Recorded) -> None:
    @tier("small")
    def small(seconds: float) -> None:
        time.sleep(seconds)

    @tier("large")
    def large(seconds: float) -> None:
        time.sleep(seconds)

    @cascade
    def c() -> None:
        with concurrent.futures.ThreadPoolExecutor(3) as pool:

            def go(*calls: tuple[Any, float]) -> None:
                running = [pool.submit(contextvars.copy_context().run, f, seconds) for f, seconds in calls]
                for each in running:
                    each.result()

            go((small, 0), (small, 0))
            go((small, 0.03), (large, 0.01))

    c()
    assert sorted(outcomes(seen)["small"]) == ["escalated", "repeated", "repeated"]
    assert outcomes(seen)["large"] == ["accepted"]


def test_going_back_from_strong_to_cheap_is_no_escalation(seen: Recorded) -> None:
    small, large = two_tiers()

    @cascade
    def loop() -> None:
        for _ in range(3):
            small()
            large()

    loop()
    assert outcomes(seen) == {
        "small": ["repeated", "repeated", "escalated"],
        "large": ["repeated", "repeated", "accepted"],
    }
    assert seen.cascades[0].final_tier == "large"


def test_a_declared_index_goes_before_the_order_of_calls(seen: Recorded) -> None:
    """A strong planner before a cheap worker does not escalate to it."""

    @tier("large", index=1)
    def large() -> None: ...

    @tier("small", index=0)
    def small() -> None: ...

    @cascade
    def planned() -> None:
        large()
        small()

    planned()
    assert [(each.tier, each.index, each.escalated) for each in seen.tiers] == [
        ("large", 1, False),
        ("small", 0, False),
    ]


def test_three_tiers_by_one_function_with_the_tier_as_an_argument(seen: Recorded) -> None:
    @tier(lambda kind: kind)
    def ask(kind: str) -> Answer:
        return Answer()

    @cascade
    def c() -> None:
        for kind in "abc":
            ask(kind)

    c()
    assert outcomes(seen) == {"a": ["escalated"], "b": ["escalated"], "c": ["accepted"]}
    assert [each.index for each in seen.tiers] == [0, 1, 2]
