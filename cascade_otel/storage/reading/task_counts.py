"""Hourly counts of first tiers, kept day by day, so that history is read once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from cascade_otel.records import CELLS, TaskHours
from cascade_otel.storage import schema
from cascade_otel.storage.reading.queries import MEASURES, names, within
from cascade_otel.storage.reading.sources import Sources
from cascade_otel.storage.schema import TIER

LAST_INDEX = 32_767
"""Stands for a tier that has no index: after all that have one."""
MOST = 2**31 - 1
MOST_BYTES = 512 << 20
"""Of kept days; 1,000 tasks with 8 occupied cells an hour take some 2 MB a day."""

_SITES = f"""
    WITH hours AS (SELECT site, hour, sum(n) AS n, sum(decided) AS decided, max(last_threshold) AS threshold
                   FROM {{sums}} GROUP BY site, hour),
         totals AS (SELECT site, sum(n)::BIGINT AS n, max(hour) FILTER (WHERE NOT isnan(threshold)) AS hour,
                           arg_max(decided, hour) FILTER (WHERE NOT isnan(threshold)) AS decided,
                           arg_max(threshold, hour) FILTER (WHERE NOT isnan(threshold)) AS declared
                    FROM hours GROUP BY site)
    SELECT site, task, tier, CASE WHEN tier_index < 0 THEN {LAST_INDEX} ELSE tier_index END AS place, n,
           coalesce(hour, -1) AS hour, coalesce(decided, 0)::BIGINT AS decided,
           coalesce(declared, 'nan'::DOUBLE) AS threshold
    FROM totals JOIN {{names}} USING (site) WHERE kind = {TIER} AND purpose = '' AND tier <> ''
    """
_HOURLY = f"""
    SELECT number, (hour - {{midnight}})::SMALLINT AS place, least(decided, {MOST})::INTEGER AS calls,
           least(escalated, {MOST})::INTEGER AS escalated
    FROM {{sums}} JOIN numbers USING (site) WHERE decided > 0
    """
_CELLS = f"""
    SELECT number, ((bucket_hour - {{midnight}}) * {CELLS} + cell)::SMALLINT AS place,
           least(decided, {MOST})::INTEGER AS calls
    FROM {{cells}} JOIN numbers USING (site) WHERE decided > 0
    """

Columns = Mapping[str, NDArray[np.integer]]


@dataclass(frozen=True, slots=True)
class _Day:
    """What tiers did in some hours of one day. A tier is a number."""

    tiers: pd.DataFrame
    """Of each site: number, place (its smallest index), n (calls); hour, when it last decided by a τ, decided
    (how much), and threshold, that τ."""
    hourly: Columns
    """number, place (the hour of the day), calls (decided), escalated; to be added up."""
    cells: Columns
    """number, place (``CELLS`` times the hour of the day, plus the cell), calls (decided); to be added up."""

    @property
    def bytes(self) -> int:
        columns = (*self.hourly.values(), *self.cells.values())
        return int(self.tiers.memory_usage().sum()) + sum(column.nbytes for column in columns)


class TaskCounts:
    """Makes ``TaskHours``; a day whose files and hours are those of the last time is not read again."""

    def __init__(self, connection: duckdb.DuckDBPyConnection):
        self._connection = connection
        self._numbers: dict[tuple[str, str], int] = {}
        self._days: dict[int, tuple[object, _Day]] = {}

    def task_hours(self, sources: Sources, start_hour: int, end_hour: int) -> TaskHours:
        """Counts in [start_hour, end_hour), whose days ``sources`` are."""
        days = {
            state[0].day: self._day(sources, state[0].day, state, start_hour, end_hour)
            for state in sources.state()
        }
        first = self._first_tiers([day.tiers for day in days.values()])
        hours = np.arange(start_hour, end_hour, dtype=np.int64)
        shape = (len(first), len(hours))
        calls, escalated = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        confidence = np.zeros((*shape, CELLS), np.int32)
        row = np.full(len(self._numbers), -1)
        row[first["number"].to_numpy(np.int64)] = np.arange(len(first))
        for number, day in days.items():
            before = number * 24 - start_hour
            _add(calls, row, before, day.hourly, "calls")
            _add(escalated, row, before, day.hourly, "escalated")
            _add(confidence, row, before * CELLS, day.cells, "calls")
        tasks, tiers = tuple(first["task"]), tuple(first["tier"])
        cells = _threshold_cells(first["threshold"].to_numpy(float))
        return TaskHours(tasks, tiers, hours, calls, escalated, confidence, cells)

    def _day(self, sources: Sources, day: int, state: object, start_hour: int, end_hour: int) -> _Day:
        hours = max(start_hour, day * 24), min(end_hour, day * 24 + 24)
        key = state, hours
        known = self._days.pop(day, None)
        found = (
            known[1] if known is not None and known[0] == key else self._read(sources.of([day]), day, hours)
        )
        self._days[day] = key, found
        kept = sum(one.bytes for _, one in self._days.values())
        while kept > MOST_BYTES and len(self._days) > 1:
            kept -= self._days.pop(next(iter(self._days)))[1].bytes
        return found

    def _read(self, sources: Sources, day: int, hours: tuple[int, int]) -> _Day:
        where = within(None)
        sums = f"(SELECT * FROM {sources.part('sums', where)} WHERE {where})"
        cells = f"""(SELECT * FROM {sources.part("cells", where)}
                     WHERE measure = {MEASURES["confidence"]} AND {within(None, "bucket_hour")})"""
        ask = {"start": hours[0], "end": hours[1]}
        tiers = self._connection.execute(_SITES.format(sums=sums, names=names(sources)), ask).df()
        named = zip(tiers.pop("task").tolist(), tiers.pop("tier").tolist(), strict=True)
        tiers["number"] = [self._numbers.setdefault(name, len(self._numbers)) for name in named]
        numbers = {"site": tiers.pop("site").to_numpy(np.int64), "number": tiers["number"].to_numpy(np.int32)}
        self._connection.register("numbers", pa.table(numbers))
        asked = _HOURLY.format(sums=sums, midnight=day * 24), _CELLS.format(cells=cells, midnight=day * 24)
        found = [self._connection.execute(sql, ask).fetchnumpy() for sql in asked]
        self._connection.unregister("numbers")
        return _Day(tiers, *(_small(columns) for columns in found))

    def _first_tiers(self, days: Sequence[pd.DataFrame]) -> pd.DataFrame:
        """Each task's tier with the smallest index, of several the most used, and its last τ; by task."""
        found = pd.concat(
            days or [pd.DataFrame(columns=["number", "place", "n", "hour", "decided", "threshold"])]
        )
        by_tier = found.groupby("number").agg(place=("place", "min"), n=("n", "sum")).reset_index()
        declared = found[found["threshold"].notna()].sort_values(["hour", "decided", "threshold"])
        last = declared.drop_duplicates("number", keep="last").set_index("number")["threshold"]
        known = list(self._numbers)
        chosen = [known[number] for number in by_tier["number"]]
        by_tier = by_tier.assign(
            task=pd.Series([task for task, _ in chosen], dtype=object),
            tier=pd.Series([tier for _, tier in chosen], dtype=object),
            threshold=by_tier["number"].map(last).astype(float),
        )
        ordered = by_tier.sort_values(["task", "place", "n", "tier"], ascending=[True, True, False, True])
        return ordered.drop_duplicates("task")


def _add(counts: NDArray[np.integer], row: NDArray[np.int64], before: int, found: Columns, name: str) -> None:
    """Adds what a day says to (M, ...) counts, of each tier to its row; ``before``: the place of midnight."""
    at = row[found["number"]]
    own = at >= 0
    flat = counts.reshape(-1)
    place = at[own] * (flat.size // max(len(counts), 1)) + found["place"][own].astype(np.int64) + before
    np.add.at(flat, place, found[name][own].astype(counts.dtype))


def _small(columns: Mapping[str, NDArray[np.int64]]) -> Columns:
    """The columns in the smallest types that hold them."""
    return {
        name: column.astype(np.min_scalar_type(int(column.max(initial=0))))
        for name, column in columns.items()
    }


def _threshold_cells(threshold: NDArray[np.float64]) -> NDArray[np.int64]:
    nano = np.rint(np.clip(np.nan_to_num(threshold), 0, 1) * 1e9).astype(np.int64)
    return np.where(np.isnan(threshold), -1, schema.confidence_cell(nano)).astype(np.int64)
