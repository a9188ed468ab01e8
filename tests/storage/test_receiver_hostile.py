"""Hostile bodies, by every way in: answered with a reason, memory flat, the next good request served."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from cascade_otel.storage.otlp.json_form import MAX_PARTS
from tests.storage.otlp_requests import METRICS, TRACES, Called, as_json, metrics, set_json, spans, text_of
from tests.storage.receiver_process import Receiver, body, free_port

BODIES = 10_000 if os.environ.get("CASCADE_OTEL_TORTURE") else 1_000
SENDERS = 24
GROWTH_KB = 64_000
JSON_TYPE, PROTOBUF_TYPE = "application/json", "application/x-protobuf"


@pytest.fixture(scope="module")
def receiver(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with open(folder / "log", "w+") as log:
        running = Receiver(folder / "store", free_port(), log=log)
        yield running
        assert running.stop() == 0
        log.seek(0)
        assert log.read() == "", "clients' mistakes do not fill the log"


def damaged(good: bytes, dice: random.Random) -> bytes:
    """A body with bytes flipped, cut out, doubled, put in, or all of it made up."""
    bad = bytearray(good)
    for _ in range(dice.choice([1, 1, 2, 5, 20])):
        start = dice.randrange(len(bad) + 1)
        end = min(len(bad), start + dice.choice([1, 1, 2, 8, 100]))
        match dice.randrange(6):
            case 0 | 1 if start < len(bad):
                bad[start] = dice.randrange(256)
            case 2:
                del bad[start:end]
            case 3:
                bad[start:start] = bad[start:end] * dice.choice([1, 2, 50])
            case 4:
                bad[start:start] = dice.randbytes(dice.choice([1, 4, 64]))
            case 5 if len(bad) > 2:
                bad[start:] = b""
    return bytes(bad) if dice.random() < 0.95 else dice.randbytes(dice.randrange(2000))


class Sender:
    """One client that sends fuzzed bodies by all ways in, over connections it keeps."""

    def __init__(self, receiver: Receiver, seed: int):
        self.receiver, self.dice = receiver, random.Random(seed)
        self.seen: set[object] = set()

    def __call__(self, count: int) -> set[object]:
        good = {
            ("traces", PROTOBUF_TYPE): body(8, seed=self.dice.randrange(1000)),
            ("metrics", PROTOBUF_TYPE): metrics(),
        }
        good["traces", JSON_TYPE] = text_of(as_json(good["traces", PROTOBUF_TYPE]))
        good["metrics", JSON_TYPE] = text_of(
            as_json(good["metrics", PROTOBUF_TYPE], ExportMetricsServiceRequest)
        )
        target = f"127.0.0.1:{self.receiver.grpc_port}"
        with (
            grpc.insecure_channel(target) as channel,
            closing(http.client.HTTPConnection("127.0.0.1", self.receiver.port, timeout=30)) as connection,
        ):
            for _ in range(count):
                signal, kind = self.dice.choice([*good, ("traces", PROTOBUF_TYPE), ("traces", JSON_TYPE)])
                bad = damaged(good[signal, kind], self.dice)
                if self.dice.random() < 0.3:
                    self.seen.add(self.called(channel, signal, bad))
                else:
                    self.seen.add(self.posted(connection, signal, kind, bad))
        return self.seen

    def called(self, channel, signal, bad):
        service = TRACES if signal == "traces" else METRICS
        zipped = grpc.Compression.Gzip if self.dice.random() < 0.5 else None
        try:
            channel.unary_unary(f"/{service}/Export")(bad, timeout=30, compression=zipped)
        except grpc.RpcError as error:
            return error.code() if error.details() else None
        return grpc.StatusCode.OK

    def posted(self, connection, signal, kind, bad):
        headers = {"Content-Type": kind}
        if self.dice.random() < 0.5:
            bad, headers["Content-Encoding"] = gzip.compress(bad, 1), "gzip"
            bad = damaged(bad, self.dice) if self.dice.random() < 0.2 else bad
        connection.request("POST", f"/v1/{signal}", bad, headers)
        response = connection.getresponse()
        answer = response.read()
        assert response.headers["content-type"] == kind
        assert response.status == 200 or len(answer) > 10
        return response.status


@pytest.mark.timeout(3600)
def test_fuzzed_bodies_are_taken_or_refused_and_memory_stays_flat(receiver):
    """By HTTP and gRPC, in protobuf and JSON, zipped and not: no other answer, no line in the log."""
    senders = [Sender(receiver, seed) for seed in range(SENDERS)]
    with ThreadPoolExecutor(SENDERS) as pool:
        list(pool.map(lambda sender: sender(BODIES // SENDERS // 5 + 1), senders))
        before = receiver.resident()
        seen = set().union(*pool.map(lambda sender: sender(BODIES // SENDERS + 1), senders))
    assert seen <= {200, 400, 413, grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT}
    assert {200, 400, grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT} <= seen
    assert receiver.resident() - before < GROWTH_KB
    assert_served(receiver)


def test_span_amplification_is_stopped_before_it_costs_memory(receiver):
    """A hundred requests of 2 and 4 MB, a few kB on the wire, that ask for a million spans each."""
    nested = b"\x0a\x80\x89\x7a\x12\xfc\x88\x7a" + b"\x12\x00" * 999_998
    sent = [gzip.compress(nested), gzip.compress(b"\x0a\x00" * 2_000_000)]
    assert max(map(len, sent)) < 8_000
    assert_served(receiver)
    before = 0
    for number in range(104):
        if number == 4:
            # One of each kind has been seen: what a single one needs is not what they add up to.
            before = receiver.resident()
        bomb = sent[number % 2]
        if number % 4 < 2:
            status, _, _ = receiver.ask(
                "POST", "/v1/traces", bomb, {"Content-Type": PROTOBUF_TYPE, "Content-Encoding": "gzip"}
            )
            assert status == 413
        else:
            called = Called(receiver.grpc_port, gzip.decompress(bomb), compression=grpc.Compression.Gzip)
            assert called.code == grpc.StatusCode.INVALID_ARGUMENT
    assert receiver.resident() - before < GROWTH_KB
    assert_served(receiver)


def test_bombs_leave_memory_flat(receiver):
    zeros = gzip.compress(bytes(64 << 20))
    assert_served(receiver)
    before = receiver.resident()
    for kind in (PROTOBUF_TYPE, JSON_TYPE) * 2:
        headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
        assert receiver.ask("POST", "/v1/traces", zeros, headers)[0] == 413
        called = Called(receiver.grpc_port, bytes(64 << 20), compression=grpc.Compression.Gzip)
        assert called.code == grpc.StatusCode.INVALID_ARGUMENT
    assert receiver.resident() - before < GROWTH_KB
    assert_served(receiver)


def changed(**changes) -> bytes:
    document = as_json(body())
    spans(document)[0] |= changes
    return text_of(document)


def with_value(value) -> bytes:
    document = as_json(body())
    set_json(spans(document)[0], "cascade.confidence.score", value)
    return text_of(document)


MANY = [{"key": "cascade.name", "value": {"stringValue": "n"}}] * 40_000
HOSTILE_JSON = {
    "deep lists": (b"[" * 1_000_000, 413),
    "deep lists, few": (b"[" * 400_000, 400),
    "deep objects": (b'{"a":' * 200_000, 400),
    "deep value": (with_value({"arrayValue": json.loads("[" * 900 + "]" * 900)}), 200),
    "many objects": (b'{"resourceSpans":[' + b"{}," * 250_000 + b"{}]}", 413),
    "many numbers": (b"[" + b"1.5," * (MAX_PARTS - 2) + b"1]", 400),
    "many attributes": (changed(attributes=MANY), 200),
    "many keys": (b"{" + b",".join(b'"%d":1' % n for n in range(200_000)) + b"}", 200),
    "huge number": (with_value({"doubleValue": "HUGE"}).replace(b'"HUGE"', b"9" * 10**6), 200),
    "NaN": (with_value({"doubleValue": float("nan")}), 200),
    "long text": (with_value({"stringValue": "x" * 3_000_000}), 200),
    "ids of another length": (changed(traceId="ab" * 1_000_000), 200),
    "keys twice": (changed().replace(b'"traceId"', b'"traceId": 5, "traceId"', 1), 200),
    "lone surrogate": (changed(traceState="\ud800"), 200),
    "UTF-16": (changed().decode().encode("utf-16"), 400),
}


@pytest.mark.parametrize("name", HOSTILE_JSON)
def test_hostile_json_costs_a_bounded_amount_of_memory(receiver, name):
    content, wanted = HOSTILE_JSON[name]
    before = receiver.resident()
    for _ in range(2):
        status, answer, headers = receiver.send_json(content)
        assert (status, headers["content-type"]) == (wanted, JSON_TYPE)
        assert "message" in json.loads(answer) or status == 200
    assert receiver.resident() - before < GROWTH_KB
    assert_served(receiver)


def test_more_than_there_is_room_for_is_asked_to_come_again(tmp_path):
    """Senders that keep 4 MiB each under way, without an end, are told; when they leave there is room."""
    receiver = Receiver(tmp_path, free_port())
    head = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: "
    held = []
    try:
        assert_served(receiver)
        before = receiver.resident()
        for _ in range(20):
            connection = socket.create_connection(("127.0.0.1", receiver.port))
            connection.settimeout(10)
            held.append(connection)
            connection.sendall(head + b"%d\r\n\r\n" % (4 << 20) + bytes((4 << 20) - 1))
        refused = answered(held, 3)
        answers = [connection.recv(4096) for connection in refused]
        assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)
        assert all(b"retry-after: 1" in answer for answer in answers)
        assert receiver.resident() - before < 200_000
        for connection in held:
            connection.close()
        assert_served(receiver)
    finally:
        for connection in held:
            connection.close()
        receiver.stop()


def answered(connections, count):
    """The first ``count`` connections, at least, on which something arrives."""
    with selectors.DefaultSelector() as selector:
        for connection in connections:
            selector.register(connection, selectors.EVENT_READ)
        for _ in range(100):
            ready = [key.fileobj for key, _ in selector.select(0.1)]
            if len(ready) >= count:
                return ready
            time.sleep(0.1)
    raise TimeoutError(f"{len(ready)} of {len(connections)} connections were answered")


def assert_served(receiver):
    good = body(1, seed=random.randrange(10**9))
    with ThreadPoolExecutor(3) as pool:
        posted = pool.submit(receiver.send, good), pool.submit(receiver.send_json, as_json(good))
        assert Called(receiver.grpc_port, good).code == grpc.StatusCode.OK
        assert [answer.result()[0] for answer in posted] == [200, 200]
