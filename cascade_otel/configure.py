"""``configure``: one call that wires the OpenTelemetry SDK for a small application."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING

from cascade_otel import semconv
from cascade_otel.instrumentation._calls import hand_on_late
from cascade_otel.instrumentation._settings import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_QUEUE_SPANS, _DELAY_MS, _METRICS_MS = 16_384, 1_000, 10_000
_RETRY_S = 30.0  # a receiver that is started anew answers by then; the SDK gives up a batch after 10
_EXIT_COLLECTOR_S, _EXIT_STORE_S = 2.0, 10.0  # a disk does not hang as a collector may
_log = logging.getLogger(semconv.SCOPE)


class Handle:
    """What ``configure`` gives: hand on what waits, now or for good. ``shutdown`` is called at exit.

    The work is done by a thread of its own, since the SDK ignores time-outs; no thread can be started at
    exit.
    """

    def __init__(
        self, flushes: list[Callable[[], object]], shutdowns: list[Callable[[], object]], exit_s: float
    ) -> None:
        self._flushes, self._shutdowns, self._exit_s = flushes, shutdowns, exit_s
        self._start()
        atexit.register(self._at_exit)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._start)

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Exports what waits. False where that took over ``timeout_s`` seconds, or raised."""
        return self._within(timeout_s, self._flushes)

    def shutdown(self, timeout_s: float = 2.0) -> bool:
        """Exports what waits, then no more. False where that took over ``timeout_s`` seconds, or raised."""
        atexit.unregister(self._at_exit)
        steps, self._flushes, self._shutdowns = self._shutdowns, [], []
        return self._within(timeout_s, steps)

    def _at_exit(self) -> None:
        self.shutdown(self._exit_s)

    def _start(self) -> None:
        self._orders: SimpleQueue[tuple[list[Callable[[], object]], Future[bool]]] = SimpleQueue()
        threading.Thread(target=self._work, name="cascade_otel", daemon=True).start()

    def _work(self) -> None:
        while True:
            steps, answer = self._orders.get()
            try:
                results = [step() for step in steps]  # every step, also after one that failed
                answer.set_result(False not in results)
            except Exception as error:
                answer.set_exception(error)

    def _within(self, seconds: float, steps: list[Callable[[], object]]) -> bool:
        answer: Future[bool] = Future()
        try:
            hand_on_late()
            self._orders.put((steps, answer))
            return answer.result(seconds)
        except TimeoutError:
            _log.warning("telemetry was not handed on within %g s: does the collector answer?", seconds)
        except Exception:
            _log.warning("telemetry could not be handed on; your code is unaffected", exc_info=True)
        return False


def configure(
    store: str | os.PathLike[str] | None = None,
    endpoint: str | None = None,
    service_name: str | None = None,
    *,
    token_usage: bool = False,
    read_results: bool = True,
) -> Handle:
    """Sends spans and metrics to an OTLP/HTTP ``endpoint``, or writes spans into the folder ``store``.

    Without either, the standard variable OTEL_EXPORTER_OTLP_ENDPOINT says where to, else
    http://127.0.0.1:4318. ``service_name``: else OTEL_SERVICE_NAME. ``token_usage`` also records
    ``gen_ai.client.token.usage``, which an instrumented client already does. ``read_results=False``: no
    usage or model is looked for in results.

    An application that has an OpenTelemetry SDK needs none of this; where one is installed already, its
    tracer provider also gets our exporter, and its metrics are left as they are. Raises ValueError where
    both ``store`` and ``endpoint`` are given.
    """
    if store is not None and endpoint is not None:
        raise ValueError(
            f"store={str(store)!r} and endpoint={endpoint!r} arrived, one of them is wanted: "
            "configure(store=...) writes into a folder, configure(endpoint=...) sends"
        )
    settings.token_usage, settings.read_results = token_usage, read_results
    resource = _resource(service_name)
    if store is not None:
        from cascade_otel.storage.exporter import SegmentExporter

        return _wired(SegmentExporter(os.fspath(store)), None, resource, _EXIT_STORE_S)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    base = _base(endpoint)
    spans = OTLPSpanExporter(None if base is None else f"{base}/v1/traces", timeout=_timeout())
    metrics = OTLPMetricExporter(None if base is None else f"{base}/v1/metrics")
    return _wired(
        spans,
        PeriodicExportingMetricReader(metrics, export_interval_millis=_METRICS_MS),
        resource,
        _EXIT_COLLECTOR_S,
    )


def _timeout() -> float | None:
    """Seconds for a batch and its repetitions; None leaves it to the exporter, where the user has said."""
    said = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
    return None if any(os.environ.get(name) for name in said) else _RETRY_S


def _base(endpoint: str | None) -> str | None:
    """Where to send; None leaves it to the exporters, which read the standard variables themselves."""
    if endpoint is not None:
        return endpoint.rstrip("/")
    said = any(os.environ.get(name) for name in (ENDPOINT_VARIABLE, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
    return None if said else DEFAULT_ENDPOINT


def _resource(service_name: str | None) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({} if service_name is None else {semconv.SERVICE_NAME: service_name})


def _wired(exporter: SpanExporter, reader: MetricReader | None, resource: Resource, exit_s: float) -> Handle:
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    processor = BatchSpanProcessor(exporter, max_queue_size=_QUEUE_SPANS, schedule_delay_millis=_DELAY_MS)
    _tracer_provider(resource).add_span_processor(processor)
    flushes: list[Callable[[], object]] = [processor.force_flush]
    shutdowns: list[Callable[[], object]] = [processor.shutdown]
    if reader is not None and not isinstance(metrics.get_meter_provider(), MeterProvider):
        # without its own handler at exit, which waits for half a minute on a collector that hangs
        meters = MeterProvider([reader], resource, shutdown_on_exit=False)
        metrics.set_meter_provider(meters)
        flushes.append(meters.force_flush)
        shutdowns.append(meters.shutdown)
    return Handle(flushes, shutdowns, exit_s)


def _tracer_provider(resource: Resource) -> TracerProvider:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    installed = trace.get_tracer_provider()
    if isinstance(installed, TracerProvider):
        return installed
    made = TracerProvider(resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(made)
    return made
