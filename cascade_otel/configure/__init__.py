"""``configure``: one call that wires the OpenTelemetry SDK for a small application."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from cascade_otel import semconv
from cascade_otel.configure._handle import Handle, Step, Watch
from cascade_otel.instrumentation._audit import wait_for_audits
from cascade_otel.instrumentation._settings import settings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Handle", "configure"]

DEFAULT_ENDPOINT = "http://127.0.0.1:4318"
ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
_QUEUE_SPANS, _DELAY_S, _METRICS_S = 16_384, 1.0, 10.0
_RETRY_S = 30.0  # a receiver that is started anew answers by then; the SDK gives up a batch after 10
_EXIT_COLLECTOR_S, _EXIT_STORE_S = 2.0, 10.0  # a disk does not hang as a collector may
_SHARE_OF_SPANS = 0.75  # of the time at exit, where metrics are sent too
_SHARE_OF_AUDITS = 0.5  # of the time of a flush
_log = logging.getLogger(semconv.SCOPE)
_handle: Handle | None = None  # the latest
_meters: MeterProvider | None = None  # installed by us


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
    usage or model is looked for in results. Where ``opentelemetry-instrumentation-threading`` is installed
    (extra ``auto``) it is switched on, so that thread pools belong to the cascade that uses them.

    An application that has an OpenTelemetry SDK needs none of this; where one is installed already, its
    tracer provider also gets our exporter, and its metrics are left as they are. Called again, it shuts
    down what it had wired before and takes its place. Raises ValueError where both ``store`` and
    ``endpoint`` are given, or an address as ``store``.
    """
    if store is not None and endpoint is not None:
        raise ValueError(
            f"store={str(store)!r} and endpoint={endpoint!r} arrived, one of them is wanted: "
            "configure(store=...) writes into a folder, configure(endpoint=...) sends"
        )
    if store is not None and "://" in str(store):
        raise ValueError(
            f"store={str(store)!r} arrived, a folder is wanted: configure(endpoint={str(store)!r})"
        )
    settings.token_usage, settings.read_results = token_usage, read_results
    _carry_context_into_threads()
    resource = _resource(service_name)
    if store is not None:
        from cascade_otel.storage.exporter import SegmentExporter

        folder = os.fspath(store)
        return _wired(lambda: SegmentExporter(folder), None, resource, _EXIT_STORE_S)
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return _wired(
        lambda: OTLPSpanExporter(_url(endpoint, "traces"), timeout=_timeout()),
        lambda: OTLPMetricExporter(_url(endpoint, "metrics")),
        resource,
        _EXIT_COLLECTOR_S,
    )


def _carry_context_into_threads() -> None:
    try:
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor
    except ImportError:  # an orphaned tier call says what to install
        return
    if not ThreadingInstrumentor().is_instrumented_by_opentelemetry:
        ThreadingInstrumentor().instrument()


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


def _wired(
    spans: Callable[[], SpanExporter],
    metrics: Callable[[], MetricExporter] | None,
    resource: Resource,
    exit_s: float,
) -> Handle:
    global _handle
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    from cascade_otel.configure._batches import Batches

    if _handle is not None and _handle._shutdowns:
        _log.warning(
            "configure was called again: what it had wired before is shut down, this takes its place; "
            "the service's name stays the first one"
        )
        _handle._at_exit()
    watch = Watch()
    batches = Batches(watch.on(spans), _QUEUE_SPANS, _DELAY_S)
    _tracer_provider(resource).add_span_processor(batches)
    flushes: list[Step] = [
        lambda seconds: wait_for_audits(seconds * _SHARE_OF_AUDITS),
        lambda seconds: batches.force_flush(seconds * 1e3),
    ]
    # what is lost is told by the metrics, which go last and need some time for it
    share = 1.0 if metrics is None else _SHARE_OF_SPANS
    shutdowns: list[Step] = [lambda seconds: batches.end(seconds * share)]
    meters = None if metrics is None else _meter_provider(resource)
    if metrics is not None and meters is not None:
        reader = PeriodicExportingMetricReader(watch.on(metrics), export_interval_millis=_METRICS_S * 1e3)
        meters.add_metric_reader(reader)
        flushes.append(lambda seconds: reader.force_flush(seconds * 1e3))
        shutdowns.append(lambda seconds: reader.shutdown(seconds * 1e3))
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
