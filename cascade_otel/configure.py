"""``configure``: one call that wires the OpenTelemetry SDK for a small application."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from cascade_otel import semconv
from cascade_otel.instrumentation._calls import hand_on_late
from cascade_otel.instrumentation._settings import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_QUEUE_SPANS, _DELAY_MS, _METRICS_MS = 16_384, 1_000, 10_000
_RETRY_S = 30.0  # a receiver that is started anew answers by then; the SDK gives up a batch after 10
_EXIT_COLLECTOR_S, _EXIT_STORE_S = 2.0, 10.0  # a disk does not hang as a collector may
_log = logging.getLogger(semconv.SCOPE)
_handle: Handle | None = None  # the latest
_meters: MeterProvider | None = None  # installed by us


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
        """Exports what waits. False where that took over ``timeout_s`` seconds, or where something was not
        taken (refused, folder gone) since the last flush.
        """
        return self._within(timeout_s, self._flushes)

    def shutdown(self, timeout_s: float = 2.0) -> bool:
        """Exports what waits, then no more. False as for ``flush``."""
        atexit.unregister(self._at_exit)
        steps, self._flushes, self._shutdowns = self._shutdowns, [], []
        done = self._within(timeout_s, steps)
        self._orders.put(None)  # the thread ends
        return done

    def _at_exit(self) -> None:
        self.shutdown(self._exit_s)

    def _start(self) -> None:
        self._orders: SimpleQueue[tuple[list[Callable[[], object]], Future[bool]] | None] = SimpleQueue()
        if self._shutdowns:
            threading.Thread(target=self._work, name="cascade_otel", daemon=True).start()

    def _work(self) -> None:
        for steps, answer in iter(self._orders.get, None):
            results = [_done(step) for step in steps]  # every step, also after one that failed
            answer.set_result(all(results))

    def _within(self, seconds: float, steps: list[Callable[[], object]]) -> bool:
        if not steps:
            return True
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


def _done(step: Callable[[], object]) -> bool:
    try:
        return step() is not False
    except BaseException:  # SystemExit too, which would end the thread, and every later flush with it
        _log.warning("telemetry could not be handed on; your code is unaffected", exc_info=True)
        return False


class _Watch:
    """Remembers whether exporters failed, since the SDK's processors and readers do not tell."""

    failed = False

    def on(self, exporter: Any) -> None:
        export = exporter.export

        def watched(*args: Any, **kwargs: Any) -> Any:
            result = None
            try:
                result = export(*args, **kwargs)
            except BaseException:  # SystemExit too, which would end the SDK's thread
                _log.warning("telemetry was not exported; your code is unaffected", exc_info=True)
            self.failed |= getattr(result, "name", "") != "SUCCESS"
            return result

        exporter.export = watched

    def all_taken(self) -> bool:
        """Whether none has failed since this was last asked."""
        failed, self.failed = self.failed, False
        return not failed


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
    tracer provider also gets our exporter, and its metrics are left as they are. Called again, it shuts
    down what it had wired before and takes its place. Raises ValueError where both ``store`` and
    ``endpoint`` are given.
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

    spans = OTLPSpanExporter(_url(endpoint, "traces"), timeout=_timeout())
    metrics = OTLPMetricExporter(_url(endpoint, "metrics"))
    return _wired(spans, metrics, resource, _EXIT_COLLECTOR_S)


def _timeout() -> float | None:
    """Seconds for a batch and its repetitions; None leaves it to the exporter, where the user has said."""
    said = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")
    return None if any(os.environ.get(name) for name in said) else _RETRY_S


def _url(endpoint: str | None, signal: str) -> str | None:
    """Where to send; None leaves it to the exporter, which reads the standard variables itself."""
    names = (ENDPOINT_VARIABLE, f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    if endpoint is None and any(os.environ.get(name) for name in names):
        return None
    return f"{(endpoint or DEFAULT_ENDPOINT).rstrip('/')}/v1/{signal}"


def _resource(service_name: str | None) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({} if service_name is None else {semconv.SERVICE_NAME: service_name})


def _wired(spans: SpanExporter, metrics: MetricExporter | None, resource: Resource, exit_s: float) -> Handle:
    global _handle
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if _handle is not None and _handle._shutdowns:
        _log.warning(
            "configure was called again: what it had wired before is shut down, this takes its place; "
            "the service's name stays the first one"
        )
        _handle._at_exit()
    watch = _Watch()
    watch.on(spans)
    processor = BatchSpanProcessor(spans, max_queue_size=_QUEUE_SPANS, schedule_delay_millis=_DELAY_MS)
    _tracer_provider(resource).add_span_processor(processor)
    flushes: list[Callable[[], object]] = [processor.force_flush]
    shutdowns: list[Callable[[], object]] = [processor.shutdown]
    meters = None if metrics is None else _meter_provider(resource)
    if metrics is not None and meters is not None:
        watch.on(metrics)
        reader = PeriodicExportingMetricReader(metrics, export_interval_millis=_METRICS_MS)
        meters.add_metric_reader(reader)
        flushes.append(reader.force_flush)
        shutdowns.append(reader.shutdown)
    _handle = Handle([*flushes, watch.all_taken], [*shutdowns, watch.all_taken], exit_s)
    return _handle


def _meter_provider(resource: Resource) -> MeterProvider | None:
    """Ours, which outlives its readers, since instruments stay with it; None where the host has one."""
    global _meters
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider

    installed = metrics.get_meter_provider()
    if isinstance(installed, MeterProvider):
        return installed if installed is _meters else None
    # without its own handler at exit, which waits for half a minute on a collector that hangs
    _meters = MeterProvider(resource=resource, shutdown_on_exit=False)
    metrics.set_meter_provider(_meters)
    return _meters


def _tracer_provider(resource: Resource) -> TracerProvider:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    installed = trace.get_tracer_provider()
    if isinstance(installed, TracerProvider):
        return installed
    made = TracerProvider(resource=resource, shutdown_on_exit=False)
    trace.set_tracer_provider(made)
    return made
