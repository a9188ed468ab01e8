"""The same made-up calls as OTLP requests, with the attributes that a real cascade has."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import _fleet
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel import semconv
from cascade_otel.records import DAY_NS
from cascade_otel.storage import schema

SPANS = 512
NAMES = {
    semconv.CASCADE_NAME: "cascade",
    semconv.CASCADE_TASK: "task",
    semconv.CASCADE_VERSION: "version",
    semconv.CASCADE_PURPOSE: "purpose",
    semconv.INPUT_SEGMENT: "segment",
    semconv.INPUT_SIZE: "input_size",
    semconv.TIER_NAME: "tier",
    semconv.TIER_INDEX: "tier_index",
    semconv.TIER_KIND: "tier_kind",
    semconv.TIER_AGREED: "agreed",
    semconv.TIER_COUNT: "tier_count",
    semconv.FINAL_TIER_NAME: "final_tier",
    semconv.CONFIDENCE_SOURCE: "confidence_source",
    semconv.THRESHOLD: "threshold",
    semconv.ESCALATED: "escalated",
    semconv.ESCALATION_REASON: "reason",
    semconv.OUTCOME: "outcome",
    semconv.COST_CURRENCY: "currency",
    semconv.COST_SOURCE: "cost_source",
    semconv.FEEDBACK_CORRECT: "correct",
    semconv.FEEDBACK_SOURCE: "feedback_source",
    semconv.OPERATION_NAME: "operation",
    semconv.PROVIDER_NAME: "provider",
    semconv.REQUEST_MODEL: "model",
    semconv.RESPONSE_MODEL: "response_model",
    semconv.INPUT_TOKENS: "input_tokens",
    semconv.OUTPUT_TOKENS: "output_tokens",
    semconv.ERROR_TYPE: "error_type",
}
"""Attributes and the columns they come from; amounts and confidences change their unit."""


def bodies(count: int, tasks: int = 200, seed: int = 1) -> list[bytes]:
    """``count`` requests of ``SPANS`` spans of today, no span twice."""
    rows = _fleet.table(round(count * SPANS * 1.05), time.time_ns() // DAY_NS, tasks, seed=seed).to_pylist()
    if len(rows) < count * SPANS:
        raise ValueError(f"{len(rows)} spans were made; wanted: {count * SPANS}")
    rows.sort(key=lambda row: row["start_ns"])
    return [_body(rows[first : first + SPANS]) for first in range(0, count * SPANS, SPANS)]


def _body(rows: list[dict[str, Any]]) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    _put(resource.resource, semconv.SERVICE_NAME, rows[0]["service"])
    scope = resource.scope_spans.add()
    scope.scope.name = semconv.SCOPE
    for row in rows:
        span = scope.spans.add(trace_id=_trace(row, ""), span_id=_bytes(row["span_id"]))
        if row["parent_id"]:
            span.parent_span_id = _bytes(row["parent_id"])
        if row["linked_trace_lo"] is not None:
            span.links.add(trace_id=_trace(row, "linked_"), span_id=_bytes(row["span_id"]))
        span.name = semconv.FEEDBACK_SPAN if row["kind"] == schema.LABEL else row["tier"] or row["cascade"]
        span.start_time_unix_nano = row["start_ns"]
        span.end_time_unix_nano = row["start_ns"] + row["duration_ns"]
        for name, value in _attributes(row):
            _put(span, name, value)
    encoded: bytes = request.SerializeToString()
    return encoded


def _attributes(row: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, column in NAMES.items():
        if row[column] is not None:
            yield name, row[column]
    if row["confidence_nano"] is not None:
        yield semconv.CONFIDENCE_SCORE, row["confidence_nano"] / 1e9
    if row["cost_nano"] is not None:
        total = row["kind"] == schema.CASCADE
        yield semconv.TOTAL_COST if total else semconv.COST_AMOUNT, row["cost_nano"] / 1e9
    if row["weight_ppm"] is not None:
        yield semconv.AUDIT_WEIGHT, row["weight_ppm"] / 1e6


def _put(target: Any, name: str, value: str | bool | int | float) -> None:
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    setattr(target.attributes.add(key=name).value, kinds[type(value)], value)


def _trace(row: dict[str, Any], prefix: str) -> bytes:
    return _bytes(row[f"{prefix}trace_hi"]) + _bytes(row[f"{prefix}trace_lo"])


def _bytes(number: int) -> bytes:
    return number.to_bytes(8, "big", signed=True)
