"""Scores from where the code computes them, and results of libraries that only tell afterwards."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from cascade_otel import annotate, cascade, scorer, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes, total


@tier("small", threshold=0.8)
def small() -> str:
    return "maybe"


@tier("large")
def large() -> str:
    return "yes"


@pytest.mark.parametrize("score", [0.3, 0.9])
def test_a_judges_result_is_the_confidence_of_the_visit(seen: Recorded, score: float) -> None:
    @scorer("small")
    def judge(answer: str) -> float:
        return score

    @cascade
    def c() -> str:
        answer = small()
        return answer if judge(answer) >= 0.8 else large()

    c()
    first = seen.tiers[0]
    assert (first.confidence, first.escalated) == (score, score < 0.8)
    assert first.reason == ("low_confidence" if score < 0.8 else None)
    assert dict(seen.spans[0].attributes or {})[semconv.CONFIDENCE_SOURCE] == "scorer"
    assert total(seen, semconv.TIER_CONFIDENCE) == 1
    assert "judge" not in outcomes(seen)


def test_an_async_judge_and_what_its_confidence_is_read_from(seen: Recorded) -> None:
    class Verdict:
        p = 0.25

    @scorer("small", confidence="p")
    async def judge(answer: str) -> Verdict:
        await asyncio.sleep(0)
        return Verdict()

    judge_by_lambda = scorer("small", confidence=lambda verdict: verdict.p / 2)(lambda answer: judge(answer))

    @cascade
    async def c() -> None:
        await judge(small())
        await judge_by_lambda(small())
        large()

    asyncio.run(c())
    assert [each.confidence for each in seen.tiers] == [None, 0.125, None]
    assert outcomes(seen)["small"] == ["repeated", "escalated"]


def test_a_vote_over_samples_is_the_confidence_of_the_one_visit(seen: Recorded) -> None:
    @scorer("small", confidence=lambda vote: vote[1])
    def vote(answers: list[str]) -> tuple[str, float]:
        return answers[0], 0.6

    @cascade
    def c() -> str:
        answer, agreement = vote([small() for _ in range(5)])
        return answer if agreement >= 0.8 else large()

    c()
    assert outcomes(seen)["small"] == ["repeated"] * 4 + ["escalated"]
    assert [each.confidence for each in seen.tiers] == [None] * 4 + [0.6, None]


def test_a_judge_called_inside_the_tier_scores_that_call(seen: Recorded) -> None:
    @scorer("checked")
    def check(answer: str) -> float:
        return 0.4

    @tier("checked", threshold=0.8)
    def checked() -> str:
        check("answer")
        return "answer"

    checked()
    assert [(each.confidence, each.escalated) for each in seen.tiers] == [(0.4, True)]


def test_a_judge_that_does_not_know_is_missing_confidence(seen: Recorded) -> None:
    @tier("unsure")
    def unsure() -> str:
        return "?"

    @scorer("unsure")
    def judge() -> None:
        return None

    @cascade
    def c() -> None:
        unsure()
        judge()
        large()

    c()
    assert seen.tiers[0].reason == "missing_confidence"


def test_a_judge_without_its_tier_gives_its_result_and_is_counted(seen: Recorded, lenient: None) -> None:
    @scorer("never called")
    def judge() -> float:
        return 0.5

    assert judge() == 0.5
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "unmatched")}): 1}


def test_a_judges_error_is_the_hosts(seen: Recorded) -> None:
    @scorer("small")
    def judge() -> float:
        raise KeyError("mine")

    with pytest.raises(KeyError):
        judge()


def test_annotate_in_the_tier_in_the_cascade_and_by_name(seen: Recorded) -> None:
    @tier("inner")
    def inner() -> None:
        annotate(confidence=0.1, threshold=0.2, cost=0.5)

    @cascade
    def c() -> None:
        inner()
        small()
        annotate(confidence=0.7)
        large()
        annotate(confidence=0.9)
        annotate(tier="small", threshold=0.75)

    c()
    assert [(each.confidence, each.threshold, each.cost) for each in seen.tiers] == [
        (0.1, 0.2, 0.5),
        (0.7, 0.75, None),
        (0.9, None, None),
    ]


def test_annotate_reaches_the_call_in_whose_thread_it_is_said(seen: Recorded) -> None:
    """Many threads at once: each score lands on its own call."""

    @tier("many")
    def many(i: int) -> None:
        annotate(confidence=i / 8)

    threads = [threading.Thread(target=many, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.confidence or 0.0 for each in seen.tiers) == [i / 8 for i in range(8)]


def test_from_result_reads_what_a_library_only_tells_afterwards(seen: Recorded) -> None:
    def read(result: dict[str, float], call: Any) -> None:
        visit = call.visit("small")
        visit.confidence, visit.threshold, visit.cost = result["p"], 0.6, result["cost"]
        assert visit.escalated

    @cascade(from_result=read)
    def library() -> dict[str, float]:
        small()
        large()
        return {"p": 0.5, "cost": 0.25}

    library()
    first, second = seen.tiers
    assert (first.confidence, first.threshold, first.cost) == (0.5, 0.6, 0.25)
    assert (first.escalated, first.reason, second.outcome) == (True, "low_confidence", "accepted")
    assert seen.cascades[0].cost == 0.25


def test_a_shadow_call_is_no_escalation_where_the_code_says_so(seen: Recorded) -> None:
    """A library that runs the strong tier on every input, and only tells in its result whose answer stood."""

    def read(result: str, call: Any) -> None:
        call.visit("small").escalated = result == "large"
        call.visit("small").reason = "policy"

    @cascade(from_result=read)
    def library(answer: str) -> str:
        small()
        large()
        return answer

    library("small")
    library("large")
    assert [each.escalated for each in seen.cascades] == [False, True]
    assert [each.final_tier for each in seen.cascades] == ["small", "large"]
    assert [each.reason for each in seen.tiers] == [None, None, "policy", None]
    assert total(seen, semconv.ESCALATIONS) == 1


def test_from_result_about_a_tier_that_was_not_called_is_counted(seen: Recorded, lenient: None) -> None:
    def read(result: str, call: Any) -> None:
        call.visit("large").confidence = 0.5

    @cascade(from_result=read)
    def c() -> str:
        return small()

    assert c() == "maybe"
    assert seen.metric(semconv.DROPPED) == {frozenset({(semconv.DROP_REASON, "unmatched")}): 1}
    assert outcomes(seen) == {"small": ["accepted"]}
