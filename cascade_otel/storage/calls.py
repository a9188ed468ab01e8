"""Rows of two-tier cascades made from a table of calls: what the decorators would have recorded of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cascade_otel.records import SECOND_NS
from cascade_otel.storage import schema

CASCADE_ROW, CHEAP_ROW, STRONG_ROW, CHEAP_LABEL, STRONG_LABEL = range(1, 6)
"""Which row of a call an id belongs to."""

REASONS = ("low_confidence", "missing_confidence", "policy")
AFTER_THE_CALL_NS = SECOND_NS
"""How long after the call it is about an audit begins."""

_SHARED = ("service", "cascade", "task", "version", "segment", "input_size")
_OF_A_TIER = ("model", "response_model", "provider", "cost_nano", "input_tokens", "output_tokens")
_STEP = 0x9E3779B97F4A7C15
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))


def two_tier_rows(calls: pd.DataFrame) -> pa.Table:
    """Segment rows of N calls of a cheap tier that may escalate to a strong one.

    Wanted columns: ``trace_hi``, ``trace_lo`` (int64), ``start_ns``, ``cascade``, ``task``, ``cheap_tier``,
    ``strong_tier``, ``cheap_confidence`` (nan: missing), ``threshold``, ``escalated`` (bool),
    ``cheap_duration_ns``, ``strong_duration_ns``. Optional: ``service``, ``version``, ``segment``,
    ``input_size``, ``audited`` (bool: the strong outcome of an accepted call is known),
    ``confidence_source``, ``feedback_source``, and with the prefix ``cheap_`` or ``strong_``: ``model``,
    ``response_model``, ``provider``, ``cost_nano``, ``input_tokens``, ``output_tokens``, ``correct``. A
    missing value is null; a missing duration counts as 0. Text is quickest as a categorical.

    Each call gives a cascade row and a cheap row; an escalated one a strong row; an accepted, audited one a
    strong row with purpose ``audit``, which counts in no rate, cost or latency and begins after the call has
    ended; each tier whose correctness is known a label. Ids of spans follow from the trace id, so equal calls
    give equal rows.
    """
    escalated = calls["escalated"].to_numpy(bool)
    audited = _flags(calls, "audited") & ~escalated
    parts = [
        _cascade_rows(calls, escalated),
        _cheap_rows(calls, escalated),
        _strong_rows(calls[escalated], purpose=None),
        _strong_rows(calls[audited], purpose="audit"),
        _labels(calls, "cheap", CHEAP_LABEL),
        _labels(calls[escalated | audited], "strong", STRONG_LABEL),
    ]
    return pa.concat_tables(parts).unify_dictionaries().combine_chunks()


def span_ids(calls: pd.DataFrame, row: int) -> NDArray[np.int64]:
    """(N,) ids of one row of each call: 64 well-mixed bits, never 0."""
    mixed = calls["trace_lo"].to_numpy(np.int64).view(np.uint64) ^ (
        calls["trace_hi"].to_numpy(np.int64).view(np.uint64) << np.uint64(1)
    )
    mixed = mixed + np.uint64(row * _STEP % 2**64)
    for factor, shift in zip(_MIX, (30, 27), strict=True):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * factor
    mixed ^= mixed >> np.uint64(31)
    return np.where(mixed == 0, np.uint64(1), mixed).view(np.int64)


def _cascade_rows(calls: pd.DataFrame, escalated: NDArray[np.bool_]) -> pa.Table:
    cost = _numbers(calls, "cheap_cost_nano") + np.where(escalated, _numbers(calls, "strong_cost_nano"), 0.0)
    return schema.rows(
        _of_every_row(calls, schema.CASCADE, CASCADE_ROW)
        | _present(calls, _SHARED)
        | {
            "start_ns": calls["start_ns"],
            "duration_ns": _ended_ns(calls, escalated) - calls["start_ns"].to_numpy(np.int64),
            "escalated": escalated,
            "outcome": pa.repeat("accepted", len(calls)),
            "cost_nano": pa.array(cost, from_pandas=True),
            "tier_count": np.where(escalated, 2, 1),
            "final_tier": np.where(
                escalated, calls["strong_tier"].astype(object), calls["cheap_tier"].astype(object)
            ),
        }
    )


def _cheap_rows(calls: pd.DataFrame, escalated: NDArray[np.bool_]) -> pa.Table:
    confidence = calls["cheap_confidence"].to_numpy(float)
    low = confidence < calls["threshold"].to_numpy(float)
    reason = np.where(np.isnan(confidence), 1, np.where(low, 0, 2))
    return schema.rows(
        _tier_columns(calls, "cheap", CHEAP_ROW)
        | {
            "start_ns": calls["start_ns"],
            "tier_index": np.zeros(len(calls), np.int16),
            "escalated": escalated,
            "outcome": _choice(escalated, "accepted", "escalated"),
            "reason": _coded(np.where(escalated, reason, -1), REASONS),
            "threshold": pa.array(calls["threshold"].to_numpy(float), from_pandas=True),
            "confidence_nano": pa.array(np.rint(confidence * 1e9), from_pandas=True),
        }
        | {
            name: text.where(~np.isnan(confidence))
            for name, text in _present(calls, ("confidence_source",)).items()
        }
    )


def _strong_rows(calls: pd.DataFrame, purpose: str | None) -> pa.Table:
    return schema.rows(
        _tier_columns(calls, "strong", STRONG_ROW)
        | {
            "start_ns": _ended_ns(calls, np.zeros(len(calls), bool)) + (AFTER_THE_CALL_NS if purpose else 0),
            "tier_index": np.ones(len(calls), np.int16),
            "outcome": pa.repeat("accepted", len(calls)),
        }
        | (
            {"purpose": pa.repeat(purpose, len(calls))}
            if purpose
            else {"escalated": np.zeros(len(calls), bool)}
        )
    )


def _labels(calls: pd.DataFrame, tier: str, row: int) -> pa.Table:
    if f"{tier}_correct" not in calls:
        return schema.SCHEMA.empty_table()
    calls = calls[calls[f"{tier}_correct"].notna()]
    columns = _of_every_row(calls, schema.LABEL, row)
    return schema.rows(
        columns
        | _present(calls, ("service", "cascade", "task", "feedback_source"))
        | {
            "trace_lo": columns["span_id"],
            "linked_trace_hi": calls["trace_hi"],
            "linked_trace_lo": calls["trace_lo"],
            "parent_id": np.zeros(len(calls), np.int64),
            "start_ns": _ended_ns(calls, calls["escalated"].to_numpy(bool)),
            "duration_ns": np.zeros(len(calls), np.int64),
            "tier": calls[f"{tier}_tier"],
            "correct": calls[f"{tier}_correct"].to_numpy(bool),
            "weight_ppm": np.full(len(calls), 1_000_000),
        }
    )


def _ended_ns(calls: pd.DataFrame, escalated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """When the last tier has answered: the strong one where ``escalated``."""
    cheap, strong = (
        calls[f"{tier}_duration_ns"].fillna(0).to_numpy(np.int64) for tier in ("cheap", "strong")
    )
    return np.asarray(calls["start_ns"].to_numpy(np.int64) + cheap + np.where(escalated, strong, 0))


def _of_every_row(calls: pd.DataFrame, kind: int, row: int) -> dict[str, Any]:
    return {
        "kind": np.full(len(calls), kind, np.int8),
        "trace_hi": calls["trace_hi"],
        "trace_lo": calls["trace_lo"],
        "span_id": span_ids(calls, row),
    }


def _tier_columns(calls: pd.DataFrame, tier: str, row: int) -> dict[str, Any]:
    columns = _of_every_row(calls, schema.TIER, row) | _present(calls, _SHARED)
    for name in _OF_A_TIER:
        if f"{tier}_{name}" in calls:
            columns[name] = calls[f"{tier}_{name}"]
    if "cost_nano" in columns:
        known = columns["cost_nano"].notna().to_numpy()
        columns |= {"currency": _choice(known, None, "USD"), "cost_source": _choice(known, None, "user")}
    return columns | {
        "parent_id": span_ids(calls, CASCADE_ROW),
        "tier": calls[f"{tier}_tier"],
        "tier_kind": pa.repeat("model", len(calls)),
        "operation": pa.repeat("chat", len(calls)),
        "duration_ns": calls[f"{tier}_duration_ns"].fillna(0),
    }


def _present(calls: pd.DataFrame, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: calls[name] for name in names if name in calls}


def _flags(calls: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    return calls[name].to_numpy(bool) if name in calls else np.zeros(len(calls), bool)


def _numbers(calls: pd.DataFrame, name: str) -> NDArray[np.float64]:
    """A column with nan for what is missing, all nan where the column is."""
    return calls[name].to_numpy(float, na_value=np.nan) if name in calls else np.full(len(calls), np.nan)


def _choice(flags: NDArray[np.bool_], no: str | None, yes: str) -> pa.DictionaryArray:
    codes = np.where(flags, 0, -1 if no is None else 1)
    return _coded(codes, (yes,) if no is None else (yes, no))


def _coded(codes: NDArray[np.int_], texts: tuple[str, ...]) -> pa.DictionaryArray:
    """Texts by number, null where the number is negative."""
    indices = pa.array(codes.astype(np.int32), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(texts))
