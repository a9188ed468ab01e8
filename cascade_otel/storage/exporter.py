"""Spans straight into a store, for a process that has no receiver: the same way in as over the network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from cascade_otel.storage.decode import decode
from cascade_otel.storage.put_aside import keep
from cascade_otel.storage.segments import Store

logger = logging.getLogger(__name__)


class SegmentExporter(SpanExporter):
    """An SDK exporter that writes segments into the store at ``store_root``; what it exported is durable.

    Spans are encoded as OTLP and decoded again, so that a row is the same however its span arrived.
    """

    def __init__(self, store_root: str | Path):
        self._store = Store(store_root)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Stores the spans of cascades; the SDK counts a failure and does not repeat it."""
        try:
            decoded = decode([encode_spans(spans).SerializeToString()])
            keep(self._store.root, decoded.put_aside)
            self._store.append(decoded.table)
        except (OSError, ValueError):
            logger.exception("%d spans were not stored in %s", len(spans), self._store.root)
            return SpanExportResult.FAILURE
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Nothing is left to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits: True."""
        return True
