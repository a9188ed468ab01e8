"""What the detector counts: calls per task, hour and cell of a measure, of first tiers and of both paths."""

from __future__ import annotations

from collections.abc import Sequence

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from cascade_otel.records import HOUR_NS, LABELLED, HourCells, Measured
from cascade_otel.storage.failure import GIVEN_UP
from cascade_otel.storage.reading import queries
from cascade_otel.storage.reading.sources import Sources
from cascade_otel.storage.schema import CASCADE, LABEL, TIER

LAST_INDEX = 32_767
"""Stands for a tier that has no index: after all that have one."""
LATEST_CHECK_DAYS = 36
"""So long after its call a label or an audit is still looked for."""

_SITES = f"""
    WITH hours AS (SELECT site, hour, sum(n) AS n, sum(decided) AS decided, max(last_threshold) AS threshold
                   FROM {{sums}} GROUP BY site, hour),
         totals AS (SELECT site, sum(n)::BIGINT AS n, min(hour) FILTER (WHERE decided > 0) AS first_hour,
                           max(hour) FILTER (WHERE NOT isnan(threshold)) AS hour,
                           arg_max(decided, hour) FILTER (WHERE NOT isnan(threshold)) AS decided,
                           arg_max(threshold, hour) FILTER (WHERE NOT isnan(threshold)) AS declared
                    FROM hours GROUP BY site)
    SELECT site, task, tier, CASE WHEN tier_index < 0 THEN {LAST_INDEX} ELSE tier_index END AS place, n,
           CASE WHEN model = '' THEN response_model ELSE model END AS model, version, first_hour,
           hour, decided, coalesce(declared, 'nan'::DOUBLE) AS threshold
    FROM totals JOIN {{names}} USING (site) WHERE kind = {TIER} AND purpose = '' AND tier <> ''
    """
_DAYS = """
    SELECT number, hour // 24 AS day FROM {sums} JOIN numbered USING (site) WHERE decided > 0 GROUP BY ALL
    """
_ANSWERED = " - ".join(("n", "errors", *GIVEN_UP))
_SHARES = {
    "escalation": ("decided", "escalated"),
    "errors": ("n", "errors"),
    "missing": (_ANSWERED, f"least({_ANSWERED}, greatest({_ANSWERED} - scored, 0))"),
}
"""Of a measure of two cells: all calls of a sum, and those in cell 1."""
_UNDECIDED = ("error", *GIVEN_UP)
_PATHS = {
    f"{what}_{path}": (f"{what}_cell", condition)
    for what in ("latency", "cost")
    for path, condition in (("accepted", "NOT escalated"), ("escalated", "escalated"))
}
"""Of a measure of whole calls: the column of its cells, and which calls."""


class Hourly:
    """Answers from one consistent set of files; made for a single question."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, sources: Sources):
        self._connection, self._sources = connection, sources

    def first_tiers(self, start_hour: int, end_hour: int) -> pd.DataFrame:
        """See ``Reader.first_tiers``."""
        sql = _SITES.format(sums=self._sums(), names=queries.names(self._sources))
        sites: pd.DataFrame = self._ask(sql, start_hour, end_hour).df()
        tiers = sites.groupby(["task", "tier"]).agg(
            place=("place", "min"), n=("n", "sum"), first_hour=("first_hour", "min")
        )
        ordered = tiers.reset_index().sort_values(
            ["task", "place", "n", "tier"], ascending=[True, True, False, True]
        )
        first = ordered.drop_duplicates("task").set_index(["task", "tier"])
        declared = sites[sites["threshold"].notna()].sort_values(["hour", "decided", "threshold"])
        models = sites.groupby(["task", "tier", "model"]).agg(n=("n", "sum")).reset_index()
        for name, of in (
            ("threshold", declared.drop_duplicates(["task", "tier"], keep="last")),
            ("model", models.sort_values(["n", "model"]).drop_duplicates(["task", "tier"], keep="last")),
        ):
            first = first.join(of.set_index(["task", "tier"])[name])
        found = first.reset_index().drop(columns=["place", "n"])
        return found.astype({"first_hour": float, "threshold": float}).fillna({"model": ""})

    def days(
        self, tasks: Sequence[str], tiers: Sequence[str], start_hour: int, end_hour: int
    ) -> list[set[int]]:
        """Of each task the UTC days on which its tier decided."""
        self._number_sites(tasks, tiers)
        found = self._ask(_DAYS.format(sums=self._sums()), start_hour, end_hour).fetchall()
        days: list[set[int]] = [set() for _ in tasks]
        for number, day in found:
            days[number].add(day)
        return days

    def cells(
        self, measure: Measured, tasks: Sequence[str], tiers: Sequence[str], start_hour: int, end_hour: int
    ) -> HourCells:
        """See ``Reader.hour_cells``."""
        sql = self._question(measure, tasks, tiers, start_hour, end_hour)
        found = self._ask(sql, start_hour, end_hour).fetchnumpy()
        return HourCells(*(np.asarray(found[name], np.int64) for name in ("number", "hour", "cell", "calls")))

    def _question(
        self, measure: Measured, tasks: Sequence[str], tiers: Sequence[str], start_hour: int, end_hour: int
    ) -> str:
        if measure in _SHARES:
            self._number_sites(tasks, tiers)
            every, hits = _SHARES[measure]
            return f"""
            WITH added AS (SELECT number, hour, sum({every}) AS every, sum({hits}) AS hits
                           FROM {self._sums()} JOIN numbered USING (site) GROUP BY ALL)
            SELECT number, hour, 0 AS cell, every - hits AS calls FROM added WHERE every > hits
            UNION ALL SELECT number, hour, 1 AS cell, hits AS calls FROM added WHERE hits > 0
            """
        if measure == "confidence":
            self._number_sites(tasks, tiers)
            where = f"measure = {queries.MEASURES['confidence']} AND {queries.within(None, 'bucket_hour')}"
            return f"""
            SELECT number, bucket_hour AS hour, cell, sum(decided) AS calls
            FROM {self._sources.part("cells", queries.within(None))} JOIN numbered USING (site)
            WHERE {where} AND decided > 0 GROUP BY ALL
            """
        self._number_tasks(tasks, tiers)
        if measure in _PATHS:
            cell, path = _PATHS[measure]
            return f"""
            SELECT number, hour, {cell} AS cell, count(*) AS calls
            FROM {self._sources.rows()} JOIN numbered USING (task)
            WHERE {queries.within(None)} AND kind = {CASCADE} AND coalesce(purpose, '') = '' AND {path}
                  AND coalesce(outcome, '') NOT IN {_UNDECIDED} AND {cell} IS NOT NULL GROUP BY ALL
            """
        return self._checks(measure, start_hour, end_hour)

    def _checks(self, measure: Measured, start_hour: int, end_hour: int) -> str:
        """Calls whose answer was checked, in the hour of the check."""
        asked = range(start_hour // 24 - LATEST_CHECK_DAYS, -(-end_hour // 24))
        since = f"check_start_ns // {HOUR_NS}"
        checked = f"""
            SELECT number, {since} AS hour, confidence_nano // 10000000 AS bin, check_kind,
                   CASE WHEN check_kind = {TIER} THEN agreed ELSE correct END AS is_right
            FROM {queries.checked(self._sources, asked, "true")} JOIN numbered USING (task, tier)
            WHERE {queries.within(None, since)} AND coalesce(purpose, '') = ''
            QUALIFY row_number() OVER (PARTITION BY trace_hi, trace_lo, number, check_kind, {since}
                                       ORDER BY start_ns DESC, span_id, check_start_ns DESC,
                                                check_span_id) = 1
            """
        if measure == "disagreement":
            return f"""
            SELECT number, hour, (NOT is_right)::INTEGER AS cell, count(*) AS calls
            FROM ({checked}) WHERE check_kind = {TIER} GROUP BY ALL
            """
        return f"""
        WITH known AS (
            SELECT number, hour, bin, is_right, check_kind = {LABEL} AS labelled FROM ({checked})
            UNION ALL
            SELECT number, hour, confidence_cell AS bin, agreed AS is_right, false AS labelled
            FROM {self._sources.rows()} JOIN numbered USING (task, tier)
            WHERE {queries.within(None)} AND kind = {TIER} AND coalesce(purpose, '') = ''
                  AND agreed IS NOT NULL)
        SELECT number, hour, count(*) AS calls,
               2 * bin + (NOT is_right)::INTEGER + {LABELLED} * labelled::INTEGER AS cell
        FROM known WHERE bin IS NOT NULL GROUP BY ALL
        """

    def _sums(self) -> str:
        where = queries.within(None)
        return f"(SELECT * FROM {self._sources.part('sums', where)} WHERE {where})"

    def _number_sites(self, tasks: Sequence[str], tiers: Sequence[str]) -> None:
        """Table ``numbered``: of every site of a task's first tier, in production, the task's number."""
        self._number_tasks(tasks, tiers)
        sites = queries.names(self._sources)
        self._make_table(f"""
            SELECT site, number FROM {sites} JOIN numbered USING (task, tier)
            WHERE kind = {TIER} AND purpose = ''
            """)

    def _number_tasks(self, tasks: Sequence[str], tiers: Sequence[str]) -> None:
        """The same table with the names of tasks and their first tiers."""
        texts = (pa.array(texts, pa.string()) for texts in (tasks, tiers))
        columns = (*texts, pa.array(np.arange(len(tasks))))
        self._connection.register(
            "listed", pa.table(dict(zip(("task", "tier", "number"), columns, strict=True)))
        )
        self._make_table("SELECT * FROM listed")
        self._connection.unregister("listed")

    def _make_table(self, sql: str) -> None:
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE numbered AS {sql}").fetchall()

    def _ask(self, sql: str, start_hour: int, end_hour: int) -> duckdb.DuckDBPyConnection:
        return self._connection.execute(sql, {"start": start_hour, "end": end_hour})
