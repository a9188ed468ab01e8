"""LiteLLM's completion and acompletion in a cascade of the user's, options, and living with LiteLLM."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import litellm
import pytest
from litellm import CustomStreamWrapper, Router
from litellm.integrations.custom_logger import CustomLogger
from litellm.litellm_core_utils import fallback_utils
from opentelemetry.instrumentation.utils import suppress_instrumentation

from cascade_otel import cascade, semconv, tier
from cascade_otel.adapters.litellm import LiteLLMInstrumentor
from cascade_otel.instrumentation import _shapes
from cascade_otel.testing import Recorded
from tests.adapters.litellm_routers import ASK, BUSY, ask, instrumented, router, run


@pytest.fixture
def recording() -> Iterator[None]:
    with instrumented():
        yield


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """LiteLLM's callbacks, of this test alone."""
    lists = ("success_callback", "failure_callback", "input_callback")
    for name in (*lists, "_async_success_callback", "_async_failure_callback", "callbacks"):
        monkeypatch.setattr(litellm, name, list(getattr(litellm, name)))
    return litellm.callbacks


def answered(model: str, answer: str = "blue", **options: Any) -> Any:
    return litellm.completion(model, ASK, mock_response=answer, **options)


@cascade(task="colour")
def colour(*models: str, **options: Any) -> Any:
    for model in models:
        result = answered(model, **options)
    return result


@cascade(task="colour")
async def colour_async(*models: str, **options: Any) -> Any:
    for model in models:
        result = await litellm.acompletion(model, ASK, mock_response="blue", **options)
    return result


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("way", ["sync", "async"])
def test_in_a_cascade_each_model_is_a_tier(seen: Recorded, way: str) -> None:
    models = ("gpt-4o-mini", "gpt-4o")
    answer = colour(*models) if way == "sync" else run(lambda: colour_async(*models))
    (call,) = seen.cascades
    assert [(each.tier, each.model, each.escalated) for each in call.tiers] == [
        ("gpt-4o-mini", "gpt-4o-mini", True),
        ("gpt-4o", "gpt-4o", False),
    ]
    assert [each.cost for each in call.tiers] == [
        pytest.approx(10 * 0.15e-6 + 20 * 0.6e-6),
        answer._hidden_params["response_cost"],
    ]
    assert {dict(each.attributes or {}).get(semconv.PROVIDER_NAME) for each in seen.spans} == {None, "openai"}


@pytest.mark.usefixtures("recording")
def test_outside_any_cascade_nothing_is_recorded(seen: Recorded) -> None:
    assert answered("gpt-4o").choices[0].message.content == "blue"
    run(lambda: litellm.acompletion("gpt-4o", ASK, mock_response="blue"))
    assert not seen.spans
    assert not seen.metrics()


@pytest.mark.usefixtures("recording")
def test_within_a_tier_of_ones_own_it_is_that_tiers(seen: Recorded) -> None:
    @tier("mine", model="of mine")
    def mine() -> Any:
        return answered("gpt-4o")

    @cascade
    def whole() -> Any:
        return mine()

    whole()
    assert [(each.tier, each.model, each.input_tokens) for each in seen.tiers] == [("mine", "of mine", 10)]
    assert seen.tiers[0].cost_source == "litellm"


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("way", ["sync", "async", "sync in a loop"])
def test_a_call_with_fallbacks_is_a_cascade(seen: Recorded, way: str) -> None:
    options: dict[str, Any] = {
        "mock_response": BUSY,
        "fallbacks": [{"model": "gpt-4o", "mock_response": "blue"}],
        "metadata": {"cascade_task": "colour"},
    }
    if way == "sync":
        litellm.completion("gpt-4o-mini", ASK, **options)
    elif way == "async":
        run(lambda: litellm.acompletion("gpt-4o-mini", ASK, **options))
    else:

        async def within() -> None:
            litellm.completion("gpt-4o-mini", ASK, **options)

        run(within)
    (call,) = seen.cascades
    assert (call.name, call.task, call.final_tier) == ("litellm", "colour", "gpt-4o")
    assert [(each.tier, each.reason) for each in call.tiers] == [("gpt-4o-mini", "error"), ("gpt-4o", None)]


def test_confidence_and_thresholds_are_the_users(seen: Recorded) -> None:
    def certainty(answer: Any) -> float:
        return 0.9 if answer.choices[0].message.content == "blue" else 0.4

    @cascade(task="colour")
    def careful() -> Any:
        first = asked.completion("small", ASK)
        return first if certainty(first) >= 0.8 else asked.completion("large", ASK)

    with instrumented(confidence=certainty, thresholds={"small": 0.8}):
        asked = router(small="perhaps", fallbacks=[])
        careful()
    small, large = seen.tiers
    assert (small.confidence, small.threshold, small.reason) == (0.4, 0.8, "low_confidence")
    assert (large.confidence, large.threshold, large.escalated) == (0.9, None, False)


@pytest.mark.usefixtures("lenient")
def test_an_option_that_fails_costs_the_host_nothing(seen: Recorded) -> None:
    def broken(_: Any) -> float:
        raise ValueError("no")

    with instrumented(confidence=broken, thresholds={"large": float("nan")}):
        assert ask(router(), "sync").choices[0].message.content == "blue"
        assert ask(router(), "async").choices[0].message.content == "blue"
    assert [each.tier for each in seen.tiers] == ["small", "large"] * 2
    assert seen.tiers[1].confidence is None
    assert sum(seen.metric(semconv.DROPPED).values()) > 0


def test_a_wrong_option_is_refused_at_once_and_nothing_is_left_patched() -> None:
    before = litellm.completion
    with pytest.raises(TypeError, match=r"thresholds=0.8 arrived.*thresholds=\{\"small\": 0.8\}"):
        LiteLLMInstrumentor().instrument(thresholds=0.8)
    assert litellm.completion is before


def test_uninstrument_puts_everything_back() -> None:
    calls, in_python = ("completion", "acompletion"), ("_completion", "_acompletion")
    steps = ("__next__", "__anext__", "close", "aclose")
    places: list[tuple[Any, tuple[str, ...]]] = [
        (litellm, calls),
        (Router, calls + in_python),
        (CustomStreamWrapper, steps),
        (fallback_utils, ("run_async_function",)),
    ]

    def state() -> dict[str, Any]:
        there = [(it, name) for it, names in places for name in names if hasattr(it, name)]
        return {f"{it.__name__} {name}": getattr(it, name) for it, name in there}

    before, streams = state(), dict(_shapes.streams)
    assert len(before) >= 8
    with instrumented():
        assert not [name for name, it in state().items() if it is before[name]]
    assert all(state()[name] is it for name, it in before.items())
    assert _shapes.streams == streams


def test_what_litellm_no_longer_has_is_named_in_one_line_and_all_else_is_recorded(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delattr(litellm, "acompletion")
    with instrumented():
        colour("gpt-4o")
        router(small="green").completion("small", ASK)
    assert [each.name for each in seen.cascades] == ["colour", "litellm"]
    (line,) = [each for each in caplog.records if each.name == semconv.SCOPE]
    assert "has no litellm.acompletion, which is not recorded" in line.getMessage()
    assert LiteLLMInstrumentor.tested in line.getMessage()
    assert not line.exc_info


@pytest.mark.usefixtures("recording")
def test_functions_stay_what_they_were() -> None:
    assert inspect.iscoroutinefunction(litellm.acompletion)
    assert inspect.iscoroutinefunction(Router.acompletion)
    assert not inspect.iscoroutinefunction(litellm.completion)
    assert litellm.completion.__name__ == "completion"
    assert "messages" in inspect.signature(litellm.completion).parameters


@pytest.mark.usefixtures("recording")
def test_litellms_callbacks_are_still_called_by_keyword(seen: Recorded, callbacks: list[Any]) -> None:
    told: list[str] = []

    class Mine(CustomLogger):
        async def async_log_success_event(
            self, kwargs: Any, response_obj: Any, start_time: Any, end_time: Any
        ) -> None:
            told.append(kwargs["litellm_params"]["metadata"]["model_group"])

        async def log_success_fallback_event(
            self, original_model_group: str, kwargs: dict[str, Any], original_exception: Exception
        ) -> None:
            told.append(f"fallback from {original_model_group}")

    callbacks.append(Mine())
    ask(router(), "async")
    assert sorted(told) == ["fallback from small", "large"]
    assert [each.tier for each in seen.tiers] == ["small", "large"]


@pytest.mark.usefixtures("recording", "callbacks")
def test_where_litellm_tells_of_the_operation_itself_it_is_not_counted_twice(seen: Recorded) -> None:
    class OpenTelemetry(CustomLogger):
        __module__ = "litellm.integrations.opentelemetry"

    asked = router(small="green")
    ask(asked, "sync")
    assert semconv.OPERATION_DURATION in seen.metrics()
    litellm.callbacks.append(OpenTelemetry())  # a Router may have put another list there
    ask(asked, "sync")
    before, after = [span for span in seen.spans if semconv.TIER_KIND in (span.attributes or {})]
    assert (before.name, after.name) == (f"chat {router_model(before)}", "cascade.tier small")
    assert sum(seen.metric(semconv.OPERATION_DURATION).values()) == 1
    assert sum(seen.metric(semconv.TIER_DURATION).values()) == 1
    assert sum(seen.metric(semconv.TIER_CALLS).values()) == 2


def router_model(span: Any) -> str:
    return str(span.attributes[semconv.REQUEST_MODEL])


@pytest.mark.usefixtures("recording")
def test_a_clients_instrumentation_counts_where_litellm_uses_that_client(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("openai_v2", "anthropic"):
        client = type("Instrumentor", (), {"_is_instrumented_by_opentelemetry": True})
        client._instance = client()  # type: ignore[attr-defined]  # as instrumentors keep theirs
        package = SimpleNamespace(Instrumentor=client)
        monkeypatch.setitem(sys.modules, f"opentelemetry.instrumentation.{name}", package)  # type: ignore[arg-type]  # stands in
    colour("gpt-4o-mini", "anthropic/claude-sonnet-4-5")
    openai, anthropic = [span for span in seen.spans if semconv.TIER_KIND in (span.attributes or {})]
    assert openai.name == "cascade.tier gpt-4o-mini"
    assert anthropic.name == "chat anthropic/claude-sonnet-4-5"


@pytest.mark.usefixtures("recording")
def test_suppressed_instrumentation_records_nothing(seen: Recorded) -> None:
    with suppress_instrumentation():
        ask(router(), "sync")
        list(router().completion("small", ASK, stream=True))
    assert not seen.spans


@pytest.mark.usefixtures("recording")
def test_many_threads_keep_their_cascades_apart(seen: Recorded) -> None:
    asked = router()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: asked.completion("small", ASK), range(40)))
    assert len(answers) == len(seen.cascades) == 40
    assert all([each.tier for each in call.tiers] == ["small", "large"] for call in seen.cascades)


@pytest.mark.usefixtures("recording")
@pytest.mark.parametrize("way", ["answer", "stream", "fallbacks", "router", "async"])
def test_a_tier_that_returns_text_alone_hears_the_usage(seen: Recorded, way: str) -> None:
    def text() -> str:
        if way == "stream":
            return "".join(each.choices[0].delta.content or "" for each in answered("gpt-4o", stream=True))
        if way == "fallbacks":
            backup = {"model": "gpt-4o", "mock_response": "blue"}
            return str(answered("gpt-4o-mini", BUSY, fallbacks=[backup]).choices[0].message.content)
        if way == "router":
            return str(router().completion("small", ASK).choices[0].message.content)
        if way == "async":
            answer = run(lambda: litellm.acompletion("gpt-4o", ASK, mock_response="blue"))
            return str(answer.choices[0].message.content)
        return str(answered("gpt-4o").choices[0].message.content)

    assert tier("mine")(text)() == "blue"
    (mine,) = seen.tiers
    tokens = (10, 1) if way == "stream" else (10, 20)
    assert (mine.input_tokens, mine.output_tokens, mine.response_model) == (*tokens, "gpt-4o")
    assert mine.cost == pytest.approx(tokens[0] * 2.5e-6 + tokens[1] * 10e-6)
    assert mine.cost_source == "litellm"
