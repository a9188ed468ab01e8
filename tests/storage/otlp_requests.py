"""OTLP requests for tests of the receiver: as JSON documents, of metrics, and calls over gRPC."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel.semconv import TIER_CALLS
from tests.storage.storage_samples import put

TRACES, METRICS, LOGS = (
    f"opentelemetry.proto.collector.{name}.v1.{name.title()}Service" for name in ("trace", "metrics", "logs")
)
IDS = ("traceId", "spanId", "parentSpanId")


def as_json(encoded: bytes, request: Any = ExportTraceServiceRequest) -> dict[str, Any]:
    """A protobuf request as the JSON document that OTLP has for it: ids in hex."""
    document = MessageToDict(request.FromString(encoded), use_integers_for_enums=True)

    def with_hex(value: Any) -> Any:
        if isinstance(value, list):
            return [with_hex(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            key: base64.b64decode(item).hex() if key in IDS else with_hex(item) for key, item in value.items()
        }

    return with_hex(document)


def spans(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The spans of a document's first scope."""
    return document["resourceSpans"][0]["scopeSpans"][0]["spans"]


def set_json(span: dict[str, Any], name: str, value: Any) -> None:
    """Gives a span's attribute another value, as it stands in JSON."""
    (attribute,) = [attribute for attribute in span["attributes"] if attribute["key"] == name]
    attribute["value"] = value


def text_of(document: Any) -> bytes:
    return json.dumps(document).encode()


def metrics(calls: int = 5, now_ns: int | None = None) -> bytes:
    """A request with one cumulative point of ``cascade.tier.calls`` and one of another metric."""
    now_ns = time.time_ns() if now_ns is None else now_ns
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    put(resource.resource, **{"service.name": "shop"})
    scope = resource.scope_metrics.add()
    for name in (TIER_CALLS, "other"):
        metric = scope.metrics.add(name=name)
        metric.sum.is_monotonic, metric.sum.aggregation_temporality = True, 2
        point = metric.sum.data_points.add(
            start_time_unix_nano=now_ns - 10**9, time_unix_nano=now_ns, as_int=calls
        )
        put(point, **{"cascade.task": "brand", "cascade.tier.name": "small", "cascade.outcome": "accepted"})
    encoded: bytes = request.SerializeToString()
    return encoded


class Called:
    """What a call over gRPC came to: ``answer``, or ``code``, ``reason`` and trailing metadata."""

    def __init__(
        self, port: int, message: bytes, service: str = TRACES, metadata: Any = None, **channel: Any
    ):
        target, credentials = f"127.0.0.1:{port}", channel.pop("credentials", None)
        self.answer, self.code, self.reason, self.trailing = b"", grpc.StatusCode.OK, "", {}
        with (
            grpc.secure_channel(target, credentials, **channel)
            if credentials
            else grpc.insecure_channel(target, **channel)
        ) as opened:
            try:
                self.answer = opened.unary_unary(f"/{service}/Export")(message, timeout=10, metadata=metadata)
            except grpc.RpcError as error:
                self.code, self.reason = error.code(), error.details()
                self.trailing = dict(error.trailing_metadata() or ())
