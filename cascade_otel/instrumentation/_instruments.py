"""The tracer, the histograms and the counters."""

from __future__ import annotations

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind

from cascade_otel import semconv
from cascade_otel.instrumentation._counters import Attributes, Counter, Histogram

tracer = trace.get_tracer(semconv.SCOPE)

# the buckets which the semantic conventions give for durations and for tokens of a client
_SECONDS = [0.01 * 2**i for i in range(14)]
_LONG_SECONDS = [*_SECONDS, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 259_200.0, 604_800.0]
_TOKENS = [float(4**i) for i in range(14)]
_CONFIDENCES = [i / 20 for i in range(1, 21)]

operation_duration = Histogram(semconv.OPERATION_DURATION, _SECONDS)
tier_duration = Histogram(semconv.TIER_DURATION, _LONG_SECONDS)
cascade_duration = Histogram(semconv.CASCADE_DURATION, _SECONDS)
tier_confidence = Histogram(semconv.TIER_CONFIDENCE, _CONFIDENCES)
token_usage = Histogram(semconv.TOKEN_USAGE, _TOKENS)

tier_calls = Counter(semconv.TIER_CALLS)
escalations = Counter(semconv.ESCALATIONS, from_zero=True)
tier_cost = Counter(semconv.TIER_COST)
tier_tokens = Counter(semconv.TIER_TOKENS)


def start_span(
    name: str,
    context: Context,
    kind: SpanKind,
    attributes: Attributes,
    links: Sequence[Link] = (),
    start_time: int | None = None,
) -> Span:
    """Starts a span by the tracer, with these attributes whatever the sampler does to them."""
    span = tracer.start_span(name, context, kind, attributes, links, start_time)
    # the SDK's sampler that writes its threshold into the trace state gives back none of them
    if attributes and not getattr(span, "attributes", attributes) and span.is_recording():
        span.set_attributes(attributes)
    return span
