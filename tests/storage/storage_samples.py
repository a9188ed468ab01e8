"""Made-up rows and OTLP bodies for the tests of the store."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import schema

KILLS = 200 if os.environ.get("CASCADE_OTEL_TORTURE") else 8
"""Processes killed by -9 in a test."""
DAY = 20_700
NOW_NS = DAY * DAY_NS + 12 * HOUR_NS


def rows(count: int, seed: int = 0, day: int = DAY, days: int = 1, **columns: Any) -> pa.Table:
    """Cascade and tier rows of three tasks and two tiers; ``columns`` replace made-up ones."""
    dice = np.random.default_rng(seed)
    kind = dice.integers(0, 2, count)
    tier = np.where(kind == schema.TIER, dice.choice(["small", "large"], count), None)

    def maybe(values: Any, share: float = 0.3) -> pa.Array:
        return pa.array(values, mask=dice.random(count) < share)

    def text(*choices: str | None) -> pa.Array:
        return pa.array([choices[index] for index in dice.integers(0, len(choices), count)], pa.string())

    made: dict[str, Any] = {
        "kind": kind,
        **{name: dice.integers(1, 2**62, count) for name in ("trace_hi", "trace_lo", "span_id")},
        "start_ns": day * DAY_NS + dice.integers(0, days * DAY_NS, count),
        "duration_ns": dice.integers(0, 10**10, count),
        "service": text("shop", "search", None),
        "cascade": text("extract"),
        "task": text("brand", "colour", "size"),
        "version": text("a", "b", None),
        "purpose": text(None, None, "audit"),
        "tier": pa.array(tier, pa.string()),
        "tier_index": pa.array(np.where(tier == "large", 1, 0), mask=kind != schema.TIER),
        "final_tier": pa.array(np.where(kind == schema.CASCADE, "large", None), pa.string()),
        "model": text("m1", "m2", None),
        "response_model": text("m1-2026", None),
        "outcome": text(
            "accepted", "escalated", "repeated", "exhausted", "error", "cancelled", "outlived", None
        ),
        "reason": text("low_confidence", "missing_confidence", "error", "timeout", "policy", None),
        "error_type": text("TimeoutError", None, None),
        "escalated": maybe(dice.random(count) < 0.4),
        "threshold": maybe(dice.choice([0.7, 0.8, 0.805], count)),
        "confidence_nano": maybe(dice.integers(0, 10**9 + 1, count)),
        "cost_nano": maybe(dice.integers(0, 10**9, count)),
        "input_tokens": maybe(dice.integers(0, 5000, count)),
        "output_tokens": maybe(dice.integers(0, 5000, count)),
    }
    return schema.rows(made | columns)


def body(
    count: int = 3, change: Callable[[Span], None] | None = None, seed: int = 0, now_ns: int = NOW_NS
) -> bytes:
    """A request of ``count`` tier spans of one cascade; ``change`` is done to the first of them."""
    dice = random.Random(seed)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    put(resource.resource, **{"service.name": "shop"})
    scope = resource.scope_spans.add()
    for index in range(count):
        span = scope.spans.add(
            trace_id=dice.randbytes(16),
            span_id=dice.randbytes(8),
            parent_span_id=dice.randbytes(8),
            start_time_unix_nano=now_ns + index,
            end_time_unix_nano=now_ns + index + 10**6,
        )
        put(
            span,
            **{
                "cascade.name": "extract",
                "cascade.task": "brand",
                "cascade.tier.name": "small",
                "cascade.tier.index": 0,
                "cascade.confidence.score": dice.random(),
                "cascade.threshold": 0.8,
                "cascade.escalated": dice.random() < 0.5,
                "cascade.cost.amount": dice.random() / 100,
                "gen_ai.usage.input_tokens": dice.randrange(1000),
                "http.request.id": str(dice.random()),
            },
        )
    if change:
        change(scope.spans[0])
    encoded: bytes = request.SerializeToString()
    return encoded


def put(target: Any, **values: str | bool | int | float | None) -> None:
    """Sets attributes, replacing those there are; None sets one without a value."""
    for name, value in values.items():
        for index, attribute in enumerate(target.attributes):
            if attribute.key == name:
                del target.attributes[index]
                break
        attribute = target.attributes.add(key=name)
        kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
        if value is not None:
            setattr(attribute.value, kinds[type(value)], value)
