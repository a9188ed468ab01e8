"""OTLP attributes as typed, checked values of the segments' columns."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from cascade_otel import semconv
from cascade_otel.storage import schema
from cascade_otel.storage.otlp.wire import KeyValue

MAX_TEXT = 256
"""Longer texts are cut: names and identifiers belong here, prompts do not."""
REMEMBERED, REMEMBERED_BYTES = 1 << 16, 256
"""How many attributes are remembered, and how long one may be for that."""

TEXT, INTEGER, DOUBLE, BOOLEAN = "string_value", "int_value", "double_value", "bool_value"

COLUMNS = (*schema.RECORDED, "total_cost_nano")
PLACE = {column: place for place, column in enumerate(COLUMNS)}
"""Where in a row the value of a column stands."""
FOREIGN, COMPLAINT = len(COLUMNS), len(COLUMNS) + 1
"""Where a row has what is none of ours (nothing), and why one of its attributes cannot be used."""

Entry = tuple[int, Any]
"""What one attribute says: a place in the row, and what is to stand there."""


class Complaint(NamedTuple):
    """Why an attribute cannot be used, its column and its name ('' if it has none)."""

    reason: str
    column: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """How an attribute becomes a value of a column."""

    column: str
    type: str
    low: float = 0
    high: float = 0
    """Closed bounds of a number."""
    scale: int = 0
    """A double is stored as an integer multiple of 1/scale, unless 0."""


_TEXTS = {
    semconv.SERVICE_NAME: "service",
    semconv.CASCADE_NAME: "cascade",
    semconv.CASCADE_TASK: "task",
    semconv.CASCADE_VERSION: "version",
    semconv.CASCADE_PURPOSE: "purpose",
    semconv.TIER_NAME: "tier",
    semconv.TIER_KIND: "tier_kind",
    semconv.OPERATION_NAME: "operation",
    semconv.PROVIDER_NAME: "provider",
    semconv.REQUEST_MODEL: "model",
    semconv.RESPONSE_MODEL: "response_model",
    semconv.INPUT_SEGMENT: "segment",
    semconv.OUTCOME: "outcome",
    semconv.ESCALATION_REASON: "reason",
    semconv.CONFIDENCE_SOURCE: "confidence_source",
    semconv.COST_SOURCE: "cost_source",
    semconv.COST_CURRENCY: "currency",
    semconv.FINAL_TIER_NAME: "final_tier",
    semconv.ERROR_TYPE: "error_type",
    semconv.CANARY_ID: "canary_id",
    semconv.FEEDBACK_SOURCE: "feedback_source",
}
RULES: dict[bytes, Rule] = {
    name.encode(): rule
    for name, rule in {
        **{name: Rule(column, TEXT) for name, column in _TEXTS.items()},
        semconv.ESCALATED: Rule("escalated", BOOLEAN),
        semconv.TIER_AGREED: Rule("agreed", BOOLEAN),
        semconv.FEEDBACK_CORRECT: Rule("correct", BOOLEAN),
        semconv.TIER_INDEX: Rule("tier_index", INTEGER, high=32_766),
        semconv.TIER_COUNT: Rule("tier_count", INTEGER, high=32_767),
        semconv.INPUT_TOKENS: Rule("input_tokens", INTEGER, high=2**31 - 1),
        semconv.OUTPUT_TOKENS: Rule("output_tokens", INTEGER, high=2**31 - 1),
        semconv.INPUT_SIZE: Rule("input_size", INTEGER, high=2**62),
        semconv.THRESHOLD: Rule("threshold", DOUBLE, low=-1e6, high=1e6),
        semconv.CONFIDENCE_SCORE: Rule("confidence_nano", DOUBLE, high=1, scale=10**9),
        semconv.COST_AMOUNT: Rule("cost_nano", DOUBLE, high=1e6, scale=10**9),
        semconv.TOTAL_COST: Rule("total_cost_nano", DOUBLE, high=1e6, scale=10**9),
        semconv.AUDIT_WEIGHT: Rule("weight_ppm", DOUBLE, high=1e6, scale=10**6),
        semconv.FEEDBACK_WEIGHT: Rule("weight_ppm", DOUBLE, high=1e6, scale=10**6),
        semconv.TIME_TO_FIRST_CHUNK: Rule("first_chunk_ns", DOUBLE, high=1e6, scale=10**9),
    }.items()
}
OURS = frozenset(rule.column for name, rule in RULES.items() if name.startswith(b"cascade."))
"""Columns by which a span is one of a cascade; an instrumented client's own span has the others."""
_MEASURED = {
    b"\n" + bytes([len(name)]) + name + b"\x12\x09\x21": (rule, name.decode())
    for name, rule in RULES.items()
    if rule.scale
}
"""What stands before the eight bytes of a double that is another one at each call."""
_double = struct.Struct("<d")


class Known(dict[bytes, Entry]):
    """Entries of raw attributes: most of a span's arrived before, with the span before it.

    An attribute that has not is read; it is remembered unless it is long, or a score or a cost.
    """

    def __missing__(self, raw: bytes) -> Entry:
        measured = _MEASURED.get(raw[:-8])
        if measured:
            rule, name = measured
            return _number(_double.unpack(raw[-8:])[0], rule, name)
        entry = read(raw)
        if len(raw) <= REMEMBERED_BYTES:
            if len(self) >= REMEMBERED:
                self.clear()
            self[raw] = entry
        return entry


def of_a_cascade(entry: Entry) -> bool:
    """Whether the attribute is one of a cascade's, of whatever value."""
    place, value = entry
    if place == COMPLAINT:
        return value.column in OURS
    return place != FOREIGN and COLUMNS[place] in OURS


def read(raw: bytes) -> Entry:
    """One raw attribute, checked."""
    try:
        attribute = KeyValue.FromString(raw)
    except DecodeError:
        return COMPLAINT, Complaint("malformed attribute")
    rule = RULES.get(attribute.key)
    if rule is None:
        return FOREIGN, None
    name = attribute.key.decode()
    kind = attribute.value.WhichOneof("value")
    if kind != rule.type and not (kind == INTEGER and rule.type == DOUBLE):
        arrived = kind.removesuffix("_value") if kind else "no value"
        return COMPLAINT, Complaint(f"{arrived} for {rule.type.removesuffix('_value')}", rule.column, name)
    value = getattr(attribute.value, kind)
    if rule.type == TEXT:
        try:
            return PLACE[rule.column], value.decode()[:MAX_TEXT] or None
        except UnicodeDecodeError:
            return COMPLAINT, Complaint("no UTF-8", rule.column, name)
    if rule.type == BOOLEAN:
        return PLACE[rule.column], value
    return _number(value, rule, name)


def _number(value: float, rule: Rule, name: str) -> Entry:
    if not rule.low <= value <= rule.high:  # nan is not, either
        return COMPLAINT, Complaint("out of range", rule.column, name)
    if rule.type == DOUBLE:
        value = round(value * rule.scale) if rule.scale else float(value)
    return PLACE[rule.column], value
