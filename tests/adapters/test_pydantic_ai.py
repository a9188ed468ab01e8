"""FallbackModel is a cascade: what each model of it was asked, answered and cost, whoever hides it."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.exceptions import FallbackExceptionGroup, ModelHTTPError
from pydantic_ai.messages import ModelMessage, ModelResponse, TextPart
from pydantic_ai.models import Model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.usage import RequestUsage

from cascade_otel import cascade, scorer, tier
from cascade_otel.adapters.pydantic_ai import PydanticAIInstrumentor
from cascade_otel.testing import Recorded
from tests.adapters.switched import switched_on


class LowConfidenceError(Exception):
    def __init__(self, confidence: float | None = None) -> None:
        super().__init__("low")
        self.confidence = confidence


def model(name: str, text: str = "Paris", *, sent: int = 100, received: int = 10) -> FunctionModel:
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        usage = RequestUsage(input_tokens=sent, output_tokens=received)
        return ModelResponse(parts=[TextPart(text)], usage=usage)

    return FunctionModel(answer, model_name=name)


def failing(name: str, error: Exception) -> FunctionModel:
    def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise error

    return FunctionModel(answer, model_name=name)


class Gate(WrapperModel):
    """Raises where the wrapped model's answer is not good enough."""

    score: float | None = 0.3

    async def request(self, *args: Any, **kwargs: Any) -> ModelResponse:
        await self.wrapped.request(*args, **kwargs)
        raise LowConfidenceError(self.score)


def unsure(response: ModelResponse) -> bool:
    return "unsure" in str(response.parts)


def stated(response: ModelResponse) -> float:
    return 0.4 if unsure(response) else 0.9


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


class OfOpenAI(FunctionModel):
    """Answers offline for a provider whose prices are known."""

    @property
    def system(self) -> str:
        return "openai"


def test_the_wasted_call_has_its_price_with_cached_tokens_counted_once(recorded: Recorded) -> None:
    def unsure_answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        usage = RequestUsage(input_tokens=1000, cache_read_tokens=400, output_tokens=100)
        return ModelResponse(parts=[TextPart("unsure")], usage=usage)

    small = OfOpenAI(unsure_answer, model_name="gpt-4o-mini")
    Agent(FallbackModel(small, model("large"), fallback_on=unsure)).run_sync("capital of France?")
    first, second = recorded.cascades[0].tiers
    assert first.cost == pytest.approx((600 * 0.15 + 400 * 0.075 + 100 * 0.6) / 1e6)
    assert (first.cost_source, second.cost) == ("genai-prices", None), "nobody knows what 'large' costs"


def test_a_fallback_after_a_gate_that_raises_records_the_wasted_call_that_the_run_hides(
    recorded: Recorded,
) -> None:
    chain = FallbackModel(
        Gate(model("small", "unsure")), model("large", sent=200), fallback_on=(LowConfidenceError,)
    )

    run = Agent(chain, name="capitals").run_sync("capital of France?")

    assert (run.usage.requests, run.usage.input_tokens) == (1, 200), "the framework hides the first call"
    (call,) = recorded.cascades
    small, large = call.tiers
    assert (call.task, call.outcome, call.escalated, call.final_tier) == (
        "capitals",
        "accepted",
        True,
        "large",
    )
    assert (small.tier, small.model, small.input_tokens, small.output_tokens) == ("small", "small", 100, 10)
    assert (small.outcome, small.error, small.confidence) == ("escalated", None, 0.3)
    assert (large.outcome, large.input_tokens, large.escalated) == ("accepted", 200, False)


def test_a_response_handler_sums_tokens_in_the_run_but_here_each_call_has_its_own(recorded: Recorded) -> None:
    chain = FallbackModel(model("small", "unsure"), model("large", sent=200), fallback_on=unsure)

    run = Agent(chain, name="capitals").run_sync("capital of France?")

    assert run.usage.requests == 1, "the framework counts one"
    small, large = recorded.cascades[0].tiers
    assert [small.input_tokens, large.input_tokens] == [100, 200]
    assert (small.outcome, small.reason, large.outcome) == ("escalated", "policy", "accepted")


def test_with_a_confidence_and_a_threshold_a_response_handler_escalates_for_low_confidence(
    seen: Recorded,
) -> None:
    chain = FallbackModel(model("small", "unsure"), model("large"), fallback_on=unsure)
    with instrumented(confidence=stated, threshold=0.8):
        Agent(chain).run_sync("capital of France?")
    small, large = seen.cascades[0].tiers
    assert (small.confidence, small.threshold, small.reason) == (0.4, 0.8, "low_confidence")
    assert (large.confidence, large.threshold) == (0.9, None), "the last model is compared with nothing"


def test_an_answer_that_is_accepted_at_once_is_a_cascade_of_one(recorded: Recorded) -> None:
    chain = FallbackModel(model("small"), model("large"), fallback_on=unsure)
    Agent(chain, name="capitals").run_sync("capital of France?")
    (call,) = recorded.cascades
    assert (call.escalated, call.final_tier, [each.tier for each in call.tiers]) == (
        False,
        "small",
        ["small"],
    )


def test_a_model_that_is_down_escalates_for_an_error(recorded: Recorded) -> None:
    chain = FallbackModel(failing("small", ModelHTTPError(503, "small")), model("large"))
    Agent(chain).run_sync("capital of France?")
    small, large = recorded.cascades[0].tiers
    assert (small.outcome, small.reason, small.error) == ("escalated", "error", "ModelHTTPError")
    assert large.outcome == "accepted"


def test_a_chain_that_is_exhausted_raises_what_it_raises_alone(recorded: Recorded) -> None:
    errors = [ModelHTTPError(503, "small"), ModelHTTPError(503, "large")]
    chain = FallbackModel(failing("small", errors[0]), failing("large", errors[1]))
    with pytest.raises(FallbackExceptionGroup) as raised:
        Agent(chain).run_sync("capital of France?")
    assert list(raised.value.exceptions) == errors
    (call,) = recorded.cascades
    assert (call.outcome, [each.error for each in call.tiers]) == ("error", [type(errors[0]).__name__] * 2)


def test_a_model_that_turns_its_own_answer_down_is_named_among_the_rejections(seen: Recorded) -> None:
    chain = FallbackModel(
        failing("small", LowConfidenceError(0.2)), model("large"), fallback_on=(LowConfidenceError,)
    )
    with instrumented(rejections=LowConfidenceError, threshold=0.5):
        Agent(chain).run_sync("capital of France?")
    small = seen.cascades[0].tiers[0]
    assert (small.error, small.confidence, small.threshold) == (None, 0.2, 0.5)
    assert (small.outcome, small.reason) == ("escalated", "low_confidence")


class Checked(FunctionModel):
    """A model class of the user's own that builds on another's answer, and raises."""

    async def request(self, *args: Any, **kwargs: Any) -> ModelResponse:
        response = await super().request(*args, **kwargs)
        if unsure(response):
            raise LowConfidenceError(0.1)
        return response


def test_a_subclass_that_raises_after_the_answer_has_its_tokens_recorded_and_is_no_error(
    recorded: Recorded,
) -> None:
    small = Checked(model("small", "unsure").function, model_name="small")
    chain = FallbackModel(small, model("large"), fallback_on=(LowConfidenceError,))
    Agent(chain).run_sync("capital of France?")
    first, second = recorded.cascades[0].tiers
    assert (first.input_tokens, first.error, first.confidence, first.outcome) == (100, None, 0.1, "escalated")
    assert second.outcome == "accepted"


def test_the_exception_of_a_subclass_reaches_the_host_unchanged(recorded: Recorded) -> None:
    small = Checked(model("small", "unsure").function, model_name="small")
    with pytest.raises(LowConfidenceError) as raised:
        Agent(FallbackModel(small, model("large"))).run_sync("capital of France?")
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert recorded.cascades[0].outcome == "error"


def test_two_models_of_one_name_are_two_tiers(recorded: Recorded) -> None:
    chain = FallbackModel(failing("gpt", ModelHTTPError(503, "gpt")), model("gpt"))
    Agent(chain).run_sync("capital of France?")
    (call,) = recorded.cascades
    assert [(each.tier, each.model) for each in call.tiers] == [("gpt #1", "gpt"), ("gpt #2", "gpt")]
    assert call.escalated


def test_a_chain_within_a_chain_is_one_cascade(recorded: Recorded) -> None:
    inner = FallbackModel(model("tiny", "unsure"), model("small", "unsure"), fallback_on=unsure)
    outer = FallbackModel(inner, model("large"), fallback_on=[unsure, FallbackExceptionGroup])
    Agent(outer).run_sync("capital of France?")
    (call,) = recorded.cascades
    assert [each.tier for each in call.tiers] == ["tiny", "small", "large"]
    assert [each.escalated for each in call.tiers] == [True, True, False]


def test_a_judge_asked_by_the_response_handler_is_no_tier(recorded: Recorded) -> None:
    judge = Agent(model("judge", "bad"))

    async def turned_down(response: ModelResponse) -> bool:
        return "bad" in (await judge.run("good?")).output and unsure(response)

    chain = FallbackModel(model("small", "unsure"), model("large"), fallback_on=turned_down)
    Agent(chain).run_sync("capital of France?")
    assert [each.tier for each in recorded.tiers] == ["small", "large"]


def test_two_agents_within_a_cascade_of_the_users_own_are_its_tiers(recorded: Recorded) -> None:
    small, large = Agent(model("small", "unsure")), Agent(model("large", sent=200))

    @cascade(task="capitals")
    async def ask(question: str) -> str:
        answer = (await small.run(question)).output
        return answer if "unsure" not in answer else (await large.run(question)).output

    assert asyncio.run(ask("capital of France?")) == "Paris"
    (call,) = recorded.cascades
    assert [(each.tier, each.input_tokens) for each in call.tiers] == [("small", 100), ("large", 200)]
    assert (call.task, call.final_tier) == ("capitals", "large")


def test_a_fallback_within_a_cascade_of_the_users_own_opens_no_second_one(recorded: Recorded) -> None:
    agent = Agent(FallbackModel(model("small", "unsure"), model("large"), fallback_on=unsure))

    @cascade(task="capitals")
    def ask(question: str) -> str:
        return agent.run_sync(question).output

    ask("capital of France?")
    (call,) = recorded.cascades
    assert [each.tier for each in call.tiers] == ["small", "large"]


def test_what_is_asked_within_a_tier_of_the_users_own_is_that_tiers(recorded: Recorded) -> None:
    agent = Agent(FallbackModel(model("small", "unsure"), model("large"), fallback_on=unsure))

    @tier("agent")
    def asked(question: str) -> Any:
        return agent.run_sync(question)

    @cascade
    def ask(question: str) -> str:
        return asked(question).output

    ask("capital of France?")
    assert [each.tier for each in recorded.tiers] == ["agent"]
    assert len(recorded.cascades) == 1


def test_a_tier_of_the_users_own_that_returns_text_hears_of_its_tokens(recorded: Recorded) -> None:
    agent = Agent(FallbackModel(model("small", "unsure"), model("large", sent=200), fallback_on=unsure))

    @tier("agent")
    def ask(question: str) -> str:
        return agent.run_sync(question).output

    ask("capital of France?")
    (call,) = recorded.tiers
    assert (call.input_tokens, call.output_tokens, call.response_model) == (300, 20, "large")


def test_a_subclass_within_a_tier_of_the_users_own_is_heard_once(recorded: Recorded) -> None:
    agent = Agent(Checked(model("small").function, model_name="small"))

    @tier("agent")
    def ask(question: str) -> str:
        return agent.run_sync(question).output

    ask("capital of France?")
    assert [each.input_tokens for each in recorded.tiers] == [100]


def test_a_judge_is_a_scorer_and_its_own_model_no_tier(recorded: Recorded) -> None:
    small, large, judge = Agent(model("small")), Agent(model("large")), Agent(model("judge", "0.3"))

    @scorer("small")
    def judged(answer: str) -> float:
        return float(judge.run_sync(answer).output)

    @cascade
    def ask(question: str) -> str:
        answer = small.run_sync(question).output
        return answer if judged(answer) >= 0.8 else large.run_sync(question).output

    ask("capital of France?")
    assert [(each.tier, each.confidence) for each in recorded.tiers] == [("small", 0.3), ("large", None)]


def test_a_model_asked_outside_any_cascade_is_not_recorded(recorded: Recorded) -> None:
    Agent(model("small")).run_sync("capital of France?")
    assert recorded.spans == []


def test_the_task_may_be_said(seen: Recorded) -> None:
    chain = FallbackModel(model("small"), model("large"))
    with instrumented(task="capitals"):
        Agent(chain, name="agent").run_sync("capital of France?")
    with instrumented(task=lambda chain, messages, *_: f"{len(messages)} messages"):
        Agent(chain, name="agent").run_sync("capital of France?")
    assert [each.task for each in seen.cascades] == ["capitals", "1 messages"]


def test_a_model_class_defined_later_is_recorded_too_and_put_back(recorded: Recorded) -> None:
    class Later(FunctionModel):
        async def request(self, *args: Any, **kwargs: Any) -> ModelResponse:
            return await super().request(*args, **kwargs)

    Agent(FallbackModel(Later(model("small").function, model_name="later"), model("large"))).run_sync("?")
    assert [each.tier for each in recorded.tiers] == ["later"]
    ours = vars(Later)["request"]
    PydanticAIInstrumentor().uninstrument()
    assert vars(Later)["request"] is not ours


def test_uninstrument_puts_everything_back(seen: Recorded) -> None:
    kinds = (FallbackModel, FunctionModel, WrapperModel, Gate, Model)
    before = [dict(vars(kind)) for kind in kinds]
    with instrumented():
        assert [dict(vars(kind)) for kind in kinds] != before
    assert [dict(vars(kind)) for kind in kinds] == before
    Agent(FallbackModel(model("small"), model("large"))).run_sync("capital of France?")
    assert seen.spans == []
