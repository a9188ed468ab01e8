"""Each alternative of ``with_fallbacks`` is one tier: its name, and what belongs to it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.chat_models import init_chat_model
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableBranch, RunnableLambda, RunnablePassthrough

from cascade_otel import annotate, tier
from cascade_otel.testing import Recorded
from tests.adapters.langchain_toys import LowConfidence, Toy, gate, instrumented
from tests.adapters.langchain_ways import QUESTION, Run, every_way


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    with instrumented():
        yield


@every_way
def test_metadata_names_an_alternative_s_tier(run: Run, seen: Recorded) -> None:
    small = (Toy(model="gpt-5", sure={QUESTION: 0.3}) | gate(0.8)).with_config(
        metadata={"cascade_tier": "short prompt"}
    )
    large = Toy(model="gpt-5", metadata={"cascade_tier": "long prompt"})
    run(small.with_fallbacks([large]))
    assert [(each.tier, each.model) for each in seen.cascades[0].tiers] == [
        ("short prompt", "gpt-5"),
        ("long prompt", "gpt-5"),
    ]


@every_way
def test_models_that_back_one_another_up_within_an_alternative_are_one_tier(run: Run, seen: Recorded) -> None:
    small = Toy(model="small-1", down=True).with_fallbacks([Toy(model="backup-1", sure={QUESTION: 0.3})])
    run((small | gate(0.8)).with_fallbacks([Toy(model="large-1")]))
    (call,) = seen.cascades
    assert [(each.tier, each.model, each.outcome, each.reason) for each in call.tiers] == [
        ("small-1", "small-1", "repeated", None),
        ("small-1", "backup-1", "escalated", "low_confidence"),
        ("large-1", "large-1", "accepted", None),
    ]


def test_retries_of_a_model_are_one_visit(seen: Recorded) -> None:
    small = Toy(model="small-1", down=True).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    small.with_fallbacks([Toy(model="large-1")]).invoke(QUESTION)
    outcomes = [each.outcome for each in seen.cascades[0].tiers]
    assert outcomes == ["repeated", "repeated", "escalated", "accepted"]


def test_a_second_try_with_the_same_model_keeps_its_own_confidence(seen: Recorded) -> None:
    first, second = (Toy(model="small-1", sure={QUESTION: at}) | gate(0.8) for at in (0.3, 0.9))
    first.with_fallbacks([second, Toy(model="large-1")]).invoke(QUESTION)
    (call,) = seen.cascades
    assert [(each.outcome, each.confidence) for each in call.tiers] == [("repeated", 0.3), ("accepted", None)]


def test_a_judge_is_no_tier_where_its_metadata_says_so(seen: Recorded) -> None:
    judge = Toy(model="judge-1", sure={}, metadata={"cascade_tier": None})

    def verify(message: AIMessage) -> AIMessage:
        judge.invoke("is it right?")
        raise LowConfidence(0.2)

    chain = Toy(model="small-1") | RunnableLambda(verify)
    chain.with_fallbacks([Toy(model="large-1")]).invoke(QUESTION)
    assert [(each.tier, each.outcome) for each in seen.cascades[0].tiers] == [
        ("small-1", "escalated"),
        ("large-1", "accepted"),
    ]


def test_it_is_the_alternative_s_own_tier_that_is_turned_down(seen: Recorded) -> None:
    verifier = Toy(model="verifier-1", metadata={"cascade_tier": "verify"})

    def verify(message: AIMessage) -> AIMessage:
        verifier.invoke("is it right?")
        raise LowConfidence(0.2)

    chain = Toy(model="small-1") | RunnableLambda(verify)
    chain.with_fallbacks([Toy(model="large-1")]).invoke(QUESTION)
    assert [(each.tier, each.confidence, each.reason) for each in seen.cascades[0].tiers] == [
        ("small-1", 0.2, "low_confidence"),
        ("verify", None, "policy"),
        ("large-1", None, None),
    ]


@every_way
def test_an_alternative_without_a_model_is_a_tier_of_its_own(run: Run, seen: Recorded) -> None:
    def unknown(_: Any) -> str:
        return "unknown"

    run((Toy(model="small-1") | gate(0.99)).with_fallbacks([RunnableLambda(unknown)]))
    (call,) = seen.cascades
    assert [(each.tier, each.outcome, each.model) for each in call.tiers] == [
        ("small-1", "escalated", "small-1"),
        ("unknown", "accepted", None),
    ]
    assert call.final_tier == "unknown"


@every_way
def test_an_alternative_may_say_that_it_is_no_tier(run: Run, seen: Recorded) -> None:
    default = RunnableLambda(lambda _: "unknown").with_config(metadata={"cascade_tier": None})
    run(Toy(model="small-1", down=True).with_fallbacks([default]))
    assert [each.tier for each in seen.tiers] == ["small-1"]


@every_way
def test_a_model_that_was_not_reached_has_failed_all_the_same(run: Run, seen: Recorded) -> None:
    def retrieve(_: Any) -> str:
        raise TimeoutError

    run((RunnableLambda(retrieve) | Toy(model="small-1")).with_fallbacks([Toy(model="large-1")]))
    small, _ = seen.cascades[0].tiers
    assert (small.tier, small.model, small.reason, small.error) == (
        "small-1",
        "small-1",
        "timeout",
        "TimeoutError",
    )


def test_a_rule_lasts_as_long_as_it_took(seen: Recorded) -> None:
    async def ask(_: Any) -> str:
        await asyncio.sleep(0.03)
        return "yes"

    chain = Toy(model="small-1", down=True).with_fallbacks([RunnableLambda(ask)])
    asyncio.run(chain.ainvoke(QUESTION))
    assert seen.tiers[1].tier == "ask"
    assert 0.03 <= seen.tiers[1].duration_s <= seen.cascades[0].duration_s


def test_a_model_that_is_chosen_by_the_call_s_config_counts_as_one(seen: Recorded) -> None:
    chosen = init_chat_model(configurable_fields=("model", "model_provider"))  # its package is not installed
    config: Any = {"configurable": {"model": "gpt-5-nano", "model_provider": "openai"}}
    chosen.with_fallbacks([Toy(model="large-1")]).invoke(QUESTION, config)
    assert [(each.tier, each.error) for each in seen.cascades[0].tiers] == [
        ("_ConfigurableModel", "ImportError"),
        ("large-1", None),
    ]


@every_way
def test_functions_in_a_chain_may_annotate_and_be_tiers(run: Run, seen: Recorded) -> None:
    def check(message: AIMessage) -> AIMessage:
        annotate(confidence=0.4, threshold=0.8)
        raise ValueError

    @tier("human", kind="human")
    def ask(_: Any) -> str:
        return "yes"

    chain = (Toy(model="small-1") | RunnableLambda(check)).with_fallbacks([RunnableLambda(ask)])
    run(chain)
    (call,) = seen.cascades
    assert [(each.tier, each.confidence, each.reason) for each in call.tiers] == [
        ("small-1", 0.4, "low_confidence"),
        ("human", None, None),
    ]
    assert len(seen.tiers) == 2


@every_way
def test_fallbacks_without_a_model_are_nothing_of_ours(run: Run, seen: Recorded) -> None:
    def fail(_: Any) -> str:
        raise OutputParserException("no")

    run(RunnableLambda(fail).with_fallbacks([RunnableLambda(lambda given: given)]))
    assert seen.spans == []


@pytest.mark.parametrize("holds", ["function", "branch", "dict", "assigned"])
def test_a_model_is_seen_in_all_that_a_chain_is_made_of(holds: str, seen: Recorded) -> None:
    small, large = Toy(model="small-1", down=True), Toy(model="large-1")

    def ask(question: str) -> Any:
        return small.invoke(question)

    chains: dict[str, Any] = {
        "function": RunnableLambda(ask),
        "branch": RunnableBranch((lambda _: True, small), RunnableLambda(str)),
        "dict": RunnableLambda(str) | {"answer": small},
        "assigned": RunnableLambda(lambda given: {"question": given})
        | RunnablePassthrough.assign(answer=lambda _: small.invoke("?")),
    }
    chains[holds].with_fallbacks([RunnableLambda(lambda given: large.invoke(str(given)))]).invoke(QUESTION)
    assert [each.tier for each in seen.cascades[0].tiers] == ["small-1", "large-1"]


def test_looking_for_a_model_stops_early_in_what_is_long(seen: Recorded) -> None:
    class Documents(list[str]):
        def __iter__(self) -> Iterator[str]:
            for number in range(10_000):
                assert number < 1_000
                yield "document"

    class Retriever(Runnable[Any, Any]):
        def __init__(self) -> None:
            self.documents = Documents()

        def invoke(self, given: Any, *_: Any, **__: Any) -> Any:
            return given

    (Retriever() | Toy(model="small-1")).with_fallbacks([Toy(model="large-1")]).invoke(QUESTION)
    assert [each.tier for each in seen.tiers] == ["small-1"]
