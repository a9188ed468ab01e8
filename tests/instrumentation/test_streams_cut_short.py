"""A cascade that reads as much of a stream as it needs has an answer, and pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded


@tier("small", threshold=0.8, confidence=lambda answer: 0.4, cost=0.001)
def small() -> str:
    return "maybe"


@tier("large", cost=0.02)
def now() -> Iterator[str]:
    yield from ("yes", "and", "more")


@tier("large", cost=0.02)
async def later() -> AsyncIterator[str]:
    for word in ("yes", "and", "more"):
        yield word


def first_word() -> str:
    small()
    for word in now():
        return word
    return ""


async def first_word_later() -> str:
    small()
    async for word in later():
        return word  # the generator stays open until the loop collects it
    return ""


async def first_word_closed() -> str:
    small()
    async with aclosing(later()) as stream:  # type: ignore[type-var]  # a decorated one has aclose too
        async for word in stream:
            return word
    return ""


@pytest.mark.parametrize("how", ["sync", "left open", "closed"])
def test_the_tier_that_was_read_is_the_final_one_and_its_cost_counts(seen: Recorded, how: str) -> None:
    if how == "sync":
        answer = cascade("extract")(first_word)()
    else:
        function: Any = first_word_later if how == "left open" else first_word_closed
        answer = asyncio.run(cascade("extract")(function)())
    assert answer == "yes"
    (call,) = seen.cascades
    assert (call.outcome, call.final_tier, call.escalated) == ("accepted", "large", True)
    assert call.cost == pytest.approx(0.021)
    assert [(each.tier, each.escalated, each.cost) for each in seen.tiers] == [
        ("small", True, 0.001),
        ("large", False if how != "left open" else None, 0.02),
    ]


def test_a_stream_of_which_nothing_was_read_is_no_answer(seen: Recorded) -> None:
    def run() -> str:
        small()
        now().close()
        return "nothing"

    cascade("extract")(run)()
    assert seen.cascades[0].final_tier != "large"


def test_a_stream_that_the_cascade_hands_on_unread_outlives_it(seen: Recorded) -> None:
    """Wrapped in something of the host's own, it cannot be followed: its tier is still not the final one."""
    kept: list[Any] = []

    def run() -> str:
        kept.append(now())
        return small()

    cascade("extract")(run)()
    assert seen.cascades[0].final_tier == "small"
    assert list(kept.pop()) == ["yes", "and", "more"]
