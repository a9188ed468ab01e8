"""A recorded call of LiteLLM's lasts until its stream ends; the stream is LiteLLM's own object."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from typing import Any

import litellm
import pytest
from litellm import CustomStreamWrapper, Router
from opentelemetry import context

from cascade_otel import cascade, semconv, tier
from cascade_otel.adapters import _litellm_streams
from cascade_otel.testing import Recorded
from tests.adapters.litellm_routers import ASK, SMALL, deployment, instrumented, router, run


@pytest.fixture(autouse=True)
def recording() -> Iterator[None]:
    with instrumented():
        yield


def text(chunks: list[Any]) -> str:
    return "".join(each.choices[0].delta.content or "" for each in chunks)


def consumed(asked: Router, way: str, seen: Recorded, **options: Any) -> tuple[str, type]:
    """The text of a stream and its type; nothing is recorded before its end."""
    if way == "sync":
        stream = asked.completion("small", ASK, stream=True, **options)
        assert not seen.cascades
        return text(list(stream)), type(stream)

    async def consume() -> tuple[str, type]:
        stream = await asked.acompletion("small", ASK, stream=True, **options)
        assert not seen.cascades
        return text([each async for each in stream]), type(stream)

    return run(consume)  # type: ignore[no-any-return]  # what the consumer gives


@pytest.mark.parametrize("way", ["sync", "async"])
def test_the_stream_is_what_it_was_and_the_calls_last_until_its_end(seen: Recorded, way: str) -> None:
    got, kind = consumed(router(), way, seen)
    assert got == "blue"
    assert issubclass(kind, CustomStreamWrapper)
    (call,) = seen.cascades
    assert (call.outcome, call.escalated, call.final_tier) == ("accepted", True, "large")
    small, large = call.tiers
    assert (small.error, small.reason) == ("RateLimitError", "error")
    assert (large.outcome, large.response_model, large.output_tokens) == ("accepted", "gpt-4o", 1)
    assert large.cost == pytest.approx((large.input_tokens or 0) * 2.5e-6 + 10e-6)
    assert large.cost_source == "litellm"
    (span,) = [each for each in seen.spans if each.name == "chat openai/gpt-4o"]
    assert semconv.TIME_TO_FIRST_CHUNK in (span.attributes or {})


def test_a_slow_consumers_time_is_the_streams(seen: Recorded) -> None:
    stream = router(small="a longer answer, in several chunks").completion("small", ASK, stream=True)
    for _ in stream:
        time.sleep(0.01)
    (call,) = seen.cascades
    assert call.tiers[0].duration_s > 0.02
    assert call.duration_s >= call.tiers[0].duration_s


@pytest.fixture
def break_off(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets so many streams of the small model fail before their first chunk."""

    def first(times: int) -> None:
        create, left = CustomStreamWrapper.chunk_creator, [True] * times

        def chunk_creator(self: CustomStreamWrapper, chunk: Any) -> Any:
            if "mini" in str(self.model) and left and left.pop():
                raise litellm.RateLimitError("busy", llm_provider="openai", model="gpt-4o-mini")
            return create(self, chunk)

        monkeypatch.setattr(CustomStreamWrapper, "chunk_creator", chunk_creator)

    return first


def test_a_stream_that_breaks_before_its_first_chunk_escalates(
    seen: Recorded, break_off: Callable[[int], None]
) -> None:
    break_off(1)
    assert consumed(router(small="green"), "async", seen)[0] == "blue"
    (call,) = seen.cascades
    assert [(each.tier, each.escalated, each.reason, each.error) for each in call.tiers] == [
        ("small", True, "error", "RateLimitError"),
        ("large", False, None, None),
    ]


def test_a_sync_stream_that_breaks_goes_on_where_litellm_goes_on(
    seen: Recorded, break_off: Callable[[int], None]
) -> None:
    break_off(1)
    got = consumed(router(small="green"), "sync", seen)[0]
    # before 1.110 LiteLLM asks the same group once more, from then on the one that it falls back on
    broken, answering = ("repeated", "small") if got == "green" else ("escalated", "large")
    (call,) = seen.cascades
    assert [(each.tier, each.outcome, each.error) for each in call.tiers] == [
        ("small", broken, "RateLimitError"),
        (answering, "accepted", None),
    ]


def test_a_stream_that_nothing_can_save_fails_with_what_broke_it(
    seen: Recorded, break_off: Callable[[int], None]
) -> None:
    break_off(1)
    with pytest.raises(litellm.RateLimitError):
        consumed(router(small="green", fallbacks=[]), "async", seen)
    (call,) = seen.cascades
    assert (call.outcome, [each.error for each in call.tiers]) == ("error", ["RateLimitError"])


def test_a_stream_let_go_of_is_abandoned(seen: Recorded) -> None:
    stream = router(small="a longer answer").completion("small", ASK, stream=True)
    next(stream)
    del stream
    gc.collect()  # some versions of LiteLLM keep it in a cycle
    (call,) = seen.cascades
    assert (call.outcome, [each.outcome for each in call.tiers]) == ("abandoned", ["abandoned"])


def test_a_stream_that_is_closed_is_abandoned(seen: Recorded) -> None:
    async def close() -> None:
        stream = await router(small="a longer answer").acompletion("small", ASK, stream=True)
        await stream.__anext__()
        await stream.aclose()

    run(close)
    (call,) = seen.cascades
    assert (call.outcome, [each.outcome for each in call.tiers]) == ("abandoned", ["abandoned"])


def test_a_sync_stream_that_is_closed_is_abandoned(seen: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CustomStreamWrapper, "close", lambda _: None, raising=False)  # older ones have none

    @cascade
    def colour() -> Any:
        return litellm.completion("gpt-4o-mini", ASK, stream=True, mock_response="a longer answer")

    stream = colour()
    next(stream)
    stream.close()
    (call,) = seen.cascades
    assert (call.outcome, [each.outcome for each in call.tiers]) == ("abandoned", ["abandoned"])


def test_no_context_reaches_the_consumer(seen: Recorded) -> None:
    before = context.get_current()
    for _ in router().completion("small", ASK, stream=True):
        assert context.get_current() is before


def test_a_tier_of_ones_own_that_gives_a_stream_back_lasts_as_long(seen: Recorded) -> None:
    @tier("mine", confidence=lambda answer: len(answer.choices[0].message.content) / 10)
    def mine(way: str) -> Any:
        if way == "router":
            return router(small="green").completion("small", ASK, stream=True)
        return litellm.completion("gpt-4o-mini", ASK, stream=True, mock_response="green")

    @cascade
    def colour(way: str) -> Any:
        return mine(way)

    for number, way in enumerate(("plain", "router")):
        stream = colour(way)
        assert isinstance(stream, CustomStreamWrapper)
        assert len(seen.cascades) == number
        assert text(list(stream)) == "green"
    assert [each.tier for each in seen.tiers] == ["mine", "mine"]
    assert [each.confidence for each in seen.tiers] == [0.5, 0.5]
    assert [each.output_tokens for each in seen.tiers] == [1, 1]


def test_a_cascade_of_ones_own_that_gives_a_routers_stream_back_lasts_as_long(seen: Recorded) -> None:
    @cascade(task="colour")
    def colour() -> Any:
        return router().completion("small", ASK, stream=True)

    stream = colour()
    assert not seen.cascades
    assert text(list(stream)) == "blue"
    (call,) = seen.cascades
    assert (call.name, call.task, [each.tier for each in call.tiers]) == (
        "colour",
        "colour",
        ["small", "large"],
    )
    assert call.duration_s >= call.tiers[1].duration_s


def test_a_stream_of_the_sync_call_can_be_read_in_a_loop(seen: Recorded) -> None:
    @cascade
    def colour() -> Any:
        return litellm.completion("gpt-4o-mini", ASK, stream=True, mock_response="green")

    async def consume() -> str:
        return text([each async for each in colour()])

    assert run(consume) == "green"
    assert [(each.outcome, each.output_tokens) for each in seen.tiers] == [("accepted", 1)]


def test_a_stream_that_nobody_records_is_left_alone(seen: Recorded) -> None:
    stream = litellm.completion("gpt-4o-mini", ASK, stream=True, mock_response="green")
    assert text(list(stream)) == "green"
    assert not seen.spans
    assert not [each for each in vars(stream) if "cascade" in each]


def test_usage_that_the_stream_itself_tells_is_taken(seen: Recorded) -> None:
    asked = Router(model_list=[deployment("small", SMALL, "green")])
    chunks = list(asked.completion("small", ASK, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.completion_tokens == seen.tiers[0].output_tokens == 1


@pytest.mark.usefixtures("lenient")
def test_chunks_that_cannot_be_put_together_cost_the_host_nothing(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError("no")

    stream = router(small="green").completion("small", ASK, stream=True)
    monkeypatch.setattr(litellm, "stream_chunk_builder", broken)
    assert text(list(stream)) == "green"
    assert [(each.outcome, each.output_tokens) for each in seen.tiers] == [("accepted", None)]
    assert sum(seen.metric(semconv.DROPPED).values()) == 1


@pytest.mark.usefixtures("lenient")
def test_a_stream_that_cannot_be_followed_is_the_hosts_all_the_same(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setattr(_litellm_streams, "_followed", broken)
    assert text(list(router(small="green").completion("small", ASK, stream=True))) == "green"
    assert [(each.tier, each.outcome) for each in seen.tiers] == [("small", "accepted")]
