"""``record_call``: a whole cascade call that is over, told at once, with past times; spans, never metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import time_ns
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    INVALID_SPAN,
    INVALID_TRACE_ID,
    Span,
    SpanKind,
    format_trace_id,
    set_span_in_context,
)

from cascade_otel import semconv
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._calls import CANARY, SECOND, end_span, silent
from cascade_otel.instrumentation._cascade import described
from cascade_otel.instrumentation._cascade_call import cascade_attributes
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._guard import Guard
from cascade_otel.instrumentation._series import Kind, Labels, Series, cascade_labels
from cascade_otel.instrumentation._tier_call import tier_attributes
from cascade_otel.instrumentation._visits import Visit, Visits, reason_for

if TYPE_CHECKING:
    from cascade_otel.records import TierCall

T = TypeVar("T")
NO_TRACE = format_trace_id(INVALID_TRACE_ID)


def record_call(
    task: str,
    tiers: Sequence[TierCall],
    *,
    cascade: str = "cascade",
    start_ns: int | None = None,
    version: str | None = None,
    segment: str | None = None,
    input_size: int | None = None,
    purpose: str | None = None,
) -> str:
    """Records a cascade call that is over: one cascade span, and one child for each tier call, in order.

    Tier calls follow one another without a gap. ``start_ns`` is nanoseconds since 1970 UTC; without it the
    call ends now. A tier's ``escalated`` of None is decided: True where a later tier follows, unless its
    confidence reached its threshold. Several calls of one tier are one visit: the last stands for it. No
    metrics are recorded, since a counter cannot be back-dated. Gives the trace id (32 hexadecimal digits),
    which ``feedback`` wants, all 0 where nothing is recorded; never raises.
    """
    root: Span = INVALID_SPAN
    if silent(get_current()):
        return NO_TRACE
    canary = get_current().get(CANARY)
    with Guard("value", "record_call"):
        # all that may be wrong with what is told is found before the first span starts
        labels = cascade_labels(
            _values.name(cascade),
            _values.name(task),
            _known(_values.name, purpose) if canary is None else semconv.PURPOSES[2],
            _known(_values.name, version),
        )
        about = described(
            _known(_values.name, segment),
            _known(_values.size, input_size),
            str(canary) if canary else None,
        )
        told = _decided(tiers)
        lengths = [round(_values.duration(call.duration_s) * SECOND) for call in tiers]
        whole = _values.time(sum(lengths))
        at = _values.time(time_ns() - whole if start_ns is None else start_ns)
        errors = [_known(_values.name, call.error) for call in tiers]
        all_series = [_series(call, labels) for call in tiers]
        root = _start(labels.span_name, SpanKind.INTERNAL, {**labels.spans, **about}, at, get_current())
        inside = set_span_in_context(root)
        for series, length, attributes, error in zip(all_series, lengths, told.tiers, errors, strict=True):
            span = _start(series.span_name, series.span_kind, {**series.at_start, **about}, at, inside)
            at += length
            end_span(span, attributes, error, at)
        end_span(root, told.cascade, told.error, at)
    return format_trace_id(root.get_span_context().trace_id)


def _series(call: TierCall, labels: Labels) -> Series:
    kind = Kind(_values.name(call.kind), provider=_known(_values.name, call.provider))
    return Series(kind, _values.name(call.tier), _known(_values.name, call.model), labels)


class _Told(NamedTuple):
    """What the spans of a recorded call say at their end."""

    tiers: list[Attributes]
    cascade: Attributes
    error: str | None


def _decided(tiers: Sequence[TierCall]) -> _Told:
    visits = Visits[int]()
    of_call: list[Visit[int]] = []
    for position, call in enumerate(tiers):
        of_call.append(visits.started(call.tier))
        visits.answered(of_call[-1], position)
    said = [
        _tier(call, visit, visit.stands == position)
        for position, (call, visit) in enumerate(zip(tiers, of_call, strict=True))
    ]
    # the first answer that stood: what follows it is a shadow
    stood = [
        visit.tier for visit, each in zip(of_call, said, strict=True) if each[semconv.OUTCOME] == "accepted"
    ]
    costs = [float(each[semconv.COST_AMOUNT]) for each in said if semconv.COST_AMOUNT in each]
    error = _known(_values.name, tiers[-1].error) if tiers and not stood else None
    any_escalated = any(semconv.ESCALATION_REASON in each for each in said)
    cascade = cascade_attributes(
        outcome="accepted" if stood or not tiers else "error" if error else "exhausted",
        escalated=any_escalated or (None if error else False),
        tiers=len(visits.by_tier),
        final=stood[0] if stood else None,
        cost=_values.cost(sum(costs)) if costs else None,
    )
    return _Told(said, cascade, error)


def _tier(call: TierCall, visit: Visit[int], stands: bool) -> Attributes:
    confidence = _known(_values.probability, call.confidence)
    threshold = _known(_values.threshold, call.threshold)
    below = confidence is None or threshold is None or confidence < threshold
    escalated: bool | None = None
    outcome, reason = "repeated", None
    if stands:
        escalated = visit.observed and (below or call.error is not None)
        escalated = escalated if call.escalated is None else bool(call.escalated)
        outcome = "escalated" if escalated else "accepted" if call.error is None else "error"
    if escalated:
        known = reason_for(call.error, False, confidence, threshold, threshold is not None)
        reason = _known(_values.reason, call.reason) or known
    return tier_attributes(
        outcome=outcome,
        escalated=None if outcome == "error" else escalated,  # undecided, as where a live cascade fails
        reason=reason,
        index=visit.index,
        confidence=confidence,
        confidence_source="record",
        threshold=threshold,
        cost=_known(_values.cost, call.cost),
        sent=_known(_values.tokens, call.input_tokens),
        received=_known(_values.tokens, call.output_tokens),
        response_model=_known(_values.name, call.response_model),
    )


def _known(convert: Callable[[Any], T], value: Any) -> T | None:
    return None if value is None else convert(value)


def _start(name: str, kind: SpanKind, attributes: Attributes, start_ns: int, context: Context) -> Span:
    return instruments.start_span(name, context, kind, attributes, start_time=start_ns)
