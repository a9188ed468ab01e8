"""Chat models called in a cascade of the user's are tiers; elsewhere they are nothing of ours."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.runnables import RunnableBranch, RunnableLambda, RunnableParallel, RunnablePassthrough

from cascade_otel import annotate, cascade, scorer, tier
from cascade_otel.adapters.langchain import LangChainInstrumentor
from cascade_otel.instrumentation._calls import current
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.testing import Recorded
from tests.adapters.langchain_toys import Toy, confidence, instrumented
from tests.adapters.langchain_ways import QUESTION, Run, every_way


@pytest.fixture(autouse=True)
def on() -> Iterator[None]:
    with instrumented(confidence=confidence, thresholds={"small-1": 0.8}):
        yield


@every_way
def test_a_model_outside_any_cascade_is_not_recorded(run: Run, seen: Recorded) -> None:
    run(Toy(model="small-1"))
    assert seen.spans == []
    assert seen.metrics() == set()


@every_way
def test_a_hand_written_cascade_needs_only_its_own_decorator(run: Run, seen: Recorded) -> None:
    small, large = Toy(model="small-1", sure={QUESTION: 0.3}), Toy(model="large-1")

    @cascade(task="organic")
    def extract() -> Any:
        run(small)
        return run(large)

    extract()
    (call,) = seen.cascades
    first, last = call.tiers
    assert (first.tier, first.confidence, first.threshold, first.reason) == (
        "small-1",
        0.3,
        0.8,
        "low_confidence",
    )
    assert (last.tier, last.confidence, last.threshold, last.outcome) == ("large-1", 0.95, None, "accepted")
    assert (first.input_tokens, first.output_tokens, first.response_model) == (10, 2, "small-1-2026")


@every_way
def test_in_a_tier_of_the_user_s_there_is_no_second_one(run: Run, seen: Recorded) -> None:
    @tier("mine")
    def small() -> Any:
        return run(Toy(model="small-1"))

    with cascade("extract"):
        small()
    assert [each.tier for each in seen.tiers] == ["mine"]


@every_way
@pytest.mark.parametrize("streams", [True, False])
def test_a_tier_of_the_user_s_that_returns_text_has_the_usage_of_the_models_within(
    run: Run, streams: bool, seen: Recorded
) -> None:
    class Whole(Toy):
        def _should_stream(self, **_: Any) -> bool:
            return streams and super()._should_stream(**_)

    @tier("mine", model="small-1")
    def small() -> str:
        run(Whole(model="small-1"))
        run(Whole(model="small-1"))
        return "yes"

    with cascade("extract"):
        small()
    (call,) = seen.tiers
    assert (call.input_tokens, call.output_tokens, call.response_model) == (20, 4, "small-1-2026")


@every_way
@pytest.mark.parametrize("of_the_user", [True, False])
def test_what_the_client_below_is_heard_to_have_used_is_not_added(
    run: Run, of_the_user: bool, seen: Recorded
) -> None:
    class Client(Toy):
        def _answer(self, messages: Any) -> AIMessage:
            message = super()._answer(messages)
            call = current()  # as another adapter does that is on, for a client that the model calls
            assert isinstance(call, OpenTier)
            call.hear(message)
            return message

    def small() -> str:
        run(Client(model="small-1"))
        return "yes"

    with cascade("extract"):
        (tier("mine")(small) if of_the_user else small)()
    assert [(each.input_tokens, each.output_tokens) for each in seen.tiers] == [(10, 2)]


@every_way
def test_a_judge_that_is_a_scorer_is_no_tier(run: Run, seen: Recorded) -> None:
    @scorer("small-1")
    def judge() -> float:
        run(Toy(model="judge-1"))
        return 0.4

    with cascade("extract"):
        run(Toy(model="small-1"))
        judge()
        run(Toy(model="large-1"))
    assert [(each.tier, each.confidence) for each in seen.tiers] == [("small-1", 0.4), ("large-1", 0.95)]


@every_way
def test_a_judge_within_a_tier_of_the_user_s_adds_nothing_to_its_usage(run: Run, seen: Recorded) -> None:
    @scorer("mine")
    def judge() -> float:
        run(Toy(model="judge-1"))
        return 0.4

    @tier("mine")
    def small() -> str:
        run(Toy(model="small-1"))
        judge()
        return "yes"

    with cascade("extract"):
        small()
    (call,) = seen.tiers
    assert (call.confidence, call.input_tokens, call.response_model) == (0.4, 10, "small-1-2026")


@every_way
def test_metadata_names_the_tier_or_says_that_there_is_none(run: Run, seen: Recorded) -> None:
    with cascade("extract"):
        run(Toy(model="gpt-5"), {"metadata": {"cascade_tier": "brief"}})
        run(Toy(model="judge-1"), {"metadata": {"cascade_tier": None}})
        run(Toy(model="gpt-5", metadata={"cascade_tier": "at length"}))
        run(Toy(model="gpt-5").with_config(metadata={"cascade_tier": "human-like"}))
    assert [(each.tier, each.model) for each in seen.tiers] == [
        ("brief", "gpt-5"),
        ("at length", "gpt-5"),
        ("human-like", "gpt-5"),
    ]


def test_the_model_of_one_call_may_be_another_than_the_object_s(seen: Recorded) -> None:
    with cascade("extract"):
        Toy(model="small-1").bind(model="small-2").invoke(QUESTION)
    assert [each.tier for each in seen.tiers] == ["small-2"]


@pytest.mark.parametrize(
    ("told", "recorded"), [("openai", "openai"), ("amazon_bedrock", "aws.bedrock"), (None, None)]
)
def test_the_provider_has_opentelemetry_s_name(
    told: str | None, recorded: str | None, seen: Recorded
) -> None:
    class Telling(Toy):
        def _get_ls_params(self, *args: Any, **kwargs: Any) -> Any:
            return {**super()._get_ls_params(*args, **kwargs), "ls_provider": told}

    with cascade("extract"):
        (Toy if told is None else Telling)(model="small-1").invoke(QUESTION)
    span = next(span for span in seen.spans if span.name == "chat small-1")
    assert (span.attributes or {}).get("gen_ai.provider.name") == recorded


@every_way
def test_a_branch_that_looks_at_the_confidence_escalates(run: Run, seen: Recorded) -> None:
    small, large = Toy(model="small-1", sure={QUESTION: 0.3}), Toy(model="large-1")
    chain: Any = RunnablePassthrough.assign(answer=lambda given: small.invoke(given["question"]))
    branch: Any = RunnableBranch(
        (lambda given: confidence(given["answer"]) < 0.8, lambda given: large.invoke(given["question"])),
        lambda given: given["answer"],
    )
    whole = RunnableLambda(lambda question: {"question": question}) | chain | branch | StrOutputParser()
    with cascade("extract"):
        run(whole)
    (call,) = seen.cascades
    assert [(each.tier, each.reason) for each in call.tiers] == [
        ("small-1", "low_confidence"),
        ("large-1", None),
    ]


def test_models_asked_in_parallel_by_langchain_s_threads_do_not_escalate_to_one_another(
    seen: Recorded,
) -> None:
    class Slow(Toy):
        def _answer(self, messages: Any) -> AIMessage:
            both.wait()
            return super()._answer(messages)

    both = threading.Barrier(2, timeout=10)
    with cascade("extract"):
        RunnableParallel(a=Slow(model="small-1"), b=Slow(model="large-1")).invoke(QUESTION)
    (call,) = seen.cascades
    assert {(each.tier, each.escalated) for each in call.tiers} == {("small-1", False), ("large-1", False)}


def test_a_batch_of_samples_of_one_model_is_one_visit(seen: Recorded) -> None:
    with cascade("extract"):
        Toy(model="small-1").batch([QUESTION] * 5)
    assert sorted(each.outcome for each in seen.cascades[0].tiers) == ["accepted"] + ["repeated"] * 4


def test_a_thread_pool_of_the_user_s_needs_the_context(seen: Recorded) -> None:
    with cascade("extract"), ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, Toy(model="small-1").invoke, QUESTION).result()
    assert [each.tier for each in seen.cascades[0].tiers] == ["small-1"]


def test_annotate_tells_a_confidence_and_a_threshold_that_are_computed_later(seen: Recorded) -> None:
    with cascade("extract"):
        Toy(model="medium-1", sure={QUESTION: 0.9}).invoke(QUESTION)
        annotate(confidence=0.2, threshold=0.5)
        Toy(model="large-1").invoke(QUESTION)
    first = seen.tiers[0]
    assert (first.confidence, first.threshold, first.reason) == (0.2, 0.5, "low_confidence")


def test_a_model_that_cannot_stream_is_one_tier_call_and_not_two(seen: Recorded) -> None:
    class Whole(Toy):
        def _should_stream(self, **_: Any) -> bool:
            return False

    with cascade("extract"):
        list(Whole(model="small-1").stream(QUESTION))
    assert [(each.tier, each.input_tokens) for each in seen.tiers] == [("small-1", 10)]


@every_way
def test_a_model_that_fails_raises_what_it_raises(run: Run, seen: Recorded) -> None:
    with cascade("extract"), pytest.raises(ConnectionError):
        run(Toy(model="small-1", down=True))
    assert [(each.tier, each.error) for each in seen.tiers] == [("small-1", "ConnectionError")]


def test_a_call_that_is_cancelled_is_no_error(seen: Recorded) -> None:
    class Slow(Toy):
        async def _agenerate(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(30)

    async def extract() -> None:
        with cascade("extract"):
            try:
                await asyncio.wait_for(Slow(model="small-1").ainvoke(QUESTION), 0.01)
            except TimeoutError:
                await Toy(model="large-1").ainvoke(QUESTION)

    asyncio.run(extract())
    assert [(each.tier, each.reason, each.error) for each in seen.tiers] == [
        ("small-1", "timeout", None),
        ("large-1", None, None),
    ]


LATER = """
import sys
from cascade_otel.adapters.langchain import LangChainInstrumentor
LangChainInstrumentor().instrument()
assert not [name for name in sys.modules if name.startswith("lang")], "imported by us"
from tests.adapters.langchain_toys import two_tiers
from cascade_otel.testing import record
with record() as seen:
    two_tiers(0.3).invoke("sure?", {"metadata": {"cascade_task": "organic"}})
    assert "langgraph" not in sys.modules
    import langgraph.graph
    from langgraph.pregel import Pregel
    assert "cascade_otel" in Pregel.stream.__code__.co_filename
    LangChainInstrumentor().uninstrument()
    assert "cascade_otel" not in Pregel.stream.__code__.co_filename
print([(call.task, [each.tier for each in call.tiers]) for call in seen.cascades])
"""
NEVER = """
from cascade_otel.adapters.langchain import LangChainInstrumentor
import langchain_core.language_models.chat_models
LangChainInstrumentor().instrument()
LangChainInstrumentor().uninstrument()
from langgraph.pregel import Pregel
print("cascade_otel" in Pregel.stream.__code__.co_filename)
"""


@pytest.mark.parametrize(
    ("program", "says"), [(LATER, "[('organic', ['small-1', 'large-1'])]"), (NEVER, "False")]
)
def test_packages_that_the_host_imports_later_are_recorded_from_then_on(program: str, says: str) -> None:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stderr, done.stdout.strip()) == ("", says)


def test_what_must_be_installed_is_told() -> None:
    assert LangChainInstrumentor().instrumentation_dependencies() == ["langchain-core >= 1.0"]
