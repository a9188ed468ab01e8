"""The official exporters, over HTTP and gRPC, for traces and metrics, against a running receiver."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExportResult
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from cascade_otel.semconv import TIER_CALLS
from tests.storage import certificates
from tests.storage.receiver_process import Receiver, free_port, stored_ids

BOTH = pytest.mark.parametrize("kind", ["http", "grpc"])
GZIP = {"http": Compression.Gzip, "grpc": grpc.Compression.Gzip}
SPANS, METRICS = {"http": HttpSpans, "grpc": GrpcSpans}, {"http": HttpMetrics, "grpc": GrpcMetrics}


@pytest.fixture(scope="module")
def store_root(tmp_path_factory):
    return tmp_path_factory.mktemp("exported")


@pytest.fixture(scope="module")
def receiver(store_root):
    running = Receiver(store_root, free_port())
    yield running
    assert running.stop() == 0


@pytest.fixture(autouse=True)
def every_line_is_logged(monkeypatch):
    """The exporter over gRPC leaves out a line that it logged a moment ago, in whatever test."""
    monkeypatch.setattr(logging.getLogger("opentelemetry.exporter.otlp.proto.grpc.exporter"), "filters", [])


def address(receiver, kind, path, scheme="http"):
    if kind == "grpc":
        return f"{scheme}://127.0.0.1:{receiver.grpc_port}"
    return f"{scheme}://127.0.0.1:{receiver.port}/v1/{path}"


def made_spans(count=5, **attributes):
    """Ended spans of a cascade, as the SDK gives them to an exporter."""
    kept = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    for number in range(count):
        given = {"cascade.name": "official", "cascade.task": "t"} | (attributes if number == 0 else {})
        provider.get_tracer("test").start_span("cascade", attributes=given).end()
    provider.shutdown()
    return kept.get_finished_spans()


def made_metrics(calls):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], Resource({"service.name": "shop"}), shutdown_on_exit=False)
    counter = provider.get_meter("test").create_counter(TIER_CALLS)
    counter.add(calls, {"cascade.task": "t", "cascade.tier.name": "small", "cascade.outcome": "accepted"})
    provider.get_meter("test").create_histogram("cascade.duration").record(0.5)
    data = reader.get_metrics_data()
    provider.shutdown()
    return data


def export(exporter, data):
    try:
        return exporter.export(data)
    finally:
        exporter.shutdown()


def ids_of(spans):
    return {int.from_bytes(s.context.span_id.to_bytes(8, "big"), "big", signed=True) for s in spans}


@BOTH
@pytest.mark.parametrize("zipped", [False, True])
def test_spans_are_stored(receiver, store_root, kind, zipped):
    spans = made_spans(20)
    compression = {"compression": GZIP[kind]} if zipped else {}
    exporter = SPANS[kind](address(receiver, kind, "traces"), **compression)
    assert export(exporter, spans) is SpanExportResult.SUCCESS
    assert ids_of(spans) <= set(stored_ids(store_root))


@BOTH
@pytest.mark.parametrize("zipped", [False, True])
def test_metrics_are_counted(receiver, kind, zipped):
    before = receiver.counts()
    compression = {"compression": GZIP[kind]} if zipped else {}
    exporter = METRICS[kind](address(receiver, kind, "metrics"), **compression)
    assert export(exporter, made_metrics(7)) is MetricExportResult.SUCCESS
    after = receiver.counts()
    assert after["points_kept"] == before["points_kept"] + 1
    assert after["points_passed"] == before["points_passed"] + 1


@BOTH
def test_a_partly_bad_batch_is_a_success_whose_good_spans_are_stored(receiver, store_root, kind):
    """No exporter sends it again: the bad span would be as bad then."""
    before = receiver.counts()
    spans = made_spans(4, **{"cascade.total_cost": -1.0})
    assert export(SPANS[kind](address(receiver, kind, "traces")), spans) is SpanExportResult.SUCCESS
    after = receiver.counts()
    assert (after["stored"] - before["stored"], after["rejected"] - before["rejected"]) == (3, 1)
    assert ids_of(spans[1:]) <= set(stored_ids(store_root))


@BOTH
def test_what_can_never_be_taken_is_given_up_at_once(receiver, kind, caplog):
    """And the exporter logs it."""
    spans = made_spans(30, junk="x" * (200 << 10)) * 25
    before, started = receiver.counts()["refused"], time.monotonic()
    exporter = SPANS[kind](address(receiver, kind, "traces"))
    assert export(exporter, spans) is SpanExportResult.FAILURE
    assert time.monotonic() - started < 8
    assert receiver.counts()["refused"] == before + 1
    (said,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert ("send smaller batches" if kind == "grpc" else "413") in said.getMessage()


@BOTH
def test_with_a_token_and_over_tls(tmp_path, kind, caplog, monkeypatch):
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # to requests they weigh more than a given file
        monkeypatch.delenv(name, raising=False)
    pair = certificates.make(tmp_path)
    receiver = Receiver(tmp_path / "store", free_port(), token="s3cret", pair=pair)
    try:
        tls = (
            {"credentials": grpc.ssl_channel_credentials(pair[0].read_bytes())}
            if kind == "grpc"
            else {"certificate_file": str(pair[0])}
        )
        spans, bearer = made_spans(), {"authorization": "Bearer s3cret"}
        for headers, wanted in (({}, SpanExportResult.FAILURE), (bearer, SpanExportResult.SUCCESS)):
            exporter = SPANS[kind](address(receiver, kind, "traces", "https"), headers=headers, **tls)
            assert export(exporter, spans) is wanted
        exporter = METRICS[kind](address(receiver, kind, "metrics", "https"), headers=bearer, **tls)
        assert export(exporter, made_metrics(3)) is MetricExportResult.SUCCESS
    finally:
        receiver.stop()
    assert set(stored_ids(tmp_path / "store")) == ids_of(spans)
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert ("UNAUTHENTICATED" if kind == "grpc" else "401") in said


def test_a_passing_fault_is_sent_again_when_the_receiver_says_until_it_is_stored(tmp_path, caplog):
    """A store whose folder for new files is gone and comes back; both exporters wait as they are told."""
    receiver = Receiver(tmp_path / "store", free_port())
    folder = tmp_path / "store" / "tmp"
    shutil.rmtree(folder)
    folder.touch()

    def mend():
        folder.unlink()
        folder.mkdir()

    def send(kind):
        spans, started = made_spans(), time.monotonic()
        exporter = SPANS[kind](address(receiver, kind, "traces"), timeout=30)
        assert export(exporter, spans) is SpanExportResult.SUCCESS
        assert time.monotonic() - started > 4.5
        return ids_of(spans)

    mending = threading.Timer(2, mend)
    mending.start()
    try:
        with caplog.at_level(logging.WARNING), ThreadPoolExecutor(2) as pool:
            sent = set().union(*pool.map(send, SPANS))
    finally:
        mending.join()
        receiver.stop()
    assert caplog.text.count("retrying in 5.00s") >= 2
    assert set(stored_ids(tmp_path / "store")) == sent
    assert len(sent) == 10
