"""Spans straight into a store, for a process that has no receiver: the same way in as over the network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from cascade_otel.storage.otlp.decode import decode
from cascade_otel.storage.receiving.put_aside import keep
from cascade_otel.storage.segments import Store

logger = logging.getLogger(__name__)


class SegmentExporter(SpanExporter):
    """An SDK exporter that writes segments into the store at ``store_root``; what it exported is durable.

    Spans are encoded as OTLP and decoded again, so that a row is the same however its span arrived.
    """

    def __init__(self, store_root: str | Path):
        self._store = Store(store_root)
        self._refused = ""
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Stores the spans of cascades, and counts in the store those put aside.

        The SDK counts a failure and does not repeat it. It is logged once until it has passed, as a full
        disk fails at every export.
        """
        ours = [span for span in spans if any(name.startswith("cascade.") for name in span.attributes or ())]
        if not ours:
            return SpanExportResult.SUCCESS
        try:
            decoded = decode([encode_spans(ours).SerializeToString()])
            if decoded.table.num_rows:
                self._store.append(decoded.table)
            keep(self._store.root, decoded.put_aside, decoded.rejected)
        except (OSError, ValueError) as error:
            self._say_lost(str(error), len(ours))
            return SpanExportResult.FAILURE
        self._say_stored()
        return SpanExportResult.SUCCESS

    def _say_lost(self, reason: str, count: int) -> None:
        self._lost += count
        kind = reason.partition(":")[0]  # what follows names another temporary file each time
        if kind != self._refused:
            self._refused = kind
            logger.error(
                "%d spans were not stored in %s, nor are those that follow until this has passed: %s",
                count, self._store.root, reason,
            )  # fmt: skip

    def _say_stored(self) -> None:
        if self._refused:
            logger.warning("spans are stored in %s again; %d were lost", self._store.root, self._lost)
            self._refused, self._lost = "", 0

    def shutdown(self) -> None:
        """Nothing is left to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Nothing waits: True."""
        return True
