"""OTLP attributes as typed, checked values of the segments' columns."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError

from cascade_otel import semconv
from cascade_otel.storage.otlp_wire import KeyValue

MAX_TEXT = 256
"""Longer texts are cut: names and identifiers belong here, prompts do not."""
REMEMBERED, REMEMBERED_BYTES = 1 << 16, 256
"""How many attributes are remembered, and how long one may be for that."""

TEXT, INTEGER, DOUBLE, BOOLEAN = "string_value", "int_value", "double_value", "bool_value"


class Entry(NamedTuple):
    """What one attribute says: its column ('' if none of ours) and value, or why it cannot be used."""

    column: str
    value: Any = None
    bad: str = ""
    name: str = ""
    """The attribute's name, for the message about a bad one."""


class Rule(NamedTuple):
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

FOREIGN = Entry("")


class Known(dict[bytes, Entry]):
    """Entries of attributes that arrived before: most of a span's are those of the span before it."""

    def read(self, raw: bytes) -> Entry:
        """The entry of a raw attribute, remembered unless it is long."""
        entry = self.get(raw)
        if entry is None:
            entry = read(raw)
            if len(raw) <= REMEMBERED_BYTES:
                if len(self) >= REMEMBERED:
                    self.clear()
                self[raw] = entry
        return entry


def read(raw: bytes) -> Entry:
    """One raw attribute, checked."""
    try:
        attribute = KeyValue.FromString(raw)
    except DecodeError:
        return Entry("", bad="malformed attribute")
    rule = RULES.get(attribute.key)
    if rule is None:
        return FOREIGN
    name = attribute.key.decode()
    kind = attribute.value.WhichOneof("value")
    if kind != rule.type and not (kind == INTEGER and rule.type == DOUBLE):
        return Entry(
            rule.column,
            bad=f"{(kind or 'no_value').removesuffix('_value')} for {rule.type.removesuffix('_value')}",
            name=name,
        )
    value = getattr(attribute.value, kind)
    if rule.type == TEXT:
        try:
            return Entry(rule.column, value.decode()[:MAX_TEXT] or None)
        except UnicodeDecodeError:
            return Entry(rule.column, bad="no UTF-8", name=name)
    if rule.type == BOOLEAN:
        return Entry(rule.column, value)
    if not (math.isfinite(value) and rule.low <= value <= rule.high):
        return Entry(rule.column, bad="out of range", name=name)
    if rule.type == INTEGER:
        return Entry(rule.column, value)
    return Entry(rule.column, round(value * rule.scale) if rule.scale else float(value))
