"""The receiver over real sockets: durable, then acknowledged; every mistake told; nothing lost to kill -9."""

from __future__ import annotations

import gzip
import socket
import threading
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)

from cascade_otel.records import UserError
from cascade_otel.storage.otlp.wire import Status
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.receiving.intake import MAX_BODY
from cascade_otel.storage.receiving.receiver import bind
from cascade_otel.storage.segments import Store
from tests.storage.receiver_process import PROTOBUF, Receiver, body, free_port, ids, stored_ids
from tests.storage.storage_samples import put


@pytest.fixture(scope="module")
def store_root(tmp_path_factory):
    return tmp_path_factory.mktemp("received")


@pytest.fixture(scope="module")
def receiver(store_root):
    running = Receiver(store_root, free_port())
    yield running
    assert running.stop() == 0


def test_what_is_acknowledged_is_readable(receiver, store_root):
    encoded = body(20, seed=100)
    status, answer, headers = receiver.send(encoded)
    assert (status, answer, headers["content-type"]) == (200, b"", "application/x-protobuf")
    assert ids(encoded) <= set(stored_ids(store_root))


def test_a_repeated_request_counts_once(receiver, store_root):
    encoded = body(5, seed=101)
    for _ in range(3):
        assert receiver.send(encoded)[0] == 200
    found = stored_ids(store_root)
    assert len(found) == len(set(found))


def test_bad_spans_are_told_and_kept_with_their_reasons(receiver, store_root):
    encoded = body(4, lambda span: put(span, **{"cascade.confidence.score": 7.0}), seed=102)
    status, answer, _ = receiver.send(encoded)
    told = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (status, told.rejected_spans) == (200, 1)
    assert told.error_message == "spans put aside: cascade.confidence.score: out of range (1)"
    assert len(ids(encoded) & set(stored_ids(store_root))) == 3
    newest = list(put_aside.kept(store_root))[-1]
    assert (newest["reason"], newest["service"]) == ("cascade.confidence.score: out of range", "shop")


def test_text_that_is_no_utf8_costs_its_span_alone(receiver, store_root):
    encoded = body(3, seed=109).replace(b"brand", b"br\xffnd", 1)
    status, answer, _ = receiver.send(encoded)
    told = ExportTraceServiceResponse.FromString(answer).partial_success
    assert (status, told.rejected_spans) == (200, 1)
    assert told.error_message == "spans put aside: cascade.task: no UTF-8 (1)"
    assert len(ids(body(3, seed=109)) & set(stored_ids(store_root))) == 2


def test_prompts_and_answers_are_stored_nowhere(tmp_path):
    """Neither of a span that is stored nor of one that is put aside."""

    def talk(span):
        put(span, **{"gen_ai.input.messages": "tell-nobody", "gen_ai.prompt": "tell-nobody"})
        span.name = span.status.message = "tell-nobody"
        put(span.events.add(name="tell-nobody"), **{"exception.message": "tell-nobody"})

    def talk_badly(span):
        talk(span)
        put(span, **{"cascade.confidence.score": "tell-nobody"})

    receiver = Receiver(tmp_path / "store", free_port())
    try:
        assert receiver.send(body(3, talk, seed=110))[0] == 200
        assert receiver.send(body(3, talk_badly, seed=111))[0] == 200
    finally:
        receiver.stop()
    with open_reader(Store(tmp_path / "store")) as reader:
        hours = reader.span_hours()
        rows = reader.rows(None, hours[0], hours[1] + 1, kind=None)
    assert len(rows) == 5
    assert "tell-nobody" not in rows.to_csv()
    kept = [path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file()]
    assert any(b"string for double" in content for content in kept)
    assert not any(b"tell-nobody" in content for content in kept)


def test_an_uncompressed_or_chunked_body_is_taken(receiver, store_root):
    plain, chunked = body(2, seed=103), body(2, seed=104)
    assert receiver.ask("POST", "/v1/traces", plain, {"Content-Type": "application/x-protobuf"})[0] == 200
    pieces = (chunked[index : index + 50] for index in range(0, len(chunked), 50))
    assert (
        receiver.ask("POST", "/v1/traces", pieces, {"Content-Type": "application/x-protobuf; charset=x"})[0]
        == 200
    )
    assert ids(plain) | ids(chunked) <= set(stored_ids(store_root))


def test_metrics_are_acknowledged_and_counted(receiver):
    before = receiver.counts()["metric_requests"]
    assert receiver.ask("POST", "/v1/metrics", gzip.compress(b""), PROTOBUF)[0] == 200
    assert receiver.counts()["metric_requests"] == before + 1


def nested(span, depth):
    value = span.attributes.add(key="deep").value
    for _ in range(depth // 2):
        value = value.array_value.values.add()


ZEROS = gzip.compress(bytes(64 << 20))


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (gzip.compress(b"no protobuf"), {}, 400),
        (b"no gzip", {}, 400),
        (gzip.compress(b"")[:-3], {}, 400),
        (gzip.compress(b"") * 2, {}, 400),
        (ZEROS, {}, 413),
        (bytes(MAX_BODY + 1), {}, 413),
        (gzip.compress(b""), {}, 200),
        (gzip.compress(b"\xa2\x06\x03new"), {}, 200),
        (gzip.compress(body(1, lambda span: nested(span, 200))), {}, 200),
        (gzip.compress(b"\x0a\x00" * 30_000), {}, 200),
        (gzip.compress(b"\x0a\x00" * 2_000_000), {}, 413),
        (b"<xml/>", {"Content-Type": "text/xml", "Content-Encoding": ""}, 415),
        (gzip.compress(b""), {"Content-Encoding": "br"}, 415),
        (gzip.compress(b""), {"Content-Type": ""}, 415),
    ],
    ids=[
        "garbage",
        "no gzip",
        "torn",
        "two members",
        "bomb",
        "large",
        "nothing",
        "unknown field",
        "nested",
        "empty resources",
        "amplified",
        "xml",
        "br",
        "no type",
    ],
)
def test_a_request_that_cannot_be_taken_gets_a_reason_and_the_next_is_served(
    receiver, content, headers, status
):
    got, answer, _ = receiver.ask("POST", "/v1/traces", content, PROTOBUF | headers)
    assert got == status
    if status != 200:
        assert len(Status.FromString(answer).message) > 10
    assert receiver.send(body(1, seed=105))[0] == 200


def test_a_large_chunked_body_is_cut_off(receiver):
    pieces = (bytes(1 << 16) for _ in range(MAX_BODY // (1 << 16) + 2))
    try:
        status = receiver.ask("POST", "/v1/traces", pieces, PROTOBUF)[0]
    except OSError:  # the answer came before the rest was sent, and the connection was closed
        status = 413
    assert status == 413
    assert receiver.send(body(1, seed=106))[0] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/traces", 405), ("POST", "/v1/logs", 404), ("GET", "/", 404), ("GET", "/metrics", 404)],
)
def test_other_paths_and_methods_are_refused(receiver, method, path, status):
    assert receiver.ask(method, path)[0] == status


def test_a_sender_that_goes_away_in_the_middle_harms_nobody(receiver):
    with socket.create_connection(("127.0.0.1", receiver.port)) as connection:
        connection.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/x-protobuf\r\nContent-Length: 900\r\n\r\nhalf"
        )
    assert receiver.send(body(1, seed=107))[0] == 200


def test_a_port_in_use_is_told(receiver):
    with pytest.raises(UserError, match=f"127.0.0.1:{receiver.port} cannot be listened on"):
        bind("127.0.0.1", receiver.port)


def test_many_requests_at_once_are_few_commits(receiver):
    before = receiver.counts()
    threads = [
        threading.Thread(target=receiver.send, args=(body(10, seed=200 + index),)) for index in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = receiver.counts()
    assert after["stored"] - before["stored"] == 160
    assert after["commits"] - before["commits"] <= 8


def test_a_stopped_receiver_answers_what_it_has_taken(tmp_path):
    running = Receiver(tmp_path, free_port())
    encoded, answers = body(7, seed=1), []
    sender = threading.Thread(target=lambda: answers.append(running.send(encoded)[0]))
    sender.start()
    time.sleep(0.1)
    assert running.stop() == 0
    sender.join()
    assert answers == [200]
    assert set(stored_ids(tmp_path)) == ids(encoded)
