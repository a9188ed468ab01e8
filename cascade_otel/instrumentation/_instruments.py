"""The tracer, the histograms and the counters."""

from __future__ import annotations

from opentelemetry import metrics, trace

from cascade_otel import semconv
from cascade_otel.instrumentation._counters import METRICS, Counter, meter

tracer = trace.get_tracer(semconv.SCOPE)

# the buckets which the semantic conventions give for durations and for tokens of a client
_SECONDS = [0.01 * 2**i for i in range(14)]
_LONG_SECONDS = [*_SECONDS, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0, 259_200.0, 604_800.0]
_TOKENS = [float(4**i) for i in range(14)]
_CONFIDENCES = [i / 20 for i in range(1, 21)]


def _histogram(name: str, bounds: list[float]) -> metrics.Histogram:
    metric = METRICS[name]
    return meter.create_histogram(name, metric.unit, metric.note, explicit_bucket_boundaries_advisory=bounds)


operation_duration = _histogram(semconv.OPERATION_DURATION, _SECONDS)
tier_duration = _histogram(semconv.TIER_DURATION, _LONG_SECONDS)
cascade_duration = _histogram(semconv.CASCADE_DURATION, _SECONDS)
tier_confidence = _histogram(semconv.TIER_CONFIDENCE, _CONFIDENCES)
token_usage = _histogram(semconv.TOKEN_USAGE, _TOKENS)

tier_calls = Counter(semconv.TIER_CALLS)
escalations = Counter(semconv.ESCALATIONS, from_zero=True)
tier_cost = Counter(semconv.TIER_COST)
tier_tokens = Counter(semconv.TIER_TOKENS)
