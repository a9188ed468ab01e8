"""Who is told: standard output and webhooks, fed from the outbox until each message has arrived."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TextIO
from urllib.parse import urlsplit

import requests

from cascade_otel.records import UserError
from cascade_otel.storage.state import Message, State

log = logging.getLogger(__name__)

TIMEOUT_S = 5.0
PASSING = frozenset({408, 425, 429})
"""Answers of the 400s that another try may change, as every 5xx."""


class SinkError(Exception):
    """A message did not arrive. ``passing``: another try may go better. The text holds no secret."""

    def __init__(self, text: str, passing: bool):
        super().__init__(text)
        self.passing = passing


class Sink(Protocol):
    """Where messages go."""

    @property
    def name(self) -> str:
        """What the outbox knows it by: stays over restarts, holds no secret."""

    def send(self, body: dict[str, Any]) -> None:
        """Delivers one body of ``message.body``; returns when it has arrived. Raises SinkError."""


class StandardOutput:
    """Writes each message's text, and an empty line after it."""

    name = "standard output"

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream

    def send(self, body: dict[str, Any]) -> None:
        """Writes and flushes. What the terminal cannot show is written as its code."""
        stream = self._stream or sys.stdout
        encoding = stream.encoding or "utf-8"
        try:
            stream.write(f"{body['text']}\n\n".encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except (OSError, ValueError) as error:
            raise SinkError(f"standard output: {type(error).__name__}", passing=True) from error


class Webhook:
    """Posts each body as JSON to an address the operator gave. Its path and password are taken for secrets.

    Raises UserError for anything but an http or https address.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S):
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https"):
            raise UserError(
                "the webhook is no web address; wanted: https://HOST/PATH or http://HOST/PATH; "
                "type --webhook URL or set CASCADE_OTEL_WEBHOOK"
            )
        self.name = f"webhook {host}" if port is None else f"webhook {host}:{port}"
        self._url = url
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"<Webhook {self.name.removeprefix('webhook ')}, rest of the address hidden>"

    def send(self, body: dict[str, Any]) -> None:
        """Posts; any answer of the 200s is arrival. Redirects are not followed: they could lead inside."""
        try:
            # The answer's body is nobody's business and may never end: only its status is waited for.
            with requests.post(
                self._url, json=body, timeout=self._timeout_s, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except requests.RequestException as error:
            # Its text, and that of what caused it, holds the address.
            raise SinkError(f"{self.name}: {type(error).__name__}", passing=True) from None
        if not 200 <= status < 300:
            raise SinkError(f"{self.name}: answered {status}", passing=status >= 500 or status in PASSING)


def deliver(state: State, sinks: Sequence[Sink], now_ns: int) -> int:
    """Sends what is due in the outbox; returns how many messages arrived.

    Each is sent at least once: one that was sent but not noted, because the process died in between, is sent
    again, with the same body. Sinks work side by side, so one that hangs holds up only its own. A sink that
    fails is left alone until its next turn; what failed waits longer each time, and what was refused for good
    is given up.
    """
    waiting: dict[str, list[Message]] = {sink.name: [] for sink in sinks}
    for message in state.due(now_ns):
        if message.sink in waiting:
            waiting[message.sink].append(message)
    busy = [sink for sink in sinks if waiting[sink.name]]
    if not busy:
        return 0
    with ThreadPoolExecutor(max_workers=len(busy), thread_name_prefix="cascade-otel-sink") as pool:
        return sum(pool.map(lambda sink: _work(state, sink, waiting[sink.name], now_ns), busy))


def _work(state: State, sink: Sink, messages: list[Message], now_ns: int) -> int:
    arrived = 0
    for message in messages:
        try:
            sink.send(message.body)
        except SinkError as error:
            log.warning("alert %s not delivered: %s", message.fingerprint, error)
            if error.passing:
                state.failed(message.id, now_ns, str(error))
                break
            state.give_up(message.id, str(error))
        else:
            state.delivered(message.id)
            arrived += 1
    return arrived
