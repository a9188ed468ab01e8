"""Every shape of callable keeps its protocol, and ends its span once, whatever the ending."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

from cascade_otel import cascade, semconv, tier
from cascade_otel.instrumentation import _calls
from cascade_otel.testing import Recorded, record
from tests.instrumentation.shaped import (
    CANNOT,
    ENDINGS,
    KINDS,
    OUTCOME,
    RAISED,
    SHAPES,
    OwnError,
    drive,
    expected,
    inside,
    plain,
    shaped,
)
from tests.instrumentation.toys import WITH_SDK, outcomes, run_python, total

DECORATED = {
    "tier": lambda f: tier("x")(f),
    "cascade": lambda f: cascade("x")(f),
    "tier in cascade": lambda f: cascade("x")(tier("x")(f)),
}


@pytest.mark.parametrize("decorated", DECORATED)
@pytest.mark.parametrize("sdk", ["sampled", "sampled out", "suppressed", "none"])
@pytest.mark.parametrize(
    ("shape", "ending"), [(s, e) for s in SHAPES for e in ENDINGS if (s, e) not in CANNOT]
)
def test_grid(
    shape: str, ending: str, sdk: str, decorated: str, strict: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The host sees what it would see undecorated; the span ends once and rightly; nothing leaks.

    Here an SDK is installed, so "none" is what we make of it; ``test_no_sdk`` has none.
    """
    provider = TracerProvider(sampler=ALWAYS_OFF) if sdk == "sampled out" else None
    gc.collect()
    with record(provider) as seen:
        if sdk == "none":
            monkeypatch.setattr(_calls, "_awake", False)
            monkeypatch.setattr(_calls, "asleep", lambda: True)
        token = context.attach(context.set_value("suppress_instrumentation", sdk == "suppressed"))
        try:
            bare = shaped(shape, plain, ending)
            function = shaped(shape, DECORATED[decorated], ending)
            assert [is_one(function) for is_one in KINDS] == [is_one(bare) for is_one in KINDS]
            if ending in RAISED:
                with pytest.raises(RAISED[ending]):
                    drive(shape, function, ending)
            else:
                assert drive(shape, function, ending) == expected(shape, ending)
        finally:
            context.detach(token)
    outcome = OUTCOME.get(ending, "abandoned")
    if sdk in ("suppressed", "none"):
        assert not seen.spans
        assert total(seen, semconv.TIER_CALLS) == total(seen, semconv.CASCADE_DURATION) == 0
        return
    if sdk != "sampled out":
        assert [dict(each.attributes or {})[semconv.OUTCOME] for each in seen.spans] == [outcome] * (
            2 if decorated == "tier in cascade" else 1
        )
        assert all(each.status.is_ok == (outcome != "error") for each in seen.spans)
    else:
        assert not seen.spans
    assert total(seen, semconv.TIER_CALLS) == (decorated != "cascade")
    assert total(seen, semconv.CASCADE_DURATION) == (decorated != "tier")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", ["success", "exception"])
def test_the_host_sees_its_own_traceback(seen: Recorded, shape: str, how: str) -> None:
    function = shaped(shape, DECORATED["tier"], how)
    if how == "success":
        assert drive(shape, function, how) == expected(shape, how)
        return
    with pytest.raises(OwnError) as raised:
        drive(shape, function, how)
    assert raised.traceback[-1].name == "body"
    assert raised.value.__context__ is None
    assert raised.value.__cause__ is None


def test_send_throw_and_the_value_of_a_generator_pass_through(seen: Recorded) -> None:
    @tier("x")
    def stream() -> Any:
        got = yield 1
        try:
            yield got
        except KeyError:
            yield "caught"
        return "value"

    running = stream()
    assert [next(running), running.send("sent"), running.throw(KeyError())] == [1, "sent", "caught"]
    with pytest.raises(StopIteration) as stop:
        next(running)
    assert stop.value.value == "value"
    assert len(seen.spans) == 1


def test_send_and_throw_of_an_async_generator_pass_through(seen: Recorded) -> None:
    @tier("x")
    async def stream() -> Any:
        got = yield 1
        try:
            yield got
        except KeyError:
            yield "caught"

    async def consume() -> list[Any]:
        running = stream()
        first = [await anext(running), await running.asend("sent"), await running.athrow(KeyError())]
        return [*first, [item async for item in running]]

    assert asyncio.run(consume()) == [1, "sent", "caught", []]
    assert len(seen.spans) == 1


@pytest.mark.parametrize("where", ["task", "thread"])
def test_a_stream_may_be_consumed_elsewhere(seen: Recorded, where: str) -> None:
    """Started here, consumed in another task or thread: one span, no leak, nothing in the SDK's log."""

    @tier("x")
    async def later() -> AsyncIterator[int]:
        yield 1
        assert inside()
        yield 2

    @tier("x")
    def now() -> Iterator[int]:
        yield 1
        assert inside()
        yield 2

    async def consume() -> None:
        stream = later()
        await anext(stream)

        async def rest() -> list[int]:
            return [item async for item in stream]

        assert await asyncio.create_task(rest()) == [2]

    if where == "task":
        asyncio.run(consume())
    else:
        stream, items = now(), []
        next(stream)
        thread = threading.Thread(target=lambda: items.extend(stream))
        thread.start()
        thread.join()
        assert items == [2]
    assert outcomes(seen) == {"x": ["accepted"]}


def test_a_streams_first_chunk_is_timed(seen: Recorded) -> None:
    @tier("x")
    def stream() -> Iterator[int]:
        yield 1
        yield 2

    list(stream())
    (span,) = seen.spans
    first = dict(span.attributes or {})[semconv.TIME_TO_FIRST_CHUNK]
    assert isinstance(first, float)
    assert 0 < first < seen.tiers[0].duration_s


def test_a_cascade_that_returns_a_stream_lasts_as_long_as_the_stream(seen: Recorded) -> None:
    @tier("small")
    def small() -> Iterator[int]:
        yield 1
        yield 2

    @cascade
    def c() -> Iterator[int]:
        return small()

    stream = c()
    assert inspect.isgenerator(stream)
    assert not seen.spans
    assert list(stream) == [1, 2]
    assert [len(each.tiers) for each in seen.cascades] == [1]
    assert outcomes(seen) == {"small": ["accepted"]}


def test_a_stream_broken_off_and_followed_by_the_strong_tier_has_escalated(seen: Recorded) -> None:
    @tier("small")
    def small() -> Iterator[int]:
        yield 1
        yield 2

    @tier("large")
    def large() -> None: ...

    @cascade
    def c() -> None:
        for _ in small():
            break
        large()

    c()
    assert outcomes(seen) == {"small": ["escalated"], "large": ["accepted"]}


def test_an_async_stream_abandoned_after_its_loop_is_gone(seen: Recorded) -> None:
    @tier("x")
    async def stream() -> AsyncIterator[int]:
        yield 1
        yield 2

    loop = asyncio.new_event_loop()
    running: Any = stream()
    loop.run_until_complete(anext(running))
    loop.close()
    del running
    gc.collect()
    assert outcomes(seen) == {"x": ["abandoned"]}


def test_the_collector_inside_the_sdks_locks_does_not_deadlock() -> None:
    """Abandoned streams in cycles, closed by the collector while this thread holds a lock of the SDK.

    The collector may run at any allocation; here it does at one inside the exemplar reservoir's lock and at
    one inside the batch processor's. A finaliser that hands on at once hangs here for good.
    """
    assert (
        run_python(
            WITH_SDK
            + """
import faulthandler, threading
faulthandler.dump_traceback_later(40, exit=True)
from opentelemetry.sdk.metrics._internal.exemplar.exemplar_reservoir import (
    AlignedHistogramBucketExemplarReservoir as Reservoir)
from opentelemetry.sdk.trace.export import BatchSpanProcessor
find = Reservoir._find_bucket_index
def collecting(*values):
    gc.collect()
    return find(*values)
Reservoir._find_bucket_index = collecting
class Event(threading.Event):
    def set(self):
        with self._cond:
            gc.collect(); self._flag = True; self._cond.notify_all()
batch = BatchSpanProcessor(SPANS)
batch._batch_processor._worker_awaken = Event()
batch._batch_processor._max_export_batch_size = 1
provider.add_span_processor(batch)
@tier("x")
def stream(): yield 1; yield 2
for n in range(40):
    broken = stream(); next(broken); cycle = [broken]; cycle.append(cycle); del broken, cycle
    list(stream())
print(calls(cumulative))
"""
        )
        == "80"
    )
