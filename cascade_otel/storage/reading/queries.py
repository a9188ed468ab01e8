"""The questions put to a store, as DuckDB SQL over its rows and parts."""

from __future__ import annotations

from collections.abc import Sequence

from cascade_otel.records import HOUR_NS
from cascade_otel.storage import parts, schema
from cascade_otel.storage.parts import CELL_COUNTS, CHECKED, COUNTS, MOST, SITE_NAMES
from cascade_otel.storage.reading.sources import Sources
from cascade_otel.storage.schema import CASCADE, LABEL, TIER

MEASURES = {"confidence": 1, "latency": 2, "cost": 3}
"""Of each histogram its number in ``parts.MEASURES``."""


def within(task: str | None, hour: str = "hour") -> str:
    """Condition on the hours [$start, $end), and on $task if there is one."""
    return f"{hour} >= $start AND {hour} < $end" + ("" if task is None else " AND task = $task")


def names(sources: Sources, task: str | None = None) -> str:
    """The names of every site, or of $task's."""
    where = "true" if task is None else "task = $task"
    listed = ", ".join(f"any_value({name}) AS {name}" for name in SITE_NAMES)
    return f"(SELECT site, {listed} FROM {sources.part('sites', where)} WHERE {where} GROUP BY site)"


def sums(sources: Sources, task: str | None) -> str:
    """Counts and totals per site and hour, by hour."""
    return f"""
    WITH totals AS (SELECT site, hour, {_added(COUNTS)}, max(last_threshold) AS last_threshold
                    FROM {_sums(sources, task)} GROUP BY site, hour)
    SELECT hour, {", ".join((*SITE_NAMES, *COUNTS))}, last_threshold
    FROM totals JOIN {names(sources, task)} USING (site) ORDER BY hour, site
    """


def sums_by(sources: Sources, task: str | None, by: Sequence[str], counts: Sequence[str]) -> str:
    """Counts and totals per combination of ``by``, with the first hour of each."""
    added = f"min(hour) AS first_hour, {_added(counts)}"
    return _by(_sums(sources, task), names(sources, task), by, ("hour",), added, ("first_hour", *counts))


def cells(sources: Sources, measure: str, task: str | None, by: Sequence[str]) -> str:
    """Histogram cells per combination of ``by`` and cell."""
    where = f"measure = {MEASURES[measure]} AND {within(None, 'bucket_hour')} AND {_of(sources, task)}"
    every = f"(SELECT * FROM {sources.part('cells', within(task))} WHERE {where})"
    numbers, by = ("bucket_hour", "cell"), (*by, "cell")
    return _by(every, names(sources, task), by, numbers, _added(CELL_COUNTS), CELL_COUNTS)


def _sums(sources: Sources, task: str | None) -> str:
    where = f"{within(None)} AND {_of(sources, task)}"
    return f"(SELECT * FROM {sources.part('sums', within(task))} WHERE {where})"


def _of(sources: Sources, task: str | None) -> str:
    """Condition on the site, to be of $task."""
    if task is None:
        return "true"
    return f"site IN (SELECT site FROM {sources.part('sites', 'task = $task')} WHERE task = $task)"


def _by(
    every: str, names: str, by: Sequence[str], numbers: Sequence[str], added: str, columns: Sequence[str]
) -> str:
    """What is ``added`` per combination of ``by``, ``numbers`` among them columns of its own.

    The names are numbered first: grouping by texts would take ten times as long.
    """
    texts = ", ".join(name for name in by if name not in numbers)
    own = "".join(f", {name}" for name in by if name in numbers)
    listed = ", ".join(by)
    return f"""
    WITH named AS (SELECT site, {texts}, dense_rank() OVER (ORDER BY {texts}) AS place FROM {names}),
         places AS (SELECT DISTINCT place, {texts} FROM named),
         totals AS (SELECT place{own}, {added} FROM {every} JOIN (SELECT site, place FROM named) USING (site)
                    GROUP BY place{own})
    SELECT {listed}, {", ".join(columns)} FROM totals JOIN places USING (place) ORDER BY {listed}
    """


def _added(counts: Sequence[str]) -> str:
    return ", ".join(f"least(sum({name}), {MOST})::BIGINT AS {name}" for name in counts)


def checked(sources: Sources, days: range, where: str) -> str:
    """Calls of the days with the label or audit that checked them, some more than once.

    ``where`` is a condition on the calls; those of days that are not asked for may be among them.

    What is not compacted yet is joined here: calls with every check, checks with the merged calls of days
    beside which, or beside whose next day, something is not compacted.
    """
    fresh = {day.day for day in sources.days if day.small}
    calls = parts.calls(f"(SELECT * FROM {sources.of(days).fresh_rows()} WHERE {where})")
    near = [day for day in days if day in fresh or day + 1 in fresh]
    merged = parts.calls(f"(SELECT * FROM {sources.of(near).merged_rows()} WHERE {where})")
    checks = f"({parts.checks(sources.fresh_rows())})"
    every = f"(SELECT * FROM {sources.kept('checks')} UNION ALL BY NAME SELECT * FROM {checks})"
    columns = ", ".join(CHECKED)
    return f"""(
    SELECT {columns} FROM {sources.checked()} WHERE {where}
    UNION ALL BY NAME SELECT {columns} FROM ({parts.checked(f"({calls})", every)})
    UNION ALL BY NAME SELECT {columns} FROM ({parts.checked(f"({merged})", checks)})
    )"""


def labels(sources: Sources, days: range, task: str | None) -> str:
    """Of a tier's calls in one trace the label means the last not displaced; the latest label counts."""
    return f"""
    SELECT task, tier, coalesce(tier_index, -1)::BIGINT AS tier_index, coalesce(purpose, '') AS purpose,
           trace_hi, trace_lo, confidence_nano / 1e9 AS confidence, correct,
           coalesce(weight_ppm, 1000000) / 1e6 AS weight, escalated, cost_nano::DOUBLE AS cost_nano
    FROM {checked(sources, days, within(task))} WHERE check_kind = {LABEL}
    QUALIFY row_number() OVER (PARTITION BY trace_hi, trace_lo, tier
                               ORDER BY start_ns DESC, span_id, check_start_ns DESC, check_span_id) = 1
    ORDER BY start_ns, trace_hi, trace_lo, tier
    """


def audits(sources: Sources, days: range, task: str | None) -> str:
    """Of a tier's accepted calls in one trace the audit means the last; the latest audit counts."""
    return f"""
    SELECT task, tier, trace_hi, trace_lo, hour::BIGINT AS hour, confidence_nano / 1e9 AS confidence,
           threshold, escalated, agreed, coalesce(weight_ppm, 1000000) / 1e6 AS weight,
           check_cost_nano::DOUBLE AS cost_nano, coalesce(check_tier, '') AS audit_tier
    FROM {checked(sources, days, within(task))} WHERE check_kind = {TIER}
    QUALIFY row_number() OVER (PARTITION BY trace_hi, trace_lo, task, tier
                               ORDER BY start_ns DESC, span_id, check_start_ns DESC, check_span_id) = 1
    ORDER BY start_ns, trace_hi, trace_lo, tier
    """


LISTS = {"tier": "tiers", "model": "models", "confidence": "confidences", "threshold": "thresholds"}
"""Of a cascade call's tier calls: what is listed, and the column of the list."""

_TEXTS_OF_CALLS = ("outcome", "final_tier", "currency", "version", "segment", "purpose")


def last_calls(sources: Sources) -> str:
    """$task's newest $limit calls in [$start, $end).

    A tier call belongs to the cascade call of its trace during which it began.
    """
    rows = sources.rows()
    lists = ", ".join(
        f"coalesce(list({one} ORDER BY tier_start, tier_span) FILTER (WHERE tier IS NOT NULL), []) AS {many}"
        for one, many in LISTS.items()
    )
    return f"""
    WITH calls AS (
        SELECT start_ns, trace_hi, trace_lo, span_id, task, duration_ns, escalated,
               cost_nano::DOUBLE AS cost_nano,
               {", ".join(f"coalesce({name}, '') AS {name}" for name in _TEXTS_OF_CALLS)}
        FROM {rows} WHERE {within("")} AND kind = {CASCADE}
        ORDER BY start_ns DESC, span_id LIMIT $limit),
    tiers AS (
        SELECT trace_hi, trace_lo, start_ns AS tier_start, span_id AS tier_span, tier,
               coalesce(threshold, 'nan'::DOUBLE) AS threshold,
               coalesce(response_model, model, '') AS model,
               coalesce(confidence_nano / 1e9, 'nan'::DOUBLE) AS confidence
        FROM {rows} WHERE kind = {TIER} AND task = $task AND tier IS NOT NULL)
    SELECT calls.*, {lists}
    FROM calls LEFT JOIN tiers ON calls.trace_hi = tiers.trace_hi AND calls.trace_lo = tiers.trace_lo
         AND tier_start BETWEEN start_ns AND start_ns + duration_ns
    GROUP BY ALL ORDER BY start_ns DESC, span_id
    """


def seen(sources: Sources) -> str:
    """Per service: spans that are not compacted yet, when the newest of them began and the last ended."""
    return f"""
    SELECT coalesce(service, '') AS service, count(*) AS spans, max(start_ns) AS last_start_ns,
           least(max(start_ns::HUGEINT + duration_ns), {MOST})::BIGINT AS last_end_ns
    FROM {sources.fresh_rows()} GROUP BY ALL
    """


def ahead(sources: Sources) -> str:
    """Per service: spans that begin after $now."""
    return f"""
    SELECT coalesce(service, '') AS service, count(*) AS ahead
    FROM {sources.rows()} WHERE start_ns > $now GROUP BY ALL
    """


def hours(sources: Sources) -> str:
    """The first and the last hour with a call, or with a label that says something."""
    return f"""
    SELECT min(hour) AS first_hour, max(hour) AS last_hour FROM (
        SELECT hour FROM {sources.kept("sums")}
        UNION ALL SELECT start_ns // {HOUR_NS} AS hour FROM {sources.kept("checks")}
        UNION ALL SELECT hour::BIGINT AS hour FROM {sources.small()})
    """


_IDS = ("parent_id", "site", "trace_hi", "trace_lo", "span_id", "linked_trace_hi", "linked_trace_lo")
_NEVER_MISSING = ("kind", "start_ns", "duration_ns", "hour", *_IDS)


def rows(
    sources: Sources, columns: Sequence[str], kind: int | None, task: str | None, since_ns: int | None
) -> str:
    """Single rows; integers that may be missing come as doubles, except ids, which a double cannot hold."""
    integers = {field.name for field in schema.SCHEMA if str(field.type).startswith("int")}
    integers -= {*_NEVER_MISSING}
    listed = ", ".join(f"{name}::DOUBLE AS {name}" if name in integers else name for name in columns)
    conditions = [within(task)]
    conditions += [] if kind is None else ["kind = $kind"]
    conditions += [] if since_ns is None else ["start_ns >= $since"]
    return f"""
    SELECT {listed} FROM {sources.rows()} WHERE {" AND ".join(conditions)} ORDER BY start_ns, span_id
    """
