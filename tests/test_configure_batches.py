"""The queue of ended spans: each loss is counted once, a batch wakes its thread once, exports stay unseen."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from opentelemetry.context import get_value
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from cascade_otel import semconv, tier
from cascade_otel.configure._batches import BATCH, Batches
from cascade_otel.instrumentation import _instruments
from cascade_otel.testing import Recorded, record


@tier("x")
def ask() -> int:
    return 1


class Busy(SpanExporter):
    """Is busy until it is let, and then says what it was told to."""

    def __init__(self, answer: SpanExportResult) -> None:
        self.answer, self.asked, self.let = answer, threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.sizes.append(len(spans))
        self.asked.set()
        assert self.let.wait(30)
        return self.answer


class Client(SpanExporter):
    """Sends with an instrumented client, which itself makes a span unless that is suppressed."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.suppressed: list[object] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.names += [span.name for span in spans]
        self.suppressed.append(get_value("suppress_instrumentation"))
        ask()
        return SpanExportResult.SUCCESS


def through(batches: Batches, patched: pytest.MonkeyPatch) -> None:
    """Our spans go to these batches."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(batches)
    patched.setattr(_instruments, "tracer", provider.get_tracer(semconv.SCOPE))


def dropped(seen: Recorded) -> dict[object, float]:
    return {dict(key)[semconv.DROP_REASON]: value for key, value in seen.metric(semconv.DROPPED).items()}


@pytest.mark.parametrize("answer", list(SpanExportResult))
def test_a_batch_given_up_at_the_end_is_not_counted_again_when_its_export_ends(
    monkeypatch: pytest.MonkeyPatch, answer: SpanExportResult
) -> None:
    exporter = Busy(answer)
    with record() as seen:
        batches = Batches(exporter, 10_000, 60)
        through(batches, monkeypatch)
        for _ in range(BATCH):
            ask()
        assert exporter.asked.wait(30)
        for _ in range(7):
            ask()
        assert not batches.end(0.01)
        assert dropped(seen) == {"exit": BATCH + 7}
        exporter.let.set()
        batches._thread.join(30)
        assert dropped(seen) == {"exit": BATCH + 7}
    assert exporter.sizes == [BATCH]


def test_a_batch_that_waits_wakes_the_thread_once(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Busy(SpanExportResult.SUCCESS)
    with record():
        batches = Batches(exporter, 10_000, 60)
        through(batches, monkeypatch)
        for _ in range(BATCH):
            ask()
        assert exporter.asked.wait(30)
        for _ in range(3 * BATCH):
            ask()
        waking = batches._orders.qsize()
        exporter.let.set()
        assert batches.end(30)
    assert waking == 1
    assert sum(exporter.sizes) == 4 * BATCH


def test_a_client_that_the_exporter_sends_with_makes_no_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    with record():
        batches = Batches(client, 10_000, 60)
        through(batches, monkeypatch)
        ask()
        assert batches.force_flush()
        assert batches.force_flush()
        assert batches.end(30)
    assert len(client.names) == 1
    assert client.suppressed == [True]
