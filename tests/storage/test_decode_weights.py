"""How many calls one stands for where a sampler keeps some of them, and how far that is known."""

from __future__ import annotations

import pyarrow.compute as pc
import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace._sampling_experimental import (
    composable_parent_threshold,
    composable_traceid_ratio_based,
    composite_sampler,
)
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cascade_otel.storage import schema
from cascade_otel.storage.otlp.decode import decode
from tests.storage.storage_samples import NOW_NS, put

ROOT, OTHER = b"\x01" * 16, b"\x02" * 16
CASCADE = {"cascade.name": "extract", "cascade.task": "brand"}
TIER = {**CASCADE, "cascade.tier.name": "small"}


def weights(*spans: tuple[bytes, dict, str]) -> list[int | None]:
    """Of spans given by their trace, attributes and trace state, in one request."""
    return decode([request(*spans)], NOW_NS).table["weight_ppm"].to_pylist()


def request(*spans: tuple[bytes, dict, str]) -> bytes:
    made = ExportTraceServiceRequest()
    scope = made.resource_spans.add().scope_spans.add()
    for index, (trace, attributes, state) in enumerate(spans):
        span = scope.spans.add(trace_id=trace, span_id=bytes([index + 1] * 8), trace_state=state)
        span.start_time_unix_nano = span.end_time_unix_nano = NOW_NS
        put(span, **attributes)
    encoded: bytes = made.SerializeToString()
    return encoded


def test_a_tier_that_does_not_say_was_sampled_with_its_cascade():
    assert weights((ROOT, TIER, ""), (OTHER, TIER, ""), (ROOT, CASCADE, "ot=th:c"), (ROOT, TIER, "")) == [
        4_000_000,
        None,
        4_000_000,
        4_000_000,
    ]


def test_a_tier_that_says_is_believed():
    assert weights((ROOT, CASCADE, "ot=th:c"), (ROOT, TIER, "ot=th:8")) == [4_000_000, 2_000_000]
    assert weights((ROOT, CASCADE, "ot=th:c"), (ROOT, TIER, "ot=th:0")) == [4_000_000, None]


def test_an_audit_stands_for_its_own_share_of_what_was_sampled():
    audit = {**TIER, "cascade.purpose": "audit", "cascade.audit.weight": 20.0}
    assert weights((ROOT, CASCADE, "ot=th:8"), (ROOT, audit, "")) == [2_000_000, 40_000_000]
    assert weights((ROOT, CASCADE, ""), (ROOT, audit, "ot=th:8")) == [None, 40_000_000]


@pytest.mark.parametrize("state", ["", "ot=rv:12345678901234", "vendor=1"])
def test_nobody_says_anything_and_every_call_stands_for_itself(state):
    assert weights((ROOT, CASCADE, state), (ROOT, TIER, state)) == [None, None]


def test_a_label_keeps_the_weight_it_came_with():
    label = {"cascade.tier.name": "small", "cascade.feedback.correct": True, "cascade.feedback.weight": 3.0}
    assert weights((ROOT, CASCADE, "ot=th:8"), (ROOT, label, "ot=th:8"), (ROOT, label, "")) == [
        2_000_000,
        3_000_000,
        3_000_000,
    ]


def test_the_cascade_may_be_in_another_request_of_the_same_commit_but_not_in_a_later_one():
    cascade, tier = request((ROOT, CASCADE, "ot=th:8")), request((ROOT, TIER, ""))
    assert decode([tier, cascade], NOW_NS).table["weight_ppm"].to_pylist() == [2_000_000] * 2
    assert decode([tier], NOW_NS).table["weight_ppm"].to_pylist() == [None]


def test_what_the_sdks_own_sampler_keeps_stands_for_as_many_tiers_as_cascades():
    """It writes its threshold into the trace state of the root alone."""
    memory = InMemorySpanExporter()
    sampler = composite_sampler(composable_parent_threshold(composable_traceid_ratio_based(0.25)))
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    for _ in range(100):
        # This sampler loses the attributes that a span starts with.
        with tracer.start_as_current_span("cascade brand") as cascade:
            cascade.set_attributes(CASCADE)
            with tracer.start_as_current_span("small") as tier:
                tier.set_attributes(TIER)
    spans = memory.get_finished_spans()
    table = decode([encode_spans(spans).SerializeToString()]).table
    kept = {kind: table.filter(pc.equal(table["kind"], kind)) for kind in (schema.CASCADE, schema.TIER)}
    for rows in kept.values():
        assert 0 < rows.num_rows < 100
        assert set(rows["weight_ppm"].to_pylist()) == {4_000_000}
