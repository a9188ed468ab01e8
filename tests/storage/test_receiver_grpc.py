"""OTLP over gRPC: taken like HTTP's, and refused with codes that exporters take as they are meant."""

from __future__ import annotations

import gzip
import socket
import threading
import time

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.exporter import _RETRYABLE_ERROR_CODES
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from cascade_otel.storage.otlp import grpc_server as otlp_grpc
from cascade_otel.storage.receiving.intake import MAX_BODY
from tests.storage.otlp_requests import LOGS, METRICS, TRACES, Called, metrics
from tests.storage.receiver_process import Receiver, body, free_port, ids, stored_ids
from tests.storage.storage_samples import put

GZIP = grpc.Compression.Gzip


@pytest.fixture(scope="module")
def store_root(tmp_path_factory):
    return tmp_path_factory.mktemp("called")


@pytest.fixture(scope="module")
def receiver(store_root):
    running = Receiver(store_root, free_port())
    yield running
    assert running.stop() == 0


@pytest.mark.parametrize("compression", [None, GZIP])
def test_what_is_acknowledged_is_readable(receiver, store_root, compression):
    encoded = body(20, seed=100 + bool(compression))
    called = Called(receiver.grpc_port, encoded, compression=compression)
    assert (called.code, called.answer) == (grpc.StatusCode.OK, b"")
    assert ids(encoded) <= set(stored_ids(store_root))


def test_bad_spans_are_told(receiver):
    encoded = body(4, lambda span: put(span, **{"cascade.confidence.score": 7.0}), seed=102)
    told = ExportTraceServiceResponse.FromString(Called(receiver.grpc_port, encoded).answer).partial_success
    assert told.rejected_spans == 1
    assert told.error_message == "spans put aside: cascade.confidence.score: out of range (1)"


def test_metrics_are_counted_and_bad_points_told(receiver):
    before = receiver.counts()["points_kept"]
    assert Called(receiver.grpc_port, metrics(5), METRICS).answer == b""
    assert receiver.counts()["points_kept"] == before + 1
    old = Called(receiver.grpc_port, metrics(5, now_ns=10**18), METRICS).answer
    told = ExportMetricsServiceResponse.FromString(old).partial_success
    assert told.rejected_data_points == 1
    assert told.error_message.startswith("data points not taken: cascade.tier.calls: time out of range")


@pytest.mark.parametrize(
    ("message", "service", "compression", "code", "reason"),
    [
        (b"no protobuf", TRACES, None, "INVALID_ARGUMENT", "no OTLP trace request"),
        (b"no protobuf", METRICS, None, "INVALID_ARGUMENT", "no OTLP metrics request"),
        (gzip.compress(body(1))[:-3], TRACES, None, "INVALID_ARGUMENT", "one whole gzip member"),
        (gzip.compress(body(1)) * 2, TRACES, None, "INVALID_ARGUMENT", "one whole gzip member"),
        (b"\x1f\x8bno gzip", TRACES, None, "INVALID_ARGUMENT", "no gzip"),
        (bytes(64 << 20), TRACES, GZIP, "INVALID_ARGUMENT", "inflates to over"),
        (bytes(MAX_BODY + 1), TRACES, None, "INVALID_ARGUMENT", "send smaller batches"),
        (bytes(otlp_grpc.LARGEST + 1), TRACES, None, "RESOURCE_EXHAUSTED", "larger than max"),
        (b"\x0a\x00" * 2_000_000, TRACES, GZIP, "INVALID_ARGUMENT", "more than 20,000 spans"),
        (b"", LOGS, None, "UNIMPLEMENTED", "logs are not taken here"),
        (b"", "x.Unknown", None, "UNIMPLEMENTED", ""),
        (b"x", TRACES, grpc.Compression.Deflate, "UNIMPLEMENTED", "deflate"),
    ],
)  # fmt: skip
def test_a_call_that_cannot_be_taken_gets_a_reason_and_the_next_is_served(
    receiver, message, service, compression, code, reason
):
    called = Called(receiver.grpc_port, message, service, compression=compression)
    assert called.code.name == code
    assert reason in called.reason
    assert Called(receiver.grpc_port, body(1, seed=105)).code == grpc.StatusCode.OK


def test_what_can_never_be_taken_is_not_sent_again_and_what_can_is():
    """By the list of codes that the Python exporter has."""
    codes = otlp_grpc.CODES
    assert {status for status, code in codes.items() if code in _RETRYABLE_ERROR_CODES} == {408, 503}
    assert grpc.StatusCode.INVALID_ARGUMENT not in _RETRYABLE_ERROR_CODES


def test_a_store_that_cannot_be_written_says_when_to_send_again(tmp_path):
    receiver = Receiver(tmp_path, free_port())
    try:
        (tmp_path / "tmp").rmdir()
        (tmp_path / "tmp").touch()
        refused = Called(receiver.grpc_port, body(3))
        assert refused.code == grpc.StatusCode.UNAVAILABLE
        assert "cannot be written to" in refused.reason
        info = RetryInfo.FromString(refused.trailing["google.rpc.retryinfo-bin"])
        status = Status.FromString(refused.trailing["grpc-status-details-bin"])
        assert info.retry_delay.seconds == 5
        assert (status.code, status.details[0].value) == (14, info.SerializeToString())
        (tmp_path / "tmp").unlink()
        (tmp_path / "tmp").mkdir()
        assert Called(receiver.grpc_port, body(3)).code == grpc.StatusCode.OK
    finally:
        receiver.stop()


def test_many_calls_at_once_are_few_commits(receiver):
    before = receiver.counts()
    threads = [
        threading.Thread(target=Called, args=(receiver.grpc_port, body(10, seed=200 + index)))
        for index in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = receiver.counts()
    assert after["stored"] - before["stored"] == 160
    assert after["commits"] - before["commits"] <= 8


def test_a_client_that_goes_away_in_the_middle_harms_nobody(receiver):
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel:
        calling = channel.unary_unary(f"/{TRACES}/Export")
        under_way = [calling.future(body(5, seed=300 + index)) for index in range(20)]
        for call in under_way:
            call.cancel()
    silent = [socket.create_connection(("127.0.0.1", receiver.grpc_port)) for _ in range(20)]
    assert Called(receiver.grpc_port, body(1, seed=106)).code == grpc.StatusCode.OK
    for connection in silent:
        connection.close()


def test_a_stopped_receiver_answers_what_it_has_taken(tmp_path):
    receiver = Receiver(tmp_path, free_port())
    encoded, answers = body(7, seed=1), []
    calling = threading.Thread(target=lambda: answers.append(Called(receiver.grpc_port, encoded).code))
    calling.start()
    time.sleep(0.1)
    assert receiver.stop() == 0
    calling.join()
    assert answers == [grpc.StatusCode.OK]
    assert set(stored_ids(tmp_path)) == ids(encoded)


def test_a_client_of_grpc_on_the_port_of_http_is_told_once_where_to_go(tmp_path):
    with open(tmp_path / "log", "w+") as log:
        receiver = Receiver(tmp_path / "store", free_port(), log=log)
        try:
            assert Called(receiver.port, body(1)).code == grpc.StatusCode.UNAVAILABLE
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
                    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
                    assert b"400 Bad Request" in connection.recv(1000)
            assert receiver.counts()["not_http"] >= 3
            assert receiver.send(body(1))[0] == 200
        finally:
            receiver.stop()
        log.seek(0)
        (line,) = log.read().splitlines()
    assert f"OTLP over gRPC goes to port {receiver.grpc_port}" in line
    assert "Invalid HTTP" not in line


@pytest.mark.parametrize(("address", "target"), [("127.0.0.1", "127.0.0.1:4317"), ("::1", "[::1]:4317")])
def test_an_address_is_written_as_grpc_reads_it(address, target):
    assert otlp_grpc.Listening(address, 4317).target == target


def test_the_port_is_not_shared_with_another_process(tmp_path):
    """gRPC would otherwise let a second server take half of the calls."""
    with socket.create_server(("127.0.0.1", 0)) as taken, open(tmp_path / "log", "w+") as log:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match="did not start"):
            Receiver(tmp_path / "store", free_port(), grpc_port=port, log=log)
        log.seek(0)
        assert f"127.0.0.1:{port} cannot be listened on" in log.read()
