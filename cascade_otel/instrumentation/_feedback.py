"""``feedback``: a label for an earlier call, from any process, at any later time."""

from __future__ import annotations

import os

from opentelemetry.context import Context, get_current
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from cascade_otel import semconv
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._calls import silent
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._guard import Guard


def feedback(
    trace_id: str,
    tier: str,
    correct: bool,
    source: str = "user",
    weight: float = 1.0,
    *,
    cascade: str | None = None,
    task: str | None = None,
) -> None:
    """Says whether a tier's answer was correct, in the call whose trace id (32 hexadecimal digits) is given.

    ``source`` is who says so, ``weight`` how many calls the label stands for. The label is a span of its
    own, linked to the call's trace; whichever of the two arrives first, the store joins them by trace id
    and tier. Never raises: a label that cannot be used is counted as dropped and logged once.
    """
    if silent(get_current()):
        return
    with Guard("value", "feedback"):
        attributes: Attributes = {
            semconv.TIER_NAME: _values.name(tier),
            semconv.FEEDBACK_CORRECT: _values.truth(correct),
            semconv.FEEDBACK_SOURCE: _values.name(source),
            semconv.FEEDBACK_WEIGHT: _values.weight(weight),
        }
        if cascade is not None:
            attributes[semconv.CASCADE_NAME] = _values.name(cascade)
        if task is not None:
            attributes[semconv.CASCADE_TASK] = _values.name(task)
        # a link needs a span id, and which span of the trace it was is not known here
        call = SpanContext(_trace_id(trace_id), _any_span_id(), True, TraceFlags(TraceFlags.SAMPLED))
        span = instruments.start_span(
            semconv.FEEDBACK_SPAN, Context(), SpanKind.INTERNAL, attributes, links=[Link(call)]
        )
        span.end()


def _trace_id(text: str) -> int:
    number = int(text, 16) if isinstance(text, str) and len(text) == 32 else 0
    if number == 0:
        raise ValueError(f"a trace id {text!r} arrived, 32 hexadecimal digits that are not all 0 are wanted")
    return number


def _any_span_id() -> int:
    return int.from_bytes(os.urandom(8), "big") | 1
