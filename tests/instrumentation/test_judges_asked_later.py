"""Judges that are awaited: known for such while they wait; one that is broken off leaves nothing behind."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Awaitable, Generator
from contextvars import copy_context

import pytest
from opentelemetry.context import get_current

from cascade_otel import cascade, scorer, tier
from cascade_otel.instrumentation._scorer import judging
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import outcomes


@tier("small", threshold=0.8)
def small() -> str:
    return "maybe"


def test_a_judge_is_known_for_one_while_it_is_awaited_and_not_after(seen: Recorded) -> None:
    told: list[bool] = []

    @scorer("small")
    async def judge(answer: str) -> float:
        told.append(judging())
        await asyncio.sleep(0)
        told.append(judging())
        return 0.9

    @cascade
    async def c() -> None:
        answer = small()
        told.append(judging())
        await judge(answer)
        told.append(judging())

    asyncio.run(c())
    assert told == [False, True, True, False]


def test_the_awaitable_of_a_plain_function_is_a_judge_too(seen: Recorded) -> None:
    told: list[bool] = []

    async def later() -> float:
        await asyncio.sleep(0)
        told.append(judging())
        return 0.9

    @scorer("small")
    def judge(answer: str) -> Awaitable[float]:
        return later()

    @cascade
    async def c() -> None:
        await judge(small())

    asyncio.run(c())
    assert told == [True]
    assert seen.tiers[0].confidence == 0.9


def test_a_cascade_that_runs_beside_a_judge_is_not_the_judges(seen: Recorded) -> None:
    """Two tasks: while the judge of one waits, the other asks its tiers."""
    told: list[bool] = []

    async def both() -> None:
        asked, go_on = asyncio.Event(), asyncio.Event()

        @scorer("small")
        async def judge(answer: str) -> float:
            asked.set()
            await go_on.wait()
            return 0.9

        @cascade("judged")
        async def judged() -> None:
            await judge(small())

        @cascade("beside")
        async def beside() -> None:
            await asked.wait()
            told.append(judging())
            small()
            go_on.set()

        await asyncio.gather(judged(), beside())

    asyncio.run(both())
    assert told == [False]
    assert outcomes(seen) == {"small": ["accepted", "accepted"]}


class Waiting:
    def __await__(self) -> Generator[None]:
        yield


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_judge_that_is_closed_half_way_gives_its_context_back(seen: Recorded, elsewhere: bool) -> None:
    """By the collector, in another context than it began in, it has none to give back: nothing is logged."""

    @scorer("small")
    async def judge() -> float:
        await Waiting()
        return 0.9

    before, steps = get_current(), judge()
    begin = functools.partial(steps.send, None)
    copy_context().run(begin) if elsewhere else begin()
    assert (get_current() is before) == elsewhere
    del begin, steps
    gc.collect()
    assert get_current() is before
