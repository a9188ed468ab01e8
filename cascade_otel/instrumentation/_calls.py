"""One call, from its start to being handed on to the SDK."""

from __future__ import annotations

import atexit
import os
from collections import deque
from contextvars import Token
from time import perf_counter_ns, time_ns
from types import TracebackType
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.context import Context, attach, create_key, detach, get_current, get_value, set_value
from opentelemetry.trace import INVALID_SPAN, SpanKind, StatusCode, format_trace_id, set_span_in_context

from cascade_otel import semconv
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation._counters import Attributes, Histogram, before_collection

SECOND = 1e9
NO_RESULT = object()
"""The result of a ``with`` block."""
COVERED = create_key("cascade-covered")  # what is asked under it, another will tell
CANARY = create_key("cascade-canary")  # under it the id of the stored prompt that is asked again
_key = create_key("cascade-call")  # under it the innermost open call rides in the OpenTelemetry context
late: deque[OpenCall] = deque()  # broken off; handed on with the next call, at collection, at exit
SUPPRESSED = "suppress_instrumentation"  # the key that the official instrumentations ask for
_awake = False


def wake() -> None:
    """Records from now on, whatever is installed: a test may bring providers of its own."""
    global _awake
    _awake = True


def asleep() -> bool:
    """No SDK is installed yet. Once there is one, this costs a test."""
    global _awake
    if not _awake:
        for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
            _awake |= not type(provider).__module__.startswith(
                ("opentelemetry.trace", "opentelemetry.metrics")
            )
        if _awake:
            atexit.register(hand_on_late)  # registered after the SDK's own, hence run before it
    return not _awake


def silent(context: Context) -> bool:
    """Nothing is to be recorded here: no SDK is installed, or instrumentation is suppressed."""
    return (not _awake and asleep()) or bool(context.get(SUPPRESSED))


def current() -> OpenCall | None:
    """The innermost call that is open here."""
    call = get_value(_key)
    return call if isinstance(call, OpenCall) else None


def outside(context: Context) -> Context:
    """The same context, in no call of ours; the current span stays."""
    return set_value(_key, None, context)


def hand_on_late() -> None:
    """Hands on the calls that were broken off. Not to be called by a finaliser: it uses the SDK."""
    while late:
        try:
            call = late.popleft()
        except IndexError:  # another thread was faster
            return
        try:
            call.settle(None)
        except Exception as fault:
            call.site.recording.caught(fault)


class Within:
    """A block in which another context is the current one."""

    token: Token[Context]

    def __init__(self, context: Context) -> None:
        self.context = context

    def __enter__(self) -> None:
        self.token = attach(self.context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        # a coroutine that the collector closes may end in another context than it began in
        if kind is not GeneratorExit or get_current() is self.context:
            detach(self.token)


class OpenCall:
    """A call that runs: ``with call:`` makes its context current, ``finish`` is called once."""

    span: trace.Span = INVALID_SPAN
    outcome = "accepted"
    error: str | None = None  # the name of the exception's type, never its text: prompts leak through it
    nanoseconds = 0
    first_chunk: int | None = None  # nanoseconds to a stream's first chunk
    heeded = True  # False: what seemed a call is none of a tier's
    token: Token[Context]

    def __init__(self, site: Any, context: Context) -> None:
        self.site, self.context = site, context
        self.wall, self.clock = time_ns(), perf_counter_ns()

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits: what ``feedback`` wants."""
        return format_trace_id(self.span.get_span_context().trace_id)

    @property
    def enclosing(self) -> OpenCall | None:
        """The call in whose context this one began."""
        call = self.context.get(_key)
        return call if isinstance(call, OpenCall) else None

    def start(self, name: str, kind: SpanKind, attributes: Attributes) -> None:
        """Starts the span; attributes are given now, for samplers."""
        self.span = instruments.start_span(name, self.context, kind, attributes, start_time=self.wall)
        inside = self.context.copy()  # by set_value it would be copied twice
        inside[_key] = self
        self.context = set_span_in_context(self.span, inside)  # type: ignore[arg-type]  # it only copies it

    def __enter__(self) -> None:
        self.token = attach(self.context)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # a coroutine destroyed half-way is closed by the collector, in whatever context that runs
        if kind is not GeneratorExit or get_current() is self.context:
            detach(self.token)
        del self.token

    def finish(self, error: BaseException | None, result: Any = None) -> None:
        """The user's code has returned or failed."""
        self.nanoseconds = perf_counter_ns() - self.clock
        if isinstance(error, GeneratorExit):
            self.outcome = "abandoned"
            # Perhaps a finaliser, inside any of the SDK's locks: touch nothing of the SDK here.
            late.append(self)
            return
        try:
            if error is not None:
                result = self.failed(error)
            self.settle(result)
        except Exception as fault:
            self.site.recording.caught(fault)

    def failed(self, error: BaseException) -> Any:
        """Names the outcome. Gives what there is to be read: of an answer turned down, the exception."""
        if isinstance(error, self.site.rejections):
            self.outcome = "exhausted"
            return error
        # by name, since asyncio is not ours to import
        if not isinstance(error, Exception) and type(error).__name__.startswith("Cancelled"):
            self.outcome = "cancelled"
        else:
            self.outcome, self.error = "error", type(error).__qualname__
        return None

    def settle(self, result: Any) -> None:
        """Hands the call on, now or when its cascade ends."""

    def end(self, attributes: Attributes) -> None:
        """Hands the span on with the end time of the call, however long ago. The last thing done to it."""
        try:
            end_span(self.span, attributes, self.error, self.wall + self.nanoseconds)
        except Exception as error:
            self.site.recording.caught(error)
        # It holds this call: without circles (here, token, visit) no call is work for the collector.
        del self.context

    def measure_duration(self, histogram: Histogram, labels: Attributes) -> None:
        """Records how long the call took."""
        labels = labels if self.error is None else {**labels, semconv.ERROR_TYPE: self.error}
        histogram.record(self.nanoseconds / SECOND, labels, self.context)


def end_span(span: trace.Span, attributes: Attributes, error: str | None, end_ns: int) -> None:
    """Sets attributes and status, and ends the span, whatever fails."""
    try:
        if span.is_recording():
            if error is not None:
                attributes[semconv.ERROR_TYPE] = error
                span.set_status(StatusCode.ERROR, error)
            span.set_attributes(attributes)
    finally:
        span.end(end_ns)


class Nobody(OpenCall):
    """What stands in for a call while no SDK is installed."""

    first_chunk = 0

    def __init__(self) -> None: ...
    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def finish(self, error: BaseException | None, result: Any = None) -> None:
        """Nothing."""


nobody = Nobody()


def _after_fork() -> None:
    global _key
    _key = create_key("cascade-call")  # a cascade call of the parent's never ends here: do not join it
    late.clear()


before_collection.append(hand_on_late)
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
