"""Ended spans on their way to an exporter: in batches, by a thread of its own, with every loss counted."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Protocol

from opentelemetry.context import attach, detach, set_value
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from cascade_otel import semconv
from cascade_otel.instrumentation._calls import SUPPRESSED
from cascade_otel.instrumentation._counters import add
from cascade_otel.instrumentation._guard import DROPPED, warn_once

BATCH = 512  # spans in one export, as in the SDK


class Exports(Protocol):
    """What is asked of an exporter."""

    def export(self, spans: Sequence[ReadableSpan]) -> object:
        """Sends or stores spans; a name of SUCCESS says that they were taken."""

    def shutdown(self) -> object:
        """Takes no more."""


class Batches(SpanProcessor):
    """Keeps up to ``capacity`` ended spans and hands them on every ``delay_s`` seconds, or when 512 wait.

    The SDK's own processor tells nobody what it drops, and waits without a limit where it is asked to flush.
    Here the oldest span that does not fit, and the spans of an export that failed, are counted in
    ``cascade.telemetry.dropped``. ``exporter.export`` must not raise.
    """

    _waiting: deque[ReadableSpan]
    _sending: list[ReadableSpan]  # what the exporter is busy with
    _called: bool  # the thread has been told that a batch waits
    _orders: SimpleQueue[SimpleQueue[None] | None]
    _thread: Thread

    def __init__(self, exporter: Exports, capacity: int, delay_s: float) -> None:
        self._exporter, self._capacity, self._delay_s = exporter, capacity, delay_s
        self._ended = False
        self._start()
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._start)

    def on_end(self, span: ReadableSpan) -> None:
        """Keeps a sampled span.

        There is no lock to wait for, or to be inside of when the garbage collector ends somebody's span: a
        deque's and a SimpleQueue's steps are whole.
        """
        if self._ended or span.context is None or not span.context.trace_flags.sampled:
            return
        self._waiting.append(span)
        waiting = len(self._waiting)
        if waiting > self._capacity:
            with suppress(IndexError):  # meanwhile all were handed on
                self._waiting.popleft()
                _lost("queue", 1, f"more than {self._capacity:,} waited, the oldest went")
        if waiting >= BATCH and not self._called:
            self._called = True
            self._orders.put(None)

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Hands on what waits. False where that took longer."""
        if self._ended:
            return True
        done: SimpleQueue[None] = SimpleQueue()
        self._orders.put(done)
        try:
            done.get(timeout=max(0.0, timeout_millis / 1e3))
        except Empty:
            return False
        return True

    def shutdown(self) -> None:
        """Hands on what waits, then takes no more."""
        self.end(30.0)

    def end(self, timeout_s: float) -> bool:
        """Hands on what waits, then takes no more. False where that took longer: the rest is lost."""
        if self._ended:
            return True
        self._ended = True
        self._orders.put(None)
        self._thread.join(timeout_s)
        left = len(self._sending) + len(self._waiting)
        self._sending = []
        self._waiting.clear()
        if left:
            _lost("exit", left, "the exporter did not answer in time")
        self._exporter.shutdown()
        return not left

    def _start(self) -> None:
        """Begins with nothing, also in a forked child: what waits is its parent's to hand on."""
        self._waiting, self._sending, self._called = deque(), [], False
        self._orders = SimpleQueue()
        if not self._ended:
            self._thread = Thread(target=self._work, name="cascade_otel_spans", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        ended = False
        while not ended:
            asked = None
            with suppress(Empty):  # the delay is over
                asked = self._orders.get(timeout=self._delay_s)
            ended = self._ended  # asked before handing on, so that nothing stays behind
            self._hand_on()
            if asked is not None:
                asked.put(None)

    def _hand_on(self) -> None:
        self._called = False
        for _ in range(-(-len(self._waiting) // BATCH)):  # what comes meanwhile is the next round's
            batch = self._sending = []
            with suppress(IndexError):  # the queue was full, and others took the oldest
                while len(batch) < BATCH:
                    batch.append(self._waiting.popleft())
            token = attach(set_value(SUPPRESSED, True))
            try:
                taken = not batch or getattr(self._exporter.export(batch), "name", "") == "SUCCESS"
            finally:
                detach(token)
            if self._sending is not batch:  # counted as lost at the end, which did not wait for it
                return
            self._sending = []
            if not taken:
                _lost("export", len(batch), "the exporter did not take them")


def _lost(reason: str, spans: int, why: str) -> None:
    add(DROPPED.cell({semconv.DROP_REASON: reason}), spans)
    message = "spans are dropped (%s): %s; your code is unaffected, cascade.telemetry.dropped counts them"
    warn_once(reason, "spans", message, reason, why)
