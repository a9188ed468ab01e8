"""One step of a day's compaction: what comes out of small segments and the files they are merged with."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import duckdb

from cascade_otel.storage import manifest, parts, schema, segments
from cascade_otel.storage.files import literal, relation, unreadable
from cascade_otel.storage.manifest import BrokenManifestError, Manifest, Merged
from cascade_otel.storage.segments import ROW_GROUP, Store, sync_folder

LARGEST = 4_000_000
"""Rows of a merged file."""
LOOK_BACK_DAYS = 35
"""How long after a call what checks it may come."""
SEALED_AFTER_HOURS = 1
MOST_PLACES = 10_000
"""More rows of a file are not fetched by their place."""
MOST_CHECKED = 8
"""Files of checked calls of a day before they become one."""
T = TypeVar("T")
COLUMNS = ", ".join(schema.SCHEMA.names)
ORDERS = {
    "rows": "task, kind, tier, hour, start_ns, span_id",
    "sums": "site, hour",
    "cells": "measure, site, bucket_hour, cell",
    "sites": "task, kind, site",
    "checks": "trace_lo, span_id",
    "checked": "task, tier, hour, start_ns, check_start_ns",
}
"""Rows by task first, so that one task's can be read alone."""
logger = logging.getLogger(__name__)


class Merging:
    """From a day's manifest to ``said``, the next one, which ``publish`` makes true.

    ``connection`` has an empty table ``nothing`` with all columns of a segment. Methods raise OSError and
    duckdb.Error; after ``discard`` the day is then as it was. ``told`` are the files that were logged before.
    """

    def __init__(
        self,
        store: Store,
        connection: duckdb.DuckDBPyConnection,
        day: int,
        said: Manifest,
        now_s: float,
        told: set[str],
    ):
        self.said = said
        self._told = told
        self._now_s = now_s
        self._store, self._day, self._folder = store, day, store.folder(day)
        self._sql = connection
        self._broken: dict[str, str] = {}
        self._opened: list[str] = []
        self._made: list[Path] = []

    def take_in(self, batch: Sequence[str]) -> int:
        """Merges the small segments of these names with files no larger than they are; how many rows are new.

        A file that cannot be read is left where it is.
        """
        self._leave_out(segments.damaged(str(self._folder / name) for name in batch))
        return self._readably(lambda: self._take_in(batch))

    def look(self, now_hour: int, has_new: bool) -> None:
        """What is done in a day that is over: once, and with what comes still later.

        It becomes one file. What its labels and audits are about is searched among the calls of other days:
        so a label that comes more than a day after its call is joined when its own day is over.
        """
        over = (self._day + 1) * 24 + SEALED_AFTER_HOURS
        if now_hour < over:
            return
        if self.said.looked_hour < over:
            self._readably(self._seal)
            self._readably(lambda: self._search(self._own_checks()))
            self.said = replace(self.said, looked_hour=now_hour)
        elif has_new:
            self._readably(lambda: self._search("new_checks"))

    def _readably(self, step: Callable[[], T]) -> T:
        """What the step gives, taken again without the files that turn out to be unreadable."""
        while True:
            said, self._opened = self.said, []
            try:
                return step()
            except duckdb.OutOfMemoryException:
                raise
            except duckdb.Error:
                opened = dict.fromkeys(self._opened)
                broken = self._store.lost(opened) or unreadable(self._sql, opened)
                if not broken:
                    raise
            self.said = said
            self._leave_out(broken)

    def _leave_out(self, broken: Mapping[str, str]) -> None:
        for path, reason in broken.items():
            if path not in self._told:
                logger.warning("%s cannot be read, and is left out: %s", path, reason)
            self._told.add(path)
            self._spare(Path(path))
        self._broken |= broken

    def _spare(self, path: Path) -> None:
        """A file of rows that no manifest names would be deleted: this one under another name is not."""
        named = {entry.rows for entry in self.said.files}
        is_rows = path.parent == self._folder and path.name.startswith("rows-") and path.exists()
        if is_rows and path.name not in named:
            path.rename(path.with_name(f"broken-{path.name}"))

    def _open(self, paths: Iterable[str]) -> list[str]:
        """Those of the paths that can be read as far as is known."""
        found = [path for path in paths if path not in self._broken]
        self._opened += found
        return found

    def publish(self) -> None:
        """Makes ``said`` the day's manifest."""
        path = self._store.tmp / f"{uuid.uuid4().hex}-{manifest.NAME}"
        try:
            sync_folder(self._folder)
            with open(path, "wb") as out:
                out.write(self.said.encoded())
                out.flush()
                os.fsync(out.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            self.discard()
            raise
        path.rename(self._folder / manifest.NAME)
        sync_folder(self._folder)

    def discard(self) -> None:
        """Deletes what this step has made, which must not have been published."""
        for path in self._made:
            path.unlink(missing_ok=True)

    def _take_in(self, batch: Sequence[str]) -> int:
        small = self._open(str(self._folder / name) for name in batch)
        if not small:
            return 0
        files = self._readable_files()
        count = self._gather(small, self._open(entry.under(self._folder).rows for entry in files))
        if count:
            self._join_checks()
            self._replace(self._whole(_absorbed(files, count)))
        self._consume([Path(path).name for path in small if path not in self._broken])
        return count

    def _seal(self) -> None:
        absorbed = self._whole(_absorbed(self._readable_files(), LARGEST // 2))
        if len(absorbed) > 1:
            self._run("CREATE OR REPLACE TEMP TABLE fresh AS FROM nothing")
            self._replace(absorbed)

    def _readable_files(self) -> list[Merged]:
        return [entry for entry in self.said.files if entry.under(self._folder).rows not in self._broken]

    def _whole(self, files: Sequence[Merged]) -> list[Merged]:
        """Those that may be merged again: damage must not spread into a file with a checksum that holds."""
        self._leave_out(segments.damaged(entry.under(self._folder).rows for entry in files))
        return [entry for entry in files if entry.under(self._folder).rows not in self._broken]

    def _replace(self, absorbed: Sequence[Merged]) -> None:
        """Puts one file of these and the rows of ``fresh`` in their place."""
        merged = self._merged(self._open(entry.under(self._folder).rows for entry in absorbed))
        kept = tuple(entry for entry in self.said.files if entry not in absorbed)
        self.said = replace(self.said, files=(*kept, merged))
        self._consume([name for entry in absorbed for name in entry.names()])

    def _gather(self, small: Sequence[str], merged: Sequence[str]) -> int:
        """Makes the table ``fresh``: rows of the small files, each span once and none merged before."""
        every = f"SELECT * FROM nothing UNION ALL BY NAME SELECT * FROM {relation(small, filename=True)}"
        self._run(f"CREATE OR REPLACE TEMP TABLE fresh AS {every}")
        found = {name for name, *_ in self._run("DESCRIBE fresh")}
        if found - {*schema.SCHEMA.names, "filename"} and (later := segments.later(small)):
            self._leave_out(later)
            return self._gather(self._open(small), merged)
        if self._run("SELECT count(*) - count(DISTINCT (span_id, trace_lo)) FROM fresh")[0][0]:
            self._run(
                """
                DELETE FROM fresh WHERE rowid IN (SELECT rowid FROM (
                    SELECT rowid, row_number() OVER (PARTITION BY span_id, trace_lo ORDER BY filename) AS copy
                    FROM fresh) WHERE copy > 1)
                """
            )
        # Hardly ever is one there already: to know that, one column is enough.
        known = f"SELECT 1 FROM {relation(merged)} WHERE span_id IN (SELECT span_id FROM fresh) LIMIT 1"
        if merged and self._run(known):
            self._run(
                f"""
                DELETE FROM fresh USING {relation(merged)} old
                WHERE old.span_id = fresh.span_id AND old.trace_lo = fresh.trace_lo
                """
            )
        return self._count("fresh")

    def _merged(self, absorbed: Sequence[str]) -> Merged:
        """Writes ``fresh`` and the absorbed files as one, and its parts."""
        token = uuid.uuid4().hex[:12]
        rows = f"SELECT {COLUMNS} FROM fresh"
        if absorbed:
            older = f"SELECT * FROM nothing UNION ALL BY NAME SELECT * FROM {relation(absorbed)}"
            rows += f" UNION ALL SELECT {COLUMNS} FROM ({older})"
        name, count = self._write("rows", token, rows)
        source = relation([str(self._folder / name)])
        sums, _ = self._write("sums", token, parts.sums(source))
        cells, _ = self._write("cells", token, parts.cells(source))
        sites, _ = self._write("sites", token, parts.sites(source))
        checks = None
        if self._count(f"({parts.checks(source)})"):
            checks, _ = self._write("checks", token, parts.checks(source))
        senders = self._run(
            f"""
            SELECT coalesce(service, ''), count(*), max(start_ns), max(start_ns::HUGEINT + duration_ns)
            FROM {source} GROUP BY ALL
            """
        )
        services = {service: (spans, began, ended) for service, spans, began, ended in senders}
        return Merged(name, sums, cells, sites, checks, count, services)

    def _join_checks(self) -> None:
        """Joins new calls with new and kept checks, and kept calls with new checks.

        Searched are the calls of this day and the one before, as almost every check is about one of these.
        """
        self._run(f"CREATE OR REPLACE TEMP TABLE new_checks AS {parts.checks('fresh')}")
        kept = self._open(
            checks
            for day in self._store.days()
            if day >= self._day - 1
            for entry in self._entries(day)
            if (checks := entry.checks)
        )
        new = "SELECT * FROM new_checks"
        every = f"({new} UNION ALL BY NAME SELECT * FROM {relation(kept)})" if kept else f"({new})"
        joined = parts.checked(f"({parts.calls('fresh')})", every)
        self._run(f"CREATE OR REPLACE TEMP TABLE found AS {joined}")
        self._find_calls("new_checks", (self._day, self._day - 1))
        self._keep_found()

    def _own_checks(self) -> str:
        """The day's labels and audits."""
        own = self._open(checks for entry in self.said.files if (checks := entry.under(self._folder).checks))
        return relation(own) if own else f"({parts.checks('nothing')})"

    def _search(self, checks: str) -> None:
        """Finds what those of the checks that are not joined yet are about among the calls of other days."""
        known = self._open(str(self._folder / name) for name in self.said.checked)
        matched = f"span_id IN (SELECT check_span_id FROM {relation(known)})" if known else "false"
        self._run(f"CREATE OR REPLACE TEMP TABLE open_checks AS SELECT * FROM {checks} WHERE NOT {matched}")
        nothing = parts.checked(f"({parts.calls('nothing')})", "open_checks")
        self._run(f"CREATE OR REPLACE TEMP TABLE found AS {nothing}")
        days = (self._day + 1, *range(self._day - 2, self._day - LOOK_BACK_DAYS - 1, -1))
        self._find_calls("open_checks", days)
        self._keep_found()

    def _find_calls(self, checks: str, days: Iterable[int]) -> None:
        """Adds to ``found`` what the checks are about among the merged calls of these days.

        The places of rows are found in one column, and only these rows are read.
        """
        if not self._count(checks):
            return
        for path in self._open(entry.rows for day in days for entry in self._entries(day)):
            numbered = relation([path], numbered=True)
            hits = self._run(
                f"SELECT file_row_number FROM {numbered} WHERE trace_lo IN (SELECT trace_lo FROM {checks})"
            )
            if hits:
                wanted = f"file_row_number IN ({', '.join(str(place) for (place,) in hits)})"
                if len(hits) > MOST_PLACES:
                    wanted = f"trace_lo IN (SELECT trace_lo FROM {checks})"
                calls = parts.calls(f"(SELECT * FROM {numbered} WHERE {wanted})")
                self._run(f"INSERT INTO found BY NAME {parts.checked(f'({calls})', checks)}")

    def _keep_found(self) -> None:
        if not self._count("found"):
            return
        rows, absorbed = "SELECT * FROM found", []
        if len(self.said.checked) >= MOST_CHECKED:
            older = self._open(str(self._folder / name) for name in self.said.checked)
            absorbed = [Path(path).name for path in older]
            rows += f" UNION ALL BY NAME SELECT * FROM {relation(older)}" if older else ""
        name, _ = self._write("checked", uuid.uuid4().hex[:12], rows)
        kept = (old for old in self.said.checked if old not in absorbed)
        self.said = replace(self.said, checked=(*kept, name))
        self._consume(absorbed)

    def _consume(self, names: Sequence[str]) -> None:
        self.said = replace(self.said, consumed={**self.said.consumed, **dict.fromkeys(names, self._now_s)})

    def _entries(self, day: int) -> list[Merged]:
        """Merged files of a day as they were before this step."""
        try:
            said = self._store.manifest(day)
        except BrokenManifestError:
            return []
        return [entry.under(self._store.folder(day)) for entry in (said.files if said else ())]

    def _write(self, kind: str, token: str, rows: str) -> tuple[str, int]:
        """Writes a file of sorted rows into the day; nobody reads it before a manifest names it."""
        path = self._store.tmp / f"{kind}-{token}.parquet"
        try:
            count = self._run(
                f"""
                COPY (SELECT * FROM ({rows}) ORDER BY {ORDERS[kind]}) TO {literal(str(path))}
                (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {ROW_GROUP},
                 KV_METADATA {{'cascade_otel.schema': '{schema.VERSION}'}})
                """
            )[0][0]
            with open(path, "rb+") as written:
                os.fsync(written.fileno())
            name = segments.checked_name(path.stem, path)
            self._made.append(path.rename(self._folder / name))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return name, count

    def _count(self, table: str) -> int:
        found: int = self._run(f"SELECT count(*) FROM {table}")[0][0]
        return found

    def _run(self, sql: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self._sql.execute(sql).fetchall()
        return found


def _absorbed(files: Sequence[Merged], size: int) -> list[Merged]:
    """Files to be merged with ``size`` rows: sizes stay geometric, so a row is rewritten few times."""
    absorbed = []
    for entry in sorted(files, key=lambda entry: entry.n):
        if entry.n <= 2 * size and entry.n + size <= LARGEST:
            absorbed.append(entry)
            size += entry.n
    return absorbed
