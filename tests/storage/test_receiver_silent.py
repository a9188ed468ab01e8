"""Connections that stay silent: closed after a while, bounded in number, and nobody waits for them."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress

import grpc
import pytest

from cascade_otel.storage.otlp import grpc_server as otlp_grpc
from cascade_otel.storage.otlp import http as otlp_http
from cascade_otel.storage.otlp.grpc_server import Listening
from cascade_otel.storage.otlp.http import Http
from cascade_otel.storage.otlp.wire import Status
from cascade_otel.storage.receiving import connections
from cascade_otel.storage.receiving.intake import Intake
from tests.storage import certificates
from tests.storage.otlp_requests import Called
from tests.storage.receiver_process import PROGRAM, Receiver, body, free_port

HEAD_S = 1.5
HALF_A_HEAD = b"POST /v1/traces HTTP/1.1\r\nHost: x\r\n"
HEAD = HALF_A_HEAD + b"Content-Type: application/x-protobuf\r\nContent-Length: %d\r\n\r\n"
LIMITED = """
import sys
{}
from cascade_otel.storage.receiving import connections
connections.HEAD_S, connections.HANDSHAKE_S, connections.CONNECTIONS = {}, {}, {}
"""
IMPLEMENTATIONS = {"httptools": "import httptools", "h11": 'sys.modules["httptools"] = None'}


@pytest.fixture(scope="module", params=IMPLEMENTATIONS)
def implementation(request):
    return IMPLEMENTATIONS[request.param]


@pytest.fixture(scope="module")
def receiver(implementation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("silent")
    program = LIMITED.format(implementation, HEAD_S, HEAD_S, 500) + PROGRAM
    running = Receiver(folder, free_port(), program=program)
    yield running
    assert running.stop() == 0


def connected(receiver, sent=b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", receiver.port), timeout=10)
    connection.sendall(sent)
    return connection


def closed_after(connection, began: float) -> float:
    """Seconds from ``began`` until the other side has closed; what it sends before is passed over."""
    try:
        while connection.recv(65_536):
            pass
    except ConnectionResetError:
        """That is closed, too."""
    return time.monotonic() - began


def is_open(connection) -> bool:
    connection.setblocking(False)
    try:
        return bool(connection.recv(1))
    except BlockingIOError:
        return True
    except ConnectionResetError:
        return False


def test_three_hundred_silent_connections_stand_in_nobodys_way(receiver):
    """Whether they say nothing, half of their headers, or no body; those without headers are closed."""
    with ExitStack() as opened:
        began = time.monotonic()
        silent = [
            opened.enter_context(closing(connected(receiver, sent)))
            for sent in (b"", HALF_A_HEAD, HEAD % 900)
            for _ in range(100)
        ]
        assert receiver.send(body(1))[0] == 200
        assert receiver.ask("GET", "/healthz")[0] == 200
        for connection in silent[:200]:
            assert HEAD_S * 0.9 < closed_after(connection, began) < HEAD_S + 3
        assert all(map(is_open, silent[200:]))
        assert receiver.send(body(1))[0] == 200


def trickle(connection, piece: bytes) -> float:
    """Seconds until a piece every tenth of a second is no longer taken."""
    began = time.monotonic()
    with suppress(OSError):
        while time.monotonic() - began < HEAD_S + 8:
            connection.sendall(piece)
            time.sleep(0.1)
    return time.monotonic() - began


def test_headers_byte_by_byte_do_not_move_the_deadline(receiver):
    with closing(connected(receiver, HALF_A_HEAD + b"X: ")) as connection:
        assert HEAD_S * 0.9 < trickle(connection, b"x") < HEAD_S + 3


def test_the_deadline_is_for_headers_alone_and_of_each_request(receiver):
    """A body may take longer; the next request of the same connection has its own deadline."""
    encoded = body(1, seed=1)
    whole = HEAD % len(encoded) + encoded
    with closing(connected(receiver, whole[:40])) as connection:
        time.sleep(HEAD_S / 2)
        connection.sendall(whole[40:-10])
        time.sleep(HEAD_S * 1.5)
        connection.sendall(whole[-10:])
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        connection.sendall(whole)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        time.sleep(HEAD_S / 2)
        connection.sendall(HALF_A_HEAD)
        began = time.monotonic()
        assert HEAD_S * 0.9 < closed_after(connection, began) < HEAD_S + 3


def test_what_is_left_of_a_refused_body_is_awaited_no_longer(receiver):
    with closing(connected(receiver, HEAD % (64 << 20))) as connection:
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")
        assert trickle(connection, bytes(1000)) < HEAD_S + 3


@pytest.mark.parametrize(
    "endless",
    [
        HALF_A_HEAD + b"X: " + b"x" * (16 << 20),
        HALF_A_HEAD + b"X: y\r\n" * (4 << 20),
        b"GET /" + b"x" * (16 << 20),
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 200_000,
        HALF_A_HEAD
        + b"Content-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
        + b"x" * (16 << 20),
    ],
    ids=["header", "headers", "path", "requests", "trailer"],
)
def test_headers_without_an_end_cost_a_bounded_amount_of_memory(receiver, endless):
    before = receiver.resident("VmHWM")

    def send(_):
        with closing(connected(receiver)) as connection:
            connection.settimeout(3)
            try:
                connection.sendall(endless)
            except TimeoutError:
                return "is not read on"
            except OSError:
                return "is closed"
        return "was read"

    with ThreadPoolExecutor(8) as senders:
        assert set(senders.map(send, range(8))) <= {"is closed", "is not read on"}
    assert receiver.resident("VmHWM") - before < 40_000
    assert receiver.send(body(1))[0] == 200


def test_of_too_many_connections_the_one_waited_for_longest_goes(implementation, tmp_path):
    receiver = Receiver(tmp_path, free_port(), program=LIMITED.format(implementation, 60, 60, 20) + PROGRAM)
    try:
        with ExitStack() as opened:
            silent = []
            for sent in (b"", HALF_A_HEAD, HEAD % 900) * 10:
                silent.append(opened.enter_context(closing(connected(receiver, sent))))
            assert receiver.send(body(1))[0] == 200
            began = time.monotonic()
            assert all(closed_after(connection, began) < 5 for connection in silent[:11])
            assert all(map(is_open, silent[12:]))
    finally:
        assert receiver.stop() == 0


def test_more_requests_than_there_are_places_for_are_told_when_to_come_again(tmp_path, monkeypatch):
    """As OTLP wants it; a request whose body is on its way takes no place."""
    monkeypatch.setattr(otlp_http, "REQUESTS", 2)
    headers = [(b"content-type", b"application/x-protobuf")]
    scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": headers}

    async def post(http, receive):
        sent = []

        async def send(message):
            sent.append(message)

        await http(scope, receive, send)
        return sent

    async def whole():
        return {"type": "http.request", "body": body(1)}

    async def main():
        async with Intake(tmp_path) as intake:
            http = Http(intake)
            silent = [asyncio.create_task(post(http, asyncio.Event().wait)) for _ in range(5)]
            await asyncio.sleep(0)
            answers = await asyncio.gather(*(post(http, whole) for _ in range(3)))
            again = await post(http, whole)
            for waiting in silent:
                waiting.cancel()
        return answers, again

    answers, again = asyncio.run(main())
    assert [answer[0]["status"] for answer in answers] == [200, 200, 503]
    assert (b"retry-after", b"1") in answers[2][0]["headers"]
    assert Status.FromString(answers[2][1]["body"]).message == b"more than 2 requests are under way"
    assert again[0]["status"] == 200


def test_tls_that_does_not_begin_is_not_waited_for(implementation, tmp_path):
    pair = certificates.make(tmp_path)
    program = LIMITED.format(implementation, HEAD_S, HEAD_S, 500) + PROGRAM
    receiver = Receiver(tmp_path / "store", free_port(), pair=pair, program=program)
    try:
        with closing(connected(receiver)) as connection:
            began = time.monotonic()
            assert receiver.send(body(1))[0] == 200
            assert HEAD_S * 0.9 < closed_after(connection, began) < HEAD_S + 3
        begun = ssl.create_default_context(cafile=pair[0]).wrap_socket(
            connected(receiver), server_hostname="127.0.0.1"
        )
        with closing(begun):
            began = time.monotonic()
            begun.sendall(HALF_A_HEAD)
            try:
                assert begun.recv(10) == b""
            except (ConnectionResetError, ssl.SSLEOFError):
                """Closed without a word of TLS."""
            assert HEAD_S * 0.9 < time.monotonic() - began < HEAD_S + 3
    finally:
        assert receiver.stop() == 0


def test_silent_connections_of_grpc_are_closed_and_bounded(tmp_path, monkeypatch):
    """One that says nothing, one that has no call; a hundred at once take no room for ever."""
    changed = {
        "grpc.server_handshake_timeout_ms": 1_000,
        "grpc.max_connection_idle_ms": 1_500,
        "grpc.max_allowed_incoming_connections": 10,
    }
    assert changed.keys() <= dict(otlp_grpc.OPTIONS).keys()
    monkeypatch.setattr(otlp_grpc, "OPTIONS", list((dict(otlp_grpc.OPTIONS) | changed).items()))

    def ends(port, sent):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as connection:
            connection.sendall(sent)
            return closed_after(connection, time.monotonic())

    def overrun(port):
        with ExitStack() as opened:
            silent = [
                opened.enter_context(closing(socket.create_connection(("127.0.0.1", port), timeout=10)))
                for _ in range(100)
            ]
            time.sleep(0.5)
            refused = sum(not is_open(connection) for connection in silent)
            time.sleep(2.5)
            return refused, Called(port, body(1)).code

    async def main():
        port = free_port()
        async with Intake(tmp_path) as intake:
            server = await otlp_grpc.start(intake, Listening("127.0.0.1", port))
            preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
            nothing, idle = await asyncio.gather(
                asyncio.to_thread(ends, port, b""), asyncio.to_thread(ends, port, preface)
            )
            refused, code = await asyncio.to_thread(overrun, port)
            await server.stop(1)
        return nothing, idle, refused, code

    nothing, idle, refused, code = asyncio.run(main())
    assert 0.8 < nothing < 4
    assert 1.2 < idle < 6
    assert refused >= 85
    assert code == grpc.StatusCode.OK


def test_connections_and_files_fit_into_what_a_process_may_open():
    assert connections.CONNECTIONS + otlp_grpc.CONNECTIONS < 1_024 - 200
