"""Tokens, model and cost are read from the results of the usual clients, each token once."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.messages import ModelResponse, TextPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.run import AgentRunResultEvent
from pydantic_ai.usage import RequestUsage

from cascade_otel import annotate, cascade, tier
from cascade_otel.instrumentation._usage import NOTHING, Found, counted, found, said
from cascade_otel.testing import Recorded
from tests.instrumentation.usage_shapes import (
    ANTHROPIC,
    CASES,
    MODEL,
    Case,
    GenerateContentResponse,
    UsageMetadataOfGemini,
    by_litellm,
    chat,
    last_chunk,
)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_token_is_counted_once(case: Case) -> None:
    told = found(case.result)
    assert told == Found(
        1000, 50, case.model, 600, case.written, written_1h_tokens=case.written_1h, modalities=()
    )
    assert found(case.result) == told, "another at the second look"


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_tier_records_what_its_result_tells(seen: Recorded, case: Case) -> None:
    tier("small", model="asked")(lambda: case.result)()
    (call,) = seen.tiers
    assert (call.input_tokens, call.output_tokens, call.response_model) == (1000, 50, case.model)


def agent(usage: RequestUsage) -> Agent[None, str]:
    answer = ModelResponse(parts=[TextPart("x")], usage=usage)
    return Agent(FunctionModel(lambda *_: answer, model_name=MODEL))


def test_a_run_of_an_agent_tells_its_usage_and_its_last_model() -> None:
    usage = RequestUsage(input_tokens=1000, cache_read_tokens=600, output_tokens=50)
    run = asyncio.run(agent(usage).run("hi"))
    assert found(run)[:5] == (1000, 50, MODEL, 600, 0)
    assert found(AgentRunResultEvent(run)) == found(run)


def test_a_run_whose_usage_is_a_method_is_asked() -> None:
    """pydantic-ai before its version 2."""

    class AgentRunResult:
        response = SimpleNamespace(model_name=MODEL)

        def usage(self) -> Any:
            return SimpleNamespace(input_tokens=1000, output_tokens=50)

    AgentRunResult.__module__ = "pydantic_ai.run"
    assert found(AgentRunResult()) == Found(1000, 50, MODEL)
    AgentRunResult.__module__ = "elsewhere"

    class Elsewhere(AgentRunResult):
        """Code of others is not called."""

    assert found(Elsewhere()) == NOTHING


def test_pydantic_ai_s_own_cost_is_taken_and_uncounted_requests_make_all_unknown() -> None:
    usage = RequestUsage(input_tokens=10, cache_read_tokens=0, output_tokens=5)
    usage.cost = Decimal("0.25")
    told = found(ModelResponse(parts=[], usage=usage))
    assert (told.cost, told.cost_source) == (0.25, "genai-prices")
    usage.unmeasured_requests = 1
    assert found(ModelResponse(parts=[], usage=usage, model_name=MODEL)) == Found(model=MODEL)


@pytest.mark.parametrize(("cost", "source"), [(0.5, "litellm"), (0, "litellm"), (None, None), ("1", None)])
def test_litellm_s_own_cost_is_taken(cost: Any, source: str | None) -> None:
    result = by_litellm()
    result._hidden_params["response_cost"] = cost
    told = found(result)
    assert (told.cost, told.cost_source) == (cost if source else None, source)


def test_modalities_with_rates_of_their_own_are_told() -> None:
    result = chat()
    assert result.usage is not None
    assert result.usage.completion_tokens_details is not None
    result.usage.completion_tokens_details.audio_tokens = 7
    assert found(result).modalities == ("audio",)
    lists = [
        SimpleNamespace(modality=SimpleNamespace(value=each), token_count=1) for each in ("TEXT", "IMAGE")
    ]
    usage = UsageMetadataOfGemini(prompt_token_count=5, prompt_tokens_details=[*lists, {"modality": "AUDIO"}])
    assert found(GenerateContentResponse(model_version=MODEL, usage_metadata=usage)) == Found(
        5, None, MODEL, modalities=("audio", "image")
    )


def test_what_tells_only_in_part_is_unknown_in_the_rest() -> None:
    chunk = last_chunk()
    chunk.usage = None
    assert found(chunk) == Found(model=MODEL)
    assert found({"usage": {"input_tokens": 5}}) == Found(5)
    assert found({"usage": {**ANTHROPIC, "input_tokens": None}, "model": ""}).input_tokens is None
    assert found({"usage": "much", "model": MODEL}) == Found(model=MODEL)
    assert found({"type": "message_stop"}) == NOTHING


def test_what_usage_gives_may_be_a_pair_or_in_a_client_s_shape() -> None:
    assert said((3, 4)) == Found(3, 4)
    assert said(None) == NOTHING
    assert said(ANTHROPIC) == counted(ANTHROPIC) == Found(1000, 50, None, 600, 100, written_1h_tokens=40)
    with pytest.raises(TypeError, match="a int arrived where usage is wanted: give \\(input tokens"):
        said(7)


def test_a_usage_of_the_user_goes_before_the_result_s_own_which_keeps_model_and_cost(seen: Recorded) -> None:
    result = by_litellm()
    result._hidden_params["response_cost"] = 0.5
    tier("small", usage=lambda _: (7, 8))(lambda: result)()
    (call,) = seen.tiers
    assert (call.input_tokens, call.output_tokens, call.response_model) == (7, 8, MODEL)
    assert (call.cost, call.cost_source) == (0.5, "litellm")


def test_a_cost_of_the_user_goes_before_litellm_s(seen: Recorded) -> None:
    result = by_litellm()
    result._hidden_params["response_cost"] = 0.5

    @cascade
    def ask() -> None:
        tier("told by the tier", cost=lambda _: 0.1)(lambda: result)()
        with tier("told in the block") as call:
            call.cost = 0.2
        tier("told by annotate")(lambda: (annotate(cost=0.3), result)[1])()
        tier("told afterwards")(lambda: result)()
        annotate(cost=0.4, tier="told afterwards")
        tier("not told")(lambda: result)()

    ask()
    assert {(call.cost, call.cost_source) for call in seen.tiers} == {
        (0.1, "user"),
        (0.2, "user"),
        (0.3, "user"),
        (0.4, "user"),
        (0.5, "litellm"),
    }
    assert seen.cascades[0].cost == pytest.approx(1.5)


def test_the_last_item_of_a_stream_tells(seen: Recorded) -> None:
    @tier("small")
    def stream() -> Any:
        yield from ("a", "b", last_chunk())

    list(stream())
    assert (seen.tiers[0].input_tokens, seen.tiers[0].response_model) == (1000, MODEL)
