"""DSPy programs in threads, tasks and streams, with its cache, its prices, and with faults of ours."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import dspy
import pytest
from dspy import lm15
from dspy.clients.engines.lm15_engine import LM15Engine

from cascade_otel import cascade, semconv, tier
from cascade_otel.adapters import dspy as adapter
from cascade_otel.adapters.dspy import DSPyInstrumentor
from cascade_otel.adapters.litellm import LiteLLMInstrumentor
from cascade_otel.instrumentation import _clients
from cascade_otel.testing import Recorded
from tests.adapters.switched import switched_on

PREDICT = dspy.Predict("question -> answer")
ANSWER = "[[ ## answer ## ]]\nParis\n\n[[ ## completed ## ]]"


class Engine:
    """Answers offline, and counts tokens as a provider does."""

    def __init__(self, cached: int | None = None) -> None:
        self.usage = lm15.Usage(input_tokens=1000, output_tokens=100, cache_read_tokens=cached)

    def complete(self, request: Any) -> Any:
        message = lm15.Message.assistant([lm15.TextPart(ANSWER)])
        return lm15.Response(
            id=None, model=request.model, message=message, finish_reason="stop", usage=self.usage
        )

    def stream(self, request: Any) -> Any:
        return lm15.response_to_events(self.complete(request))

    def close(self) -> None: ...


class AsyncEngine(Engine):
    async def complete(self, request: Any) -> Any:
        await asyncio.sleep(0)
        return super().complete(request)

    async def stream(self, request: Any) -> Any:
        for event in super().stream(request):
            yield event

    async def aclose(self) -> None: ...


def model(name: str, *, cache: bool = False, **usage: Any) -> dspy.LM:
    return dspy.LM(name, engine=Engine(**usage), async_engine=AsyncEngine(**usage), cache=cache)


class Both(dspy.Module):
    """Asks the small model, then the large one."""

    def __init__(self, small: str = "small", large: str = "large") -> None:
        self.small, self.large = model(small), model(large)

    def forward(self, question: str) -> dspy.Prediction:
        for lm in (self.small, self.large):
            with dspy.context(lm=lm):
                answer = PREDICT(question=question)
        return answer

    async def aforward(self, question: str) -> dspy.Prediction:
        for lm in (self.small, self.large):
            with dspy.context(lm=lm):
                answer = await PREDICT.acall(question=question)
        return answer


instrumented = functools.partial(switched_on, DSPyInstrumentor)


@pytest.fixture
def recorded(seen: Recorded) -> Iterator[Recorded]:
    with instrumented():
        yield seen


def pairs(module: dspy.Module, number: int) -> list[Any]:
    return [(module, dspy.Example(question=f"q{each}").with_inputs("question")) for each in range(number)]


def test_dspys_own_threads_carry_the_open_cascade(recorded: Recorded) -> None:
    """Twenty samples of the small model drawn by dspy.Parallel are one visit."""

    @cascade
    def vote() -> None:
        with dspy.context(lm=model("small")):
            dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs(PREDICT, 20))
        with dspy.context(lm=model("large")):
            PREDICT(question="?")

    vote()
    (call,) = recorded.cascades
    outcomes = [(each.tier, each.outcome) for each in call.tiers]
    assert outcomes.count(("small", "repeated")) == 19
    assert outcomes.count(("small", "escalated")) == 1
    assert outcomes[-1] == ("large", "accepted")


def test_modules_that_dspys_threads_run_are_cascades_of_their_own(seen: Recorded) -> None:
    with instrumented(cascades=(Both,)):
        dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs(Both(), 20))
    assert [[each.tier for each in call.tiers] for call in seen.cascades] == [["small", "large"]] * 20


def test_a_tier_of_the_users_own_hears_of_all_its_threads(recorded: Recorded) -> None:
    @tier("vote")
    def vote() -> Any:
        with dspy.context(lm=model("small")):
            return dspy.Parallel(num_threads=4, disable_progress_bar=True)(pairs(PREDICT, 20))

    vote()
    assert [(each.tier, each.input_tokens) for each in recorded.tiers] == [("vote", 20_000)]


def test_each_example_of_an_evaluation_is_a_cascade(seen: Recorded) -> None:
    examples = [example for _, example in pairs(Both(), 6)]
    evaluate = dspy.Evaluate(devset=examples, metric=lambda *_: True, num_threads=3)
    with instrumented(cascades=(Both,)):
        assert evaluate(Both()).score == 100.0
    assert [[each.tier for each in call.tiers] for call in seen.cascades] == [["small", "large"]] * 6


def test_what_fails_in_dspys_threads_leaves_no_context_behind(recorded: Recorded) -> None:
    class Fails(dspy.Module):
        def forward(self, question: str) -> dspy.Prediction:
            raise ZeroDivisionError

    @cascade
    def ask() -> list[Any]:
        parallel = dspy.Parallel(num_threads=2, disable_progress_bar=True, max_errors=9)
        return list(parallel(pairs(Fails(), 3)))

    assert ask() == [None] * 3
    assert len(recorded.cascades) == 1


def test_a_thread_pool_with_a_copied_context_carries_the_cascade_too(recorded: Recorded) -> None:
    def sample() -> None:
        with dspy.context(lm=model("small")):
            PREDICT(question="?")

    @cascade
    def vote() -> None:
        with ThreadPoolExecutor(2) as pool:
            for each in [pool.submit(copy_context().run, sample) for _ in range(4)]:
                each.result()

    vote()
    assert [each.tier for each in recorded.cascades[0].tiers] == ["small"] * 4


def test_tasks_keep_their_calls_apart(seen: Recorded) -> None:
    async def ask_all() -> None:
        await asyncio.gather(*(Both().acall(question=str(each)) for each in range(30)))

    with instrumented(cascades=(Both,)):
        asyncio.run(ask_all())
    assert [[each.tier for each in call.tiers] for call in seen.cascades] == [["small", "large"]] * 30


def test_a_program_made_async_by_a_thread_carries_the_cascade(recorded: Recorded) -> None:
    @cascade
    async def ask() -> None:
        await dspy.asyncify(Both())(question="?")

    asyncio.run(ask())
    assert [each.tier for each in recorded.cascades[0].tiers] == ["small", "large"]


def test_a_streamed_program_is_recorded_until_its_end(recorded: Recorded) -> None:
    listener = dspy.streaming.StreamListener(signature_field_name="answer", predict=PREDICT, allow_reuse=True)
    streamed = dspy.streamify(PREDICT, stream_listeners=[listener], async_streaming=True)

    @cascade
    async def ask() -> Any:
        with dspy.context(lm=model("small")):
            return [each async for each in streamed(question="?")][-1]

    assert asyncio.run(ask()).answer == "Paris"
    assert [(each.tier, each.input_tokens) for each in recorded.tiers] == [("small", 1000)]


def test_an_answer_from_dspys_cache_cost_nothing(recorded: Recorded, tmp_path: Path) -> None:
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    lm = model("openai/gpt-4o-mini", cache=True)

    @cascade
    def ask() -> None:
        with dspy.context(lm=lm):
            PREDICT(question="once?")

    try:
        ask()
        ask()
    finally:
        dspy.configure_cache()
    first, second = recorded.tiers
    assert (first.input_tokens, second.input_tokens) == (1000, 0)
    assert second.cost == 0.0
    assert second.response_model == "gpt-4o-mini"


def priced(result: Any, cost: float | None) -> Any:
    result.cost = cost
    return result


@pytest.fixture
def pricing(monkeypatch: pytest.MonkeyPatch) -> None:
    """DSPy reckons a cost, as it does for the models of its native engines."""
    from dspy.clients import execution

    monkeypatch.setattr(execution, "_price_result", lambda lm, result, *_: priced(result, 0.002))


@pytest.mark.usefixtures("pricing")
def test_a_cost_that_dspy_reckons_is_recorded_with_its_source(recorded: Recorded) -> None:
    @cascade
    def ask() -> None:
        Both()(question="?")

    ask()
    assert [(each.cost, each.cost_source) for each in recorded.tiers] == [(0.002, "litellm")] * 2


@pytest.mark.usefixtures("pricing")
def test_costs_within_a_tier_of_the_users_own_add_up(recorded: Recorded) -> None:
    @tier("both")
    def both() -> Any:
        return Both()(question="?")

    both()
    (call,) = recorded.tiers
    assert (call.cost, call.cost_source, call.input_tokens) == (0.004, "litellm", 2000)


def test_a_cost_that_nobody_knows_stays_unknown(recorded: Recorded) -> None:
    @cascade
    def ask() -> None:
        Both("nobodys-model", "nobodys-other-model")(question="?")

    ask()
    assert [each.cost for each in recorded.tiers] == [None, None]


def test_a_price_that_dspy_does_not_know_is_looked_up(recorded: Recorded) -> None:
    @cascade
    def ask() -> None:
        with dspy.context(lm=model("openai/gpt-4o-mini", cached=400)):
            PREDICT(question="?")

    ask()
    (call,) = recorded.tiers
    assert call.cost == pytest.approx((600 * 0.15 + 400 * 0.075 + 100 * 0.6) / 1e6)
    assert call.cost_source == "genai-prices"


def test_a_native_engine_has_its_span_from_us_whatever_client_is_instrumented(
    recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_clients, "instrumented", lambda provider: True)
    monkeypatch.setattr(LM15Engine, "complete", lambda self, request: Engine().complete(request))
    native = dspy.LM("openai/gpt-4o-mini", api_key="none", cache=False)

    @cascade
    def ask() -> None:
        for lm in (native, model("openai/gpt-4o")):
            with dspy.context(lm=lm):
                PREDICT(question="?")

    ask()
    assert [each.name for each in recorded.spans][:2] == ["chat gpt-4o-mini", "cascade.tier openai/gpt-4o"]


def test_what_dspy_asks_through_litellm_is_counted_once(recorded: Recorded) -> None:
    lm = dspy.LM("openai/gpt-4o-mini", engine="litellm", api_key="none", cache=False, mock_response=ANSWER)

    def ask() -> None:
        with dspy.context(lm=lm):
            PREDICT(question="?")

    LiteLLMInstrumentor().instrument()
    try:
        cascade(ask)()
        tier("own")(ask)()
    finally:
        LiteLLMInstrumentor().uninstrument()
    of_cascade, own = recorded.tiers
    assert (of_cascade.tier, own.tier) == ("openai/gpt-4o-mini", "own")
    assert of_cascade.input_tokens == own.input_tokens == 10
    assert of_cascade.cost == own.cost is not None
    assert of_cascade.cost_source == own.cost_source == "litellm"


@pytest.mark.usefixtures("lenient")
def test_a_fault_of_ours_costs_the_host_nothing(recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(adapter, "counted", fails)

    @tier("own")
    def own() -> Any:
        return Both()(question="?")

    @cascade
    def ask() -> Any:
        return Both()(question="?"), own()

    assert [each.answer for each in ask()] == ["Paris", "Paris"]
    assert sum(recorded.metric(semconv.DROPPED).values()) == 4


@pytest.mark.usefixtures("lenient")
def test_a_model_without_a_usable_name_is_asked_all_the_same(recorded: Recorded) -> None:
    lm = model("small")
    lm.model = None

    @cascade
    def ask() -> Any:
        with dspy.context(lm=lm):
            return lm("?")

    with pytest.raises(Exception, match="model"):  # DSPy's own complaint, as without us
        ask()
    assert recorded.tiers == []


def test_what_is_no_module_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"int.*dspy\.Module"):
        DSPyInstrumentor().instrument(cascades=(int,))
