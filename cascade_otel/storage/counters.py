"""What the sources themselves counted, from OTLP metrics, in one SQLite file beside the segments.

Of every stream of a counter its last value is kept, and only what a new value is more than that is added
to the hour of the point's time: a point that comes again, or after a newer one, adds nothing. An interval
of delta temporality is a stream of its own, by its start time.

A cumulative stream that is first heard of long after it started has counted before anybody listened here:
its first value is where counting begins, and is not counted itself. If another stream of the same source
and start time was heard earlier, the new one has not been there before, and is counted from 0.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple

from cascade_otel import semconv
from cascade_otel.records import HOUR_NS, SECOND_NS
from cascade_otel.storage.otlp import metrics as otlp_metrics
from cascade_otel.storage.otlp.metrics import Point

if TYPE_CHECKING:
    import pandas as pd

NAME = "counters.sqlite"
VERSION = 1
BUSY_S = 10.0
LISTENING_NS = 600 * SECOND_NS
"""A stream whose first value comes later than this after its start had counted before."""
MAX_STREAMS = 1_000_000
"""Streams remembered at once, some 100 bytes each: further ones are rejected until others are forgotten."""
REFRESHED_NS = HOUR_NS
"""How often it is noted that a stream is still there, and how often silent ones are looked for."""
FORGOTTEN_NS = otlp_metrics.KEPT_NS + REFRESHED_NS
"""Streams silent for so long are forgotten. Points as old are not taken any more: none counts twice."""

_TABLES = """
CREATE TABLE last (
    source BLOB, stream BLOB, value INTEGER NOT NULL, first_ns INTEGER NOT NULL, heard_ns INTEGER NOT NULL,
    PRIMARY KEY (source, stream)) WITHOUT ROWID;
CREATE TABLE calls (
    hour INTEGER, service TEXT, task TEXT, tier TEXT, purpose TEXT, outcome TEXT, n INTEGER NOT NULL,
    PRIMARY KEY (hour, service, task, tier, purpose, outcome)) WITHOUT ROWID;
CREATE TABLE dropped (
    hour INTEGER, service TEXT, reason TEXT, n INTEGER NOT NULL,
    PRIMARY KEY (hour, service, reason)) WITHOUT ROWID;
"""
_HOURLY = {semconv.TIER_CALLS: "calls", semconv.DROPPED: "dropped"}
_KEYS = {"calls": ("service", "task", "tier", "purpose", "outcome"), "dropped": ("service", "reason")}


class _Last(NamedTuple):
    """Of a stream: its last value, the time of its first point, and when it was last heard of."""

    value: int
    first_ns: int
    heard_ns: int


@dataclass
class Counts:
    """Data points since the start, by what became of them."""

    kept: int = 0
    passed: int = 0
    rejected: int = 0

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


class Counters:
    """The counters of the store at ``root``; the file is made by the first point that is kept.

    Safe to share between threads, and any number of processes may write and read. A context manager.
    """

    def __init__(self, root: str | Path):
        self.path = Path(root) / NAME
        self.counts = Counts()
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._streams = self._cleaned_ns = 0

    def __enter__(self) -> Counters:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the file; the next request opens it again."""
        with self._lock:
            self._close()

    def add(self, body: bytes, now_ns: int | None = None) -> dict[str, int]:
        """Takes in an OTLP metrics request in protobuf: how many of its data points were rejected, by reason.

        What it says is durable when this returns; where it raises, the sender should send the same again,
        which never counts twice. Raises ``otlp_wire.MalformedError`` and ``TooManyError`` for the request's
        sake, and OSError or ``sqlite3.Error`` for the file's: disk full, locked for 10 s, no counters' file.
        """
        now_ns = time.time_ns() if now_ns is None else now_ns
        request = otlp_metrics.read(body, now_ns)
        rejected = Counter(request.rejected)
        with self._lock:
            if request.points:
                with self._writing() as connection:
                    rejected.update(self._take(connection, request.points, now_ns))
            self.counts.passed += request.passed
            self.counts.rejected += rejected.total()
            self.counts.kept += len(request.points) - (rejected.total() - sum(request.rejected.values()))
        return dict(rejected)

    def calls(self, start_hour: int, end_hour: int) -> pd.DataFrame:
        """Calls of tiers in [start_hour, end_hour): service, task, tier, purpose, outcome, hour, n.

        Texts are '' where absent, and for the purpose production. An hour is that of the points' times: an
        export interval late at most. Raises ``sqlite3.Error`` for a file that is none of ours.
        """
        return self._hours("calls", start_hour, end_hour)

    def dropped(self, start_hour: int, end_hour: int) -> pd.DataFrame:
        """Telemetry that sources left out in [start_hour, end_hour): service, reason, hour, n.

        Raises ``sqlite3.Error`` for a file that is none of ours.
        """
        return self._hours("dropped", start_hour, end_hour)

    def drop_before(self, hour: int) -> None:
        """Forgets the hours before ``hour``. Raises like ``add``."""
        if self.path.exists():
            with self._lock, self._writing() as connection:
                for table in _KEYS:
                    connection.execute(f"DELETE FROM {table} WHERE hour < ?", (hour,))

    def _take(self, connection: sqlite3.Connection, points: Sequence[Point], now_ns: int) -> dict[str, int]:
        """Adds what the points say to their hours: how many were rejected, by reason."""
        self._clean(connection, now_ns)
        known: dict[bytes, _Last | None] = {}
        changed: dict[bytes, tuple[bytes, _Last]] = {}
        since = _heard_since(connection, points)
        more: Counter[tuple[str, int, tuple[str, ...]]] = Counter()
        rejected = 0
        for point in points:
            if not (point.value or point.is_cumulative):
                continue  # an interval in which nothing happened
            if point.stream not in known:
                known[point.stream] = _last(connection, point)
                if known[point.stream] is None and self._streams >= MAX_STREAMS:
                    rejected += 1
                    del known[point.stream]
                    continue
                self._streams += known[point.stream] is None
            before = known[point.stream]
            heard_ns = max(now_ns, point.time_ns)
            if before is None:
                late = point.is_cumulative and point.time_ns - point.start_ns > LISTENING_NS
                is_base = late and since[point.source] >= point.time_ns
                delta, last = 0 if is_base else point.value, _Last(point.value, point.time_ns, heard_ns)
            else:
                delta = max(0, point.value - before.value)
                last = _Last(before.value + delta, min(before.first_ns, point.time_ns), heard_ns)
            if before is None or delta or heard_ns > before.heard_ns + REFRESHED_NS:
                known[point.stream] = last
                changed[point.stream] = (point.source, last)
            if delta:
                more[_HOURLY[point.metric], point.time_ns // HOUR_NS, point.key] += delta
        connection.executemany(
            "INSERT INTO last VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "value = excluded.value, first_ns = excluded.first_ns, heard_ns = excluded.heard_ns",
            ((source, stream, *last) for stream, (source, last) in changed.items()),
        )
        for (table, hour, key), delta in more.items():
            marks = ", ".join("?" * (len(key) + 2))
            connection.execute(
                f"INSERT INTO {table} VALUES ({marks}) ON CONFLICT DO UPDATE SET n = n + excluded.n",
                (hour, *key, delta),
            )
        return {"too many streams": rejected} if rejected else {}

    def _clean(self, connection: sqlite3.Connection, now_ns: int) -> None:
        if abs(now_ns - self._cleaned_ns) >= REFRESHED_NS:
            connection.execute("DELETE FROM last WHERE heard_ns < ?", (now_ns - FORGOTTEN_NS,))
            (self._streams,) = connection.execute("SELECT count(*) FROM last").fetchone()
            self._cleaned_ns = now_ns

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, all of it or nothing, whatever happens."""
        try:
            if self._connection is None:
                self._connection = _opened(self.path)
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except BaseException:
            # Closing takes back what was begun, and a file that was mended or replaced is opened afresh.
            self._close()
            raise

    def _close(self) -> None:
        connection, self._connection, self._cleaned_ns = self._connection, None, 0
        if connection is not None:
            connection.close()

    def _hours(self, table: str, start_hour: int, end_hour: int) -> pd.DataFrame:
        import pandas as pd  # here, since the receiver's process does without

        columns = [*_KEYS[table], "hour", "n"]
        wanted = f"SELECT {', '.join(columns)} FROM {table} WHERE hour >= ? AND hour < ? "
        wanted += f"ORDER BY hour, {', '.join(_KEYS[table])}"
        found: list[tuple[object, ...]] = []
        if self.path.exists():
            address = f"{self.path.resolve().as_uri()}?mode=ro"
            with closing(sqlite3.connect(address, BUSY_S, uri=True)) as reading:
                if _version(reading, self.path):
                    found = reading.execute(wanted, (start_hour, end_hour)).fetchall()
        return pd.DataFrame(found, columns=columns).astype({"hour": "int64", "n": "int64"})


def _heard_since(connection: sqlite3.Connection, points: Sequence[Point]) -> dict[bytes, int]:
    """When the first stream of each point's source was first heard of; far in the future if none was."""
    found: dict[bytes, int] = {}
    for source in {point.source for point in points}:
        (first,) = connection.execute("SELECT min(first_ns) FROM last WHERE source = ?", (source,)).fetchone()
        found[source] = 1 << 63 if first is None else first
    return found


def _last(connection: sqlite3.Connection, point: Point) -> _Last | None:
    row = connection.execute(
        "SELECT value, first_ns, heard_ns FROM last WHERE source = ? AND stream = ?",
        (point.source, point.stream),
    ).fetchone()
    return None if row is None else _Last(*row)


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, BUSY_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        if not _version(connection, path):
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """0 where nothing has been written yet."""
    version: int
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.DatabaseError(
            f"{path} was written by a later version ({version}); this one knows {VERSION}"
        )
    return version
