"""What travels up from a store: sums and histogram cells per task, tier and hour, and single rows."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, Literal, TypeVar

import duckdb
import pandas as pd

from cascade_otel.records import DAY_NS, HourCells, Measured, TaskHours
from cascade_otel.storage import files, schema, segments
from cascade_otel.storage.manifest import Live
from cascade_otel.storage.parts import COUNTS, SITE_NAMES
from cascade_otel.storage.reading import queries
from cascade_otel.storage.reading.fresh import Fresh
from cascade_otel.storage.reading.hourly import LATEST_CHECK_DAYS, Hourly
from cascade_otel.storage.reading.sources import EMPTY, Sources
from cascade_otel.storage.reading.task_counts import TaskCounts

T = TypeVar("T")
Measure = Literal["confidence", "latency", "cost"]
FORGET_S = 300.0
"""So long a file that could not be read is left out before it is tried again: it may have been restored."""
CELLS_BY = ("bucket_hour", "kind", "task", "tier", "purpose", "threshold")
logger = logging.getLogger(__name__)


def open_reader(store: segments.Store) -> Reader:
    """A reader over the store as it is at each question."""
    return Reader(store)


class Reader:
    """Answers questions about a store. Every frame is built from what the store holds at that moment.

    Most of it was added up when it was compacted; single rows are read only of what is newer, and where a
    question is about single rows. What a reader found out about files is kept, so one that lives on reads
    only what is new.

    A file that cannot be read is left out, logged by name, and listed in ``unreadable`` with the reason;
    where it is a part, it is computed from its rows. Safe to share between threads, which then take turns.
    A context manager; ``close`` frees its memory.
    """

    def __init__(self, store: segments.Store):
        self.store = store
        self.unreadable: dict[str, str] = {}
        self._told: set[str] = set()
        self._asked_s = time.monotonic()
        self._lock = threading.Lock()
        self._connection = files.connect(store)
        for name, none in EMPTY.items():
            self._connection.execute(f"CREATE TABLE {name} AS {none}").fetchall()
        self._fresh, self._counts = Fresh(self._connection), TaskCounts(self._connection)

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

        Columns: hour, ``parts.SITE_NAMES`` (texts are '' where absent; threshold nan or rounded to .01;
        purpose '' is production; tier_index -1 where absent; of a cascade, tier is the final tier),
        ``COUNTS`` as int64, and last_threshold, exact, the greatest of the hour's decisions. Money is in
        nanodollars, confidence in billionths. By hour.
        """
        return self._hours(lambda sources: queries.sums(sources, task), start_hour, end_hour, task)

    def sums_by(
        self,
        by: Sequence[str],
        start_hour: int,
        end_hour: int,
        task: str | None = None,
        counts: Sequence[str] = COUNTS,
    ) -> pd.DataFrame:
        """The same added up: one row per combination of ``by``, which are some of hour and the site's names.

        Columns: ``by``, first_hour (of those added), ``counts``. In the order of ``by``.
        """
        _known(by, ("hour", *SITE_NAMES))
        _known(counts, COUNTS)
        return self._hours(
            lambda sources: queries.sums_by(sources, task, by, counts), start_hour, end_hour, task
        )

    def cells(
        self,
        start_hour: int,
        end_hour: int,
        measure: Measure,
        task: str | None = None,
        by: Sequence[str] = CELLS_BY,
    ) -> pd.DataFrame:
        """Histogram cells: one row per combination of ``by`` and cell, with the counts n, decided, escalated.

        By default ``by`` are bucket_hour, kind, task, tier, purpose and threshold. Buckets are hours for
        confidence and UTC days (by their first hour) for latency and cost, and these come whole: every day
        that [start_hour, end_hour) touches. ``decided`` is counted of confidences alone. Cells are those of
        ``schema.confidence_cell`` and ``log_cell``.
        """
        _known(by, CELLS_BY)
        if measure != "confidence":
            start_hour, end_hour = start_hour // 24 * 24, -(-end_hour // 24) * 24
        return self._hours(
            lambda sources: queries.cells(sources, measure, task, by), start_hour, end_hour, task
        )

    def task_hours(self, start_hour: int, end_hour: int) -> TaskHours:
        """Hourly counts of every task's first tier in [start_hour, end_hour), tasks in order of name.

        The first tier is the one with the smallest index, of several with the same the most used.
        """
        return self._over(
            self._days(start_hour, end_hour),
            lambda sources: self._counts.task_hours(sources, start_hour, end_hour),
        )

    def first_tiers(self, start_hour: int, end_hour: int) -> pd.DataFrame:
        """Of each task in [start_hour, end_hour) its first tier: the one with the smallest index, of several
        the most used. By task.

        Columns: task, tier, first_hour (of a decision; nan: none), threshold (the last τ; nan: none), model
        (which most calls asked for or, unnamed, that answered; '' unknown).
        """
        return self._over(
            self._days(start_hour, end_hour),
            lambda sources: Hourly(self._connection, sources).first_tiers(start_hour, end_hour),
        )

    def days_with_calls(
        self, tasks: Sequence[str], tiers: Sequence[str], start_hour: int, end_hour: int
    ) -> list[set[int]]:
        """Of each task the UTC days since 1970 on which its tier decided production calls."""
        return self._over(
            self._days(start_hour, end_hour),
            lambda sources: Hourly(self._connection, sources).days(tasks, tiers, start_hour, end_hour),
        )

    def hour_cells(
        self,
        measure: Measured,
        tasks: Sequence[str],
        tiers: Sequence[str],
        start_hour: int,
        end_hour: int,
    ) -> HourCells:
        """Production calls of tasks in [start_hour, end_hour), by hour and cell of a measure.

        Of each task the tier at the same place of ``tiers`` counts, or for latency and cost the whole calls.
        What was checked by an audit or a label counts in the hour of the check. Latency and cost are counted
        from single rows; everything else from what is kept.
        """
        days = self._days(start_hour, end_hour)
        if measure in ("disagreement", "calibration"):
            days = self._days(start_hour - LATEST_CHECK_DAYS * 24, end_hour)
        return self._over(
            days,
            lambda sources: Hourly(self._connection, sources).cells(
                measure, tasks, tiers, start_hour, end_hour
            ),
        )

    def rows(
        self,
        task: str | None,
        start_hour: int,
        end_hour: int,
        kind: int | None = schema.TIER,
        columns: Sequence[str] | None = None,
        since_ns: int | None = None,
    ) -> pd.DataFrame:
        """Single rows of one task (None: of all) in [start_hour, end_hour), oldest first; ``kind`` None
        means every kind, and ``since_ns`` only those that began then or later.

        Columns are those of the schema. Numbers that may be missing come as doubles with nan (a label's
        linked trace as nullable integers), booleans as pandas' nullable ``boolean``. Raises ValueError
        for a column there is not.
        """
        wanted = list(schema.SCHEMA.names if columns is None else columns)
        _known(wanted, schema.SCHEMA.names)
        more = {"kind": kind, "since": since_ns}
        return self._hours(
            lambda sources: queries.rows(sources, wanted, kind, task, since_ns),
            start_hour,
            end_hour,
            task,
            **{name: value for name, value in more.items() if value is not None},
        )

    def labels(self, start_hour: int, end_hour: int, task: str | None = None) -> pd.DataFrame:
        """One row per tier call in [start_hour, end_hour) that has been labelled, whenever the label came;
        of one task if one is given.

        Columns: task, tier, tier_index, purpose, trace_hi, trace_lo, confidence (nan: none), correct, weight,
        escalated, cost_nano. The latest label of a trace and tier counts. A label that comes more than a day
        after its call is found when the label's own day is over.
        """
        return self._about(queries.labels, start_hour, end_hour, task)

    def audits(self, start_hour: int, end_hour: int, task: str | None = None) -> pd.DataFrame:
        """One row per accepted production call in [start_hour, end_hour) whose answer an audit compared; of
        one task if one is given.

        Columns: task, tier, trace_hi, trace_lo, hour, confidence and threshold (nan: none), escalated,
        agreed, weight (how many calls it stands for), and of the audit cost_nano (nan: unknown) and
        audit_tier. Found as labels are.
        """
        return self._about(queries.audits, start_hour, end_hour, task)

    def last_calls(self, task: str, limit: int, before_hour: int | None = None) -> pd.DataFrame:
        """The task's newest cascade calls, newest first, at most ``limit``, before the hour if one is given.

        Columns: start_ns, trace_hi, trace_lo, span_id, task, duration_ns, escalated, outcome,
        final_tier, cost_nano, currency, version, segment, purpose; and, as lists in the order of the
        tier calls, tiers, models, confidences, thresholds (nan where absent).
        """
        days = [day for day in self.store.days() if before_hour is None or day * 24 < before_hour]
        parameters: dict[str, object] = {"task": task, "start": 0, "end": 0, "limit": 0}
        found = [self._ask(queries.last_calls, parameters, [])]
        for day in reversed(days):
            end = (day + 1) * 24 if before_hour is None else min(before_hour, (day + 1) * 24)
            parameters |= {"start": day * 24, "end": end, "limit": limit - sum(map(len, found))}
            found.append(self._ask(queries.last_calls, parameters, [day, day + 1]))
            if sum(map(len, found)) >= limit:
                break
        calls = pd.concat([frame for frame in found if len(frame)] or found[:1], ignore_index=True)
        lists = {name: calls[name].map(list) for name in queries.LISTS.values()}
        return calls.assign(**lists)

    def last_seen(self, now_ns: int | None = None) -> pd.DataFrame:
        """Per service ('' unnamed): last_start_ns, when its newest span began; last_end_ns, when the last
        ended; how many spans it sent; and how many of them begin after ``now_ns``, by default the clock's:
        ``ahead``.
        """
        now_ns = time.time_ns() if now_ns is None else now_ns

        def answer(sources: Sources) -> pd.DataFrame:
            merged = [
                {"service": service, "spans": spans, "last_start_ns": start, "last_end_ns": end}
                for day in sources.days
                for entry in day.merged
                for service, (spans, start, end) in entry.services.items()
            ]
            fresh = self._answered(queries.seen(sources))
            found = pd.concat([fresh, *([pd.DataFrame(merged)] if merged else [])])
            by_service = found.groupby("service", sort=True).agg(
                last_start_ns=("last_start_ns", "max"),
                last_end_ns=("last_end_ns", "max"),
                spans=("spans", "sum"),
            )
            later = sources.of([day.day for day in sources.days if day.day >= now_ns // DAY_NS])
            ahead = self._answered(queries.ahead(later), {"now": now_ns}).set_index("service")["ahead"]
            counted = ahead.reindex(by_service.index, fill_value=0).astype("int64")
            return by_service.assign(ahead=counted).reset_index()

        return self._over(None, answer)

    def span_hours(self) -> tuple[int, int] | None:
        """The hours of the oldest and of the newest span, both inclusive; None in an empty store.

        Labels that say nothing do not count.
        """
        days = self.store.days()
        first, last = self._first("first_hour", days), self._first("last_hour", days[::-1])
        return None if first is None or last is None else (first, last)

    def _first(self, edge: str, days: Iterable[int]) -> int | None:
        for day in days:
            hour = self._ask(queries.hours, {}, [day])[edge].iloc[0]
            if not pd.isna(hour):
                return int(hour)
        return None

    def _about(
        self,
        question: Callable[[Sources, range, str | None], str],
        start_hour: int,
        end_hour: int,
        task: str | None,
    ) -> pd.DataFrame:
        asked = range(start_hour // 24, -(-end_hour // 24))
        # A check may have begun before its call where clocks differ.
        days = [day for day in self.store.days() if day >= asked.start - 1]
        parameters: dict[str, object] = {"start": start_hour, "end": end_hour}
        parameters |= {} if task is None else {"task": task}
        return self._ask(lambda sources: question(sources, asked, task), parameters, days)

    def _days(self, start_hour: int, end_hour: int) -> list[int]:
        return [day for day in self.store.days() if start_hour // 24 <= day <= (end_hour - 1) // 24]

    def _hours(
        self,
        question: Callable[[Sources], str],
        start_hour: int,
        end_hour: int,
        task: str | None,
        **more: object,
    ) -> pd.DataFrame:
        parameters = {"start": start_hour, "end": end_hour, **more} | ({} if task is None else {"task": task})
        return self._ask(question, parameters, self._days(start_hour, end_hour))

    def _ask(
        self, question: Callable[[Sources], str], parameters: dict[str, object], days: list[int] | None
    ) -> pd.DataFrame:
        return self._over(days, lambda sources: self._answered(question(sources), parameters))

    def _answered(self, sql: str, parameters: dict[str, object] | None = None) -> pd.DataFrame:
        return _plain(self._connection.execute(sql, parameters or {}).df())

    def _over(self, days: list[int] | None, answer: Callable[[Sources], T]) -> T:
        """The answer from what can be read of these days."""

        def over(live: list[Live]) -> T:
            while True:
                sources = Sources(live, self.unreadable, self._fresh)
                try:
                    return answer(sources)
                except duckdb.OutOfMemoryException:
                    raise
                except duckdb.Error:
                    opened = dict.fromkeys(sources.opened)
                    broken = self.store.lost(opened) or files.unreadable(self._connection, opened)
                    if not broken:
                        raise
                for path in broken.keys() - self._told:
                    logger.warning("%s cannot be read and is left out: %s", path, broken[path])
                self._told |= broken.keys()
                self.unreadable |= broken

        with self._lock:
            if time.monotonic() - self._asked_s > FORGET_S:
                self.unreadable.clear()
                self._asked_s = time.monotonic()
            return self.store.read(over, days)


def _known(arrived: Sequence[str], wanted: Sequence[str]) -> None:
    if unknown := sorted(set(arrived) - set(wanted)):
        raise ValueError(f"columns {unknown} arrived; wanted: some of {', '.join(wanted)}")


def _plain(frame: pd.DataFrame) -> pd.DataFrame:
    """Booleans always nullable, so that a frame's types do not depend on its values."""
    booleans: dict[str, Any] = {
        name: "boolean"
        for name in ("escalated", "agreed", "correct")
        if name in frame and frame[name].dtype in (bool, object)
    }
    return frame.astype(booleans)
