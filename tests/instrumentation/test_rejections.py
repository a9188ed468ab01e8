"""An exception by which the code turns an answer down is no failure of the tier."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cascade_otel import annotate, cascade, semconv, tier
from cascade_otel.testing import Recorded


class NotSureError(Exception):
    def __init__(self, confidence: Any = None) -> None:
        self.confidence = confidence


def turned_down(confidence: Any = None, threshold: float | None = 0.8, **said: Any) -> Any:
    @tier("small", threshold=threshold, rejections=NotSureError, **said)
    def small() -> str:
        raise NotSureError(confidence)

    return small


@tier("large")
def large() -> str:
    return "yes"


def extract(small: Any) -> Any:
    @cascade("extract")
    def run() -> str:
        try:
            return str(small())
        except NotSureError:
            return large()

    return run()


@pytest.mark.parametrize(("confidence", "threshold"), [(0.4, 0.8), (0.4, None), (None, 0.8), (None, None)])
def test_it_is_low_confidence_and_no_error(seen: Recorded, confidence: Any, threshold: float | None) -> None:
    extract(turned_down(confidence, threshold, cost=0.001))
    first = seen.tiers[0]
    assert (first.outcome, first.escalated, first.reason) == ("escalated", True, "low_confidence")
    assert (first.error, first.confidence, first.cost) == (None, confidence, 0.001)
    assert all(span.status.is_ok for span in seen.spans)
    assert seen.cascades[0].final_tier == "large"


def test_other_exceptions_are_errors_as_ever(seen: Recorded) -> None:
    @tier("small", rejections=(NotSureError, KeyError))
    def small() -> str:
        raise ValueError

    @cascade("extract")
    def run() -> str:
        try:
            return small()
        except ValueError:
            return large()

    run()
    assert (seen.tiers[0].reason, seen.tiers[0].error) == ("error", "ValueError")


def test_what_the_code_says_goes_before_what_the_exception_does(seen: Recorded) -> None:
    @tier("small", threshold=0.8, rejections=NotSureError)
    def small() -> str:
        annotate(confidence=0.3)
        raise NotSureError(0.6)

    extract(small)
    assert seen.tiers[0].confidence == 0.3


def test_where_no_tier_follows_nothing_stood(seen: Recorded) -> None:
    """The cascade answers with something of its own: exhausted, as where every tier failed."""
    small = turned_down(0.4)

    @cascade("extract")
    def run() -> str:
        try:
            return str(small())
        except NotSureError:
            return "I do not know"

    run()
    assert (seen.cascades[0].outcome, seen.cascades[0].final_tier) == ("exhausted", None)
    assert (seen.tiers[0].outcome, seen.tiers[0].escalated) == ("exhausted", False)


def test_where_it_leaves_the_cascade_nobody_knows_whether_it_would_have_escalated(seen: Recorded) -> None:
    with pytest.raises(NotSureError):
        cascade("extract")(turned_down(0.4))()
    assert (seen.cascades[0].outcome, seen.cascades[0].error) == ("error", "NotSureError")
    assert (seen.tiers[0].outcome, seen.tiers[0].escalated, seen.tiers[0].error) == ("error", None, None)


def test_outside_a_cascade_a_turned_down_call_has_escalated(seen: Recorded) -> None:
    with pytest.raises(NotSureError):
        turned_down()()
    assert (seen.tiers[0].escalated, seen.tiers[0].reason) == (True, "low_confidence")


@pytest.mark.parametrize("shape", ["block", "coroutine", "generator"])
def test_every_shape_knows_rejections(seen: Recorded, shape: str) -> None:
    place = tier("small", rejections=NotSureError)

    @place
    async def later() -> str:
        raise NotSureError(0.4)

    @place
    def stream() -> Any:
        yield "y"
        raise NotSureError(0.4)

    def block() -> None:
        with place:
            raise NotSureError(0.4)

    run = {"block": block, "coroutine": lambda: asyncio.run(later()), "generator": lambda: list(stream())}
    with pytest.raises(NotSureError):
        run[shape]()
    assert (seen.tiers[0].confidence, seen.tiers[0].error) == (0.4, None)


@pytest.mark.parametrize("confidence", ["high", 7, object()])
def test_a_score_that_is_none_is_dropped_and_counted(seen: Recorded, lenient: None, confidence: Any) -> None:
    extract(turned_down(confidence))
    assert (seen.tiers[0].confidence, seen.dropped) == (None, {"value": 1})


@pytest.mark.parametrize("wrong", ["NotSureError", 1, (NotSureError, 2), KeyboardInterrupt])
def test_what_is_no_exception_is_left_out_and_counted(seen: Recorded, lenient: None, wrong: Any) -> None:
    tier("small", rejections=wrong)
    assert seen.dropped == {"value": 1}


def test_a_retry_after_a_rejection_is_one_visit(seen: Recorded) -> None:
    answers = [NotSureError(0.4), "yes"]

    @tier("small", rejections=NotSureError)
    def small() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    @cascade("extract")
    def run() -> str:
        try:
            return small()
        except NotSureError:
            return small()

    run()
    assert [each.outcome for each in seen.tiers] == ["repeated", "accepted"]
    assert not seen.metric(semconv.ESCALATIONS)
