"""What did my cascade record? For tests of your own: ``with record() as recorded: ...``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import metrics, trace
from opentelemetry.sdk import metrics as sdk_metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from cascade_otel import semconv
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation import _prices
from cascade_otel.instrumentation._audit import wait_for_audits
from cascade_otel.instrumentation._calls import hand_on_late, wake


@dataclass(frozen=True, slots=True)
class RecordedTier:
    """One call of a tier. None: not recorded."""

    tier: str
    task: str | None
    outcome: str
    escalated: bool | None
    reason: str | None
    confidence: float | None
    confidence_source: str | None
    threshold: float | None
    agreed: bool | None
    kind: str
    provider: str | None
    model: str | None
    response_model: str | None
    cost: float | None
    cost_source: str | None
    input_tokens: int | None
    output_tokens: int | None
    index: int | None
    error: str | None
    first_chunk_s: float | None
    duration_s: float
    trace_id: str


@dataclass(frozen=True, slots=True)
class RecordedCascade:
    """One call of a cascade. None: not recorded."""

    name: str
    task: str
    outcome: str
    escalated: bool | None
    final_tier: str | None
    cost: float | None
    version: str | None
    purpose: str
    segment: str | None
    error: str | None
    input_size: int | None
    canary_id: str | None
    audit_weight: float | None
    duration_s: float
    trace_id: str
    tiers: tuple[RecordedTier, ...]
    """Its tier calls, in order of start."""


@dataclass(frozen=True, slots=True)
class RecordedFeedback:
    """One label. ``trace_id`` is the call's that it is about."""

    tier: str
    correct: bool
    source: str
    weight: float
    trace_id: str


class Recorded:
    """What was recorded within a ``with record()`` block; can be read in the block and after it."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._spans: list[ReadableSpan] = []
        self._reader: InMemoryMetricReader | None = reader
        self._metrics: dict[str, dict[frozenset[tuple[str, Any]], float]] = {}

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans as the SDK has them, in the order in which they were handed on."""
        hand_on_late()
        return list(self._spans)

    @property
    def tiers(self) -> list[RecordedTier]:
        """All tier calls, in order of start."""
        return [_tier(span) for span in self._in_order() if semconv.TIER_KIND in _attributes(span)]

    @property
    def cascades(self) -> list[RecordedCascade]:
        """All cascade calls, in order of start."""
        spans = self._in_order()
        by_id = {_span_id(span): span for span in spans}
        tiers: dict[int, list[RecordedTier]] = {}
        for span in spans:
            if semconv.TIER_KIND in _attributes(span):
                tiers.setdefault(_nearest_cascade(span, by_id), []).append(_tier(span))
        return [
            _cascade(span, tuple(tiers.get(_span_id(span), ())))
            for span in spans
            if semconv.TIER_COUNT in _attributes(span)
        ]

    @property
    def feedback(self) -> list[RecordedFeedback]:
        """All labels, in order of start."""
        return [_feedback(span) for span in self._in_order() if semconv.FEEDBACK_CORRECT in _attributes(span)]

    @property
    def dropped(self) -> dict[str, float]:
        """What was left out, by reason: empty, unless a value could not be used."""
        counted = self.metric(semconv.DROPPED)
        return {str(dict(said)[semconv.DROP_REASON]): number for said, number in counted.items()}

    def metric(self, name: str) -> dict[frozenset[tuple[str, Any]], float]:
        """What a counter was increased by, or how many values a histogram got, by attributes (never 0)."""
        self._collect()
        return dict(self._metrics.get(name, {}))

    def metrics(self) -> set[str]:
        """The names of all metrics that were recorded."""
        self._collect()
        return {name for name, points in self._metrics.items() if points}

    def close(self) -> None:
        """Records no more. Waits for audits that run in threads, ten seconds at most."""
        wait_for_audits(10.0)
        hand_on_late()
        self._collect()
        self._reader = None

    def _in_order(self) -> list[ReadableSpan]:
        return sorted(self.spans, key=lambda span: span.start_time or 0)

    def _collect(self) -> None:
        data = None if self._reader is None else self._reader.get_metrics_data()
        for resource in () if data is None else data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics if scope.scope.name == semconv.SCOPE else ():
                    points = self._metrics.setdefault(metric.name, {})
                    for point in metric.data.data_points:
                        key = frozenset((point.attributes or {}).items())
                        value = point.count if hasattr(point, "count") else point.value
                        if value:
                            points[key] = points.get(key, 0) + value


@contextmanager
def record(tracer_provider: TracerProvider | None = None) -> Iterator[Recorded]:
    """Collects what is recorded within the block.

    Without a ``tracer_provider`` the global one is listened to; where there is none yet, one is installed
    (for good, since OpenTelemetry knows no way back). With one, our spans go there within the block.
    Metrics are always those of the global meter provider, which likewise is installed where there is none:
    instruments stay with the provider that they first met.
    """
    wake()
    _prices.begin_loading()
    _prices.wait_until_loaded()
    spans_from = tracer_provider or _global_tracer_provider()
    metrics_from = _global_meter_provider()
    reader = InMemoryMetricReader(_DELTA)
    metrics_from.add_metric_reader(reader)
    hand_on_late()
    reader.get_metrics_data()  # what was counted before is not this block's
    recorded = Recorded(reader)
    listeners = _listening_to(spans_from)
    listeners.append(recorded)
    before = instruments.tracer
    if tracer_provider is not None:
        instruments.tracer = tracer_provider.get_tracer(semconv.SCOPE)
    try:
        yield recorded
    finally:
        recorded.close()
        instruments.tracer = before
        listeners.remove(recorded)
        metrics_from.remove_metric_reader(reader)


_DELTA: dict[type, AggregationTemporality] = dict.fromkeys(
    (sdk_metrics.Counter, sdk_metrics.ObservableCounter, sdk_metrics.Histogram), AggregationTemporality.DELTA
)


class _Listeners(SpanProcessor):
    """Gives ended spans to the open blocks; stays with its provider, which gives no processor back."""

    def __init__(self) -> None:
        self.open: list[Recorded] = []

    def on_end(self, span: ReadableSpan) -> None:
        for recorded in tuple(self.open):
            if (span.context.trace_flags if span.context else 0) & 1:
                recorded._spans.append(span)


_listeners: WeakKeyDictionary[TracerProvider, _Listeners] = WeakKeyDictionary()


def _listening_to(provider: TracerProvider) -> list[Recorded]:
    if provider not in _listeners:
        _listeners[provider] = _Listeners()
        provider.add_span_processor(_listeners[provider])
    return _listeners[provider].open


def _global_tracer_provider() -> TracerProvider:
    if not isinstance(trace.get_tracer_provider(), TracerProvider):
        trace.set_tracer_provider(TracerProvider(shutdown_on_exit=False))
    provider = trace.get_tracer_provider()
    if not isinstance(provider, TracerProvider):
        raise TypeError(
            f"the global tracer provider is a {type(provider).__name__}, not the SDK's: pass one of your own"
        )
    return provider


def _global_meter_provider() -> MeterProvider:
    if not isinstance(metrics.get_meter_provider(), MeterProvider):
        metrics.set_meter_provider(MeterProvider(shutdown_on_exit=False))
    provider = metrics.get_meter_provider()
    if not isinstance(provider, MeterProvider):
        raise TypeError(
            f"the global meter provider is a {type(provider).__name__}, not the SDK's: "
            "metrics can be read only from the SDK's"
        )
    return provider


def _attributes(span: ReadableSpan) -> Mapping[str, Any]:
    return span.attributes or {}


def _duration_s(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e9


def _trace_id(span: ReadableSpan) -> str:
    return trace.format_trace_id(span.context.trace_id) if span.context else ""


def _tier(span: ReadableSpan) -> RecordedTier:
    said = _attributes(span).get
    return RecordedTier(
        tier=str(said(semconv.TIER_NAME)),
        task=said(semconv.CASCADE_TASK),
        outcome=str(said(semconv.OUTCOME)),
        escalated=said(semconv.ESCALATED),
        reason=said(semconv.ESCALATION_REASON),
        confidence=said(semconv.CONFIDENCE_SCORE),
        confidence_source=said(semconv.CONFIDENCE_SOURCE),
        threshold=said(semconv.THRESHOLD),
        agreed=said(semconv.TIER_AGREED),
        kind=str(said(semconv.TIER_KIND)),
        provider=said(semconv.PROVIDER_NAME),
        model=said(semconv.REQUEST_MODEL),
        response_model=said(semconv.RESPONSE_MODEL),
        cost=said(semconv.COST_AMOUNT),
        cost_source=said(semconv.COST_SOURCE),
        input_tokens=said(semconv.INPUT_TOKENS),
        output_tokens=said(semconv.OUTPUT_TOKENS),
        index=said(semconv.TIER_INDEX),
        error=said(semconv.ERROR_TYPE),
        first_chunk_s=said(semconv.TIME_TO_FIRST_CHUNK),
        duration_s=_duration_s(span),
        trace_id=_trace_id(span),
    )


def _nearest_cascade(span: ReadableSpan, by_id: Mapping[int, ReadableSpan]) -> int:
    """Span id of the cascade call that a span is in, 0 for none; others' spans may lie between."""
    while span.parent is not None and span.parent.span_id in by_id:
        span = by_id[span.parent.span_id]
        if semconv.TIER_COUNT in _attributes(span):
            return _span_id(span)
    return 0


def _span_id(span: ReadableSpan) -> int:
    return span.context.span_id if span.context else 0


def _feedback(span: ReadableSpan) -> RecordedFeedback:
    said = _attributes(span).get
    return RecordedFeedback(
        tier=str(said(semconv.TIER_NAME)),
        correct=bool(said(semconv.FEEDBACK_CORRECT)),
        source=str(said(semconv.FEEDBACK_SOURCE)),
        weight=float(said(semconv.FEEDBACK_WEIGHT) or 0.0),
        trace_id=trace.format_trace_id(span.links[0].context.trace_id) if span.links else "",
    )


def _cascade(span: ReadableSpan, tiers: tuple[RecordedTier, ...]) -> RecordedCascade:
    said = _attributes(span).get
    return RecordedCascade(
        name=str(said(semconv.CASCADE_NAME)),
        task=str(said(semconv.CASCADE_TASK)),
        outcome=str(said(semconv.OUTCOME)),
        escalated=said(semconv.ESCALATED),
        final_tier=said(semconv.FINAL_TIER_NAME),
        cost=said(semconv.TOTAL_COST),
        version=said(semconv.CASCADE_VERSION),
        purpose=str(said(semconv.CASCADE_PURPOSE) or semconv.PURPOSES[0]),
        segment=said(semconv.INPUT_SEGMENT),
        error=said(semconv.ERROR_TYPE),
        input_size=said(semconv.INPUT_SIZE),
        canary_id=said(semconv.CANARY_ID),
        audit_weight=said(semconv.AUDIT_WEIGHT),
        duration_s=_duration_s(span),
        trace_id=_trace_id(span),
        tiers=tiers,
    )
