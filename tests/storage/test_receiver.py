"""The receiver over real sockets: durable, then acknowledged; every mistake told; nothing lost to kill -9."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from cascade_otel.records import UserError
from cascade_otel.storage import put_aside
from cascade_otel.storage.otlp_wire import Status
from cascade_otel.storage.receiver import MAX_BODY, bind, check_reach
from tests.storage.receiver_process import PROGRAM, PROTOBUF, ROOT, Receiver, body, free_port, ids, stored_ids
from tests.storage.storage_samples import KILLS, put


@pytest.fixture(scope="module")
def store_root(tmp_path_factory):
    return tmp_path_factory.mktemp("received")


@pytest.fixture(scope="module")
def receiver(store_root):
    running = Receiver(store_root, free_port())
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    running = Receiver(tmp_path_factory.mktemp("guarded"), free_port(), token="s3cret")
    yield running
    assert running.stop(signal.SIGINT) == 0


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
        (gzip.compress(b"\x0a\x00" * 30_000), {}, 200),
        (gzip.compress(b"\x0a\x00" * 2_000_000), {}, 413),
        (b"{}", {"Content-Type": "application/json", "Content-Encoding": ""}, 415),
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
        "empty resources",
        "amplified",
        "json",
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


def test_hostile_bodies_leave_memory_flat(receiver):
    """Flipped bytes, amplification and bombs, one after another: less than 64 MB of growth."""

    def resident() -> int:
        lines = Path(f"/proc/{receiver.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

    dice, base = random.Random(1), body(40, seed=108)
    for _ in range(20):
        receiver.send(base)
    before = resident()
    amplified = b"\x0a\x80\x89\x7a\x12\xfc\x88\x7a" + b"\x12\x00" * 999_998
    for round_ in range(15):
        damaged = bytearray(base)
        for _ in range(dice.randrange(1, 12)):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        assert receiver.send(bytes(damaged))[0] in (200, 400)
        if round_ % 3 == 0:
            assert receiver.send(amplified)[0] in (400, 413)
            assert receiver.ask("POST", "/v1/traces", ZEROS, PROTOBUF)[0] == 413
    assert receiver.send(base)[0] == 200
    assert resident() - before < 64_000


def test_without_the_token_nobody_gets_in(guarded):
    bearer = {"Authorization": "Bearer s3cret"}
    assert guarded.send(body(1))[0] == 401
    assert guarded.send(body(1), Authorization="Bearer wrong")[0] == 401
    assert guarded.send(body(1), Authorization="Bearer s3cr\u00e9t")[0] == 401
    assert guarded.ask("GET", "/metrics")[0] == 401
    assert guarded.send(body(1), **bearer)[0] == 200
    assert guarded.ask("GET", "/metrics", headers=bearer)[1] == b"up 1\n"


def test_a_health_check_without_the_token_shows_no_counts(guarded):
    assert guarded.counts() == {"status": "ok"}
    known = json.loads(guarded.ask("GET", "/healthz", headers={"Authorization": "Bearer s3cret"})[1])
    assert known["stored"] >= 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
def test_beyond_loopback_a_token_is_wanted(host):
    with pytest.raises(UserError, match="can be reached from other machines; wanted: a token"):
        check_reach(host, None)
    check_reach(host, "token")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_loopback_needs_no_token(host):
    check_reach(host, None)


def test_a_port_in_use_is_told(receiver):
    with pytest.raises(UserError, match=f"127.0.0.1:{receiver.port} cannot be listened on"):
        bind("127.0.0.1", receiver.port)


def test_the_official_exporter_is_understood(receiver, store_root):
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{receiver.port}/v1/traces")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    span = provider.get_tracer("test").start_span(
        "cascade", attributes={"cascade.name": "official", "cascade.task": "t"}
    )
    span.end()
    provider.shutdown()
    assert struct.unpack(">q", span.context.span_id.to_bytes(8, "big"))[0] in stored_ids(store_root)


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


def test_a_full_disk_is_told_and_passes(tmp_path):
    """Nothing is acknowledged that is not stored, no file is left behind, and it recovers by itself."""
    program = PROGRAM.replace(
        "import sys\n",
        "import resource, signal, sys\n"
        "def limit(number, frame):\n"
        "    most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]\n"
        "    size = 3_000 if number == signal.SIGUSR1 else most\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGUSR1, limit)\n"
        "signal.signal(signal.SIGUSR2, limit)\n",
    )
    running = Receiver.__new__(Receiver)
    running.port = free_port()
    running.process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), str(running.port), ""],
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    try:
        for _ in range(400):
            try:
                running.counts()
                break
            except OSError:
                time.sleep(0.05)
        first, refused = body(3, seed=1), body(300, seed=2)
        assert running.send(first)[0] == 200
        os.kill(running.process.pid, signal.SIGUSR1)
        status, answer, headers = running.send(refused)
        assert (status, headers["retry-after"]) == (503, "5")
        assert b"File too large" in Status.FromString(answer).message
        assert set(stored_ids(tmp_path)) == ids(first)
        assert list((tmp_path / "tmp").iterdir()) == []
        os.kill(running.process.pid, signal.SIGUSR2)
        assert running.send(refused)[0] == 200
        assert set(stored_ids(tmp_path)) == ids(first) | ids(refused)
    finally:
        running.stop()
        running.process.stderr.close()


@pytest.mark.timeout(7200)
def test_kill_9_loses_nothing_acknowledged_and_doubles_nothing(tmp_path):
    """Four clients that send again until they are acknowledged, and a receiver killed 6 times."""
    port, dice = free_port(), random.Random(2)
    running, stopping = Receiver(tmp_path, port), threading.Event()
    acknowledged: set[int] = set()
    tried: set[int] = set()
    repeats = []

    def client(me: int) -> None:
        number = 0
        while not stopping.is_set():
            encoded = body(10, seed=me * 1_000_000 + number)
            tried.update(ids(encoded))
            while not stopping.is_set():
                try:
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
                    connection.request("POST", "/v1/traces", gzip.compress(encoded, 1), PROTOBUF)
                    status = connection.getresponse().status
                except (OSError, http.client.HTTPException):
                    status = 0
                finally:
                    connection.close()
                if status == 200:
                    acknowledged.update(ids(encoded))
                    break
                repeats.append(number)
                time.sleep(0.05)
            number += 1

    clients = [threading.Thread(target=client, args=(me,)) for me in range(1, 5)]
    for thread in clients:
        thread.start()
    try:
        for _ in range(KILLS):
            time.sleep(0.3 + dice.random())
            running.process.kill()
            running.process.wait()
            running = Receiver(tmp_path, port)
        time.sleep(0.5)
    finally:
        stopping.set()
        for thread in clients:
            thread.join()
        running.process.kill()
        running.process.wait()
    found = stored_ids(tmp_path)
    assert len(found) == len(set(found))
    assert acknowledged <= set(found) <= tried
    assert len(acknowledged) > 100
    assert repeats
