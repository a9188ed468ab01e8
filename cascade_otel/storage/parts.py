"""What is kept of rows so that nobody reads them again, as DuckDB SQL over any relation with their columns.

*Sums* per site and hour and histogram *cells* add up: a part is made of each merged file, and parts of
several files together say what the files together would. A *site* is everything the rollup groups by, as one
number, named in a part of its own; grouping by a dozen texts would be several times slower.

*Checks* are the labels and audits among the rows; *checked* calls are joined with the label or audit that
says whether their answer was right.
"""

from __future__ import annotations

from cascade_otel.storage import schema
from cascade_otel.storage.failure import FAILURES
from cascade_otel.storage.schema import CASCADE, LABEL, TIER

REASONS = ("low_confidence", "missing_confidence", "error", "timeout", "policy")
OUTCOMES = ("accepted", "repeated", "exhausted", "cancelled", "abandoned", "outlived")
TOTALS = ("duration_ns", "cost_nano", "confidence_nano", "input_tokens", "output_tokens")

MOST = 2**63 - 1
SITE_NAMES = (
    "kind", "cascade", "task", "tier", "tier_index", "tier_kind", "model", "response_model", "version",
    "purpose", "threshold", "currency",
)  # fmt: skip
"""Texts are '' where absent, an index -1; a cascade's tier is its final one; thresholds end at .01."""
COUNTED = {
    "n": "count(*)",
    "escalated": "coalesce(count_if(escalated), 0)",
    "decided": "count(escalated)",
    "errors": FAILURES,
    **{name: f"coalesce(count_if(reason = '{name}'), 0)" for name in REASONS},
    **{name: f"coalesce(count_if(outcome = '{name}'), 0)" for name in OUTCOMES},
    **{name: f"coalesce(sum({name}), 0)" for name in TOTALS},
    "escalated_duration_ns": "coalesce(sum(duration_ns) FILTER (WHERE escalated), 0)",
    "costed": "count(cost_nano)",
    "scored": "count(confidence_nano)",
    "compared": "count(agreed)",
    "agreed": "coalesce(count_if(agreed), 0)",
    "weight_ppm": "coalesce(sum(weight_ppm), 0) + 1000000 * (count(*) - count(weight_ppm))",
}
COUNTS = tuple(COUNTED)
"""What sums count; all add up, to at most ``MOST``. A FILTER would do, but ``count_if`` is quicker."""
MEASURES = {
    1: ("confidence_cell", "hour"),
    2: ("latency_cell", "hour - hour % 24"),
    3: ("cost_cell", "hour - hour % 24"),
}
"""Of each histogram: the column of its cells, and the first hour of a row's bucket."""
CELL_COUNTS = ("n", "decided", "escalated")

_LABELS = f"kind = {LABEL} AND tier IS NOT NULL AND correct IS NOT NULL"
_AUDITS = f"kind = {TIER} AND purpose = 'audit' AND agreed IS NOT NULL"
CHECKS = (
    "kind", "trace_hi", "trace_lo", "task", "tier", "start_ns", "span_id", "correct", "agreed", "weight_ppm",
    "cost_nano",
)  # fmt: skip
CALLS = (
    "task", "tier", "tier_index", "purpose", "version", "trace_hi", "trace_lo", "hour", "start_ns",
    "span_id", "outcome", "confidence_nano", "threshold", "escalated", "cost_nano",
)  # fmt: skip
CHECK_NAMES = {
    "kind": "check_kind", "tier": "check_tier", "start_ns": "check_start_ns", "span_id": "check_span_id",
    "correct": "correct", "agreed": "agreed", "weight_ppm": "weight_ppm", "cost_nano": "check_cost_nano",
}  # fmt: skip
"""Columns of a check, and what they are called beside those of the call it is about."""
CHECKED = tuple(name for name in CALLS if name != "outcome") + tuple(CHECK_NAMES.values())


def sites(relation: str) -> str:
    """The names of every site, labels left out: site and ``SITE_NAMES``."""
    texts = (name for name in schema.SITE_TEXTS if name != "tier")
    names = {
        "kind": "any_value(kind)::BIGINT",
        **{name: f"coalesce(any_value({name}), '')" for name in texts},
        "tier": f"coalesce(any_value(CASE WHEN kind = {CASCADE} THEN final_tier ELSE tier END), '')",
        "tier_index": "coalesce(any_value(tier_index), -1)::BIGINT",
        "threshold": "round_even(any_value(threshold) * 100, 0) / 100",
    }
    listed = ", ".join(f"{names[name]} AS {name}" for name in SITE_NAMES)
    return f"SELECT site, {listed} FROM {relation} WHERE kind <> {LABEL} GROUP BY site"


def sums(relation: str) -> str:
    """Counts and totals per site and hour, labels left out.

    Columns: hour, site, ``COUNTS``, and ``last_threshold``, exact, of a decision (null: none had one).
    """
    columns = ", ".join(f"least({sql}, {MOST})::BIGINT AS {name}" for name, sql in COUNTED.items())
    return f"""
    SELECT hour::BIGINT AS hour, site, {columns},
           max(threshold) FILTER (WHERE escalated IS NOT NULL) AS last_threshold
    FROM {relation} WHERE kind <> {LABEL} GROUP BY site, hour
    """


def cells(relation: str) -> str:
    """Histogram cells per measure, site and bucket, labels left out.

    Columns: measure (a key of ``MEASURES``), site, bucket_hour, cell, ``CELL_COUNTS``; ``decided`` is counted
    of confidences alone.
    """
    return " UNION ALL ".join(
        f"""
        SELECT {measure}::TINYINT AS measure, site, {bucket} AS bucket_hour, {cell} AS cell, count(*) AS n,
               {"count(escalated)" if measure == 1 else "0::BIGINT"} AS decided,
               coalesce(count_if(escalated), 0)::BIGINT AS escalated
        FROM {relation} WHERE kind <> {LABEL} AND {cell} IS NOT NULL GROUP BY site, bucket_hour, cell
        """
        for measure, (cell, bucket) in MEASURES.items()
    )


def checks(relation: str) -> str:
    """The labels and audits among the rows, under the trace of the call they are about; ``CHECKS``."""
    own = {"trace_hi": "linked_trace_hi", "trace_lo": "linked_trace_lo"}
    columns = ", ".join(
        f"CASE WHEN kind = {LABEL} THEN {own[name]} ELSE {name} END AS {name}" if name in own else name
        for name in CHECKS
    )
    return f"SELECT {columns} FROM {relation} WHERE ({_LABELS}) OR ({_AUDITS})"


def calls(relation: str) -> str:
    """The tier calls among the rows that a check may be about; ``CALLS``."""
    return f"""
    SELECT {", ".join(CALLS)} FROM {relation}
    WHERE kind = {TIER} AND tier IS NOT NULL AND coalesce(outcome, '') <> 'repeated'
    """


def checked(calls: str, checks: str) -> str:
    """Calls joined with what checked them, of relations that ``calls`` and ``checks`` make; ``CHECKED``.

    A label is about the calls of its tier in its trace, an audit about the accepted production calls of its
    task there.
    """
    of_the_call = ", ".join(f"c.{name}" for name in CALLS if name != "outcome")
    of_the_check = ", ".join(f"k.{name} AS {alias}" for name, alias in CHECK_NAMES.items())
    return f"""
    SELECT {of_the_call}, {of_the_check}
    FROM {calls} c JOIN {checks} k ON c.trace_lo = k.trace_lo AND c.trace_hi = k.trace_hi
    WHERE CASE WHEN k.kind = {LABEL} THEN c.tier = k.tier
               ELSE c.task = k.task AND coalesce(c.purpose, '') = '' AND c.outcome = 'accepted' END
    """
