"""OTLP over HTTP in: checked, parsed, committed with what else arrives, and only then acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hmac
import ipaddress
import json
import signal
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from cascade_otel.records import UserError
from cascade_otel.storage.committer import Committer, TryLaterError
from cascade_otel.storage.decode import MalformedError, TooManyError, decode
from cascade_otel.storage.otlp_wire import Status
from cascade_otel.storage.segments import Store

MAX_BODY, MAX_INFLATED = 4 << 20, 8 << 20
"""Bytes of a request as it arrives, and after gzip."""
CONNECTIONS = 200
MAX_PORT = 65_535
STOP_S = 3
PROTOBUF, TEXT, JSON = "application/x-protobuf", "text/plain; charset=utf-8", "application/json"

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Metrics = Callable[[], bytes]


class RefusedError(Exception):
    """A request answered with an HTTP status of 400 or more and a reason for people."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None):
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


class Answer(NamedTuple):
    """What a request gets back."""

    body: bytes
    content_type: str
    status: int = 200
    retry_after_s: int | None = None


def app(store_root: str | Path, token: str | None = None, metrics: Metrics | None = None) -> App:
    """An ASGI application: POST /v1/traces and /v1/metrics, GET /healthz, and GET /metrics where
    ``metrics`` is given.

    With a ``token`` every request but a plain health check has to carry it as ``Authorization: Bearer``.
    Metrics that are posted are acknowledged and counted, not stored: the store has the spans they were
    made of. Needs ASGI's lifespan, and one event loop.
    """
    return _Receiver(store_root, token, metrics)


def run(
    store_root: str | Path, host: str, port: int, token: str | None = None, metrics: Metrics | None = None
) -> None:
    """Serves ``app`` until SIGTERM or SIGINT; requests under way are finished first.

    Raises UserError for an address that cannot be had, or that others can reach without a token.
    """
    check_reach(host, token)
    listening = bind(host, port)
    decode([])  # the first Arrow array of a process takes more than a second
    config = uvicorn.Config(
        app(store_root, token, metrics),
        access_log=False,
        log_level="warning",
        lifespan="on",
        ws="none",
        server_header=False,
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=STOP_S,
    )
    # uvicorn stops at these signals and raises them once more when it has stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run(sockets=[listening])


def check_reach(host: str, token: str | None) -> None:
    """Raises UserError if ``host`` can be reached from other machines and there is no token."""
    if token or host == "localhost":
        return
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    raise UserError(
        f"--host {host} can be reached from other machines; wanted: a token; "
        "type CASCADE_OTEL_TOKEN=… before the command, and in the services set "
        "OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20…"
    )


def bind(host: str, port: int, option: str = "--port") -> socket.socket:
    """A socket that listens there (0: on a free port), or UserError, which names the ``option``."""
    with contextlib.ExitStack() as failing:
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = failing.enter_context(socket.socket(family))
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, port))
        except OSError as error:
            if isinstance(error, socket.gaierror) or error.errno == errno.EADDRNOTAVAIL:
                raise UserError(
                    f"--host {host} cannot be listened on ({error.strerror}); wanted: an address of this "
                    "machine; try --host 127.0.0.1"
                ) from error
            other = port + 1 if port < MAX_PORT else port - 1
            raise UserError(
                f"{host}:{port} cannot be listened on ({error.strerror}); wanted: a free port; "
                f"try {option} {other}"
            ) from error
        failing.pop_all()
    return listening


class _Receiver:
    def __init__(self, store_root: str | Path, token: str | None, metrics: Metrics | None):
        self._store_root, self._token, self._metrics = store_root, token, metrics
        self._counts = {"refused": 0, "metric_requests": 0}
        self._committer: Committer

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        answer = await self._answer(scope, receive)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        if answer.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % answer.retry_after_s))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._committer = Committer(Store(self._store_root))
        running = asyncio.create_task(self._committer.run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        path = scope["path"]
        try:
            return await self._route(scope["method"], path, _headers(scope), receive)
        except RefusedError as refused:
            self._counts["refused"] += 1
            if path.startswith("/v1/"):
                body, kind = Status(message=refused.reason.encode()).SerializeToString(), PROTOBUF
            else:
                body, kind = refused.reason.encode(), TEXT
            return Answer(body, kind, refused.status, refused.retry_after_s)

    async def _route(self, method: str, path: str, headers: dict[str, str], receive: Receive) -> Answer:
        known = self._token is None or _same(headers.get("authorization", ""), f"Bearer {self._token}")
        wanted = "POST" if path in ("/v1/traces", "/v1/metrics") else "GET"
        if path == "/healthz" and method == wanted:
            counts = self._committer.counts.as_dict() | self._counts if known else {}
            return Answer(json.dumps({"status": "ok", **counts}).encode(), JSON)
        if not known:
            raise RefusedError(401, "wanted: the header Authorization: Bearer with this receiver's token")
        if path not in ("/v1/traces", "/v1/metrics") and not (path == "/metrics" and self._metrics):
            raise RefusedError(404, "there is /v1/traces, /v1/metrics and /healthz")
        if method != wanted:
            raise RefusedError(405, f"{method} arrived; wanted: {wanted}")
        if path == "/metrics":
            return await self._scraped()
        return await self._posted(path, headers, receive)

    async def _scraped(self) -> Answer:
        assert self._metrics is not None
        text = await asyncio.get_running_loop().run_in_executor(None, self._metrics)
        return Answer(text, "text/plain; version=0.0.4; charset=utf-8")

    async def _posted(self, path: str, headers: dict[str, str], receive: Receive) -> Answer:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != PROTOBUF:
            raise RefusedError(
                415,
                f"{kind!r} arrived; wanted: {PROTOBUF}; set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            )
        body = inflate(await _body(headers, receive), headers.get("content-encoding", "").strip().lower())
        if path == "/v1/metrics":
            self._counts["metric_requests"] += 1
            return Answer(b"", PROTOBUF)
        try:
            rejected = await self._committer.add(body)
        except MalformedError as error:
            raise RefusedError(400, str(error)) from None
        except TooManyError as error:
            raise RefusedError(413, str(error)) from None
        except TryLaterError as error:
            raise RefusedError(503, error.reason, error.after_s) from None
        return Answer(_response(rejected), PROTOBUF)


def inflate(body: bytes, encoding: str) -> bytes:
    """The body without its encoding, which may be gzip.

    Raises RefusedError for another encoding, a torn body, and more than ``MAX_INFLATED`` bytes.
    """
    if encoding in ("", "identity"):
        return body
    if encoding != "gzip":
        raise RefusedError(415, f"content encoding {encoding!r} arrived; wanted: gzip or none")
    stream = zlib.decompressobj(31)
    try:
        inflated = stream.decompress(body, MAX_INFLATED)
    except zlib.error:
        raise RefusedError(400, "the body is no gzip") from None
    if stream.unconsumed_tail:
        raise RefusedError(413, f"the body inflates to over {MAX_INFLATED:,} bytes; send smaller batches")
    if not stream.eof or stream.unused_data:
        raise RefusedError(400, "the body is not one whole gzip member")
    return inflated


async def _body(headers: dict[str, str], receive: Receive) -> bytes:
    too_large = RefusedError(
        413, f"the body is larger than {MAX_BODY:,} bytes; send smaller batches, or gzip them"
    )
    length = headers.get("content-length", "")
    if length.isdigit() and int(length) > MAX_BODY:
        raise too_large
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "the sender went away")
        chunks.append(message.get("body", b""))
        more = message.get("more_body", False)
        size += len(chunks[-1])
        if size > MAX_BODY:
            raise too_large
    return b"".join(chunks)


def _headers(scope: Message) -> dict[str, str]:
    pairs: Iterator[tuple[bytes, bytes]] = iter(scope["headers"])
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


def _same(arrived: str, wanted: str) -> bool:
    return hmac.compare_digest(arrived.encode(), wanted.encode())


def _response(rejected: dict[str, int]) -> bytes:
    response: Any = ExportTraceServiceResponse()
    if rejected:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in sorted(rejected.items()))
        response.partial_success.rejected_spans = sum(rejected.values())
        response.partial_success.error_message = f"spans put aside: {reasons}"
    encoded: bytes = response.SerializeToString()
    return encoded
