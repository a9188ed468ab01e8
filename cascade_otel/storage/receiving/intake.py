"""What both ways in share: room for requests, their bodies unpacked, spans committed, metrics counted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from cascade_otel.records import SECOND_NS, UserError
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.otlp import json_form as otlp_json
from cascade_otel.storage.otlp.wire import MalformedError, TooManyError
from cascade_otel.storage.receiving import access
from cascade_otel.storage.receiving.committer import Committer, TryLaterError
from cascade_otel.storage.segments import Store

MAX_BODY, MAX_INFLATED = 4 << 20, 8 << 20
"""Bytes of a request as it arrives, and after gzip."""
MAX_HELD = 64 << 20
"""Bytes of all requests that are being read or stored at one time; more is refused until there is room."""
READ_S = 30.0
"""A body has to arrive within so many seconds."""
AGAIN_S, ROOM_AGAIN_S = 5, 1
"""When to send again: after a fault of the disk, and when there was no room."""
TOO_LARGE = f"the body is larger than {MAX_BODY:,} bytes; send smaller batches, or gzip them"

Signal = Literal["traces", "metrics"]
Rejected = dict[str, int]
"""How many spans or data points were not taken, by reason."""
logger = logging.getLogger(__name__)


class RefusedError(Exception):
    """A request refused with an HTTP status of 400 or more and a reason for people."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None):
        super().__init__(reason)
        self.status, self.reason, self.retry_after_s = status, reason, retry_after_s


class Intake:
    """Takes OTLP requests into a store; an async context manager of one event loop, in which it takes them.

    With a ``token`` a request has to bear it. Raises UserError for an empty one.
    """

    def __init__(self, store_root: str | Path, token: str | None = None):
        check_token(token)
        self.token = token
        self._counts = {"refused": 0, "not_http": 0, "metric_requests": 0}
        self._held = 0
        self._committer = Committer(Store(store_root))
        self._counters = Counters(store_root)
        # One thread each: one JSON document at a time is in memory, and one transaction runs.
        self._reading, self._counting = ThreadPoolExecutor(1, "json"), ThreadPoolExecutor(1, "count")

    async def __aenter__(self) -> Intake:
        self._running = asyncio.create_task(self._committer.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        self._reading.shutdown()
        self._counting.shutdown()
        self._counters.close()

    @property
    def counts(self) -> dict[str, int]:
        """What became of requests, spans and data points since the start, by name."""
        points = {f"points_{name}": count for name, count in self._counters.counts.as_dict().items()}
        return self._committer.counts.as_dict() | points | self._counts

    @property
    def trouble(self) -> str:
        """Why spans cannot be stored, '' if they can."""
        return self._committer.trouble

    def exposition(self) -> bytes:
        """The same, and how many spans wait, in the Prometheus text format."""
        counts = self.counts
        last_s = counts.pop("last_commit_ns") / SECOND_NS
        samples = [
            *((f"cascade_receiver_{name}_total", "counter", count) for name, count in counts.items()),
            ("cascade_receiver_waiting_spans", "gauge", self._committer.waiting),
            ("cascade_receiver_last_commit_timestamp_seconds", "gauge", last_s),
        ]
        return "".join(f"# TYPE {name} {kind}\n{name} {value}\n" for name, kind, value in samples).encode()

    def count(self, what: str) -> None:
        """One more of ``what`` in ``counts``."""
        self._counts[what] += 1

    def bears_token(self, authorization: str) -> bool:
        """Whether a request with this Authorization header ('' none) is let in."""
        return self.token is None or access.is_same(authorization, self.token)

    @contextlib.contextmanager
    def room(self, size: int) -> Iterator[None]:
        """Holds room for so many bytes; raises RefusedError if there is none."""
        if self._held + size > MAX_HELD:
            raise RefusedError(503, "more requests are under way than there is room for", ROOM_AGAIN_S)
        self._held += size
        try:
            yield
        finally:
            self._held -= size

    async def take(self, signal: Signal, body: bytes, is_json: bool = False) -> Rejected:
        """Returns once everything good in the body (inflated) is durable. Raises RefusedError."""
        with self.room(len(body)):
            try:
                return await self._take(signal, body, is_json)
            except MalformedError as error:
                raise RefusedError(400, str(error)) from None
            except TooManyError as error:
                raise RefusedError(413, str(error)) from None
            except TryLaterError as error:
                raise RefusedError(503, error.reason, error.after_s) from None
            except (OSError, sqlite3.Error) as error:
                logger.exception("metrics were not stored")
                raise RefusedError(503, f"the counters cannot be written to: {error}", AGAIN_S) from None

    async def _take(self, signal: Signal, body: bytes, is_json: bool) -> Rejected:
        loop = asyncio.get_running_loop()
        if is_json:
            body = await loop.run_in_executor(self._reading, otlp_json.protobuf, body, signal)
        if signal == "traces":
            return await self._committer.add(body)
        self.count("metric_requests")
        return await loop.run_in_executor(self._counting, self._counters.add, body)


def check_token(token: str | None) -> None:
    """Raises UserError for an empty token, which anybody bears, and for one that no header can bear."""
    if token is not None and not token.strip():
        raise UserError("an empty token arrived; wanted: a token, or None for no token at all")
    if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
        raise UserError(
            "a token with letters beyond ASCII, or spaces around it, arrived; wanted: one that a header can "
            "carry; type CASCADE_OTEL_TOKEN=$(openssl rand -hex 32)"
        )


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


def response(signal: Signal, rejected: Rejected) -> Any:
    """OTLP's answer to a request that was taken: empty, or a partial success that says what was not."""
    answer: Any
    if signal == "traces":
        answer, counted, what = ExportTraceServiceResponse(), "rejected_spans", "spans put aside"
    else:
        answer, counted, what = (
            ExportMetricsServiceResponse(),
            "rejected_data_points",
            "data points not taken",
        )
    if rejected:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in sorted(rejected.items()))
        setattr(answer.partial_success, counted, sum(rejected.values()))
        answer.partial_success.error_message = f"{what}: {reasons}"
    return answer
