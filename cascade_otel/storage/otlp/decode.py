"""OTLP trace requests to rows of segments: every span checked, a bad one put aside alone.

A span without any attribute of a cascade is passed over: a Collector sends everything. A tier call
outside any cascade is stored under its own name: where ``cascade.task`` is missing the cascade's name
stands for it, or else the tier's.
"""

from __future__ import annotations

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
from cascade_otel.storage.otlp.attributes import COMPLAINT, PLACE, Known, of_a_cascade
from cascade_otel.storage.otlp.wire import MalformedError, Parsed, TooManyError

__all__ = ["Decoded", "MalformedError", "Parsed", "PutAside", "TooManyError", "decode", "decode_parsed"]

MAX_ATTRIBUTES = 256
PAST_NS, FUTURE_NS = 3650 * DAY_NS, DAY_NS
"""How long ago a span may have begun, and how far ahead of our clock the sender's may be."""
MAX_PUT_ASIDE = 1000
"""How many bad spans of one call are described; all are counted."""
SAMPLED_OF, MAX_WEIGHT_PPM = 1 << 56, 10**12
THRESHOLD = re.compile(rb"(?:^|,)\s*ot=(?:[^,]*;)?th:([0-9a-f]{1,14})(?![^;,\s])")
"""How many of all trace ids a sampler drops, as OpenTelemetry writes it into the trace state."""

Row = list[Any]
"""A span's values in the order of ``COLUMNS``, then what is needed only until all spans are read."""
_SAMPLER = COMPLAINT + 1
"""Where a row has how many of 2^56 trace ids its sampler drops, if the span says."""
_NOTHING: Row = [None] * (_SAMPLER + 1)
_IDS = ("trace_hi", "trace_lo", "span_id", "parent_id")
_KIND, _TRACE_HI, _TRACE_LO, _SPAN, _PARENT = (PLACE[name] for name in ("kind", *_IDS))
_LINKED_HI, _LINKED_LO = PLACE["linked_trace_hi"], PLACE["linked_trace_lo"]
_START, _DURATION, _SERVICE = PLACE["start_ns"], PLACE["duration_ns"], PLACE["service"]
_CASCADE, _TASK, _TIER, _PURPOSE = (PLACE[name] for name in ("cascade", "task", "tier", "purpose"))
_COST, _TOTAL_COST, _CORRECT = PLACE["cost_nano"], PLACE["total_cost_nano"], PLACE["correct"]
_WEIGHT = PLACE["weight_ppm"]
_entry_of = Known().__getitem__
_four_ids, _trace_id = struct.Struct(">4q"), struct.Struct(">2q")
_NO_TRACE, _NO_SPAN = bytes(16), bytes(8)


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
    earliest, latest = max(now - PAST_NS, 1), now + FUTURE_NS
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
                    row = _row(span, earliest, latest)
                except BadSpanError as bad:
                    reasons[bad.reason] += 1
                    put_aside.append(
                        PutAside(bad.reason, span.span_id[:8].hex(), service or "", bad.attribute)
                    )
                    continue
                if row is None:
                    foreign += 1
                else:
                    row[_SERVICE] = service
                    rows.append(row)
        del put_aside[MAX_PUT_ASIDE:]
        rejected.append(dict(reasons))
        passed.append(foreign)
    _weigh(rows)
    return Decoded(_table(rows), rejected, passed, put_aside)


def _table(rows: list[Row]) -> pa.Table:
    if not rows:
        return schema.SCHEMA.empty_table()
    # Rows are longer than the columns recorded of them.
    columns = zip(schema.RECORDED, zip(*rows, strict=True), strict=False)
    return schema.rows({name: _array(values, schema.TYPES[name]) for name, values in columns})


def _array(values: Sequence[Any], type: pa.DataType) -> pa.Array:
    if values[0] is None and values.count(None) == len(values):
        return pa.nulls(len(values), type)
    return pa.array(values, type)


def _row(span: Any, earliest: int, latest: int) -> Row | None:
    """The span's row; None if it is none of a cascade. Raises BadSpanError."""
    row = _NOTHING.copy()
    attributes = span.attributes
    for place, value in map(_entry_of, attributes[:MAX_ATTRIBUTES]):
        row[place] = value
    too_many = len(attributes) > MAX_ATTRIBUTES
    if too_many or row[COMPLAINT] is not None or (row[_CASCADE] is None and row[_TIER] is None):
        entries = [_entry_of(raw) for raw in attributes[:MAX_ATTRIBUTES]]
        if not any(map(of_a_cascade, entries)):
            return None
        if too_many:
            raise BadSpanError("too many attributes")
        for place, complaint in entries:
            if place == COMPLAINT:
                raise BadSpanError(complaint.reason, complaint.name)
    _identity(span, row)
    _times(span, row, earliest, latest)
    _meaning(span, row)
    return row


def _identity(span: Any, row: Row) -> None:
    trace, own, parent = span.trace_id, span.span_id, span.parent_span_id or _NO_SPAN
    _check_trace(trace, "trace id")
    if len(own) != 8 or own == _NO_SPAN:
        raise BadSpanError("span id")
    if len(parent) != 8:
        raise BadSpanError("parent id")
    row[_TRACE_HI], row[_TRACE_LO], row[_SPAN], row[_PARENT] = _four_ids.unpack(trace + own + parent)


def _check_trace(id: bytes, what: str) -> None:
    if len(id) != 16 or id == _NO_TRACE:
        raise BadSpanError(what)


def _times(span: Any, row: Row, earliest: int, latest: int) -> None:
    start, end = span.start_ns, span.end_ns
    if end < start:
        raise BadSpanError("end before start")
    if start < earliest or end > latest:
        raise BadSpanError("time out of range")
    row[_START], row[_DURATION] = start, end - start


def _meaning(span: Any, row: Row) -> None:
    tier, cascade, task = row[_TIER], row[_CASCADE], row[_TASK]
    if row[_CORRECT] is not None:
        row[_KIND] = schema.LABEL
        linked = span.links[0].trace_id if len(span.links) else span.trace_id
        _check_trace(linked, "link")
        row[_LINKED_HI], row[_LINKED_LO] = _trace_id.unpack(linked)
        cascade = cascade or ""
    elif tier:
        row[_KIND] = schema.TIER
        cascade = cascade or task or tier
    else:
        row[_KIND] = schema.CASCADE
        row[_COST] = row[_TOTAL_COST]
        if not cascade:
            raise BadSpanError("neither cascade nor tier is named")
    row[_CASCADE], row[_TASK] = cascade, task or cascade
    if row[_PURPOSE] == "production":
        row[_PURPOSE] = None
    if span.trace_state and (found := THRESHOLD.search(span.trace_state)):
        row[_SAMPLER] = int(found[1].ljust(14, b"0"), 16)


def _weigh(rows: list[Row]) -> None:
    """Gives sampled calls the number of calls that one stands for, in parts per million; null means one.

    That is the adjusted count of the trace state's ``ot=th:``, times an audit's own weight. A sampler may
    say it on the first span of a trace alone: a tier's call that does not say was sampled with the cascade's
    call of its trace, if that is among the rows.
    """
    said = [row for row in rows if row[_SAMPLER] is not None and row[_KIND] != schema.LABEL]
    if not said:
        return
    of_cascades = {
        (row[_TRACE_HI], row[_TRACE_LO]): row[_SAMPLER] for row in said if row[_KIND] == schema.CASCADE
    }
    for row in rows:
        if row[_KIND] == schema.TIER and row[_SAMPLER] is None:
            row[_SAMPLER] = of_cascades.get((row[_TRACE_HI], row[_TRACE_LO]))
        if row[_KIND] != schema.LABEL and row[_SAMPLER]:
            one = 10**6 if row[_WEIGHT] is None else row[_WEIGHT]
            row[_WEIGHT] = min(round(one * SAMPLED_OF / (SAMPLED_OF - row[_SAMPLER])), MAX_WEIGHT_PPM)


def _service(resource: Sequence[bytes]) -> str | None:
    for place, value in map(_entry_of, resource[:MAX_ATTRIBUTES]):
        if place == _SERVICE:
            name: str | None = value
            return name
    return None
