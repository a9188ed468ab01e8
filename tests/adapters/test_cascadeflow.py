"""CascadeAgent runs: what the gate compared and what each model cost, nothing that cascadeflow guesses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cascade_otel import cascade, semconv, tier
from cascade_otel.adapters import cascadeflow as adapter
from cascade_otel.instrumentation import _clients
from cascade_otel.testing import Recorded, RecordedCascade
from tests.adapters.cascadeflow_agents import (
    ANSWER,
    PROVIDER_REGISTRY,
    QUESTION,
    BaseProvider,
    CascadeAgent,
    ModelConfig,
    ModelResponse,
    Provider,
    QualityConfig,
    QualityValidator,
    ToolQualityValidator,
    instrumented,
)

TOOL = {
    "name": "weather",
    "description": "Weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


class ToolProvider(Provider):
    calls: list[dict[str, Any]] | None = None

    async def complete_with_tools(
        self, messages: Any, tools: Any, model: str = "", **_: Any
    ) -> ModelResponse:
        return self.response(model, tool_calls=self.calls if model == "small" else [called("Paris")])


def called(city: str) -> dict[str, Any]:
    return {"id": "1", "type": "function", "name": "weather", "arguments": {"city": city}}


Make = Callable[..., CascadeAgent]


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch) -> Make:
    """An agent of a small and a large model, with a provider class of this test alone."""

    def agent(
        small: Any, large: Any = 0.9, *, kind: type[Provider] = Provider, **options: Any
    ) -> CascadeAgent:
        provider = options.pop("provider", "custom")
        names = options.pop("names", ("small", "large"))
        costs = options.pop("costs", ({"cost": 0.001}, {"cost": 0.01}))
        own = type(
            "Own", (kind,), {"says": dict(zip(names, (small, large), strict=True)), **options.pop("has", {})}
        )
        monkeypatch.setitem(PROVIDER_REGISTRY, provider, own)
        models = [
            ModelConfig(name, provider=provider, **cost) for name, cost in zip(names, costs, strict=True)
        ]
        return CascadeAgent(models=models, **options)

    return agent


@pytest.fixture
def recorded(seen: Recorded) -> Iterator[Recorded]:
    with instrumented():
        yield seen


def run(agent: CascadeAgent, **options: Any) -> Any:
    return asyncio.run(agent.run(QUESTION, complexity_hint="simple", **options))


def only(recorded: Recorded) -> RecordedCascade:
    (call,) = recorded.cascades
    return call


def test_a_rejected_draft_has_the_confidence_and_threshold_that_the_gate_compared(
    recorded: Recorded, make: Make
) -> None:
    result = run(make(0.1))
    call = only(recorded)
    small, large = call.tiers
    assert (call.escalated, call.final_tier, call.outcome) == (True, "large", "accepted")
    assert (small.tier, small.model, small.response_model) == ("small", "small", "small-2026")
    assert (small.confidence, small.threshold) == (result.draft_confidence, result.quality_threshold)
    assert (small.confidence, small.reason) == (0.1, "low_confidence")
    assert (large.confidence, large.threshold, large.escalated) == (0.9, None, False)


def test_an_accepted_draft_has_no_verifier_and_none_of_its_zero_confidence(
    recorded: Recorded, make: Make
) -> None:
    result = run(make(0.95))
    assert result.verifier_confidence == 0.0, "cascadeflow says 0 of a verifier that it did not call"
    call = only(recorded)
    assert [(each.tier, each.confidence, each.escalated) for each in call.tiers] == [("small", 0.95, False)]
    assert call.final_tier == "small"


def test_a_verifier_that_was_started_ahead_and_not_needed_is_no_escalation(
    recorded: Recorded, make: Make
) -> None:
    """Below .75 cascadeflow starts the verifier before it has judged the draft."""
    config = QualityConfig(confidence_thresholds={"simple": 0.4})
    result = run(make(0.7, quality_config=config))
    assert result.draft_accepted
    call = only(recorded)
    assert (call.escalated, call.final_tier) == (False, "small")
    assert [each.escalated for each in call.tiers] == [False]


def test_costs_are_the_models_own_and_not_cascadeflows_guess(recorded: Recorded, make: Make) -> None:
    result = run(make(0.1))
    assert result.draft_cost == result.verifier_cost, (
        "both tiers at one default price, ModelConfig.cost ignored"
    )
    small, large = only(recorded).tiers
    assert (small.cost, large.cost) == (pytest.approx(0.0003), pytest.approx(0.003))
    assert (small.cost_source, small.input_tokens, small.output_tokens) == ("user", 200, 100)


def test_without_a_cost_of_ones_own_an_unknown_model_costs_nobody_knows_what(
    recorded: Recorded, make: Make
) -> None:
    run(make(0.1, costs=({}, {})))
    assert [each.cost for each in only(recorded).tiers] == [None, None]


def test_without_a_cost_of_ones_own_a_known_models_price_is_looked_up(recorded: Recorded, make: Make) -> None:
    run(make(0.95, provider="openai", names=("gpt-4o-mini", "gpt-4o"), costs=({}, {}), has={"version": ""}))
    (small,) = only(recorded).tiers
    assert (small.cost, small.cost_source) == (pytest.approx((200 * 0.15 + 100 * 0.6) / 1e6), "genai-prices")


def test_tokens_that_nobody_has_counted_are_not_made_up(recorded: Recorded, make: Make) -> None:
    run(make(0.1, has={"counts": False}))
    assert [(each.input_tokens, each.cost) for each in only(recorded).tiers] == [(None, None)] * 2


def test_a_query_that_is_routed_directly_is_one_tier_without_a_threshold(
    recorded: Recorded, make: Make
) -> None:
    result = run(make(0.1, large=0.8), force_direct=True)
    assert result.verifier_confidence == 0.95, "a constant of cascadeflow's"
    (large,) = only(recorded).tiers
    assert (large.tier, large.confidence, large.threshold, large.escalated) == ("large", 0.8, None, False)


def test_a_draft_that_fails_escalates_for_an_error_and_not_for_a_confidence_of_zero(
    recorded: Recorded, make: Make
) -> None:
    result = run(make(ConnectionError()))
    assert result.draft_confidence == 0.0
    small, large = only(recorded).tiers
    assert (small.reason, small.error, small.confidence) == ("error", "ConnectionError", None)
    assert large.outcome == "accepted"


def test_where_the_verifier_fails_the_drafts_answer_stands(recorded: Recorded, make: Make) -> None:
    result = run(make(0.1, large=ConnectionError()))
    assert result.content == ANSWER
    call = only(recorded)
    small, large = call.tiers
    assert (small.escalated, large.error) == (True, "ConnectionError")
    assert (call.outcome, call.final_tier) == ("accepted", "small")


def test_a_draft_turned_down_for_another_cause_escalates_by_policy(recorded: Recorded, make: Make) -> None:
    """However sure the model is said to be, an answer that hedges is not good enough."""
    run(make(0.99, has={"content": "Perhaps it is Lyon."}))
    small, large = only(recorded).tiers
    assert (small.confidence, small.escalated, small.reason) == (0.99, True, "policy")
    assert large.outcome == "accepted"


def test_tool_calls_are_judged_by_their_score(recorded: Recorded, make: Make) -> None:
    tools, bad = [TOOL], [{"id": "1", "type": "function", "name": "nothing", "arguments": {}}]
    run(make(0.9, kind=ToolProvider, has={"calls": bad}), tools=tools)
    run(make(0.9, kind=ToolProvider, has={"calls": [called("Paris")]}), tools=tools)
    turned_down, accepted = recorded.cascades
    small, large = turned_down.tiers
    assert small.confidence is not None
    assert small.threshold is not None
    assert small.confidence < small.threshold
    assert (small.reason, large.outcome) == ("low_confidence", "accepted")
    assert [(each.tier, each.escalated) for each in accepted.tiers] == [("small", False)]


def test_the_task_is_the_domain_that_the_caller_names_or_what_one_says(seen: Recorded, make: Make) -> None:
    with instrumented():
        run(make(0.95), domain_hint="geography")
        run(make(0.95))
    with instrumented(task=lambda agent, query, **_: query[:4]):
        run(make(0.95))
    assert [each.task for each in seen.cascades] == ["geography", "CascadeAgent", "Name"]


def test_each_query_of_a_batch_is_a_cascade(recorded: Recorded, make: Make) -> None:
    batch = asyncio.run(make(0.1).run_batch([QUESTION, "Name the capital of Italy."]))
    assert batch.success_count == 2
    assert [[each.tier for each in call.tiers] for call in recorded.cascades] == [["small", "large"]] * 2


def test_within_a_cascade_of_the_users_own_the_models_are_its_tiers(recorded: Recorded, make: Make) -> None:
    agent = make(0.1, large=ConnectionError())

    @cascade(task="capitals")
    async def ask() -> str:
        return str((await agent.run(QUESTION, complexity_hint="simple")).content)

    asyncio.run(ask())
    call = only(recorded)
    assert (call.task, call.final_tier, [each.tier for each in call.tiers]) == (
        "capitals",
        "small",
        ["small", "large"],
    )


def test_within_a_tier_of_the_users_own_they_are_that_tiers_with_tokens_and_costs(
    recorded: Recorded, make: Make
) -> None:
    agent = make(0.1)

    @tier("agent")
    async def ask() -> Any:
        return (await agent.run(QUESTION, complexity_hint="simple")).content

    asyncio.run(ask())
    assert recorded.cascades == []
    (call,) = recorded.tiers
    assert (call.tier, call.input_tokens, call.output_tokens) == ("agent", 400, 200)
    assert (call.cost, call.cost_source) == (pytest.approx(0.0033), "user")


def test_fifty_at_once_keep_their_calls_apart(recorded: Recorded, make: Make) -> None:
    agents = [make(0.1), make(0.95)]

    async def ask_all() -> None:
        runs = (agents[each % 2].run(QUESTION, complexity_hint="simple") for each in range(50))
        await asyncio.gather(*runs)

    asyncio.run(ask_all())
    tiers = [[each.tier for each in call.tiers] for call in recorded.cascades]
    assert (tiers.count(["small"]), tiers.count(["small", "large"])) == (25, 25)


@pytest.mark.usefixtures("lenient")
def test_a_fault_of_ours_costs_the_host_nothing(
    seen: Recorded, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError

    for name in ("tell", "compared", "tokens", "stated", "costing"):
        monkeypatch.setattr(adapter, name, fails)
    with instrumented(task=fails):
        assert run(make(0.1)).content == ANSWER
        assert tier("own")(run)(make(0.1)).content == ANSWER
    assert sum(seen.metric(semconv.DROPPED).values()) >= 6


def test_a_provider_of_cascadeflows_own_kind_is_one_call_however_often_it_tries(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Flaky(BaseProvider):
        tried = 0

        async def _complete_impl(self, prompt: str, model: str, **_: Any) -> ModelResponse:
            Flaky.tried += 1
            if Flaky.tried == 1:
                raise TimeoutError("timeout")
            return ModelResponse(ANSWER, model, "custom", 0.0, 0, 0.95)

        async def _stream_impl(self, prompt: str, model: str, **_: Any) -> Any:
            yield ANSWER

        def estimate_cost(self, tokens: int, model: str) -> float:
            return 0.0

    monkeypatch.setattr(Flaky, "_calculate_delay", lambda *_: 0.0)
    monkeypatch.setitem(PROVIDER_REGISTRY, "custom", Flaky)
    models = [ModelConfig(name, provider="custom", api_key="none") for name in ("small", "large")]
    run(CascadeAgent(models=models))
    assert Flaky.tried == 2
    assert [(each.tier, each.outcome) for each in only(recorded).tiers] == [("small", "accepted")]


@pytest.mark.filterwarnings("ignore:.verify=<str>. is deprecated:DeprecationWarning")  # cascadeflow's httpx
def test_a_provider_that_asks_by_http_has_its_span_from_us_whatever_client_is_instrumented(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def answers(*_: Any, model: str, **__: Any) -> ModelResponse:
        return ModelResponse(ANSWER, model, "openai", 0.0, 0, 0.95)

    monkeypatch.setattr(_clients, "instrumented", lambda provider: True)
    monkeypatch.setattr(PROVIDER_REGISTRY["openai"], "_complete_impl", answers)
    models = [ModelConfig(name, provider="openai", api_key="none") for name in ("gpt-4o-mini", "gpt-4o")]
    run(CascadeAgent(models=models))
    assert [each.name for each in recorded.spans] == ["chat gpt-4o-mini", "cascade CascadeAgent"]


def test_uninstrument_puts_everything_back(seen: Recorded, make: Make) -> None:
    agent = make(0.95)
    owners = (CascadeAgent, QualityValidator, ToolQualityValidator, PROVIDER_REGISTRY["custom"])
    before = [dict(vars(each)) for each in owners]
    with instrumented():
        run(agent)
        assert all(dict(vars(each)) != was for each, was in zip(owners, before, strict=True))
    assert [dict(vars(each)) for each in owners] == before
    run(agent)
    assert len(seen.cascades) == 1
