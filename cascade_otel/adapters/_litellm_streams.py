"""LiteLLM's streams: a recorded call lasts until its stream ends, and the stream stays the object it was."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from time import perf_counter_ns
from typing import Any
from weakref import WeakKeyDictionary

from cascade_otel.adapters._patches import Patches
from cascade_otel.instrumentation._calls import OpenCall
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._tier_call import OpenTier

_FOLLOWED = "_cascade_otel_followed"  # under it a stream carries the calls that last as long
_guard = Guard("sdk", "litellm stream")


class Followed:
    """The calls that last as long as one stream: a tier's, and that of a cascade that gives it back."""

    inside = False  # a step of the stream runs

    def __init__(self) -> None:
        self.calls: list[OpenCall] = []  # innermost first
        self.around: list[OpenTier] = []  # tiers within which the stream is read
        self.chunks: list[Any] = []

    @property
    def ended(self) -> bool:
        """Nobody waits for its end any more."""
        return not (self.calls or self.around)

    @property
    def current(self) -> AbstractContextManager[None]:
        """What is around a step."""
        return self.calls[0] if self.calls else nullcontext()

    def seen(self, chunk: Any) -> None:
        """A chunk has come."""
        self.chunks.append(chunk)
        for call in self.calls:
            if call.first_chunk is None:
                call.first_chunk = perf_counter_ns() - call.clock

    def end(self, error: BaseException | None, stream: Any = None) -> None:
        """Nothing more comes of the stream."""
        calls, self.calls = self.calls, []
        if isinstance(error, GeneratorExit):
            for inner in [each for call in calls for each in _inner.pop(call, ())]:
                inner.end(error)  # nobody reads it any more, though the Router still holds it
        around, self.around = self.around, []
        result, began = stream, perf_counter_ns()
        if error is None and (
            around or any(isinstance(call, OpenTier) or call.site.from_result for call in calls)
        ):
            with _guard:
                result = assembled(stream, self.chunks)
                for tier in around:
                    tier.hear(result)
        self.chunks = []
        ours = perf_counter_ns() - began
        for call in calls:
            call.clock += ours  # the call had ended before
            # LiteLLM wraps what broke a stream, so that its router can catch it
            call.finish(getattr(error, "original_exception", None) or error, result)


_inner: WeakKeyDictionary[OpenCall, list[Followed]] = WeakKeyDictionary()  # of a cascade, its tiers' streams


def follow(call: OpenCall, stream: Any) -> Any:
    """The stream itself; the call lasts until it has ended, has failed, was closed or is let go of."""
    try:
        followed = _followed(stream)
        if isinstance(call, OpenTier) and call.cascade is not None:
            _inner.setdefault(call.cascade, []).append(followed)
        followed.calls.append(call)
    except Exception as error:
        _guard.caught(error)
        call.finish(None, stream)
    return stream


def tell(call: OpenTier, result: Any) -> None:
    """Tells a tier within which LiteLLM was called what the answer was, a stream's at its end."""
    with _guard:
        if hasattr(result, "logging_obj"):
            _followed(result).around.append(call)
        else:
            call.hear(result)


def _followed(stream: Any) -> Followed:
    followed: Followed | None = vars(stream).get(_FOLLOWED)
    if followed is None:
        followed = vars(stream)[_FOLLOWED] = Followed()
        weakref.finalize(stream, followed.end, GeneratorExit())
        heed(type(stream), setattr)
    return followed


def heed(kind: type, put: Callable[[Any, str, Any], None]) -> None:
    """Lets the followed streams of a class tell of their steps. The Router makes such classes as it goes."""
    for name, telling in (
        ("__next__", _sync_step),
        ("__anext__", _async_step),
        ("close", _sync_closing),
        ("aclose", _closing),
    ):
        method = vars(kind).get(name)
        if method is not None and not hasattr(method, _FOLLOWED):
            put(kind, name, telling(method))


def heed_all(patches: Patches, kind: type) -> None:
    """The same for a class that stays, until the patches are undone."""
    heed(kind, lambda owner, name, method: patches.wrap(owner, name, lambda _: method))


def assembled(stream: Any, chunks: list[Any]) -> Any:
    """The answer that the chunks make up, with its usage, and the cost where LiteLLM knows a price."""
    import litellm

    log = stream.logging_obj
    # its own chunks still have the usage, which it takes out of those that it hands on
    whole: Any = litellm.stream_chunk_builder(
        stream.chunks or chunks, messages=stream.messages, logging_obj=log
    )
    if whole is None:  # there was no chunk
        return stream
    cost = log._response_cost_calculator(result=whole)
    whole._hidden_params = {**whole._hidden_params, "response_cost": cost}
    return whole


def _sync_step(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def step(self: Any) -> Any:
        followed = vars(self).get(_FOLLOWED)
        if followed is None or followed.inside or followed.ended:
            return original(self)
        followed.inside = True
        try:
            with followed.current:
                chunk = original(self)
        except StopIteration:
            followed.end(None, self)
            raise
        except BaseException as error:
            followed.end(error)
            raise
        finally:
            followed.inside = False
        followed.seen(chunk)
        return chunk

    setattr(step, _FOLLOWED, True)
    return step


def _async_step(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    async def step(self: Any) -> Any:
        followed = vars(self).get(_FOLLOWED)
        if followed is None or followed.inside or followed.ended:
            return await original(self)
        followed.inside = True
        try:
            with followed.current:
                chunk = await original(self)
        except StopAsyncIteration:
            followed.end(None, self)
            raise
        except BaseException as error:
            followed.end(error)
            raise
        finally:
            followed.inside = False
        followed.seen(chunk)
        return chunk

    setattr(step, _FOLLOWED, True)
    return step


def _closing(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    async def aclose(self: Any) -> None:
        followed = vars(self).get(_FOLLOWED)
        try:
            await original(self)
        finally:
            _closed(followed)

    setattr(aclose, _FOLLOWED, True)
    return aclose


def _sync_closing(original: Callable[[Any], Any]) -> Callable[[Any], Any]:
    @functools.wraps(original)
    def close(self: Any) -> None:
        followed = vars(self).get(_FOLLOWED)
        try:
            original(self)
        finally:
            _closed(followed)

    setattr(close, _FOLLOWED, True)
    return close


def _closed(followed: Followed | None) -> None:
    # within a step LiteLLM closes what has failed, or ended, by itself: the step tells of that
    if followed is not None and not followed.inside:
        followed.end(GeneratorExit())
