"""Connections over HTTP: whoever keeps one open without sending a request takes no room from others."""

from __future__ import annotations

import asyncio
import ssl
import time
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0
"""A request's headers have to be in so many seconds after the connection was made, or their first byte."""
HANDSHAKE_S = 10.0
"""How long TLS may take to begin, and to end."""
CONNECTIONS = 500
"""More are not kept: the one that has been waited for longest goes. With gRPC's, and the files of a commit,
they are fewer than the 1,024 files that a process may have open where nothing else is set."""
MAX_HEAD, PIPELINED = 64 << 10, 16
"""Bytes of headers, and requests that may wait on one connection for the answer to the one before."""


class Timed(asyncio.Protocol):
    """Put before one of uvicorn's protocols: a deadline for headers, and a bound of connections."""

    cycle: Any
    connections: Any
    loop: Any
    transport: Any

    _since = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Starts the deadline, and closes another connection if this is one too many."""
        super().connection_made(transport)
        self._start()
        if len(self.connections) > CONNECTIONS:
            _close_the_oldest(self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the deadline."""
        self._end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Ends the deadline once a request's headers are in; starts it where another request begins."""
        super().data_received(data)
        if not self._has_no_request():
            self._end()
        elif self._deadline is None:
            self._start()

    def on_response_complete(self) -> None:
        """From here on the next request is waited for."""
        self._since = time.monotonic()
        super().on_response_complete()  # type: ignore[misc]  # of uvicorn's protocol, which comes next

    def is_waited_for(self) -> bool:
        """Whether it is the sender's turn, with headers or with a body."""
        return self._has_no_request() or bool(self.cycle.more_body)

    def _has_no_request(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    def _start(self) -> None:
        self._since = time.monotonic()
        self._deadline = self.loop.call_later(HEAD_S, self._late)

    def _end(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._end()
        self.transport.abort()


class OverH11(Timed, H11Protocol):
    """With h11, which bounds headers itself."""


def protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol over httptools where that is installed, or else over h11, within these limits."""
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
    except ImportError:
        return OverH11

    class OverHttptools(Timed, HttpToolsProtocol):
        """With httptools, which holds headers and further requests without a bound."""

        _apart = 0  # bytes since headers were complete, or a piece of a body arrived

        def data_received(self, data: bytes) -> None:
            self._apart += len(data)
            super().data_received(data)
            if self._apart > MAX_HEAD and not self.transport.is_closing():
                self.send_400_response(f"The headers are longer than {MAX_HEAD} bytes.")

        def on_headers_complete(self) -> None:
            self._apart = 0
            if len(self.pipeline) >= PIPELINED:
                raise ValueError("answered as what is no HTTP")
            super().on_headers_complete()

        def on_body(self, body: bytes) -> None:
            self._apart = 0
            super().on_body(body)

    return OverHttptools


class Server(uvicorn.Server):
    """uvicorn's, with a deadline for TLS, on sockets that are given to ``serve``."""

    async def startup(self, sockets: Any = None) -> None:
        """Starts to listen."""
        await super().startup(sockets=[])
        encrypted: dict[str, Any] = {}
        if isinstance(self.config.ssl, ssl.SSLContext):
            encrypted = {"ssl_handshake_timeout": HANDSHAKE_S, "ssl_shutdown_timeout": HANDSHAKE_S}
        for listening in sockets or ():
            self.servers.append(
                await asyncio.get_running_loop().create_server(
                    self._connection,
                    sock=listening,
                    ssl=self.config.ssl,
                    backlog=self.config.backlog,
                    **encrypted,
                )
            )

    def _connection(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = made(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return connection


def _close_the_oldest(connections: set[Timed]) -> None:
    waited_for = [connection for connection in connections if connection.is_waited_for()]
    oldest = min(waited_for, key=lambda connection: connection._since)
    connections.discard(oldest)  # now: many more may be accepted before it hears that it is lost
    oldest._late()
