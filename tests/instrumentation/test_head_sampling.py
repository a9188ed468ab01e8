"""A host that samples at the head: metrics stay whole, and each span kept says for how many it stands."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace._sampling_experimental import (
    composable_always_on,
    composable_parent_threshold,
    composable_rule_based,
    composable_traceid_ratio_based,
    composite_sampler,
)
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased

from cascade_otel import cascade, feedback, semconv, tier
from cascade_otel.storage import schema
from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.otlp.decode import decode
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.testing import record
from tests.instrumentation.toys import total

CALLS = 2_000


class Seeded(RandomIdGenerator):
    """Trace ids from a seed, so that the same calls are sampled at every run."""

    def __init__(self) -> None:
        self.dice = random.Random(7)

    def generate_trace_id(self) -> int:
        return self.dice.getrandbits(128) | 1


def sampling(ratio: float, *, by_parent: bool = False) -> TracerProvider:
    """One call in 1/ratio, all its spans or none, since they share a trace id; the trace state says so."""
    delegate = composable_traceid_ratio_based(ratio)
    if by_parent:
        delegate = composable_parent_threshold(delegate)
    return TracerProvider(sampler=composite_sampler(delegate), id_generator=Seeded(), shutdown_on_exit=False)


@tier("small", model="m1", threshold=0.8, confidence=lambda r: r)
def small(i: int) -> float:
    return 0.5 if i % 5 == 0 else 0.9


@tier("large", model="m2")
def large() -> int:
    return 1


@cascade("sampled", task="sampled")
def ask(i: int) -> Any:
    return small(i) >= 0.8 or large()


@pytest.mark.parametrize("ratio", [0.5, 0.1])
def test_the_weights_of_the_kept_calls_add_up_to_about_all_calls(ratio: float, strict: None) -> None:
    with record(sampling(ratio)) as seen:
        for i in range(CALLS):
            ask(i)
        assert total(seen, semconv.TIER_CALLS) == CALLS * 1.2, "metrics are exact"
        assert total(seen, semconv.ESCALATIONS) == CALLS / 5
        spans = seen.spans
    kept = len([each for each in spans if each.name == "cascade sampled"])
    sigma = (CALLS * ratio * (1 - ratio)) ** 0.5
    assert abs(kept - CALLS * ratio) < 4 * sigma
    decoded = decode([encode_spans(spans).SerializeToString()])
    assert not decoded.put_aside
    rows = decoded.table.to_pylist()
    assert {row["weight_ppm"] for row in rows} == {round(1e6 / ratio)}, "parts per million"
    escalated = sum(row["weight_ppm"] / 1e6 for row in rows if row["tier"] == "small" and row["escalated"])
    assert abs(escalated - CALLS / 5) < 4 * sigma / ratio


def test_a_store_estimates_all_calls(tmp_path: Path, strict: None) -> None:
    """Through the exporter that ``configure(store=...)`` uses, as the dashboard's reader sees them."""
    with record(sampling(0.25)) as seen:
        for i in range(CALLS):
            ask(i)
        SegmentExporter(tmp_path).export(seen.spans)
        kept = len(seen.cascades)
    with open_reader(Store(tmp_path)) as reader:
        start, end = reader.span_hours()
        rows = reader.rows("sampled", start, end + 1, kind=schema.CASCADE)
    assert kept < CALLS / 3
    calls = rows[rows["kind"] == schema.CASCADE]["weight_ppm"].fillna(1e6).sum() / 1e6
    assert calls == pytest.approx(kept * 4)
    assert abs(calls - CALLS) < CALLS / 10


def test_below_a_parent_threshold_tiers_weigh_what_their_cascade_does(strict: None) -> None:
    """The SDK gives its sampler no trace state of the parent: what is decoded together says it anyway."""
    with record(sampling(0.5, by_parent=True)) as seen:
        for i in range(20):
            ask(i)
        spans = seen.spans
    rows = decode([encode_spans(spans).SerializeToString()]).table.to_pylist()
    assert {row["kind"] for row in rows} == {schema.CASCADE, schema.TIER}
    assert {row["weight_ppm"] for row in rows} == {2_000_000}


def test_without_the_trace_state_nobody_knows_the_weight(strict: None) -> None:
    """The older ratio sampler says nothing: each kept call counts once, rates are right, totals too small."""
    with record(TracerProvider(sampler=ParentBased(TraceIdRatioBased(0.5)), id_generator=Seeded())) as seen:
        for i in range(CALLS):
            ask(i)
        spans = seen.spans
    rows = decode([encode_spans(spans).SerializeToString()]).table.to_pylist()
    assert {row["weight_ppm"] for row in rows} == {None}
    asked = [row["escalated"] for row in rows if row["tier"] == "small"]
    assert sum(asked) / len(asked) == pytest.approx(0.2, abs=0.05)


def test_feedback_for_a_call_that_was_sampled_out_is_not_lost(strict: None) -> None:
    """The label is a span of its own, which the sampler is asked about anew."""
    with record(TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)), cascade("c") as call:
        small(1)
    assert int(call.trace_id, 16), "a call that is sampled out has an id all the same"
    with record() as seen:
        feedback(call.trace_id, "small", True)
        (label,) = seen.spans
        assert f"{label.links[0].context.trace_id:032x}" == call.trace_id


def label_rows(provider: TracerProvider) -> list[dict[str, Any]]:
    """What a store would hold of labels for all calls, three of four of which were right."""
    with record(provider) as seen:
        for i in range(CALLS):
            feedback(f"{i + 1:032x}", "small", i % 4 != 0)
        spans = seen.spans
    return decode([encode_spans(spans).SerializeToString()]).table.to_pylist()


def test_a_ratio_sampler_samples_labels_too_and_all_that_are_kept_weigh_the_same(strict: None) -> None:
    """So an accuracy that is estimated from them is unbiased, from fewer labels."""
    rows = label_rows(sampling(0.5))
    assert {row["weight_ppm"] for row in rows} == {1_000_000}, "what feedback() said"
    assert abs(len(rows) - CALLS / 2) < 100
    assert sum(row["correct"] for row in rows) / len(rows) == pytest.approx(0.75, abs=0.05)


def test_a_sampler_that_goes_by_the_spans_name_keeps_every_label(strict: None) -> None:
    """Its first rule is about ``cascade.feedback``; calls are sampled as before."""
    rules = [
        (is_label, composable_always_on()),
        (is_call, composable_traceid_ratio_based(0.1)),
    ]
    sampler = composite_sampler(composable_rule_based(rules))
    assert len(label_rows(TracerProvider(sampler=sampler, shutdown_on_exit=False))) == CALLS


def is_label(*, name: str, **_: Any) -> bool:
    return name == semconv.FEEDBACK_SPAN


def is_call(**_: Any) -> bool:
    return True
