"""``with_fallbacks`` is a cascade: a gate that raises is no error, a model that fails is one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from opentelemetry.instrumentation.utils import suppress_instrumentation

from cascade_otel import cascade, scorer, tier
from cascade_otel.testing import Recorded
from tests.adapters.langchain_toys import LowConfidence, Toy, confidence, gate, instrumented, two_tiers
from tests.adapters.langchain_ways import QUESTION, Run, every_way


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    with instrumented():
        yield


@every_way
def test_a_raised_gate_escalates_for_low_confidence_and_is_no_error(run: Run, seen: Recorded) -> None:
    run(two_tiers(0.3), {"metadata": {"cascade_task": "organic"}})
    (call,) = seen.cascades
    small, large = call.tiers
    assert (call.name, call.task, call.outcome) == ("langchain", "organic", "accepted")
    assert (call.escalated, call.final_tier) == (True, "large-1")
    assert (small.tier, small.confidence, small.error) == ("small-1", 0.3, None)
    assert (small.escalated, small.reason) == (True, "low_confidence")
    assert (large.escalated, large.outcome) == (False, "accepted")
    for each in call.tiers:
        assert (each.input_tokens, each.output_tokens) == (10, 2)
        assert each.response_model == f"{each.model}-2026"


@every_way
def test_an_answer_that_passes_the_gate_is_accepted(run: Run, seen: Recorded) -> None:
    run(two_tiers(0.9))
    (call,) = seen.cascades
    (small,) = call.tiers
    assert (call.task, call.escalated) == ("langchain", False)
    assert (small.outcome, small.escalated) == ("accepted", False)


@every_way
def test_a_model_that_fails_escalates_for_an_error(run: Run, seen: Recorded) -> None:
    run((Toy(model="small-1", down=True) | gate(0.8)).with_fallbacks([Toy(model="large-1")]))
    (call,) = seen.cascades
    small, large = call.tiers
    assert (small.outcome, small.reason, small.error) == ("escalated", "error", "ConnectionError")
    assert (call.outcome, call.final_tier, large.outcome) == ("accepted", "large-1", "accepted")


@every_way
def test_what_fails_after_the_model_without_a_confidence_is_a_policy(run: Run, seen: Recorded) -> None:
    def parse(message: AIMessage) -> Any:
        return json.loads(str(message.content))

    small = FakeListChatModel(responses=["no JSON"])
    run((small | RunnableLambda(parse)).with_fallbacks([Toy(model="large-1") | RunnableLambda(parse)]))
    first, _ = seen.cascades[0].tiers
    assert (first.tier, first.reason, first.error) == ("FakeListChatModel", "policy", None)


@every_way
def test_where_every_answer_is_turned_down_the_cascade_has_failed_and_no_tier(
    run: Run, seen: Recorded
) -> None:
    small, large = (Toy(model=name, sure={QUESTION: at}) for name, at in (("small-1", 0.3), ("large-1", 0.5)))
    with pytest.raises(LowConfidence):
        run((small | gate(0.8)).with_fallbacks([large | gate(0.8)]))
    (call,) = seen.cascades
    assert (call.outcome, call.final_tier) == ("error", None)
    assert [(each.outcome, each.confidence, each.error) for each in call.tiers] == [
        ("escalated", 0.3, None),
        ("error", 0.5, None),
    ]


def test_a_model_that_fails_has_failed_whatever_its_exception_carries(seen: Recorded) -> None:
    class Odd(Toy):
        def _answer(self, messages: Any) -> AIMessage:
            raise LowConfidence(0.3)

    Odd(model="small-1").with_fallbacks([Toy(model="large-1")]).invoke(QUESTION)
    small = seen.tiers[0]
    assert (small.reason, small.error, small.confidence) == ("error", "LowConfidence", None)


def test_the_exception_may_tell_the_threshold(seen: Recorded) -> None:
    def check(message: AIMessage) -> None:
        error = LowConfidence(confidence(message))
        error.threshold = 0.7  # type: ignore[attr-defined]  # an attribute that only some have
        raise error

    chain = Toy(model="small-1", sure={QUESTION: 0.4}) | RunnableLambda(check)
    chain.with_fallbacks([Toy(model="large-1")]).invoke(QUESTION)
    small = seen.tiers[0]
    assert (small.confidence, small.threshold, small.reason) == (0.4, 0.7, "low_confidence")


@pytest.mark.parametrize(
    ("config", "task"),
    [
        (None, "langchain"),
        ({"run_name": "organic"}, "organic"),
        ({"run_name": "chain", "metadata": {"cascade_task": "organic"}}, "organic"),
    ],
)
def test_the_task_is_what_metadata_or_the_run_s_name_say(config: Any, task: str, seen: Recorded) -> None:
    two_tiers(0.9).invoke(QUESTION, config)
    two_tiers(0.9).with_config(config or {}).invoke(QUESTION)
    assert [call.task for call in seen.cascades] == [task, task]


def test_a_chain_s_metadata_names_the_task_of_the_fallbacks_within(seen: Recorded) -> None:
    prompt = ChatPromptTemplate.from_template("{question}")
    chain = prompt | two_tiers(0.3) | StrOutputParser()
    chain.invoke({"question": QUESTION}, {"metadata": {"cascade_task": "organic"}})
    assert [(call.task, len(call.tiers)) for call in seen.cascades] == [("organic", 2)]


@every_way
def test_in_a_cascade_of_the_user_s_the_alternatives_are_its_tiers(run: Run, seen: Recorded) -> None:
    @cascade(task="organic")
    def extract() -> Any:
        return run(two_tiers(0.3))

    extract()
    (call,) = seen.cascades
    assert (call.name, [each.tier for each in call.tiers]) == ("extract", ["small-1", "large-1"])
    assert call.tiers[0].reason == "low_confidence"


def test_a_cascade_of_the_user_s_within_an_alternative_has_tiers_of_its_own(seen: Recorded) -> None:
    medium, large = Toy(model="medium-1"), Toy(model="large-1")

    @cascade("inner")
    def ask(question: str) -> Any:
        medium.invoke(question)
        return (large | gate(0.99)).with_fallbacks([RunnableLambda(lambda _: "unknown")]).invoke(question)

    Toy(model="small-1", down=True).with_fallbacks([RunnableLambda(ask)]).invoke(QUESTION)
    outer, inner = seen.cascades
    assert (outer.name, [each.tier for each in outer.tiers]) == ("langchain", ["small-1", "ask"])
    assert [(each.tier, each.confidence) for each in inner.tiers] == [
        ("medium-1", None),
        ("large-1", 0.95),
        ("RunnableLambda", None),
    ]


def test_events_of_a_chain_that_is_watched_are_a_cascade_too(seen: Recorded) -> None:
    async def run() -> list[str]:
        return [event["event"] async for event in two_tiers(0.3).astream_events(QUESTION, version="v2")]

    assert asyncio.run(run())[-1] == "on_chain_end"
    assert [each.tier for each in seen.cascades[0].tiers] == ["small-1", "large-1"]


@every_way
def test_a_judge_with_fallbacks_is_no_tier(run: Run, seen: Recorded) -> None:
    @scorer("small-1")
    def judge() -> float:
        run(Toy(model="judge-1", down=True).with_fallbacks([RunnableLambda(lambda _: "right")]))
        return 0.4

    with cascade("extract"):
        Toy(model="small-1").invoke(QUESTION)
        judge()
    assert [(each.tier, each.confidence) for each in seen.tiers] == [("small-1", 0.4)]


@every_way
def test_where_instrumentation_is_suppressed_nothing_is_recorded_or_dropped(run: Run, seen: Recorded) -> None:
    with suppress_instrumentation():
        run(Toy(model="small-1", down=True).with_fallbacks([RunnableLambda(lambda _: "unknown")]))
    assert (seen.spans, seen.metrics()) == ([], set())


@every_way
def test_in_a_tier_of_the_user_s_it_belongs_to_that(run: Run, seen: Recorded) -> None:
    @tier("small")
    def small() -> Any:
        return run(two_tiers(0.3))

    with cascade("extract"):
        small()
    assert [each.tier for each in seen.tiers] == ["small"]


def test_langchain_s_own_fake_models_are_named_after_their_class(seen: Recorded) -> None:
    small = GenericFakeChatModel(messages=iter([AIMessage("no")]))
    (small | gate(0.8)).with_fallbacks([FakeListChatModel(responses=["yes"])]).invoke(QUESTION)
    assert [each.tier for each in seen.tiers] == ["GenericFakeChatModel", "FakeListChatModel"]
