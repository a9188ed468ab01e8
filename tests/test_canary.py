"""Stored prompts asked again: recorded as canaries, whatever the decorator says, and in no rate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from opentelemetry import context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from cascade_otel import Audit, TierCall, cascade, record_call, tier
from cascade_otel.analysis.value.summary import summarise
from cascade_otel.canary import canary, replay
from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.testing import record


@tier("small", threshold=0.8, confidence=lambda answer: answer)
def small(confidence: float) -> float:
    return confidence


@tier("large")
def large(confidence: float) -> float:
    return 1.0


@cascade("extract", task="organic", segment="en", version="7", agree=lambda one, other: one == other)
def extract(confidence: float) -> float:
    answer = small(confidence)
    return answer if answer >= 0.8 else large(confidence)


def test_calls_in_the_block_are_canaries_and_calls_around_it_are_not() -> None:
    with record() as seen:
        extract(0.9)
        with canary("q-1"):
            extract(0.5)
        extract(0.9)
    assert [call.purpose for call in seen.cascades] == ["production", "canary", "production"]
    assert [call.canary_id for call in seen.cascades] == [None, "q-1", None]
    assert [call.version for call in seen.cascades] == ["7"] * 3
    assert [call.segment for call in seen.cascades] == ["en"] * 3
    tiers = [span.attributes or {} for span in seen.spans if "cascade.tier.kind" in (span.attributes or {})]
    assert [tier.get("cascade.canary.id") for tier in tiers] == [None, "q-1", "q-1", None]
    assert [tier.get("cascade.purpose") for tier in tiers] == [None, "canary", "canary", None]


def test_what_the_decorator_says_of_its_purpose_does_not_count() -> None:
    @cascade(task="t", purpose=lambda *_: "production", canary_id="its own")
    def other(confidence: float) -> float:
        return small(confidence)

    with record() as seen, canary("q-2"):
        other(0.9)
        with cascade("block", task="t"):
            small(0.9)
        record_call("t", [TierCall("small", confidence=0.9, threshold=0.8)])
    assert [(call.purpose, call.canary_id) for call in seen.cascades] == [("canary", "q-2")] * 3


def test_canaries_are_not_audited() -> None:
    audit = Audit(1.0, large)

    @cascade(task="t", audit=audit)
    def audited(confidence: float) -> float:
        return small(confidence)

    with record() as seen, canary("q"):
        audited(0.9)
    assert [call.purpose for call in seen.cascades] == ["canary"]


def test_an_identifier_that_cannot_be_recorded_costs_nothing_but_itself() -> None:
    with record() as seen:
        with canary(17):  # type: ignore[arg-type]  # what people do
            extract(0.9)
        assert seen.dropped == {"value": 1}
    assert [(call.purpose, call.canary_id) for call in seen.cascades] == [("canary", None)]


def test_the_block_ends_where_the_code_fails() -> None:
    before = context.get_current()
    with pytest.raises(ZeroDivisionError), canary("q"):
        raise ZeroDivisionError
    assert context.get_current() == before


def test_a_replay_asks_every_prompt_and_tells_what_failed() -> None:
    def run(confidence: float) -> float:
        if confidence == 0.5:
            raise TimeoutError("no answer")
        return extract(confidence)

    with record() as seen:
        done = replay(run, {"a": 0.9, "b": 0.5, "c": 0.95})
    assert (done.asked, dict(done.failed)) == (3, {"b": "TimeoutError: no answer"})
    assert [call.canary_id for call in seen.cascades] == ["a", "c"]


def test_coroutines_are_awaited_and_streams_are_read() -> None:
    @cascade(task="async")
    async def ask(confidence: float) -> float:
        await asyncio.sleep(0)
        return small(confidence)

    @cascade(task="stream")
    def stream(confidence: float) -> Iterator[float]:
        yield small(confidence)

    @cascade(task="async stream")
    async def stream_slowly(confidence: float) -> AsyncIterator[float]:
        await asyncio.sleep(0)
        yield small(confidence)

    with record() as seen:
        for run in (ask, stream, stream_slowly):
            assert not replay(run, {"a": 0.9}).failed
    assert [(call.task, call.canary_id, len(call.tiers)) for call in seen.cascades] == [
        ("async", "a", 1), ("stream", "a", 1), ("async stream", "a", 1),
    ]  # fmt: skip


def test_in_a_running_loop_it_says_what_to_write() -> None:
    async def ask(confidence: float) -> float:
        return confidence

    async def program() -> None:
        with record() as seen:
            with canary("q"):
                assert await ask(0.9) == 0.9
                extract(0.9)
            with pytest.raises(RuntimeError, match="await run"):
                replay(ask, {"a": 0.9})
        assert [call.canary_id for call in seen.cascades] == ["q"]

    asyncio.run(program())


def test_canaries_count_in_no_rate_of_production(tmp_path: Path) -> None:
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(SegmentExporter(tmp_path)))
    with record(provider):
        for _ in range(4):
            extract(0.9)
        replay(extract, {f"q-{number}": 0.5 for number in range(20)})
    provider.shutdown()
    with open_reader(Store(tmp_path)) as reader:
        summary = next(one for one in summarise(reader) if one.task == "organic")
        assert (summary.calls, summary.escalation_rate) == (4, 0.0)
        first, last = reader.span_hours() or (0, 0)
        hours = reader.task_hours(first, last + 1)
        assert (hours.calls.sum(), hours.escalated.sum()) == (4, 0)
        rows = reader.rows("organic", first, last + 1, columns=["tier", "purpose", "canary_id", "agreed"])
        asked = rows[(rows["purpose"] == "canary") & (rows["tier"] == "small")]
        assert sorted(asked["canary_id"]) == sorted(f"q-{number}" for number in range(20))
        assert not asked["agreed"].any()
