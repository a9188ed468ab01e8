"""What ``doctor`` says of a store: who sends, what was put aside and why, which files cannot be read."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from cascade_otel.records import SECOND_NS
from cascade_otel.storage import put_aside
from cascade_otel.storage.rollup import open_reader
from cascade_otel.storage.segments import Store, unreadable
from cascade_otel.storage.state import State

LITTLE_ROOM = 1 << 30
"""Fewer free bytes than this are worth a line."""
SKEW_NS = 5 * SECOND_NS
"""Clocks of two machines may differ by so much without a line."""


@dataclass(frozen=True)
class Service:
    """One sender ('' unnamed): its newest span's start, how many it sent, how many begin in the future."""

    name: str
    last_start_ns: int
    spans: int
    ahead: int


@dataclass(frozen=True)
class Aside:
    """One reason for putting spans aside: how many lately, and the newest of them."""

    reason: str
    spans: int
    last: put_aside.Line


@dataclass(frozen=True)
class Health:
    """A store and its state at one moment. Sizes in bytes, times in nanoseconds since 1970 UTC."""

    store: str
    at_ns: int
    services: tuple[Service, ...]
    put_aside: tuple[Aside, ...]
    days: int
    files: int
    rows: int
    size: int
    free: int
    unreadable: tuple[tuple[str, str], ...]
    """(path, reason)"""
    ticks: tuple[tuple[str, int], ...]
    """(name of a job, when it last ran)"""
    undelivered: tuple[tuple[str, str], ...]
    """(sink, last error) of messages that were given up."""


def report(store: Store, state_path: str | Path, now_ns: int | None = None) -> Health:
    """Looks at every file of the store; makes no state where there is none."""
    paths = store.read(lambda merged, small: [*merged, *small])
    broken = unreadable(paths)
    metadata = _footers(path for path in paths if path not in broken)
    now_ns = time.time_ns() if now_ns is None else now_ns
    with open_reader(store) as reader:
        senders = reader.last_seen(now_ns + SKEW_NS)
    ticks: dict[str, int] = {}
    undelivered: list[tuple[str, str]] = []
    if Path(state_path).exists():
        with State(state_path) as state:
            ticks = state.ticks()
            undelivered = [(message.sink, message.error) for message in state.undelivered()]
    return Health(
        store=str(store.root),
        at_ns=now_ns,
        services=tuple(Service(str(name), *map(int, counts)) for name, *counts in senders.to_numpy()),
        put_aside=_asides(store.root),
        days=len(store.days()),
        files=len(paths),
        rows=sum(rows for rows, _ in metadata),
        size=sum(size for _, size in metadata),
        free=shutil.disk_usage(store.root).free,
        unreadable=tuple(sorted(broken.items())),
        ticks=tuple(sorted(ticks.items())),
        undelivered=tuple(undelivered),
    )


def lines(health: Health) -> list[str]:
    """The report in plain words, most pressing first; times in UTC."""
    return [*_wrong(health), *_usual(health)]


def _wrong(health: Health) -> list[str]:
    found = [
        f"cannot be read and is left out: {path} ({reason}). The other files are read. "
        f"Restore it from a backup, or move it out of the store."
        for path, reason in health.unreadable
    ]
    for aside in health.put_aside:
        sender = f" from {aside.last['service']!r}" if aside.last["service"] else ""
        found.append(
            f"put aside: {aside.spans:,} spans, {aside.reason}; the last{sender} at "
            f"{_utc(int(aside.last['time'] * SECOND_NS))} (span {aside.last['span_id']}). "
            "They count in no figure."
        )
    found += [
        f"{service.ahead:,} spans of service {service.name or '(unnamed)'} begin in the future, the last "
        f"{_when(health.at_ns, service.last_start_ns)}. Set its machine's clock right: they count in the "
        "hours they claim."
        for service in health.services
        if service.ahead
    ]
    for sink, error in health.undelivered:
        found.append(f"given up: a message to {sink}; its last error: {error}")
    if health.free < LITTLE_ROOM:
        found.append(
            f"little room: {health.free / 1e6:,.0f} MB free; a full disk makes the receiver refuse spans."
        )
    return found


def _many(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _usual(health: Health) -> list[str]:
    found = [
        f"{health.store}: {_many(health.rows, 'row')} of {_many(health.days, 'day')} "
        f"in {_many(health.files, 'file')}, "
        f"{health.size / 1e6:,.1f} MB."
    ]
    if not health.services:
        found.append(
            "No span has arrived yet. Point a service here: OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318"
        )
    for service in health.services:
        found.append(
            f"service {service.name or '(unnamed)'}: {_many(service.spans, 'span')}, the last began "
            f"{_when(health.at_ns, service.last_start_ns)}."
        )
    for name, at_ns in health.ticks:
        if name.endswith(" judged"):
            found.append(f"{name}: up to {_utc(at_ns)}.")
        else:
            found.append(f"job {name}: last ran {_when(health.at_ns, at_ns)}.")
    if not health.ticks:
        found.append("The drift job has not run on this store.")
    return found


def _footers(paths: Iterable[str]) -> list[tuple[int, int]]:
    """(rows, bytes) of each file that is still there."""
    found = []
    for path in paths:
        try:
            found.append((pq.read_metadata(path).num_rows, Path(path).stat().st_size))
        except (OSError, pa.ArrowException):
            continue
    return found


def _asides(root: Path) -> tuple[Aside, ...]:
    counts: dict[str, int] = {}
    newest: dict[str, put_aside.Line] = {}
    for line in put_aside.kept(root):
        counts[line["reason"]] = counts.get(line["reason"], 0) + 1
        newest[line["reason"]] = line
    order = sorted(counts, key=lambda reason: -newest[reason]["time"])
    return tuple(Aside(reason, counts[reason], newest[reason]) for reason in order)


def _when(now_ns: int, at_ns: int) -> str:
    away, found = abs(now_ns - at_ns) // SECOND_NS, ""
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)):
        if away >= size or size == 1:
            found = f"{away // size} {unit}{'' if away // size == 1 else 's'}"
            break
    return f"{f'{found} ago' if at_ns <= now_ns else f'in {found}'} ({_utc(at_ns)})"


def _utc(nanoseconds: int) -> str:
    return f"{pd.Timestamp(nanoseconds, unit='ns'):%Y-%m-%d %H:%M:%S} UTC"
