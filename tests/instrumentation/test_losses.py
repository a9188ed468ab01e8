"""What the exporting side loses is counted, to the span; what it may lose is little."""

from __future__ import annotations

import logging
import queue
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from cascade_otel import semconv, tier
from cascade_otel.configure._batches import Batches
from cascade_otel.configure._handle import Watch
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import total

BURST, ROOM = 20_000, 16_384


class Keeping(SpanExporter):
    """Takes what it is given, once it is let."""

    def __init__(self) -> None:
        self.let, self.asked = threading.Event(), threading.Event()
        self.names: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        assert self.let.wait(60)
        self.names += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@tier("x")
def ask() -> int:
    return 1


def sent_through(batches: Any, monkeypatch: pytest.MonkeyPatch) -> TracerProvider:
    """A provider that our spans go to, and through these batches."""
    from cascade_otel.instrumentation import _instruments as instruments

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(batches)
    monkeypatch.setattr(instruments, "tracer", provider.get_tracer("cascade_otel"))
    return provider


@pytest.fixture
def keeping() -> Iterator[Keeping]:
    made = Keeping()
    yield made
    made.let.set()


def dropped(seen: Recorded) -> dict[str, float]:
    return {dict(key)[semconv.DROP_REASON]: value for key, value in seen.metric(semconv.DROPPED).items()}


def test_a_burst_that_the_queue_cannot_hold_is_exported_or_counted(
    seen: Recorded, keeping: Keeping, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """20,000 spans while the exporter is busy: no call waits for it, and none vanishes without a word."""
    batches = Batches(keeping, ROOM, 0.05)
    sent_through(batches, monkeypatch)
    for _ in range(BURST):
        ask()
    assert keeping.asked.wait(60), "the exporter is busy with the first batch"
    assert not keeping.names
    keeping.let.set()
    assert batches.end(60)
    lost = dropped(seen)
    assert set(lost) == {"queue"}
    assert lost["queue"] >= BURST - ROOM - 512
    assert len(keeping.names) + lost["queue"] == BURST
    told = [each.getMessage() for each in caplog.records if each.name == "cascade_otel"]
    assert len(told) == 1
    assert "more than 16,384 waited, the oldest went" in told[0]


def test_what_an_exporter_has_not_answered_for_at_the_end_is_counted(
    seen: Recorded, keeping: Keeping, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = Batches(keeping, ROOM, 0.01)
    sent_through(batches, monkeypatch)
    ask()
    assert keeping.asked.wait(60)
    for _ in range(9):
        ask()
    assert not batches.force_flush(50)
    assert not batches.end(0.05)
    assert dropped(seen) == {"exit": 10}
    ask()
    assert dropped(seen) == {"exit": 10}, "it takes no more, and its user has said so"


class Raising(SpanExporter):
    """Raises at its first exports, then takes what comes."""

    def __init__(self, times: int, error: type[BaseException]) -> None:
        self.left, self.error = times, error
        self.exported: queue.SimpleQueue[str] = queue.SimpleQueue()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        if self.left:
            self.left -= 1
            raise self.error
        for span in spans:
            self.exported.put(span.name)
        return SpanExportResult.SUCCESS


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_an_exporter_that_raises_costs_its_batch_and_no_later_one(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """The batch is counted; 20 of 20 spans afterwards arrive."""
    exporter = Watch().on(lambda: Raising(1, error))
    batches = Batches(exporter, ROOM, 0.01)
    sent_through(batches, monkeypatch)
    ask()
    assert batches.force_flush()
    for _ in range(20):
        ask()
    assert batches.end(60)
    assert dropped(seen) == {"export": 1}
    assert exporter.exported.qsize() == 20


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_under_a_hosts_own_processor_the_same_ends_its_thread_for_good(
    monkeypatch: pytest.MonkeyPatch, strict: None
) -> None:
    """Not ours to cure: the SDK's thread ends without a word, and later spans only pile up."""
    exporter = Raising(1, SystemExit)
    processor = BatchSpanProcessor(exporter, schedule_delay_millis=10)
    sent_through(processor, monkeypatch)
    ask()
    worker = processor._batch_processor._worker_thread
    worker.join(60)
    assert not worker.is_alive()
    for _ in range(20):
        ask()
    assert exporter.exported.empty()
    processor.force_flush()
    assert exporter.exported.qsize() == 20, "handed on by whoever flushes, if anybody does"
    processor.shutdown()


def test_an_exporter_that_refuses_is_counted_by_the_span(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.FAILURE

    batches = Batches(Refusing(), ROOM, 60)
    sent_through(batches, monkeypatch)
    for _ in range(600):
        ask()
    assert batches.end(60)
    assert dropped(seen) == {"export": 600}


def test_unsampled_spans_are_not_kept(keeping: Keeping, strict: None) -> None:
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

    keeping.let.set()
    batches = Batches(keeping, ROOM, 60)
    for sampler in (ALWAYS_OFF, ALWAYS_ON):
        provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        provider.add_span_processor(batches)
        provider.get_tracer("host").start_span("one").end()
    assert batches.end(60)
    assert keeping.names == ["one"]


def test_many_threads_lose_nothing(seen: Recorded, keeping: Keeping, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads against a quick exporter whose queue is small: exported and counted are what was made."""
    keeping.let.set()
    batches = Batches(keeping, 64, 0.001)
    sent_through(batches, monkeypatch)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=lambda: [ask() for _ in range(500)]) for _ in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(interval)
    assert batches.end(60)
    assert len(keeping.names) + total(seen, semconv.DROPPED) == 4_000


def test_what_is_lost_is_in_the_log_where_there_are_no_metrics(
    keeping: Keeping, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, strict: None
) -> None:
    with caplog.at_level(logging.WARNING, "cascade_otel"):
        batches = Batches(keeping, ROOM, 0.01)
        sent_through(batches, monkeypatch)
        ask()
        assert keeping.asked.wait(60)
        assert not batches.end(0.01)
    assert "spans are dropped (exit)" in caplog.text
