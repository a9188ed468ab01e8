"""What travels up from a store: sums and histogram cells per task, tier and hour, and single rows."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from cascade_otel.records import CELLS, TaskHours
from cascade_otel.storage import queries, schema, segments

MEMORY, THREADS = "1GB", 2
Measure = Literal["confidence", "latency", "cost"]
logger = logging.getLogger(__name__)


def open_reader(store: segments.Store) -> Reader:
    """A reader over the store as it is at each question."""
    return Reader(store)


class Reader:
    """Answers questions about a store. Every frame is built from what the store holds at that moment.

    A segment that cannot be read is left out, logged by name, and listed in ``unreadable`` with the
    reason. Safe to share between threads, which then take turns. A context manager; ``close`` frees its
    memory.
    """

    def __init__(self, store: segments.Store):
        self.store = store
        self.unreadable: dict[str, str] = {}
        self._lock = threading.Lock()
        self._known: dict[int, tuple[list[str], bool]] = {}
        self._connection = duckdb.connect(
            config={
                "memory_limit": MEMORY,
                "threads": THREADS,
                "temp_directory": str(store.tmp / "spill"),
                "preserve_insertion_order": False,
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        # Segments of an older version lack columns: beside a table that has them all, those read as null.
        empty = schema.SCHEMA.empty_table()
        for index, field in enumerate(schema.SCHEMA):
            if pa.types.is_dictionary(field.type):
                empty = empty.set_column(index, field.name, empty[field.name].cast(pa.string()))
        self._connection.register("empty", empty)
        self._connection.execute("CREATE TABLE nothing AS SELECT * FROM empty").fetchall()
        self._connection.unregister("empty")

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees the reader's memory; it answers nothing afterwards."""
        self._connection.close()

    def sums(self, start_hour: int, end_hour: int, task: str | None = None) -> pd.DataFrame:
        """One row per site and hour of [start_hour, end_hour), calls and tier calls alike (see ``kind``).

        Columns: hour, ``queries.SITE_NAMES`` (texts are '' where absent; tier_index -1; threshold nan or
        rounded to .01; purpose '' is production; of a cascade, tier is the final tier),
        ``queries.COUNTS`` as int64. Money is in nanodollars, confidence in billionths.
        """
        return self._hours(queries.sums(task), start_hour, end_hour, task)

    def cells(
        self, start_hour: int, end_hour: int, measure: Measure, task: str | None = None
    ) -> pd.DataFrame:
        """Histogram cells: bucket_hour, kind, task, tier, tier_index, purpose, threshold, cell, n, escalated.

        Buckets are hours for confidence and UTC days (by their first hour) for latency and cost; a day
        at the edge holds only what falls into [start_hour, end_hour). Cells are those of
        ``schema.confidence_cell`` and ``log_cell``.
        """
        return self._hours(queries.cells(measure, task), start_hour, end_hour, task)

    def task_hours(self, start_hour: int, end_hour: int) -> TaskHours:
        """Hourly counts of every task's first tier in [start_hour, end_hour), tasks in order of name.

        The first tier is the one with the smallest index, of several with the same the most used.
        """
        first = self._hours(queries.FIRST_TIERS, start_hour, end_hour)
        counts = self._hours(queries.FIRST_TIER_CELLS, start_hour, end_hour)
        tasks, hours = tuple(first["task"]), np.arange(start_hour, end_hour, dtype=np.int64)
        shape = (len(tasks), len(hours))
        counts = counts.merge(first[["task", "tier"]], on=["task", "tier"])
        place = {task: index for index, task in enumerate(tasks)}
        row = counts["task"].map(place).to_numpy(np.int64)
        column = counts["hour"].to_numpy(np.int64) - start_hour
        cell, n = counts["cell"].to_numpy(np.int64), counts["n"].to_numpy(np.int64)
        calls, escalated = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
        np.add.at(calls, (row, column), n)
        np.add.at(escalated, (row, column), counts["escalated"].to_numpy(np.int64))
        confidence = np.zeros((*shape, CELLS), np.int64)
        scored = cell >= 0
        confidence[row[scored], column[scored], cell[scored]] = n[scored]
        threshold = first["threshold"].to_numpy(float)
        nano = np.rint(np.clip(np.nan_to_num(threshold), 0, 1) * 1e9).astype(np.int64)
        threshold_cell = np.where(np.isnan(threshold), -1, schema.confidence_cell(nano)).astype(np.int64)
        return TaskHours(tasks, tuple(first["tier"]), hours, calls, escalated, confidence, threshold_cell)

    def rows(
        self,
        task: str | None,
        start_hour: int,
        end_hour: int,
        kind: int | None = schema.TIER,
        columns: Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """Single rows of one task (None: of all) in [start_hour, end_hour), oldest first; ``kind`` None
        means every kind.

        Columns are those of the schema. Numbers that may be missing come as doubles with nan (a label's
        linked trace as nullable integers), booleans as pandas' nullable ``boolean``. Raises ValueError
        for a column there is not.
        """
        wanted = list(schema.SCHEMA.names if columns is None else columns)
        if unknown := sorted(set(wanted) - set(schema.SCHEMA.names)):
            raise ValueError(f"columns {unknown} arrived; wanted: some of {', '.join(schema.SCHEMA.names)}")
        more = {} if kind is None else {"kind": kind}
        return self._hours(queries.rows(wanted, kind, task), start_hour, end_hour, task, **more)

    def labels(self, start_hour: int, end_hour: int) -> pd.DataFrame:
        """One row per tier call in [start_hour, end_hour) that has been labelled, whenever the label came.

        Columns: task, tier, tier_index, purpose, trace_hi, trace_lo, confidence (nan: none), correct, weight,
        escalated, cost_nano. The latest label of a trace and tier counts.
        """
        days = [day for day in self.store.days() if day >= start_hour // 24]
        return self._ask(queries.LABELS, {"start": start_hour, "end": end_hour}, days)

    def last_calls(self, task: str, limit: int, before_hour: int | None = None) -> pd.DataFrame:
        """The task's newest cascade calls, newest first, at most ``limit``, before the hour if one is given.

        Columns: start_ns, trace_hi, trace_lo, span_id, task, duration_ns, escalated, outcome,
        final_tier, cost_nano, currency, version, segment, purpose; and, as lists in the order of the
        tier calls, tiers, models, confidences, thresholds (nan where absent).
        """
        days = [day for day in self.store.days() if before_hour is None or day * 24 < before_hour]
        parameters: dict[str, object] = {"task": task, "start": 0, "end": 0, "limit": 0}
        found = [self._ask(queries.LAST_CALLS, parameters, [])]
        for day in reversed(days):
            end = (day + 1) * 24 if before_hour is None else min(before_hour, (day + 1) * 24)
            parameters |= {"start": day * 24, "end": end, "limit": limit - sum(map(len, found))}
            found.append(self._ask(queries.LAST_CALLS, parameters, [day, day + 1]))
            if sum(map(len, found)) >= limit:
                break
        calls = pd.concat([frame for frame in found if len(frame)] or found[:1], ignore_index=True)
        lists = {name: calls[name].map(list) for name in queries.LISTS.values()}
        return calls.assign(**lists)

    def last_seen(self, now_ns: int | None = None) -> pd.DataFrame:
        """Per service ('' unnamed): last_start_ns of its newest span, how many spans it sent, and how many
        of them begin after ``now_ns``, by default the clock's: ``ahead``.
        """
        return self._ask(queries.LAST_SEEN, {"now": time.time_ns() if now_ns is None else now_ns}, None)

    def span_hours(self) -> tuple[int, int] | None:
        """The hours of the oldest and of the newest span, both inclusive; None in an empty store."""
        days = self.store.days()
        ends = [
            self._first(f"SELECT {edge}(hour) AS hour FROM spans", order)
            for edge, order in (("min", days), ("max", days[::-1]))
        ]
        first, last = ends
        return None if first is None or last is None else (first, last)

    def _first(self, sql: str, days: Iterable[int]) -> int | None:
        for day in days:
            hour = self._ask(sql, {}, [day])["hour"].iloc[0]
            if not pd.isna(hour):
                return int(hour)
        return None

    def _hours(
        self, sql: str, start_hour: int, end_hour: int, task: str | None = None, **more: object
    ) -> pd.DataFrame:
        days = [day for day in self.store.days() if start_hour // 24 <= day <= (end_hour - 1) // 24]
        parameters = {"start": start_hour, "end": end_hour, **more} | ({} if task is None else {"task": task})
        return self._ask(sql, parameters, days)

    def _ask(self, sql: str, parameters: dict[str, object], days: list[int] | None) -> pd.DataFrame:
        def over(merged: list[str], small: list[str]) -> pd.DataFrame:
            paths = [path for path in (*merged, *small) if path not in self.unreadable]
            try:
                self._view(paths)
                return _plain(self._connection.execute(sql, parameters).df())
            except duckdb.Error:
                broken = segments.unreadable(paths)
                if not broken:
                    raise
            for path, reason in broken.items():
                logger.warning("%s cannot be read and is left out: %s", path, reason)
            self.unreadable |= broken
            return over(merged, small)

        with self._lock:
            return self.store.read(over, days)

    def _view(self, paths: list[str]) -> None:
        sources = ["nothing"]
        clean, repeated = self._by_repeats(paths)
        if clean:
            sources.append(_files(clean))
        sources += [queries.ONCE.format(files=_files(day, "filename=true")) for day in repeated]
        union = " UNION ALL BY NAME ".join(f"SELECT * FROM {source}" for source in sources)
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW spans AS {union}").fetchall()

    def _by_repeats(self, paths: list[str]) -> tuple[list[str], list[list[str]]]:
        """Paths of the days in which no span is repeated, and those of each day in which one is.

        A segment never changes, so what was found out about a day's set of them stays true of that set.
        """
        by_day = {
            int(Path(folder).name.removeprefix("day=")): list(names)
            for folder, names in itertools.groupby(sorted(paths), key=lambda path: str(Path(path).parent))
        }
        unknown = {
            day: names for day, names in by_day.items() if self._known.get(day, ([], False))[0] != names
        }
        if unknown:
            listed = _files([path for names in unknown.values() for path in names])
            found = self._connection.execute(queries.REPEATED_DAYS.format(files=listed)).fetchall()
            repeated = {day for (day,) in found}
            self._known |= {day: (names, day in repeated) for day, names in unknown.items()}
        clean = [path for day, names in by_day.items() if not self._known[day][1] for path in names]
        return clean, [names for day, names in by_day.items() if self._known[day][1]]


def _files(paths: Iterable[str], options: str = "filename=false") -> str:
    listed = ", ".join(_quoted(path) for path in paths)
    return f"read_parquet([{listed}], union_by_name=true, hive_partitioning=false, {options})"


def _quoted(path: str) -> str:
    # DuckDB takes every path for a pattern.
    literal = "".join(f"[{letter}]" if letter in "[*?" else letter for letter in path)
    return "'" + literal.replace("'", "''") + "'"


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Booleans always nullable, so that a frame's types do not depend on its values."""
    booleans: dict[str, Any] = {
        name: "boolean"
        for name in ("escalated", "agreed", "correct")
        if name in frame and frame[name].dtype in (bool, object)
    }
    return frame.astype(booleans)
