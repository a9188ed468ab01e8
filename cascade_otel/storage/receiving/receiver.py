"""The receiver: OTLP over HTTP and over gRPC in one process, into one store."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import socket
from pathlib import Path

import uvicorn

from cascade_otel.records import UserError
from cascade_otel.storage.otlp import grpc_server as otlp_grpc
from cascade_otel.storage.otlp.decode import decode
from cascade_otel.storage.otlp.http import App, Http, Message, Metrics, NotHttp, Receive, Send
from cascade_otel.storage.receiving import connections
from cascade_otel.storage.receiving.access import Tls, check_reach
from cascade_otel.storage.receiving.intake import Intake, check_token

MAX_PORT = 65_535
STOP_S, GRPC_STOP_S = 3, 1


def app(store_root: str | Path, token: str | None = None, metrics: Metrics | None = None) -> App:
    """An ASGI application: POST /v1/traces and /v1/metrics, GET /healthz, and GET /metrics where
    ``metrics`` is given.

    With a ``token`` every request but a plain health check has to carry it as ``Authorization: Bearer``.
    Needs ASGI's lifespan, and one event loop.
    """
    return _app(Intake(store_root, token), metrics, None)


def run(
    store_root: str | Path,
    host: str,
    port: int,
    token: str | None = None,
    metrics: Metrics | None = None,
    *,
    grpc_port: int = 0,
    tls: Tls | None = None,
    behind_proxy: bool = False,
) -> None:
    """Serves ``app`` on ``port``, and gRPC on ``grpc_port`` unless that is 0, until SIGTERM or SIGINT;
    requests under way are finished first.

    Raises UserError for an empty token, and for an address that cannot be had, or that others can reach
    without a token or whose token they could read (see ``access.check_reach``).
    """
    check_token(token)
    check_reach(host, token, tls, behind_proxy)
    listening = bind(host, port)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # clients' mistakes are answered, not logged
    grpc = None
    if grpc_port:
        bind(host, grpc_port, "--grpc-port").close()  # gRPC itself says of a taken port no more than that
        grpc = otlp_grpc.Listening(listening.getsockname()[0], grpc_port, tls)
    decode([])  # the first Arrow array of a process takes more than a second
    intake = Intake(store_root, token)
    config = uvicorn.Config(
        _app(intake, metrics, grpc),
        http=connections.protocol(),
        access_log=False,
        log_level="warning",
        lifespan="on",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        ssl_certfile=tls.certificate if tls else None,
        ssl_keyfile=tls.key if tls else None,
    )
    instead = f"OTLP over gRPC goes to port {grpc_port}" if grpc_port else "there is no gRPC here"
    logging.getLogger("uvicorn.error").addFilter(NotHttp(intake, instead))
    # uvicorn stops at these signals and raises them once more when it has stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    connections.Server(config).run(sockets=[listening])


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


def _app(intake: Intake, metrics: Metrics | None, grpc: otlp_grpc.Listening | None) -> App:
    http = Http(intake, metrics)

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(intake, grpc, receive, send)
        else:
            await http(scope, receive, send)

    return answer


async def _live(intake: Intake, grpc: otlp_grpc.Listening | None, receive: Receive, send: Send) -> None:
    await receive()
    async with intake:
        server = await otlp_grpc.start(intake, grpc) if grpc else None
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if server:
            await server.stop(GRPC_STOP_S)
    await send({"type": "lifespan.shutdown.complete"})
