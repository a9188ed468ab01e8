"""OTLP trace requests to rows of segments: every span checked, a bad one put aside alone.

A span without any attribute of a cascade is passed over: a Collector sends everything. A tier call
outside any cascade is stored under its own name: where ``cascade.task`` is missing the cascade's name
stands for it, or else the tier's.
"""

from __future__ import annotations

import operator
import re
import struct
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from cascade_otel.records import DAY_NS
from cascade_otel.storage import schema
from cascade_otel.storage.otlp_attributes import OURS, Known
from cascade_otel.storage.otlp_wire import MalformedError, Parsed, TooManyError

__all__ = ["Decoded", "MalformedError", "Parsed", "PutAside", "TooManyError", "decode", "decode_parsed"]

MAX_ATTRIBUTES = 256
PAST_NS, FUTURE_NS = 3650 * DAY_NS, DAY_NS
"""How long ago a span may have begun, and how far ahead of our clock the sender's may be."""
MAX_PUT_ASIDE = 1000
"""How many bad spans of one call are described; all are counted."""
SAMPLED_OF, MAX_WEIGHT_PPM = 1 << 56, 10**12
THRESHOLD = re.compile(rb"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?![^;,\s])")
"""How many of all trace ids a sampler drops, as OpenTelemetry writes it into the trace state."""

Row = dict[str, Any]
_TYPES = {
    field.name: pa.string() if pa.types.is_dictionary(field.type) else field.type for field in schema.SCHEMA
}
_NOTHING: Row = dict.fromkeys((*schema.RECORDED, "total_cost_nano"))
_recorded = operator.itemgetter(*schema.RECORDED)
_known = Known()


class PutAside(NamedTuple):
    """A span that was not stored: why, its id in hex, its service, the attribute at fault ('' if none)."""

    reason: str
    span_id: str
    service: str
    attribute: str = ""


@dataclass(frozen=True)
class Decoded:
    """Rows of all requests in order; per request, spans rejected by reason and spans passed over."""

    table: pa.Table
    rejected: list[dict[str, int]]
    passed: list[int]
    put_aside: list[PutAside]


class BadSpanError(Exception):
    def __init__(self, reason: str, attribute: str = ""):
        super().__init__(reason)
        self.reason, self.attribute = f"{attribute}: {reason}" if attribute else reason, attribute


def decode(bodies: Sequence[bytes], now_ns: int | None = None) -> Decoded:
    """Decodes protobuf bodies; spans' times are checked against ``now_ns``.

    Raises MalformedError and TooManyError.
    """
    return decode_parsed([Parsed(body) for body in bodies], now_ns)


def decode_parsed(requests: Sequence[Parsed], now_ns: int | None = None) -> Decoded:
    """Like ``decode``, of requests that have been parsed."""
    now = time.time_ns() if now_ns is None else now_ns
    rows: list[Row] = []
    rejected: list[dict[str, int]] = []
    passed: list[int] = []
    put_aside: list[PutAside] = []
    for request in requests:
        reasons: Counter[str] = Counter()
        foreign = 0
        for spans, resource in request.scopes:
            service = _service(resource)
            for span in spans:
                try:
                    row = _row(span, now)
                except BadSpanError as bad:
                    reasons[bad.reason] += 1
                    put_aside.append(
                        PutAside(bad.reason, span.span_id[:8].hex(), service or "", bad.attribute)
                    )
                    continue
                if row is None:
                    foreign += 1
                else:
                    row["service"] = service
                    rows.append(row)
        del put_aside[MAX_PUT_ASIDE:]
        rejected.append(dict(reasons))
        passed.append(foreign)
    return Decoded(_table(rows), rejected, passed, put_aside)


def _table(rows: list[Row]) -> pa.Table:
    columns = zip(*map(_recorded, rows), strict=True) if rows else [()] * len(schema.RECORDED)
    return schema.rows(
        {name: pa.array(values, _TYPES[name]) for name, values in zip(schema.RECORDED, columns, strict=True)}
    )


def _row(span: Any, now: int) -> Row | None:
    """The span's recorded columns; None if it is none of a cascade. Raises BadSpanError."""
    row = _NOTHING.copy()
    ours = False
    bad: BadSpanError | None = None
    for raw in span.attributes[:MAX_ATTRIBUTES]:
        entry = _known.get(raw)
        column, value, reason, name = _known.read(raw) if entry is None else entry
        if column:
            row[column] = value
            ours = ours or column in OURS
        if reason:
            bad = bad or BadSpanError(reason, name)
    if not ours:
        return None
    if len(span.attributes) > MAX_ATTRIBUTES:
        raise BadSpanError("too many attributes")
    if bad is not None:
        raise bad
    _identity(span, row)
    _times(span, row, now)
    _meaning(span, row)
    return row


def _identity(span: Any, row: Row) -> None:
    row["trace_hi"], row["trace_lo"] = _numbers(span.trace_id, 16, "trace id")
    (row["span_id"],) = _numbers(span.span_id, 8, "span id")
    (row["parent_id"],) = _numbers(span.parent_span_id, 8, "parent id") if span.parent_span_id else (0,)


def _numbers(id: bytes, size: int, what: str) -> tuple[int, ...]:
    if len(id) != size or not any(id):
        raise BadSpanError(what)
    return struct.unpack(f">{size // 8}q", id)


def _times(span: Any, row: Row, now: int) -> None:
    start, end = span.start_ns, span.end_ns
    if end < start:
        raise BadSpanError("end before start")
    if not (max(now - PAST_NS, 1) <= start and end <= now + FUTURE_NS):
        raise BadSpanError("time out of range")
    row["start_ns"], row["duration_ns"] = start, end - start


def _meaning(span: Any, row: Row) -> None:
    tier, cascade, task = row["tier"], row["cascade"], row["task"]
    if row["correct"] is not None:
        row["kind"] = schema.LABEL
        linked = (
            _numbers(span.links[0].trace_id, 16, "link")
            if len(span.links)
            else (row["trace_hi"], row["trace_lo"])
        )
        row["linked_trace_hi"], row["linked_trace_lo"] = linked
        cascade = cascade or ""
    elif tier:
        row["kind"] = schema.TIER
        cascade = cascade or task or tier
    else:
        row["kind"] = schema.CASCADE
        row["cost_nano"] = row["total_cost_nano"]
        if not cascade:
            raise BadSpanError("neither cascade nor tier is named")
    row["cascade"], row["task"] = cascade, task or cascade
    if row["purpose"] == "production":
        row["purpose"] = None
    if row["kind"] != schema.LABEL:
        row["weight_ppm"] = _weight(span.trace_state, row["weight_ppm"])


def _weight(trace_state: bytes, audit_ppm: int | None) -> int | None:
    """How many spans one stands for in parts per million; None means one.

    That is the adjusted count of the trace state's ``ot=th:``, times an audit's own weight.
    """
    found = THRESHOLD.search(trace_state)
    dropped = int(found[1].ljust(14, b"0"), 16) if found else 0
    if not dropped:
        return audit_ppm
    each = 10**6 if audit_ppm is None else audit_ppm
    return min(round(each * SAMPLED_OF / (SAMPLED_OF - dropped)), MAX_WEIGHT_PPM)


def _service(resource: Sequence[bytes]) -> str | None:
    for raw in resource:
        entry = _known.read(raw)
        if entry.column == "service":
            name: str | None = entry.value
            return name
    return None
