"""FallbackModel with streams, many at once, deadlines, pydantic-ai's own spans, and faults of ours."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import trace
from pydantic_ai import Agent, ModelSettings
from pydantic_ai.capabilities import ModelFallback
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.instrumented import InstrumentedModel
from pydantic_ai.usage import RequestUsage

from cascade_otel import cascade, semconv, tier
from cascade_otel.adapters import pydantic_ai as adapter
from cascade_otel.adapters._inside import innermost
from cascade_otel.adapters.pydantic_ai import PydanticAIInstrumentor
from cascade_otel.testing import Recorded
from tests.adapters.switched import switched_on

PAUSE_S = 0.02


class OverloadedError(Exception):
    """What a model raises before its first chunk."""


def streaming(name: str, *texts: str, failing: bool = False) -> FunctionModel:
    async def chunks(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        if failing:
            raise OverloadedError
        for text in texts:
            yield text
            await asyncio.sleep(PAUSE_S)

    return FunctionModel(stream_function=chunks, model_name=name)


def answering(name: str, text: str = "Paris", delay_s: float = 0.0) -> FunctionModel:
    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        await asyncio.sleep(delay_s)
        usage = RequestUsage(input_tokens=100, output_tokens=10)
        return ModelResponse(parts=[TextPart(text)], usage=usage)

    return FunctionModel(answer, model_name=name)


def unsure(response: ModelResponse) -> bool:
    return "unsure" in str(response.parts)


instrumented = functools.partial(switched_on, PydanticAIInstrumentor)


@pytest.fixture(autouse=True)
def own_loop() -> Iterator[None]:
    """``run_sync`` leaves the event loop open that it runs in."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()
    asyncio.set_event_loop(None)


@pytest.fixture
def recorded(seen: Recorded) -> Iterator[Recorded]:
    with instrumented():
        yield seen


def chain_of_streams() -> FallbackModel:
    small, large = streaming("small", failing=True), streaming("large", "Pa", "ris", "!")
    return FallbackModel(small, large, fallback_on=(OverloadedError,))


def test_a_stream_lasts_until_it_ends_and_is_open_only_within_its_steps(recorded: Recorded) -> None:
    async def consume() -> list[str]:
        texts = []
        async with Agent(chain_of_streams(), name="capitals").run_stream("?") as stream:
            async for text in stream.stream_text(delta=True, debounce_by=None):
                assert innermost() is None, "the consumer does not run within the model's call"
                texts.append(text)
            assert [each.tier for each in recorded.tiers if each.tier == "large"] == [] or texts
        return texts

    assert "".join(asyncio.run(consume())) == "Paris!"
    (call,) = recorded.cascades
    small, large = call.tiers
    assert (small.outcome, small.reason, small.error) == ("escalated", "error", "OverloadedError")
    assert (large.outcome, large.output_tokens) == ("accepted", 3)
    assert large.duration_s >= 3 * PAUSE_S
    assert call.duration_s >= large.duration_s


def test_the_first_chunk_is_timed_and_not_the_opening_of_the_stream(recorded: Recorded) -> None:
    async def late(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        await asyncio.sleep(PAUSE_S)
        yield "Paris"

    async def consume() -> None:
        chain = FallbackModel(FunctionModel(stream_function=late, model_name="small"), answering("large"))
        async with Agent(chain).run_stream("?") as stream:
            await stream.get_output()

    asyncio.run(consume())
    (span,) = [each for each in recorded.spans if each.name == "chat small"]
    assert float(str((span.attributes or {})[semconv.TIME_TO_FIRST_CHUNK])) >= PAUSE_S


def test_a_stream_that_its_consumer_breaks_off_is_abandoned(recorded: Recorded) -> None:
    async def consume() -> None:
        async with Agent(chain_of_streams()).run_stream("?") as stream:
            async for _ in stream.stream_text(debounce_by=None):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(consume())
    (call,) = recorded.cascades
    assert (call.outcome, [each.outcome for each in call.tiers]) == ("abandoned", ["escalated", "abandoned"])


def test_a_stream_that_fails_on_the_way_is_an_error_and_falls_back_no_more(recorded: Recorded) -> None:
    async def breaking(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield "Pa"
        raise OverloadedError

    async def consume() -> None:
        small = FunctionModel(stream_function=breaking, model_name="small")
        chain = FallbackModel(small, streaming("large", "Paris"), fallback_on=(OverloadedError,))
        async with Agent(chain).run_stream("?") as stream:
            await stream.get_output()

    with pytest.raises(OverloadedError):
        asyncio.run(consume())
    (call,) = recorded.cascades
    assert (call.outcome, [(each.tier, each.error) for each in call.tiers]) == (
        "error",
        [("small", "OverloadedError")],
    )


def test_a_stream_within_a_cascade_of_the_users_own_is_its_tier(recorded: Recorded) -> None:
    @cascade(task="capitals")
    async def ask() -> str:
        async with Agent(streaming("small", "Pa", "ris")).run_stream("?") as stream:
            return await stream.get_output()

    assert asyncio.run(ask()) == "Paris"
    (call,) = recorded.cascades
    assert [(each.tier, each.output_tokens) for each in call.tiers] == [("small", 2)]


def test_a_stream_within_a_tier_of_the_users_own_is_heard(recorded: Recorded) -> None:
    @tier("own")
    async def ask() -> str:
        async with Agent(streaming("small", "Pa", "ris")).run_stream("?") as stream:
            return await stream.get_output()

    asyncio.run(ask())
    assert [(each.tier, each.output_tokens) for each in recorded.tiers] == [("own", 2)]


def test_a_confidence_of_a_stream_is_read_from_all_that_has_come(seen: Recorded) -> None:
    async def consume() -> None:
        chain = FallbackModel(streaming("small", "Pa", "ris"), streaming("large", "Paris"))
        async with Agent(chain).run_stream("?") as stream:
            await stream.get_output()

    with instrumented(confidence=lambda response: 0.75 if response.text == "Paris" else 0.0):
        asyncio.run(consume())
    assert seen.tiers[0].confidence == 0.75


def test_fifty_at_once_keep_their_calls_apart(recorded: Recorded) -> None:
    async def ask_all() -> list[str]:
        chains = [
            FallbackModel(
                answering("small", "unsure" if number % 2 else "sure", 0.001 * (number % 7)),
                answering("large"),
                fallback_on=unsure,
            )
            for number in range(50)
        ]
        runs = await asyncio.gather(*(Agent(chain).run("?") for chain in chains))
        return [run.output for run in runs]

    outputs = asyncio.run(ask_all())
    assert (outputs.count("sure"), outputs.count("Paris")) == (25, 25)
    tiers = [[each.tier for each in call.tiers] for call in recorded.cascades]
    assert (tiers.count(["small"]), tiers.count(["small", "large"])) == (25, 25)


def test_a_model_that_takes_longer_than_its_deadline_escalates_for_a_timeout(recorded: Recorded) -> None:
    chain = FallbackModel(answering("small", delay_s=5.0), answering("large"))
    Agent(chain, model_settings=ModelSettings(request_timeout=0.05)).run_sync("?")
    small, large = recorded.cascades[0].tiers
    assert (small.outcome, small.reason, large.outcome) == ("escalated", "timeout", "accepted")


def test_a_run_that_is_cancelled_is_cancelled_and_no_error(recorded: Recorded) -> None:
    chain = FallbackModel(answering("small", delay_s=5.0), answering("large"))

    async def ask() -> None:
        await asyncio.wait_for(Agent(chain).run("?"), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(ask())
    (call,) = recorded.cascades
    assert (call.outcome, [(each.tier, each.outcome) for each in call.tiers]) == (
        "cancelled",
        [("small", "cancelled")],
    )


def test_beside_pydantic_ais_own_spans_ours_are_no_second_model_call(recorded: Recorded) -> None:
    small, large = answering("small", "unsure"), answering("large")
    agent = Agent(FallbackModel(small, large, fallback_on=unsure), name="capitals")
    agent.instrument = True
    agent.run_sync("?")
    ours = {each.name: each for each in recorded.spans if each.name.startswith("cascade")}
    assert set(ours) == {"cascade capitals", "cascade.tier small", "cascade.tier large"}
    chats = [each for each in recorded.spans if (each.attributes or {}).get(semconv.OPERATION_NAME) == "chat"]
    assert [each.name for each in chats] == ["chat fallback:small,large"]
    assert all(each.kind is trace.SpanKind.INTERNAL for each in ours.values())
    assert semconv.OPERATION_DURATION not in recorded.metrics()
    assert sum(recorded.metric(semconv.TIER_TOKENS).values()) == 220, (
        "our own counter has the wasted call too"
    )


def test_beside_them_two_agents_of_a_cascade_are_no_second_model_calls_either(recorded: Recorded) -> None:
    small, large = Agent(answering("small", "unsure")), Agent(answering("large"))
    small.instrument = large.instrument = True

    @cascade(task="capitals")
    def ask() -> str:
        answer = small.run_sync("?").output
        return answer if answer != "unsure" else large.run_sync("?").output

    assert ask() == "Paris"
    assert [each.tier for each in recorded.tiers] == ["small", "large"]
    names = [each.name for each in recorded.spans]
    assert (names.count("chat small"), names.count("cascade.tier small")) == (1, 1)
    assert semconv.OPERATION_DURATION not in recorded.metrics()


def test_models_that_are_instrumented_one_by_one_are_counted_once_too(recorded: Recorded) -> None:
    small, large = InstrumentedModel(answering("small", "unsure")), InstrumentedModel(answering("large"))
    asyncio.run(
        model_request(FallbackModel(small, large, fallback_on=unsure), [ModelRequest.user_text_prompt("?")])
    )
    names = sorted(each.name for each in recorded.spans)
    chain = "cascade fallback:small,large"
    assert names == [chain, "cascade.tier large", "cascade.tier small", "chat large", "chat small"]
    assert semconv.OPERATION_DURATION not in recorded.metrics()


def test_the_fallback_capability_of_an_agent_is_recorded_within_a_cascade(recorded: Recorded) -> None:
    agent = Agent(
        answering("small", "unsure"), capabilities=[ModelFallback(answering("large"), fallback_on=unsure)]
    )

    @cascade(task="capitals")
    def ask() -> str:
        return agent.run_sync("?").output

    assert ask() == "Paris"
    (call,) = recorded.cascades
    assert [(each.tier, each.escalated, each.input_tokens) for each in call.tiers] == [
        ("small", True, 100),
        ("large", False, 100),
    ]


@pytest.mark.usefixtures("lenient")
def test_a_task_or_confidence_that_fails_costs_the_host_nothing(seen: Recorded) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    with instrumented(task=fails, confidence=fails):
        run = Agent(FallbackModel(answering("small"), answering("large"))).run_sync("?")
    assert run.output == "Paris"
    assert [each.tier for each in seen.tiers] == ["small"]


@pytest.mark.usefixtures("lenient")
def test_a_fault_of_ours_costs_the_host_nothing(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> bool:
        raise ZeroDivisionError

    monkeypatch.setattr(adapter, "own_instrumentation", fails)
    chain = FallbackModel(answering("small", "unsure"), answering("large"), fallback_on=unsure)

    @cascade
    def ask() -> str:
        return Agent(answering("small")).run_sync("?").output

    assert (Agent(chain).run_sync("?").output, ask()) == ("Paris", "Paris")
    assert recorded.tiers == []
    assert sum(recorded.metric(semconv.DROPPED).values()) == 2
