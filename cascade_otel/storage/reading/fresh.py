"""Rows of small segments that count: each span once, and none that the day's merged rows hold already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import duckdb

from cascade_otel.storage.files import relation
from cascade_otel.storage.manifest import Live

_HOURS = "SELECT DISTINCT hour FROM {small}"
_REPEATED = """
    SELECT 1 FROM (SELECT 1 FROM {small} GROUP BY span_id, trace_lo HAVING count(*) > 1) LIMIT 1
    """
_COPIES = """
    INSERT INTO superfluous
    SELECT {day}, filename, file_row_number FROM {small}
    QUALIFY row_number() OVER (PARTITION BY span_id, trace_lo ORDER BY filename, file_row_number) > 1
    """
"""Of a repeated span the copy in the first file counts."""
_MERGED_BEFORE = """
    INSERT INTO superfluous
    SELECT {day}, filename, file_row_number
    FROM {small} SEMI JOIN (SELECT span_id, trace_lo FROM {merged} WHERE hour IN ({hours}))
         USING (span_id, trace_lo)
    """


class Fresh:
    """Knows of each day which rows of its small segments are superfluous.

    A file never changes, so what was found out about a day's set of them stays true of that set.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        self._known: dict[int, tuple[tuple[tuple[str, ...], ...], bool]] = {}
        self._run("CREATE TABLE superfluous (day BIGINT, filename VARCHAR, file_row_number BIGINT)")

    def relations(self, days: Iterable[Live]) -> list[str]:
        """SQL of relations that together have every fresh row of these days once; none if there are none."""
        clean: list[str] = []
        others = []
        for day in days:
            if not day.small:
                continue
            if self._has_superfluous(day):
                others.append(
                    f"(SELECT * EXCLUDE (filename, file_row_number) FROM {_numbered(day.small)} "
                    f"ANTI JOIN (SELECT * EXCLUDE (day) FROM superfluous WHERE day = {day.day}) "
                    "USING (filename, file_row_number))"
                )
            else:
                clean += day.small
        return [*([relation(clean)] if clean else []), *others]

    def _has_superfluous(self, day: Live) -> bool:
        files = (tuple(entry.rows for entry in day.merged), day.small)
        known = self._known.get(day.day)
        if known is None or known[0] != files:
            self._known.pop(day.day, None)
            self._known[day.day] = files, self._find(day)
        return self._known[day.day][1]

    def _find(self, day: Live) -> bool:
        self._run(f"DELETE FROM superfluous WHERE day = {day.day}")
        small = _numbered(day.small)
        if self._run(_REPEATED.format(small=relation(day.small))):
            self._run(_COPIES.format(day=day.day, small=small))
        if day.merged:
            hours = ", ".join(str(hour) for (hour,) in self._run(_HOURS.format(small=relation(day.small))))
            merged = relation(entry.rows for entry in day.merged)
            self._run(_MERGED_BEFORE.format(day=day.day, small=small, merged=merged, hours=hours or "NULL"))
        return bool(self._run(f"SELECT 1 FROM superfluous WHERE day = {day.day} LIMIT 1"))

    def _run(self, sql: str) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = self._connection.execute(sql).fetchall()
        return found


def _numbered(paths: Sequence[str]) -> str:
    return f"(SELECT *, file_row_number FROM {relation(paths, filename=True)})"
