"""OTLP over HTTP, protobuf or JSON: an ASGI application that says what was wrong with a request."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, NamedTuple, cast

from google.protobuf.json_format import MessageToJson

from cascade_otel.storage.otlp.wire import Status
from cascade_otel.storage.receiving.intake import (
    MAX_BODY,
    READ_S,
    ROOM_AGAIN_S,
    TOO_LARGE,
    Intake,
    RefusedError,
    Signal,
    inflate,
    response,
)

PROTOBUF, TEXT, JSON = "application/x-protobuf", "text/plain; charset=utf-8", "application/json"
PATHS = {"/v1/traces": "POST", "/v1/metrics": "POST", "/healthz": "GET", "/metrics": "GET"}
REQUESTS = 200
"""How many requests are inflated and stored at one time. Those whose body is on its way are not counted:
it costs nothing but the room that ``Intake`` counts."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]
Metrics = Callable[[], bytes]


class Answer(NamedTuple):
    """What a request gets back."""

    body: bytes
    content_type: str
    status: int = 200
    retry_after_s: int | None = None


class Http:
    """POST /v1/traces and /v1/metrics, GET /healthz, and GET /metrics where ``metrics`` is given.

    Where the intake has a token every request but a plain health check has to bear it.
    """

    def __init__(self, intake: Intake, metrics: Metrics | None = None):
        self._intake, self._metrics = intake, metrics
        self._under_way = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answers one request, as ASGI has it."""
        answer = await self._answer(scope, receive)
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", b"%d" % len(answer.body)),
        ]
        if answer.retry_after_s is not None:
            headers.append((b"retry-after", b"%d" % answer.retry_after_s))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        headers = _headers(scope)
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            return await self._route(scope["method"], scope["path"], kind, headers, receive)
        except RefusedError as refused:
            self._intake.count("refused")
            return Answer(
                *_reason(refused.reason, scope["path"], kind), refused.status, refused.retry_after_s
            )

    async def _route(
        self, method: str, path: str, kind: str, headers: dict[str, str], receive: Receive
    ) -> Answer:
        known = self._intake.bears_token(headers.get("authorization", ""))
        if path == "/healthz" and method == "GET":
            trouble = self._intake.trouble
            said = {"status": trouble or "ok", **(self._intake.counts if known else {})}
            return Answer(json.dumps(said).encode(), JSON, 503 if trouble else 200)
        if not known:
            raise RefusedError(401, "wanted: the header Authorization: Bearer with this receiver's token")
        if path == "/v1/logs":
            raise RefusedError(404, "logs are not taken here; there is /v1/traces and /v1/metrics")
        if path not in PATHS or (path == "/metrics" and self._metrics is None):
            raise RefusedError(404, "there is /v1/traces, /v1/metrics and /healthz")
        if method != PATHS[path]:
            raise RefusedError(405, f"{method} arrived; wanted: {PATHS[path]}")
        if path == "/metrics":
            return await self._scraped()
        return await self._posted(cast(Signal, path.removeprefix("/v1/")), kind, headers, receive)

    async def _scraped(self) -> Answer:
        assert self._metrics is not None
        text = await asyncio.get_running_loop().run_in_executor(None, self._metrics)
        return Answer(text + self._intake.exposition(), "text/plain; version=0.0.4; charset=utf-8")

    async def _posted(self, signal: Signal, kind: str, headers: dict[str, str], receive: Receive) -> Answer:
        if kind not in (PROTOBUF, JSON):
            raise RefusedError(
                415,
                f"{kind!r} arrived; wanted: {PROTOBUF} or {JSON}; "
                "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
            )
        try:
            async with asyncio.timeout(READ_S):
                body = await self._body(headers, receive)
        except TimeoutError:
            raise RefusedError(408, f"the body did not arrive within {READ_S:g} s") from None
        with self._place():
            body = inflate(body, headers.get("content-encoding", "").strip().lower())
            taken = response(signal, await self._intake.take(signal, body, kind == JSON))
        if kind == JSON:
            return Answer(MessageToJson(taken, indent=None).encode(), JSON)
        return Answer(taken.SerializeToString(), PROTOBUF)

    @contextlib.contextmanager
    def _place(self) -> Iterator[None]:
        if self._under_way >= REQUESTS:
            raise RefusedError(503, f"more than {REQUESTS} requests are under way", ROOM_AGAIN_S)
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes:
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) > MAX_BODY:
            raise RefusedError(413, TOO_LARGE)
        chunks, size, more = [], 0, True
        while more:
            with self._intake.room(size):
                message = await receive()
            if message["type"] == "http.disconnect":
                raise RefusedError(400, "the sender went away")
            chunks.append(message.get("body", b""))
            more = message.get("more_body", False)
            size += len(chunks[-1])
            if size > MAX_BODY:
                raise RefusedError(413, TOO_LARGE)
        return b"".join(chunks)


class NotHttp(logging.Filter):
    """Says once, instead of at every connection, that something arrived which speaks no HTTP/1.1.

    A filter of the server's log: a client of gRPC that was given the wrong port tries again and again.
    """

    def __init__(self, intake: Intake, instead: str):
        super().__init__()
        self._intake, self._instead = intake, instead

    def filter(self, record: logging.LogRecord) -> bool:
        """Lets other lines pass, and the first of these in words that help."""
        if record.msg != "Invalid HTTP request received.":
            return True
        self._intake.count("not_http")
        record.msg = (
            f"what arrived speaks no HTTP/1.1; {self._instead} (said once; /healthz counts: not_http)"
        )
        return self._intake.counts["not_http"] == 1


def _headers(scope: Message) -> dict[str, str]:
    pairs: Iterator[tuple[bytes, bytes]] = iter(scope["headers"])
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}


def _reason(reason: str, path: str, kind: str) -> tuple[bytes, str]:
    """The reason as OTLP wants it: a google.rpc.Status in the encoding of the request."""
    if not path.startswith("/v1/"):
        return reason.encode(), TEXT
    if kind == JSON:
        return json.dumps({"message": reason}).encode(), JSON
    return Status(message=reason.encode()).SerializeToString(), PROTOBUF
