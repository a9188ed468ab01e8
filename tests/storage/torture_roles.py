"""What the processes of the kill tests do, and what they write down: who tried, was acknowledged, saw."""

from __future__ import annotations

import json
import os
import random
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import duckdb
import pandas  # noqa: F401  Arrow would import it at the first array: longer than a killed process lives.
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from cascade_otel.records import DAY_NS
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.exporter import SegmentExporter
from cascade_otel.storage.manifest import Live
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.receiving import receiver
from cascade_otel.storage.segments import Store
from tests.storage import torture_spans
from tests.storage.torture_spans import KEPT_DAYS, Batch, Part

T = TypeVar("T")


class CountingStore(Store):
    """Counts how many reads there were and how many had to start over."""

    reads = retries = 0

    def read(self, query: Callable[[list[Live]], T], days: Iterable[int] | None = None) -> T:
        asked = 0

        def counted(live: list[Live]) -> T:
            nonlocal asked
            asked += 1
            return query(live)

        try:
            return super().read(counted, days)
        finally:
            self.reads, self.retries = self.reads + 1, self.retries + max(asked - 1, 0)


class Log:
    """Lines of one process, each written whole before anything else is done."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def say(self, **said: Any) -> None:
        """Adds a line."""
        os.write(self._file, json.dumps(said).encode() + b"\n")


def lines(folder: Path, name: str) -> list[dict[str, Any]]:
    """Every whole line of the logs whose name begins so."""
    texts = (path.read_text() for path in sorted(folder.glob(f"{name}-*.log")))
    return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]


def batches(folder: Path, verb: str) -> set[Batch]:
    """Batches the writers say they tried, or got acknowledged."""
    return {Batch(line["writer"], line["number"]) for line in lines(folder, "writer") if line["verb"] == verb}


def write(root: str, logs: str, me: int, way: str, ports: list[int], today: int, pause_s: float) -> None:
    """Exports batch after batch until it is told that each is stored; the last one again after a restart."""
    exporters: dict[str, Callable[[], SpanExporter]] = {
        "store": lambda: SegmentExporter(root),
        "http": lambda: HttpExporter(
            f"http://127.0.0.1:{ports[0]}/v1/traces", timeout=3, compression=Compression.Gzip
        ),
        "grpc": lambda: GrpcExporter(f"http://127.0.0.1:{ports[1]}", timeout=3),
    }
    exporter, log, dice = exporters[way](), Log(Path(logs) / f"writer-{me}.log"), random.Random()
    tried = [batch.number for batch in batches(Path(logs), "try") if batch.writer == me]
    number = max(tried, default=0)
    while True:
        spans = torture_spans.readable(Batch(me, number), today)
        log.say(verb="try", writer=me, number=number)
        for _ in range(2 if number % 5 == 0 else 1):
            while exporter.export(spans) is not SpanExportResult.SUCCESS:
                log.say(verb="refused", writer=me, number=number, way=way)
                time.sleep(0.05)
        log.say(verb="ack", writer=me, number=number)
        number += 1
        time.sleep(dice.random() * pause_s)


def receive(root: str, ports: list[int]) -> None:
    """Receives on the ports for HTTP and gRPC."""
    receiver.run(root, "127.0.0.1", ports[0], grpc_port=ports[1])


def compact(root: str, logs: str, me: int, now_ns: int, grace_s: float, pause_s: float) -> None:
    """Compacts and drops old days, pass after pass."""
    log, dice = Log(Path(logs) / f"compactor-{me}.log"), random.Random()
    with Compactor(Store(root), grace_s) as compactor:
        while True:
            try:
                done = compactor.run(now_ns, KEPT_DAYS if dice.random() < 0.5 else None)
                log.say(rows=done.rows, dropped=done.dropped, failed=done.failed)
            except Exception:
                log.say(error=traceback.format_exc())
            time.sleep(dice.random() * pause_s)


def read(root: str, logs: str, me: int, today: int, pause_s: float) -> None:
    """Reads and checks: everything acknowledged, nothing else than was tried, each once, figures alike."""
    log, store, dice = Log(Path(logs) / f"reader-{me}.log"), CountingStore(root), random.Random()
    with Reader(store) as reader, duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        while True:
            try:
                wrong = look(store, Path(logs), today, connection) or compare(reader, Path(logs), today)
                log.say(me=me, wrong=wrong, reads=store.reads, retries=store.retries)
            except Exception:
                log.say(me=me, error=traceback.format_exc(), reads=store.reads, retries=store.retries)
            store.reads = store.retries = 0
            time.sleep(dice.random() * pause_s)


def files(paths: Iterable[str]) -> str:
    """DuckDB SQL that reads these Parquet files."""
    listed = ", ".join(f"'{path}'" for path in paths)
    return f"read_parquet([{listed}], union_by_name=true, hive_partitioning=false)"


def look(store: Store, logs: Path, today: int, connection: duckdb.DuckDBPyConnection) -> str:
    """What is wrong with one moment's files ('': nothing): rows against the logs, parts against rows."""

    def over(days: list[Live]) -> tuple[Counter[Part], str]:
        kept: Counter[Part] = Counter()
        for day in days:
            paths = day.rows()
            if not paths:
                continue
            found = f"SELECT DISTINCT span_id, trace_lo, start_ns // {DAY_NS} AS day FROM {files(paths)}"
            for span, start_day in connection.execute(f"SELECT span_id, day FROM ({found})").fetchall():
                kept[Part(torture_spans.span_batch(span), start_day)] += 1
            merged = [entry.rows for entry in day.merged]
            if merged and (wrong := _unlike(connection, day, merged)):
                return kept, wrong
        return kept, ""

    acked = batches(logs, "ack")
    found, wrong = store.read(over)
    return wrong or against_logs(found, acked, batches(logs, "try"), today)


def _unlike(connection: duckdb.DuckDBPyConnection, day: Live, merged: list[str]) -> str:
    spans = "count(*), count(DISTINCT (span_id, trace_lo))"
    rows, once = _one(connection, f"SELECT {spans} FROM {files(merged)}")
    if rows != once:
        return f"day {day.day}: {rows} merged rows of {once} spans"
    for entry in day.merged:
        counted = _one(
            connection,
            f"""SELECT count(*), count(*) FILTER (WHERE kind <> 2),
            (SELECT sum(n) FROM {files([entry.sums])}),
            (SELECT sum(n) FROM {files([entry.cells])} WHERE measure = 2) FROM {files([entry.rows])}""",
        )
        services = sum(counts[0] for counts in entry.services.values())
        if counted != (entry.n, counted[1], counted[1], counted[1]) or services != entry.n:
            return (
                f"{entry.rows}: (rows, without labels, in sums, in cells) {counted}; manifest {entry.n}, "
                f"its services {services}"
            )
    return ""


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> tuple[int, ...]:
    [row] = connection.execute(sql).fetchall()
    return row


def against_logs(found: Counter[Part], acked: set[Batch], tried: set[Batch], today: int) -> str:
    """acked ≤ found ≤ tried, and no part of which only some rows are there; '' if so."""
    kept = {part: n for part, n in found.items() if part.day > today - KEPT_DAYS}
    wanted = {part: n for batch in tried for part, n in torture_spans.parts(batch, today).items()}
    if unknown := [part for part in kept if part not in wanted]:
        return f"never tried: {unknown[:5]}"
    if halved := [(part, n, wanted[part]) for part, n in kept.items() if n != wanted[part]]:
        return f"half there (part, rows, of): {halved[:5]}"
    owed = {part for batch in acked for part in torture_spans.parts(batch, today)}
    return f"acknowledged and not there: {sorted(owed - set(kept))[:5]}" if owed - set(kept) else ""


def compare(reader: Reader, logs: Path, today: int) -> str:
    """What is wrong with the reader's answers ('': nothing): sums and cells between two looks at the rows."""
    hours = ((today - KEPT_DAYS) * 24, (today + 1) * 24)
    before = _rows(reader, hours)
    n = int(reader.sums(*hours)["n"].sum())
    cells = int(reader.cells(*hours, "latency")["n"].sum())
    after = _rows(reader, hours)
    least, most = len(before), len(after)
    if not least <= n <= most or not least <= cells <= most:
        return f"{least} rows, then {n} in sums, {cells} in cells, then {most} rows"
    return ""


def _rows(reader: Reader, hours: tuple[int, int]) -> set[int]:
    found = reader.rows(None, *hours, kind=None, columns=["span_id", "kind"])
    spans = found[found["kind"] != 2]["span_id"]
    assert spans.is_unique, f"{len(spans) - spans.nunique()} spans are there twice"
    return set(spans)
