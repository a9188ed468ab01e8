"""The columns of a segment, and how derived columns follow from recorded ones.

Everything that is summed is an integer (nanodollars, billionths, nanoseconds), so that every engine's
sums agree to the last digit. A missing value is null. ``rows`` is the only way into a segment.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cascade_otel.records import HOUR_NS

VERSION = "1"
"""Counts up where a column is added. None is ever given another meaning, so that any version reads the
columns it knows of any other's segments; a column that is not there is null.
"""
CASCADE, TIER, LABEL = 0, 1, 2
"""``kind``: a cascade span, a tier span, a feedback span."""

TEXTS = (
    "service", "cascade", "task", "version", "purpose", "tier", "tier_kind", "operation", "provider",
    "model", "response_model", "segment", "outcome", "reason", "confidence_source", "cost_source", "currency",
    "final_tier", "error_type", "canary_id", "feedback_source",
)  # fmt: skip
_text = pa.dictionary(pa.int32(), pa.string())

SCHEMA = pa.schema(
    [
        ("kind", pa.int8()),
        ("trace_hi", pa.int64()),
        ("trace_lo", pa.int64()),
        ("span_id", pa.int64()),
        ("parent_id", pa.int64()),  # 0: none
        ("linked_trace_hi", pa.int64()),  # of a label: the call it is about
        ("linked_trace_lo", pa.int64()),
        ("start_ns", pa.int64()),
        ("duration_ns", pa.int64()),
        ("hour", pa.int32()),
        ("site", pa.int64()),  # one number for what the rollup groups by
        *((name, _text) for name in TEXTS),
        ("tier_index", pa.int16()),
        ("tier_count", pa.int16()),
        ("escalated", pa.bool_()),
        ("agreed", pa.bool_()),
        ("threshold", pa.float64()),  # exact; the site knows it rounded to .01
        ("confidence_nano", pa.int64()),  # millionths would merge token probabilities near 1
        ("cost_nano", pa.int64()),  # of a cascade: its total
        ("input_tokens", pa.int32()),
        ("output_tokens", pa.int32()),
        ("input_size", pa.int64()),
        ("first_chunk_ns", pa.int64()),
        ("weight_ppm", pa.int64()),  # adjusted count under sampling, or a label's weight; null: 1
        ("correct", pa.bool_()),
        ("confidence_cell", pa.int16()),
        ("latency_cell", pa.int16()),
        ("cost_cell", pa.int16()),
    ],
    metadata={"cascade_otel.schema": VERSION},
)
TYPES = {field.name: field.type for field in SCHEMA}
DERIVED = ("hour", "site", "confidence_cell", "latency_cell", "cost_cell")
RECORDED = tuple(name for name in SCHEMA.names if name not in DERIVED)
REQUIRED = ("kind", "trace_hi", "trace_lo", "span_id", "start_ns", "duration_ns", "cascade", "task")
SITE_TEXTS = (
    "cascade", "task", "tier", "tier_kind", "model", "response_model", "version", "purpose", "currency",
)  # fmt: skip
"""With kind, threshold and the tier's index, what a site is. A cascade's tier is its final one: its path."""

LATENCY_CELLS_PER_OCTAVE, COST_CELLS_PER_OCTAVE = 8, 6


def rows(columns: Mapping[str, Sequence[Any] | NDArray[Any] | pa.Array]) -> pa.Table:
    """A table in ``SCHEMA`` from recorded columns of equal length.

    Derived columns are computed, absent ones are null.

    Raises ValueError naming columns that are unknown or missing.
    """
    unknown, missing = set(columns) - set(RECORDED), [name for name in REQUIRED if name not in columns]
    if unknown or missing:
        raise ValueError(
            f"columns {sorted(columns)} arrived; unknown: {sorted(unknown)}, missing: {missing}; "
            f"wanted: {', '.join(RECORDED)}"
        )
    length = len(columns["kind"])
    table = {
        name: _column(columns[name], TYPES[name]) if name in columns else pa.nulls(length, TYPES[name])
        for name in RECORDED
    }
    if "parent_id" not in columns:
        table["parent_id"] = pa.array(np.zeros(length, np.int64))
    threshold = table["threshold"]
    table["threshold"] = pc.if_else(pc.is_finite(threshold), threshold, None)
    table |= _derived(table, length)
    return pa.Table.from_arrays([table[name] for name in SCHEMA.names], schema=SCHEMA)


def confidence_cell(nano: NDArray[np.int64]) -> NDArray[np.int64]:
    """Cell 0..100 of a confidence in billionths."""
    return nano // 10_000_000


def log_cell(values: NDArray[np.int64], per_octave: int) -> NDArray[np.int16]:
    """0 for 0, else 1 + floor(per_octave * log2(value)), at most 255; from exact integers."""
    octaves = np.log2(np.maximum(values, 1)) * per_octave
    return np.where(values < 1, 0, np.minimum(1 + np.floor(octaves), 255)).astype(np.int16)


def log_cell_lower_edge(cell: NDArray[np.int64], per_octave: int) -> NDArray[np.float64]:
    """Smallest value in a log cell; the upper edge is the next cell's lower edge."""
    return np.where(cell < 1, 0.0, 2.0 ** ((np.asarray(cell, float) - 1) / per_octave))


@functools.lru_cache(1 << 16)
def text_hash(text: str) -> int:
    """64 bits of a text, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _column(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    array = values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
    if isinstance(array, pa.ChunkedArray):  # what pandas gives for texts after a concat
        array = array.combine_chunks()
    if array.type == kind:
        return array
    if pa.types.is_dictionary(kind):
        if not pa.types.is_dictionary(array.type):
            array = array.cast(pa.string()).dictionary_encode()
        return array.cast(kind)
    return array.cast(kind)


def _integers(array: pa.Array, missing: int = 0) -> NDArray[np.int64]:
    integers: NDArray[np.int64] = _filled(array, missing).to_numpy(zero_copy_only=False).astype(np.int64)
    return integers


def _filled(array: pa.Array, missing: float) -> pa.Array:
    return array.fill_null(missing) if array.null_count else array


def _derived(table: Mapping[str, pa.Array], length: int) -> dict[str, pa.Array]:
    cost, confidence = table["cost_nano"], table["confidence_nano"]
    microseconds = _integers(table["duration_ns"]) // 1000
    hour = _integers(table["start_ns"]) // HOUR_NS
    return {
        "hour": pa.array(hour.astype(np.int32)),
        "site": pa.array(_site(table, length)),
        "latency_cell": pa.array(log_cell(microseconds, LATENCY_CELLS_PER_OCTAVE)),
        "confidence_cell": _where_known(confidence, confidence_cell(_integers(confidence))),
        "cost_cell": _where_known(cost, log_cell(_integers(cost), COST_CELLS_PER_OCTAVE)),
    }


def _where_known(source: pa.Array, cell: NDArray[Any]) -> pa.Array:
    nulls = source.is_null().to_numpy(zero_copy_only=False) if source.null_count else None
    return pa.array(cell.astype(np.int16), mask=nulls)


def _site(table: Mapping[str, pa.Array], length: int) -> NDArray[np.int64]:
    kind = _integers(table["kind"])
    threshold = _filled(table["threshold"], -1.0).to_numpy(zero_copy_only=False)
    hashed = {name: _hashes(table[name], length) for name in (*SITE_TEXTS, "final_tier")}
    hashed["tier"] = np.where(kind == CASCADE, hashed["final_tier"], hashed["tier"])
    site = kind.astype(np.uint64)
    for part in (
        *(hashed[name] for name in SITE_TEXTS),
        _integers(table["tier_index"], missing=-1).view(np.uint64),
        np.rint(threshold * 100).astype(np.int64).view(np.uint64),
    ):
        site = (site ^ part) * np.uint64(0x9E3779B97F4A7C15)
        site ^= site >> np.uint64(29)
    return site.view(np.int64)


def _hashes(texts: pa.DictionaryArray, length: int) -> NDArray[np.uint64]:
    """Of every row its text's hash, 0 where it has none."""
    if texts.null_count == length:
        return np.zeros(length, np.uint64)
    known = np.array([*map(text_hash, texts.dictionary.to_pylist()), 0], np.uint64)
    return known[_integers(texts.indices, missing=-1)]
