"""Calls of every shape leave no circular references for the garbage collector."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.shaped import CANNOT, RAISED, SHAPES, shaped

ROUNDS = 20
ENDINGS = ["success", "exception", "keyboard", "cancelled"]
ASKED = [(s, e) for s in SHAPES for e in ENDINGS if (s, e) not in {*CANNOT, ("async generator", "cancelled")}]
DECORATED: dict[str, Callable[[Any], Any]] = {
    "tier": lambda f: tier("x", confidence=lambda _: 0.5)(f),
    "tier in cascade": lambda f: cascade("x")(tier("x")(f)),
}


def run(shape: str, function: Any, ending: str) -> None:
    """To its end, without an event loop, which leaves circles of its own."""
    made: Any = function()
    if shape == "generator":
        list(made)
    if "async" not in shape:
        return

    async def consume() -> None:
        if shape == "async":
            await made
            return
        async for _ in made:
            pass

    steps = consume()
    try:
        steps.send(None)
        if ending == "cancelled":
            steps.throw(asyncio.CancelledError())
        while True:
            steps.send(None)
    except StopIteration:
        return


@pytest.mark.parametrize("decorated", DECORATED)
@pytest.mark.parametrize(("shape", "ending"), ASKED)
def test_no_call_is_work_for_the_garbage_collector(
    seen: Recorded, shape: str, ending: str, decorated: str
) -> None:
    function = shaped(shape, DECORATED[decorated], ending)

    def once() -> None:
        try:
            run(shape, function, ending)
        except RAISED.get(ending, ()):
            return

    once()
    gc.collect()
    gc.disable()
    try:
        for _ in range(ROUNDS):
            once()
        assert gc.collect() == 0
    finally:
        gc.enable()
