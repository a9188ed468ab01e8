"""Made-up OTLP metric requests for the tests of the counters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, NumberDataPoint

from cascade_otel.records import SECOND_NS
from tests.storage.storage_samples import NOW_NS, put

START_NS = NOW_NS - 60 * SECOND_NS
DELTA, CUMULATIVE = 1, 2
LABELS: dict[str, Any] = {
    "cascade.name": "extract", "cascade.task": "brand", "cascade.tier.name": "small",
    "cascade.outcome": "accepted",
}  # fmt: skip


def request(
    *values: int,
    start_ns: int = START_NS,
    time_ns: int = NOW_NS,
    temporality: int = CUMULATIVE,
    metric: str = "cascade.tier.calls",
    service: str = "shop",
    instance: str = "a",
    version: str = "",
    change: Callable[[Metric], None] | None = None,
    **labels: Any,
) -> bytes:
    """A request with a counter's points of these values, each of an outcome of its own after the first.

    ``labels`` replace made-up ones (``_`` for the dot); ``change`` is done to the metric.
    """
    made = ExportMetricsServiceRequest()
    resource = made.resource_metrics.add()
    put(resource.resource, **{"service.name": service, "service.instance.id": instance})
    scope = resource.scope_metrics.add()
    scope.scope.name, scope.scope.version = "cascade_otel", version
    told = scope.metrics.add(name=metric)
    told.sum.aggregation_temporality, told.sum.is_monotonic = temporality, True  # type: ignore[assignment]  # an enum, to the stub
    for index, value in enumerate(values):
        point = told.sum.data_points.add(start_time_unix_nano=start_ns, time_unix_nano=time_ns, as_int=value)
        named = LABELS | ({"cascade.outcome": f"outcome {index}"} if index else {})
        put(point, **(labels or named))
    if change:
        change(told)
    encoded: bytes = made.SerializeToString()
    return encoded


def first(change: Callable[[NumberDataPoint], None]) -> Callable[[Metric], None]:
    """What is done to the first point of a metric."""
    return lambda metric: change(metric.sum.data_points[0])
