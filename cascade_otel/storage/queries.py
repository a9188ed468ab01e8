"""The questions put to a store, as DuckDB SQL over a view ``spans``: a span once, missing columns null,
integers only.

A site is everything the rollup groups by, as one number: grouping by it and naming it afterwards is
several times faster than grouping by a dozen texts.
"""

from __future__ import annotations

from cascade_otel.records import DAY_NS
from cascade_otel.storage import schema
from cascade_otel.storage.failure import FAILED
from cascade_otel.storage.schema import CASCADE, LABEL, TIER

PRODUCTION = "coalesce(purpose, '') = ''"
LAST_INDEX = 32_767
"""Stands for a tier that has no index: after all that have one."""

_REASONS = ("low_confidence", "missing_confidence", "error", "timeout", "policy")
_OUTCOMES = ("accepted", "repeated", "exhausted", "cancelled", "abandoned", "outlived")
_TOTALS = ("duration_ns", "cost_nano", "confidence_nano", "input_tokens", "output_tokens")

SITE_NAMES = (
    "kind", "cascade", "task", "tier", "tier_index", "tier_kind", "model", "response_model", "version",
    "purpose", "threshold",
)  # fmt: skip
COUNTS = (
    "n", "escalated", "decided", "errors", *_REASONS, *_OUTCOMES,
    "duration_ns", "cost_nano", "costed", "confidence_nano", "scored", "input_tokens", "output_tokens",
)  # fmt: skip

MEASURES = {
    "confidence": ("confidence_cell", "hour"),
    "latency": ("latency_cell", "hour - hour % 24"),
    "cost": ("cost_cell", "hour - hour % 24"),
}
"""Of each histogram: the column of its cells, and the first hour of a row's bucket."""

REPEATED_DAYS = f"""
    SELECT DISTINCT day FROM (
        SELECT start_ns // {DAY_NS} AS day FROM {{files}} GROUP BY span_id, trace_lo, day HAVING count(*) > 1)
    """

ONCE = """
    (SELECT * EXCLUDE (filename) FROM {files}
     QUALIFY row_number() OVER (PARTITION BY span_id, trace_lo ORDER BY filename) = 1)
    """
"""Of a repeated span, the copy in the first file."""


def within(task: str | None) -> str:
    """Condition on the hours [$start, $end), and on $task if there is one."""
    return "hour >= $start AND hour < $end" + ("" if task is None else " AND task = $task")


def _names(where: str) -> str:
    texts = ", ".join(
        f"coalesce(max({name}), '') AS {name}"
        for name in ("cascade", "task", "tier_kind", "model", "response_model", "version", "purpose")
    )
    return f"""
    SELECT site, min(kind)::BIGINT AS kind, {texts},
           coalesce(max(CASE WHEN kind = {CASCADE} THEN final_tier ELSE tier END), '') AS tier,
           coalesce(max(tier_index), -1)::BIGINT AS tier_index,
           round_even(max(threshold) * 100, 0) / 100 AS threshold
    FROM spans WHERE {where} AND kind <> {LABEL} GROUP BY site
    """


def sums(task: str | None) -> str:
    """Counts and totals per site and hour."""
    counted = {
        "n": "count(*)",
        "escalated": "count(*) FILTER (WHERE escalated)",
        "decided": "count(escalated)",
        "errors": f"count(*) FILTER (WHERE {FAILED})",
        **{name: f"count(*) FILTER (WHERE reason = '{name}')" for name in _REASONS},
        **{name: f"count(*) FILTER (WHERE outcome = '{name}')" for name in _OUTCOMES},
        **{name: f"coalesce(sum({name}), 0)" for name in _TOTALS},
        "costed": "count(cost_nano)",
        "scored": "count(confidence_nano)",
    }
    columns = ", ".join(f"({counted[name]})::BIGINT AS {name}" for name in COUNTS)
    return f"""
    WITH names AS ({_names(within(task))}),
         totals AS (SELECT site, hour::BIGINT AS hour, {columns}
                    FROM spans WHERE {within(task)} AND kind <> {LABEL} GROUP BY site, hour)
    SELECT hour, {", ".join(SITE_NAMES)}, {", ".join(f"totals.{name}" for name in COUNTS)}
    FROM totals JOIN names USING (site) ORDER BY ALL
    """


def cells(measure: str, task: str | None) -> str:
    """Histogram cells per bucket, kind, task, tier, purpose and threshold."""
    cell, bucket = MEASURES[measure]
    return f"""
    WITH names AS ({_names(within(task))}),
         counts AS (SELECT site, {bucket} AS bucket_hour, {cell} AS cell, count(*) AS n,
                           count(*) FILTER (WHERE escalated) AS escalated
                    FROM spans WHERE {within(task)} AND kind <> {LABEL} AND {cell} IS NOT NULL GROUP BY ALL)
    SELECT bucket_hour::BIGINT AS bucket_hour, kind, task, tier, tier_index, purpose, threshold,
    cell::BIGINT AS cell,
           sum(n)::BIGINT AS n, sum(escalated)::BIGINT AS escalated
    FROM counts JOIN names USING (site)
    GROUP BY ALL ORDER BY ALL
    """


FIRST_TIERS = f"""
    SELECT task, tier, threshold FROM (
        SELECT task, tier, min(coalesce(tier_index, {LAST_INDEX})) AS place, count(*) AS n,
               arg_max(threshold, start_ns) FILTER (WHERE escalated IS NOT NULL) AS threshold
        FROM spans WHERE {within(None)} AND kind = {TIER} AND {PRODUCTION} AND tier IS NOT NULL GROUP BY
        task, tier)
    QUALIFY row_number() OVER (PARTITION BY task ORDER BY place, n DESC, tier) = 1
    ORDER BY task
    """
"""Each task's first tier: the smallest index, of several the most used; and its last threshold."""

FIRST_TIER_CELLS = f"""
    SELECT task, tier, hour, coalesce(confidence_cell, -1) AS cell, count(*) AS n,
           count(*) FILTER (WHERE escalated) AS escalated
    FROM spans
    WHERE {within(None)} AND kind = {TIER} AND {PRODUCTION} AND escalated IS NOT NULL
    GROUP BY ALL
    """

LABELS = f"""
    WITH labels AS (
        SELECT linked_trace_hi AS trace_hi, linked_trace_lo AS trace_lo, tier, correct,
        coalesce(weight_ppm, 1000000) / 1e6 AS weight FROM spans WHERE kind = {LABEL} AND tier IS NOT
        NULL AND correct IS NOT NULL QUALIFY row_number() OVER (PARTITION BY linked_trace_hi,
        linked_trace_lo, tier ORDER BY start_ns DESC, span_id) = 1)
    SELECT task, tier, coalesce(tier_index, -1)::BIGINT AS tier_index, coalesce(purpose, '') AS purpose,
    trace_hi, trace_lo,
           confidence_nano / 1e9 AS confidence, labels.correct, labels.weight, escalated,
           cost_nano::DOUBLE AS cost_nano
    FROM spans JOIN labels USING (trace_hi, trace_lo, tier)
    WHERE {within(None)} AND kind = {TIER} AND coalesce(outcome, '') <> 'repeated'
    QUALIFY row_number() OVER (PARTITION BY trace_hi, trace_lo, tier ORDER BY start_ns DESC, span_id) = 1
    ORDER BY start_ns, trace_hi, trace_lo, tier
    """
"""Of a tier's calls in one trace the label means the last not displaced; the latest label counts."""

LISTS = {"tier": "tiers", "model": "models", "confidence": "confidences", "threshold": "thresholds"}
"""Of a cascade call's tier calls: what is listed, and the column of the list."""

_TEXTS_OF_CALLS = ("outcome", "final_tier", "currency", "version", "segment", "purpose")

LAST_CALLS = f"""
    WITH calls AS (
        SELECT start_ns, trace_hi, trace_lo, span_id, task, duration_ns, escalated,
               cost_nano::DOUBLE AS cost_nano,
               {", ".join(f"coalesce({name}, '') AS {name}" for name in _TEXTS_OF_CALLS)}
        FROM spans WHERE {within("")} AND kind = {CASCADE}
        ORDER BY start_ns DESC, span_id LIMIT $limit),
    tiers AS (
        SELECT trace_hi, trace_lo, start_ns AS tier_start, span_id AS tier_span, tier,
               coalesce(threshold, 'nan'::DOUBLE) AS threshold,
               coalesce(response_model, model, '') AS model,
               coalesce(confidence_nano / 1e9, 'nan'::DOUBLE) AS confidence
        FROM spans WHERE kind = {TIER} AND task = $task AND tier IS NOT NULL)
    SELECT calls.*, {
    ", ".join(
        f"coalesce(list({one} ORDER BY tier_start, tier_span) FILTER (WHERE tier IS NOT NULL), []) AS {many}"
        for one, many in LISTS.items()
    )
}
    FROM calls LEFT JOIN tiers ON calls.trace_hi = tiers.trace_hi AND calls.trace_lo = tiers.trace_lo
         AND tier_start BETWEEN start_ns AND start_ns + duration_ns
    GROUP BY ALL ORDER BY start_ns DESC, span_id
    """
"""A tier call belongs to the cascade call of its trace during which it began."""

LAST_SEEN = """
    SELECT coalesce(service, '') AS service, max(start_ns) AS last_start_ns, count(*) AS spans,
           count(*) FILTER (WHERE start_ns > $now) AS ahead
    FROM spans GROUP BY ALL ORDER BY service
    """

ROWS = "SELECT {columns} FROM spans WHERE {where} ORDER BY start_ns, span_id"


def rows(columns: list[str], kind: int | None, task: str | None) -> str:
    """Single rows; integers that may be missing come as doubles, except ids, which a double cannot hold."""
    kept = {
        "kind",
        "parent_id",
        "start_ns",
        "duration_ns",
        "hour",
        "site",
        "trace_hi",
        "trace_lo",
        "span_id",
        "linked_trace_hi",
        "linked_trace_lo",
    }
    integers = {field.name for field in schema.SCHEMA if str(field.type).startswith("int")} - kept
    listed = ", ".join(f"{name}::DOUBLE AS {name}" if name in integers else name for name in columns)
    return ROWS.format(columns=listed, where=within(task) + ("" if kind is None else " AND kind = $kind"))
