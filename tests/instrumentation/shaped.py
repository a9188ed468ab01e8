"""Functions of every shape that come to every end, and consumers for them."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any

from opentelemetry import context, trace

from cascade_otel.instrumentation._calls import silent


class OwnError(Exception):
    pass


SHAPES = ["sync", "async", "generator", "async generator"]
ENDINGS = ["success", "exception", "keyboard", "cancelled", "closed", "abandoned"]
CANNOT = {("sync", "cancelled"), ("sync", "closed"), ("sync", "abandoned"), ("generator", "cancelled")}
OUTCOME = {"success": "accepted", "exception": "error", "keyboard": "error", "cancelled": "cancelled"}
RAISED = {"exception": OwnError, "keyboard": KeyboardInterrupt, "cancelled": asyncio.CancelledError}
KINDS = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)


def inside() -> bool:
    return trace.get_current_span().get_span_context().is_valid


def shaped(shape: str, decorate: Callable[[Any], Any], ending: str) -> Any:
    """A function of that shape that comes to that end."""

    def body() -> None:
        expected_here = decorate is not plain and not silent(context.get_current())
        assert ending == "unseen" or inside() == expected_here, "current while the user's code runs"
        if ending == "exception":
            raise OwnError
        if ending == "keyboard":
            raise KeyboardInterrupt

    def sync() -> int:
        body()
        return 1

    async def coroutine() -> int:
        await asyncio.sleep(0)
        body()
        await asyncio.sleep(10 if ending in ("cancelled", "abandoned", "closed") else 0)
        return 1

    def generator() -> Any:
        yield 1
        body()
        yield 2
        return 3

    async def async_generator() -> AsyncIterator[int]:
        yield 1
        body()
        await asyncio.sleep(10 if ending == "cancelled" else 0)
        yield 2

    functions = dict(zip(SHAPES, (sync, coroutine, generator, async_generator), strict=True))
    return decorate(functions[shape])


def plain(function: Any) -> Any:
    return function


def drive(shape: str, function: Any, ending: str) -> Any:
    """Consumes the function in the wanted way; gives what the consumer saw."""
    if shape == "sync":
        return function()
    if shape == "generator":
        return drive_generator(function(), ending)
    return asyncio.run(drive_async(shape, function, ending))


def drive_generator(stream: Any, ending: str) -> Any:
    if ending in ("closed", "abandoned"):
        next(stream)
        assert not inside()
        if ending == "closed":
            stream.close()
        del stream
        gc.collect()
        return ending
    items = []
    for item in stream:
        assert not inside()
        items.append(item)
    return items


async def drive_async(shape: str, function: Any, ending: str) -> Any:
    if shape == "async":
        if ending in ("closed", "abandoned"):
            running = function()
            running.send(None)
            if ending == "closed":
                running.close()
            del running
            gc.collect()
            return ending
        task = asyncio.ensure_future(function())
        await asyncio.sleep(0.005)
        if ending == "cancelled":
            task.cancel()
        return await task
    stream = function()
    if ending in ("closed", "abandoned"):
        await anext(stream)
        assert not inside()
        if ending == "closed":
            await stream.aclose()
        del stream
        gc.collect()
        await asyncio.sleep(0.005)
        return ending
    items = []

    async def consume() -> None:
        async for item in stream:
            assert not inside()
            items.append(item)

    task = asyncio.ensure_future(consume())
    await asyncio.sleep(0.005)
    if ending == "cancelled":
        task.cancel()
    await task
    return items


def expected(shape: str, ending: str) -> Any:
    return ending if ending != "success" else [1, 2] if "generator" in shape else 1
