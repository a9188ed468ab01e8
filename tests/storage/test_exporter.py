"""A process without a receiver writes its spans into the store itself, the same rows as over the network."""

from __future__ import annotations

import copy
import os

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.otlp.decode import decode
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.segments import Store


@pytest.fixture
def spans():
    memory = InMemorySpanExporter()
    provider = TracerProvider(resource=Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(memory))
    tracer = provider.get_tracer("test")
    with tracer.start_as_current_span(
        "cascade brand", attributes={"cascade.name": "extract", "cascade.task": "brand"}
    ):
        for tier, score in (("small", 0.3), ("large", 0.9)):
            attributes = {
                "cascade.tier.name": tier,
                "cascade.confidence.score": score,
                "cascade.name": "extract",
            }
            tracer.start_span(tier, attributes=attributes).end()
        tracer.start_span("GET", attributes={"http.method": "GET"}).end()
    return memory.get_finished_spans()


def test_spans_are_durable_when_exported_and_equal_to_those_sent(tmp_path, spans):
    exporter = SegmentExporter(tmp_path)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert exporter.force_flush()
    exporter.shutdown()
    sent = decode([encode_spans(spans).SerializeToString()]).table.to_pylist()
    with open_reader(Store(tmp_path)) as reader:
        hours = reader.span_hours()
        stored = reader.rows(None, hours[0], hours[1] + 1, kind=None)
        assert len(stored) == len(sent) == 3
        assert sorted(stored["span_id"]) == sorted(row["span_id"] for row in sent)
        assert reader.last_calls("brand", 1)["tiers"].tolist() == [[]]
        assert set(stored["service"]) == {"shop"}


def test_a_bad_span_is_put_aside_and_the_rest_is_stored(tmp_path, spans):
    spans[0]._attributes = {**spans[0].attributes, "cascade.confidence.score": 7.0}
    assert SegmentExporter(tmp_path).export(spans) is SpanExportResult.SUCCESS
    [aside] = put_aside.kept(tmp_path)
    assert aside["reason"] == "cascade.confidence.score: out of range"
    with open_reader(Store(tmp_path)) as reader:
        assert reader.last_seen()["spans"].tolist() == [2]


def test_a_store_that_cannot_be_written_is_a_failure_said_once_and_it_recovers(tmp_path, spans, caplog):
    exporter, tmp = SegmentExporter(tmp_path / "store"), tmp_path / "store" / "tmp"
    tmp.rmdir()
    tmp.write_text("in the way")
    for _ in range(20):
        assert exporter.export(spans) is SpanExportResult.FAILURE
    [said] = caplog.records
    assert "3 spans were not stored" in said.getMessage()
    assert "Not a directory" in said.getMessage()
    assert said.exc_info is None
    tmp.unlink()
    tmp.mkdir()
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    assert "spans are stored in" in caplog.text
    assert "60 were lost" in caplog.text
    with open_reader(Store(tmp_path / "store")) as reader:
        assert reader.last_seen()["spans"].tolist() == [3]


def test_spans_put_aside_are_counted_beyond_those_described(tmp_path, spans):
    bad = copy.copy(spans[0])
    bad._attributes = {**spans[0].attributes, "cascade.confidence.score": 7.0}
    assert SegmentExporter(tmp_path).export([bad] * 1_500) is SpanExportResult.SUCCESS
    assert sum(line["spans"] for line in put_aside.kept(tmp_path)) == 1_500


def test_spans_of_others_are_not_even_encoded(tmp_path, spans):
    """One of them that cannot be encoded must not cost the spans of cascades beside it."""
    others = [span for span in spans if span.name == "GET"]
    others[0]._name = "\ud800"
    exporter = SegmentExporter(tmp_path)
    assert exporter.export(others) is SpanExportResult.SUCCESS
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    with open_reader(Store(tmp_path)) as reader:
        assert reader.last_seen()["spans"].tolist() == [3]


def test_a_forked_child_stores_beside_its_parent(tmp_path, spans):
    exporter = SegmentExporter(tmp_path)
    exporter.export(spans[:1])
    child = os.fork()
    if not child:
        stored = exporter.export(spans[1:2]) is SpanExportResult.SUCCESS
        os._exit(0 if stored else 1)
    assert exporter.export(spans[2:]) is SpanExportResult.SUCCESS
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with open_reader(Store(tmp_path)) as reader:
        assert reader.last_seen()["spans"].tolist() == [3]
