"""The shapes of a function: each drives it under the call that ``begin`` gives, keeping its protocol."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from time import perf_counter_ns
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, TypeAlias

from cascade_otel.instrumentation._calls import OpenCall, nobody

Begin: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], OpenCall]
Shape: TypeAlias = Callable[[Callable[..., Any], Begin], Callable[..., Any]]


def code_of(function: Callable[..., Any]) -> tuple[Callable[..., Any], ...]:
    """What to ask for its kind: the function, and of a callable object what its call runs."""
    if inspect.isroutine(function):
        return (function,)
    called = getattr(function, "__call__", function)  # noqa: B004 (its code is asked for, not whether it is callable)
    return function, called


def driven(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    """The function, each call of it under the open call that ``begin(args, kwargs)`` gives."""
    drive = _driven(function, begin)
    for name in ("cache_info", "cache_clear", "cache_parameters"):  # of functools' caches, which wraps leaves
        if hasattr(function, name):
            setattr(drive, name, getattr(function, name))
    return drive


def _driven(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    for each in code_of(function):
        if inspect.isasyncgenfunction(each):
            return _async_generator(function, begin)
        if inspect.isgeneratorfunction(each):
            return _generator(function, begin)
        if inspect.iscoroutinefunction(each):
            return _coroutine(function, begin)
    return _plain(function, begin)


def _plain(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    def drive(*args: Any, **kwargs: Any) -> Any:
        call = begin(args, kwargs)
        if call is nobody:
            return function(*args, **kwargs)
        try:
            with call:
                result = function(*args, **kwargs)
        except BaseException as error:
            call.finish(error)
            raise
        return _returned(call, result)

    return drive


def _coroutine(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    async def drive(*args: Any, **kwargs: Any) -> Any:
        call = begin(args, kwargs)
        if call is nobody:
            return await function(*args, **kwargs)
        try:
            with call:
                result = await function(*args, **kwargs)
        except BaseException as error:
            call.finish(error)
            raise
        return _returned(call, result)

    return drive


def _generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    def drive(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        stream, call = function(*args, **kwargs), begin(args, kwargs)
        step, value, item = stream.send, None, None
        try:
            while True:
                with call:  # current only while the generator runs, never while its consumer does
                    item = step(value)
                if call.first_chunk is None:
                    call.first_chunk = perf_counter_ns() - call.clock
                try:
                    value, step = (yield item), stream.send
                except GeneratorExit:
                    with call:
                        stream.close()
                    raise
                except BaseException as error:
                    value, step = error, stream.throw
        except StopIteration as stop:
            call.finish(None, item if stop.value is None else stop.value)
            return stop.value
        except BaseException as error:
            call.finish(error)
            raise

    return drive


def _async_generator(function: Callable[..., Any], begin: Begin) -> Callable[..., Any]:
    @functools.wraps(function)
    async def drive(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        stream, call = function(*args, **kwargs), begin(args, kwargs)
        step, value, item = stream.asend, None, None
        try:
            while True:
                with call:
                    item = await step(value)
                if call.first_chunk is None:
                    call.first_chunk = perf_counter_ns() - call.clock
                try:
                    value, step = (yield item), stream.asend
                except GeneratorExit:
                    with call:
                        await stream.aclose()
                    raise
                except BaseException as error:
                    value, step = error, stream.athrow
        except StopAsyncIteration:
            call.finish(None, item)
        except BaseException as error:
            call.finish(error)
            raise

    return drive


_TO_RUN: dict[type, Shape] = {
    GeneratorType: _generator,
    AsyncGeneratorType: _async_generator,
    CoroutineType: _coroutine,
}


_CLIENTS_STREAMS = ("Stream", "AsyncStream")
"""Of the clients of OpenAI, Anthropic and all that are generated as theirs are: a generator under a class."""
streams: dict[type, Callable[[OpenCall, Any], Any]] = {}
"""Stream objects of other people's packages, by type: each function gives the very object back, has ``with
call:`` around its steps, and calls ``call.finish`` once at its end."""


def _returned(call: OpenCall, result: Any) -> Any:
    """The result; one that is yet to run (a generator, a coroutine) is driven, the call lasts as long."""
    kind = type(result)
    shape = _TO_RUN.get(kind)
    if shape is not None:
        return shape(lambda: result, lambda *_: call)()
    if kind.__name__ in _CLIENTS_STREAMS and _follows_iterator(call, result):
        return result
    if streams:
        for each, follow in streams.items():
            if issubclass(kind, each):  # isinstance would run the code of a lazy proxy
                return follow(call, result)
    call.finish(None, result)
    return result


def _follows_iterator(call: OpenCall, stream: Any) -> bool:
    """Whether the call now lasts as long as the generator that the stream reads from, which stays its own."""
    with call.site.recording:
        within = getattr(stream, "_iterator", None)
        shape = _TO_RUN.get(type(within))
        if shape is not None:
            stream._iterator = shape(lambda: within, lambda *_: call)()
            return True
    return False
