"""Stores of many days: one day goes the whole way through compaction, the others are copies of it.

A copy has other hours and fresh ids; its parts are made from its rows by the same SQL, and its files are
sorted, grouped and compressed as the first day's.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import _fleet
import duckdb
import numpy as np
import pyarrow as pa

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import manifest, parts, schema
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.files import literal, relation
from cascade_otel.storage.manifest import Manifest, Merged
from cascade_otel.storage.merging import COLUMNS, ORDERS
from cascade_otel.storage.segments import ROW_GROUP, Store

SPANS_A_DAY = 1_111_111
LAST_DAY = _fleet.FIRST_DAY + 99
COMMIT = 2_048
MADE = {"sites": parts.sites, "sums": parts.sums, "cells": parts.cells, "checks": parts.checks}


def history(
    folder: Path, days: int, tasks: int = 1000, spans_a_day: int = SPANS_A_DAY, last: int = LAST_DAY
) -> Store:
    """A compacted store of so many days up to the last; what is there of it already is kept."""
    store = Store(folder)
    have = set(store.days())
    if last not in have:
        append(store, _fleet.table(spans_a_day, last, tasks), COMMIT * 16)
        with Compactor(store, grace_s=0) as compactor:
            compactor.run((last + 1) * DAY_NS - HOUR_NS)
            compactor.run(after(last))  # the day is over, and becomes one file
            compactor.run(after(last))  # deletes what that made superfluous
    with connection(store) as opened:
        for day in range(last - 1, last - days, -1):
            if day not in have:
                _copy_day(store, opened, last, day)
    return store


def append(store: Store, table: pa.Table, commit: int = COMMIT) -> None:
    """Stores a table as small segments of one commit each."""
    for first in range(0, table.num_rows, commit):
        store.append(table.slice(first, commit))


def after(day: int) -> int:
    """When the day has been over for two hours, in nanoseconds."""
    return (day + 1) * DAY_NS + 2 * HOUR_NS


def connection(store: Store) -> duckdb.DuckDBPyConnection:
    """DuckDB on one thread, so that CPU time is that of the work alone, and rows keep their order."""
    config = {"memory_limit": "2GB", "threads": 1, "temp_directory": str(store.tmp / "spill")}
    return duckdb.connect(config=config)


def linked(store: Store, folder: Path, days: Iterable[int]) -> Store:
    """A store of some days of another one: it shares the files, but what is done to it stays its own."""
    copy = Store(folder)
    for day in days:
        shutil.copytree(store.folder(day), copy.folder(day), copy_function=os.link)
    return copy


def size(store: Store, kinds: Iterable[str] = tuple(ORDERS)) -> dict[str, int]:
    """Bytes of a store by kind of file."""
    return {kind: sum(path.stat().st_size for path in store.root.glob(f"day=*/{kind}-*")) for kind in kinds}


def count(store: Store) -> int:
    """Merged rows of a store."""
    return sum(entry.n for day in store.days() for entry in store.manifest(day).files)


def _copy_day(store: Store, opened: duckdb.DuckDBPyConnection, source: int, day: int) -> None:
    making, token = store.tmp / f"making-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex[:12]
    making.mkdir()
    replaced = _other_day(source, day)
    files: list[Merged] = []
    for number, entry in enumerate(store.manifest(source).files):
        names = {kind: f"{kind}-{token}{number}.parquet" for kind in (*MADE, "rows")}
        paths = {kind: str(making / name) for kind, name in names.items()}
        original = relation([entry.under(store.folder(source)).rows])
        _write(
            opened, paths["rows"], f"SELECT {COLUMNS} FROM (SELECT * REPLACE ({replaced}) FROM {original})"
        )
        for kind, make in MADE.items():
            sql = f"SELECT * FROM ({make(relation([paths['rows']]))}) ORDER BY {ORDERS[kind]}"
            _write(opened, paths[kind], sql)
        services = {
            name: (spans, start + (day - source) * DAY_NS, end + (day - source) * DAY_NS)
            for name, (spans, start, end) in entry.services.items()
        }
        files.append(replace(entry, **names, services=services))
    rows = relation(str(making / entry.rows) for entry in files)
    checked = parts.checked(f"({parts.calls(rows)})", f"({parts.checks(rows)})")
    name = f"checked-{token}.parquet"
    _write(opened, str(making / name), f"SELECT * FROM ({checked}) ORDER BY {ORDERS['checked']}")
    said = Manifest(tuple(files), (name,), {}, (LAST_DAY + 2) * 24)
    (making / manifest.NAME).write_bytes(said.encoded())
    making.rename(store.folder(day))


def _other_day(source: int, day: int) -> str:
    """What REPLACE makes of a day's rows so that they are another's; a label stays linked to its call."""
    dice = np.random.default_rng(day)
    salts = {name: int(dice.integers(1, 2**62)) for name in ("trace_hi", "trace_lo", "span_id")}
    changed = {name: f"xor({name}, {salt})" for name, salt in salts.items()}
    changed |= {f"linked_{name}": f"xor(linked_{name}, {salts[name]})" for name in ("trace_hi", "trace_lo")}
    changed["start_ns"] = f"start_ns + {(day - source) * DAY_NS}"
    changed["hour"] = f"(hour + {(day - source) * 24})::INTEGER"
    return ", ".join(f"{sql} AS {name}" for name, sql in changed.items())


def _write(opened: duckdb.DuckDBPyConnection, path: str, sql: str) -> None:
    """As compaction writes: the same compression, row groups and schema version."""
    opened.execute(
        f"""COPY ({sql}) TO {literal(path)}
        (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 3, ROW_GROUP_SIZE {ROW_GROUP},
         KV_METADATA {{'cascade_otel.schema': '{schema.VERSION}'}})"""
    ).fetchall()
