"""OTLP over gRPC: the same intake, and status codes that exporters take as they are meant."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from cascade_otel.storage.receiving.access import Tls
from cascade_otel.storage.receiving.intake import (
    MAX_BODY,
    ROOM_AGAIN_S,
    TOO_LARGE,
    Intake,
    RefusedError,
    Signal,
    inflate,
    response,
)

CALLS, MESSAGES, MESSAGE_S = 200, 16, 10.0
"""Calls at once, how many of them may be sending their message, and for how many seconds: gRPC holds the
whole of it."""
CONNECTIONS, HANDSHAKE_MS, IDLE_MS = 300, 10_000, 60_000
"""Connections at once, how long one may take to begin with TLS and HTTP/2, and be without a call after that:
clients make a new one with their next call."""
LARGEST = 16 << 20
"""A larger message is refused by gRPC itself, as RESOURCE_EXHAUSTED: exporters send that again for a while.
One between the receiver's own limit and this is refused for good."""
GZIP = b"\x1f\x8b"
"""How gzip begins, and no message does: its first field would have a type that there is not."""
OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", LARGEST),
    # Left as they are, messages go the way of HTTP's bodies: what gRPC itself cannot inflate, or not within
    # its limit, it refuses with codes that make exporters send the same again.
    ("grpc.per_message_decompression", 0),
    ("grpc.compression_enabled_algorithms_bitset", 0b101),  # none and gzip
    ("grpc.max_concurrent_streams", CALLS),
    ("grpc.server_handshake_timeout_ms", HANDSHAKE_MS),
    ("grpc.max_connection_idle_ms", IDLE_MS),
    ("grpc.max_allowed_incoming_connections", CONNECTIONS),
]
CODES = {
    401: grpc.StatusCode.UNAUTHENTICATED,
    404: grpc.StatusCode.UNIMPLEMENTED,
    408: grpc.StatusCode.UNAVAILABLE,
    503: grpc.StatusCode.UNAVAILABLE,
}
"""Codes of refusals; any other is INVALID_ARGUMENT, which no exporter sends again."""
SERVICES: dict[str, Signal | None] = {
    "opentelemetry.proto.collector.trace.v1.TraceService": "traces",
    "opentelemetry.proto.collector.metrics.v1.MetricsService": "metrics",
    "opentelemetry.proto.collector.logs.v1.LogsService": None,
}
Handler = Callable[[Any, Any], Awaitable[bytes]]


@dataclass(frozen=True)
class Listening:
    """Where gRPC is served: an address in numbers, a port, and TLS if any."""

    address: str
    port: int
    tls: Tls | None = None

    @property
    def target(self) -> str:
        """Both as gRPC writes them."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


async def start(intake: Intake, listening: Listening) -> Any:
    """A running ``grpc.aio.Server``. Raises RuntimeError where the port is taken."""
    server = grpc.aio.server(options=OPTIONS)
    calls = _Calls(intake)
    server.add_generic_rpc_handlers(
        tuple(
            # Taken as a stream, a call is looked at before its message is received.
            grpc.method_handlers_generic_handler(
                service, {"Export": grpc.stream_unary_rpc_method_handler(calls.handler(signal))}
            )
            for service, signal in SERVICES.items()
        )
    )
    if listening.tls is None:
        server.add_insecure_port(listening.target)
    else:
        pair = (listening.tls.key.read_bytes(), listening.tls.certificate.read_bytes())
        server.add_secure_port(listening.target, grpc.ssl_server_credentials([pair]))
    await server.start()
    return server


class _Calls:
    """Calls under way, of all services."""

    def __init__(self, intake: Intake):
        self._intake = intake
        self._under_way = 0
        self._messages = asyncio.Semaphore(MESSAGES)

    def handler(self, signal: Signal | None) -> Handler:
        async def export(_: Any, context: Any) -> bytes:
            self._under_way += 1
            try:
                taken = await self._export(signal, context)
            except RefusedError as refused:
                self._intake.count("refused")
                await context.abort(
                    CODES.get(refused.status, grpc.StatusCode.INVALID_ARGUMENT),
                    refused.reason,
                    _retry(refused),
                )
                raise AssertionError("abort raises") from None
            finally:
                self._under_way -= 1
            return taken

        return export

    async def _export(self, signal: Signal | None, context: Any) -> bytes:
        sent = dict(context.invocation_metadata())
        if not self._intake.bears_token(str(sent.get("authorization", ""))):
            raise RefusedError(
                401, "wanted: authorization: Bearer with this receiver's token in the metadata"
            )
        if signal is None:
            raise RefusedError(404, "logs are not taken here; there are traces and metrics")
        if self._under_way > CALLS:
            raise RefusedError(503, f"more than {CALLS} calls are under way", ROOM_AGAIN_S)
        message = await self._message(context)
        if len(message) > MAX_BODY:
            raise RefusedError(413, TOO_LARGE)
        body = inflate(message, "gzip") if message.startswith(GZIP) else message
        encoded: bytes = response(signal, await self._intake.take(signal, body)).SerializeToString()
        return encoded

    async def _message(self, context: Any) -> bytes:
        try:
            async with self._messages, asyncio.timeout(MESSAGE_S):
                message = await context.read()
        except TimeoutError:
            raise RefusedError(
                408, f"the message did not arrive within {MESSAGE_S:g} s", ROOM_AGAIN_S
            ) from None
        if message is grpc.aio.EOF:
            raise RefusedError(400, "a call without a message arrived")
        received: bytes = message
        return received


def _retry(refused: RefusedError) -> tuple[tuple[str, bytes], ...]:
    """When to send again, where the Python exporter looks for it, and where the specification has it."""
    if refused.retry_after_s is None:
        return ()
    info = RetryInfo(retry_delay=Duration(seconds=refused.retry_after_s))
    status = Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message=refused.reason)
    status.details.add().Pack(info)
    return (
        ("google.rpc.retryinfo-bin", info.SerializeToString()),
        ("grpc-status-details-bin", status.SerializeToString()),
    )
