"""Methods, partials, callable objects and ``with`` blocks: one object for many calls at once."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import context

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded, record
from tests.instrumentation.toys import outcomes


def test_methods_partials_objects_and_both_decorator_orders(seen: Recorded) -> None:
    x = tier("x")

    class Methods:
        @x
        def method(self, v: int) -> int:
            return v

        @x
        @classmethod
        def class_after(cls, v: int) -> Any:
            return cls, v

        @classmethod
        @x
        def class_before(cls, v: int) -> Any:
            return cls, v

        @x
        @staticmethod
        def static_after(v: int) -> int:
            return v

        @staticmethod
        @x
        def static_before(v: int) -> int:
            return v

        async def __call__(self, v: int) -> int:
            return v

    async def later(v: int) -> int:
        return v

    one = Methods()
    assert (one.method(1), one.static_after(1), one.static_before(1)) == (1, 1, 1)
    assert one.class_after(1) == one.class_before(1) == (Methods, 1)
    assert x(functools.partial(max, 1))(2) == 2
    assert inspect.iscoroutinefunction(x(one))
    assert asyncio.run(x(one)(5)) == 5
    assert asyncio.run(x(functools.partial(later, 1))()) == 1
    assert asyncio.run(x(lambda: later(1))()) == 1
    assert len(seen.spans) == 9


def test_a_decorated_function_keeps_its_name_docstring_and_signature() -> None:
    @tier("y")
    def documented(a: int) -> int:
        """Text."""
        return a

    assert (documented.__doc__, documented.__name__) == ("Text.", "documented")
    assert list(inspect.signature(documented).parameters) == ["a"]


def test_with_blocks(seen: Recorded) -> None:
    with cascade("extract", task="organic") as whole:
        with tier("small", threshold=0.8) as call:
            call.confidence = 0.5
            call.cost = 0.25
        with tier("large") as second:
            second.cost, second.response_model = 0.5, "m-2025"
    assert outcomes(seen) == {"small": ["escalated"], "large": ["accepted"]}
    (recorded,) = seen.cascades
    assert (recorded.task, recorded.cost, recorded.trace_id) == ("organic", 0.75, whole.trace_id)
    assert [each.confidence for each in recorded.tiers] == [0.5, None]
    assert [each.response_model for each in recorded.tiers] == [None, "m-2025"]


def test_one_with_object_in_many_tasks(seen: Recorded) -> None:
    small, dice = tier("small"), random.Random(0)

    async def one(i: int) -> None:
        with small as call:
            await asyncio.sleep(dice.random() / 100)
            call.confidence = i / 20

    async def many() -> None:
        await asyncio.gather(*[one(i) for i in range(20)])

    asyncio.run(many())
    assert sorted(each.confidence or 0.0 for each in seen.tiers) == [i / 20 for i in range(20)]


def test_a_with_block_that_ends_in_another_thread_is_ended_once(seen: Recorded) -> None:
    def stream() -> Iterator[int]:
        with tier("x") as call:
            yield 1
            call.confidence = 0.5

    running, before = stream(), context.get_current()
    next(running)
    thread = threading.Thread(target=lambda: list(running))
    thread.start()
    thread.join()
    assert outcomes(seen) == {"x": ["accepted"]}
    context.attach(before)  # the block's own context stays behind here, as with any span around a yield


@contextmanager
def suppressed() -> Iterator[None]:
    token = context.attach(context.set_value("suppress_instrumentation", True))
    yield
    context.detach(token)


def test_a_block_entered_silently_ends_nobody_elses_call(seen: Recorded) -> None:
    """One object in two threads, in one of which instrumentation is suppressed; and one inside the other."""
    block = tier("x")
    entered, left = threading.Event(), threading.Event()

    def unheard() -> None:
        with suppressed():
            entered.wait(10)
            with block:
                pass
            left.set()

    thread = threading.Thread(target=unheard)
    thread.start()
    with block as call:
        entered.set()
        assert left.wait(10)
        assert not call.nanoseconds, "still open"
        with suppressed(), block:
            pass
        assert not call.nanoseconds, "still open"
    thread.join()
    assert outcomes(seen) == {"x": ["accepted"]}
    assert not block.blocks
    assert not block.silent_blocks


def test_a_silent_block_that_ends_in_another_thread_is_forgotten(seen: Recorded) -> None:
    block = tier("x")

    def stream() -> Iterator[int]:
        with block:
            yield 1

    for _ in range(3):
        running = stream()
        with suppressed():
            next(running)
        thread = threading.Thread(target=lambda: list(running))  # noqa: B023 (it ends within its round)
        thread.start()
        thread.join()
    assert not block.silent_blocks
    assert not seen.spans


def test_a_with_block_raises_unchanged(seen: Recorded) -> None:
    with pytest.raises(KeyError), tier("x"):
        raise KeyError
    assert outcomes(seen) == {"x": ["error"]}


def test_calls_leave_nothing_for_the_garbage_collector(seen: Recorded) -> None:
    """The context holds the call, and the call its context: uncut, the circle costs a collection each."""

    @tier("small", confidence=lambda _: 0.5)
    def small() -> int:
        return 1

    @cascade
    def c() -> None:
        small()
        small()

    c()
    gc.collect()
    gc.disable()
    try:
        for _ in range(50):
            c()
            small()
        assert gc.collect() == 0
    finally:
        gc.enable()


def test_a_block_records_the_constant_cost_of_its_tier_unless_it_says_another() -> None:
    with record() as recorded:
        for said in (None, 0.5):
            with tier("priced", cost=0.25) as call:
                call.cost = said
    assert [each.cost for each in recorded.tiers] == [0.25, 0.5]
