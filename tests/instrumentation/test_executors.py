"""A tier that is run elsewhere: the cascade rides along, or its call is an orphan and one line says so."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.threading import ThreadingInstrumentor

from cascade_otel import cascade, semconv, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import Answer, outcomes, two_tiers

Way = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def threading_instrumented() -> Iterator[None]:
    instrumentor = ThreadingInstrumentor()  # type: ignore[no-untyped-call]  # it has no types
    instrumentor.instrument()
    yield
    instrumentor.uninstrument()


def thread(call: Callable[[], Any]) -> None:
    one = threading.Thread(target=call)
    one.start()
    one.join()


def timer(call: Callable[[], Any]) -> None:
    one = threading.Timer(0, call)
    one.start()
    one.join()


def pool_submit(call: Callable[[], Any]) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        pool.submit(call).result()


def pool_map(call: Callable[[], Any]) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: call(), range(1)))


def in_executor(call: Callable[[], Any]) -> None:
    async def main() -> None:
        await asyncio.get_running_loop().run_in_executor(None, call)

    asyncio.run(main())


def copied(call: Callable[[], Any]) -> None:
    context = contextvars.copy_context()
    thread(lambda: context.run(call))


def to_thread(call: Callable[[], Any]) -> None:
    asyncio.run(asyncio.to_thread(call))


def task_group(call: Callable[[], Any]) -> None:
    async def one() -> None:
        call()

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(one())

    asyncio.run(main())


def callback(call: Callable[[], Any]) -> None:
    async def main() -> None:
        done = asyncio.Event()
        asyncio.get_running_loop().call_soon(lambda: (call(), done.set()))
        await done.wait()

    asyncio.run(main())


CARRY: list[Way] = [copied, to_thread, task_group, callback]
NEED: list[Way] = [thread, timer, pool_submit, pool_map, in_executor]


def escalate(way: Way) -> None:
    """The small tier is asked here, the large one there."""
    small, large = two_tiers(Answer(0.5))

    @cascade(task="t")
    def c() -> None:
        small()
        way(large)

    c()


@pytest.mark.parametrize("way", CARRY)
def test_what_copies_the_context_needs_nothing(
    seen: Recorded, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    escalate(way)
    assert outcomes(seen) == {"small": ["escalated"], "large": ["accepted"]}
    assert [len(each.tiers) for each in seen.cascades] == [2]
    assert not caplog.records


@pytest.mark.parametrize("way", NEED)
def test_the_official_instrumentation_carries_it_into_threads(
    seen: Recorded, way: Way, threading_instrumented: None, caplog: pytest.LogCaptureFixture
) -> None:
    escalate(way)
    assert outcomes(seen) == {"small": ["escalated"], "large": ["accepted"]}
    assert [len(each.tiers) for each in seen.cascades] == [2]
    assert not [each for each in caplog.records if each.name == "cascade_otel"]


@pytest.mark.parametrize("way", NEED)
def test_without_it_the_call_is_an_orphan_and_one_line_says_what_to_install(
    seen: Recorded, way: Way, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        escalate(way)
    assert outcomes(seen) == {"small": ["accepted"] * 3, "large": ["accepted"] * 3}
    assert [each.task for each in seen.tiers if each.tier == "large"] == [None] * 3
    told = [each.getMessage() for each in caplog.records if "outside any cascade" in each.getMessage()]
    assert len(told) == 1
    assert "opentelemetry-instrumentation-threading" in told[0]


@pytest.mark.parametrize("instrumented", [False, True])
def test_a_pool_shared_by_many_cascades_mixes_nothing_up(
    seen: Recorded, instrumented: bool, request: pytest.FixtureRequest
) -> None:
    """Its threads outlive the cascades: with a context of its own, each call is its own cascade's."""
    if instrumented:
        request.getfixturevalue("threading_instrumented")
    barrier = threading.Barrier(4)

    @tier("x")
    def x(i: int) -> int:
        barrier.wait(30)
        return i

    with concurrent.futures.ThreadPoolExecutor(4) as pool:

        @cascade(task=lambda i: f"shared {i}")
        def c(i: int) -> int:
            context = contextvars.copy_context()
            return (pool.submit(x, i) if instrumented else pool.submit(context.run, x, i)).result()

        callers = [threading.Thread(target=c, args=[i]) for i in range(4)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
    assert sorted(str(each.task) for each in seen.tiers) == [f"shared {i}" for i in range(4)]
    for whole in seen.cascades:
        assert [each.task for each in whole.tiers] == [whole.task]


def test_a_context_variable_of_the_hosts_is_as_it_was(seen: Recorded) -> None:
    """Decorating neither hides a variable from the function nor undoes what it sets."""
    own = contextvars.ContextVar("own", default=0)

    @cascade
    @tier("x")
    def plain() -> None:
        own.set(own.get() + 1)

    @cascade
    @tier("x")
    async def later() -> None:
        own.set(own.get() + 1)

    async def main() -> int:
        await later()
        async with asyncio.TaskGroup() as group:
            group.create_task(later())
        return own.get()

    plain()
    assert (own.get(), asyncio.run(main()), own.get()) == (1, 2, 1)
    assert sum(seen.metric(semconv.TIER_CALLS).values()) == 3
