"""The files of a store: unreadable, foreign, left over, waiting for compaction; and room for more of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cascade_otel.records import DAY_NS
from cascade_otel.storage import files, manifest
from cascade_otel.storage.compaction import LEFT_S
from cascade_otel.storage.health.remarks import Remark, many, megabytes, noted, some, utc, wrong
from cascade_otel.storage.manifest import BrokenManifestError, LaterManifestError, Live, Merged
from cascade_otel.storage.segments import CHECKSUM, Store, damaged, later

LITTLE_ROOM = 1 << 30
"""Fewer free bytes than this are wrong."""
GROWTH_DAYS, SOON_DAYS = 7, 7
"""Growth is that of the last week; a disk that is full within a week of it is wrong."""
WAITING_S, MANY_SMALL = 600, 50
"""So many small files that are older than this wait for a compaction that does not come."""
OURS = ("s-", "rows-", "sites-", "sums-", "cells-", "checks-", "checked-")
BROKEN = "broken-"
"""What compaction calls a file it could not read."""


@dataclass(frozen=True)
class Seen:
    """What is to be read, day by day, what of it cannot be, and how many rows each file of rows has."""

    days: tuple[Live, ...]
    broken: dict[str, str]
    """Path to reason; parts of merged files among them."""
    later: dict[str, str]
    """Path to reason: files of rows that a later version wrote, of which what is known here is read."""
    rows: dict[str, int]
    sizes: dict[int, int]
    """Bytes of each day's folder."""


def look(store: Store) -> Seen:
    """Reads every file that is to be read: against the checksum in its name, or through where it has none."""
    days = tuple(store.read(lambda days: days))
    paths = [path for day in days for path in (*day.rows(), *_parts(day))]
    sealed = [path for path in paths if CHECKSUM.search(path)]
    broken = damaged(sealed) | _unreadable(store, [path for path in paths if path not in set(sealed)])
    rows = {}
    for path in (path for day in days for path in day.rows() if path not in broken):
        try:
            footer = pq.read_metadata(path)
        except FileNotFoundError:  # merged meanwhile
            continue
        except (OSError, pa.ArrowException) as error:
            broken[path] = str(error).splitlines()[0]
            continue
        rows[path] = footer.num_rows
    return Seen(days, broken, later(rows), rows, {day.day: _size(store.folder(day.day)) for day in days})


def _unreadable(store: Store, paths: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    connection = files.connect(store)
    try:
        # It looks deeper only where nothing is wrong further up.
        while more := files.unreadable(connection, (path for path in paths if path not in found)):
            found |= more
    finally:
        connection.close()
    return found


def remarks(store: Store, seen: Seen, now_ns: int) -> Iterator[Remark]:
    """What is to be said of the files."""
    for path, reason in sorted(seen.broken.items()):
        yield wrong("unreadable", _left_out(path, reason), {"path": path, "reason": reason})
    for path, reason in sorted(seen.later.items()):
        yield wrong(
            "later version",
            f"from a later version: {path} ({reason}). What is known of it is read; it is not merged.",
            {"path": path, "reason": reason},
        )
    for day in seen.days:
        yield from _manifest(store, day, seen.rows)
        yield from _foreign(store.folder(day.day))
    yield from _waiting(seen)
    yield from _left(store.tmp)
    yield from _room(store, seen, now_ns)
    total, number = sum(seen.sizes.values()), sum(len(day.rows()) for day in seen.days)
    rows = sum(seen.rows.values())
    yield noted(
        "size",
        f"{store.root}: {many(rows, 'row')} of {many(len(seen.days), 'day')} in {many(number, 'file')}, "
        f"{megabytes(total)}.",
        {"rows": rows, "days": len(seen.days), "files": number, "bytes": total},
    )


def _parts(day: Live) -> list[str]:
    return [*day.checked, *(name for entry in day.merged for name in entry.names() if name != entry.rows)]


def _left_out(path: str, reason: str) -> str:
    if not Path(path).name.startswith(("s-", "rows-")):
        return (
            f"cannot be read: {path} ({reason}). It holds sums of rows that are still there, and figures "
            "are taken from these, more slowly. Nothing is lost; delete the day's manifest.json to have "
            "it made anew."
        )
    return (
        f"cannot be read and is left out: {path} ({reason}). The other files are read. "
        "Restore it from a backup, or move it out of the store."
    )


def _manifest(store: Store, day: Live, rows: dict[str, int]) -> Iterator[Remark]:
    path = store.folder(day.day) / manifest.NAME
    try:
        said = store.manifest(day.day)
    except LaterManifestError as error:
        yield wrong(
            "later version",
            f"{path}: {error}. All files of the day are read, but not compacted. Upgrade cascade-otel.",
            {"path": str(path)},
        )
        return
    except BrokenManifestError as error:
        yield wrong(
            "manifest",
            f"{path} cannot be read ({error}). All files of the day are read, more slowly, and no span "
            "counts twice. The next compaction makes it anew: start the drift job (cascade-otel serve).",
            {"path": str(path), "reason": str(error)},
        )
        return
    if said is None:
        if any(Path(name).name.startswith("rows-") for name in day.small):
            yield wrong(
                "manifest",
                f"{path} is gone, though files were merged. All files of the day are read, more slowly, "
                "and no span counts twice. The next compaction makes it anew: start the drift job "
                "(cascade-otel serve).",
                {"path": str(path), "reason": "gone"},
            )
        return
    for entry in (one.under(store.folder(day.day)) for one in said.files):
        if gone := [name for name in entry.names() if not Path(name).exists()]:
            if not _still_named(store, day.day, entry):
                continue  # compacted meanwhile
            yield wrong(
                "missing file",
                f"{path} names files that are not there: {some(gone)}. Their spans are in no figure. Restore "
                "them from a backup, or delete the manifest: what is there is then merged anew.",
                {"path": str(path), "missing": gone},
            )
        elif (found := rows.get(entry.rows, entry.n)) != entry.n:
            yield wrong(
                "manifest",
                f"{path} promises {many(entry.n, 'row')} in {entry.rows}, which has {found:,}. Something "
                "else than cascade-otel wrote to the store. Delete the manifest: what is there is then "
                "merged anew.",
                {"path": str(path), "file": entry.rows, "promised": entry.n, "found": found},
            )


def _still_named(store: Store, day: int, entry: Merged) -> bool:
    try:
        said = store.manifest(day)
    except BrokenManifestError:
        return False
    return said is not None and Path(entry.rows).name in said.names()


def _foreign(folder: Path) -> Iterator[Remark]:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name != manifest.NAME)
    except FileNotFoundError:  # dropped meanwhile
        return
    if given_up := [str(folder / name) for name in names if name.startswith(BROKEN)]:
        yield wrong(
            "given up",
            f"could not be read when it was to be merged: {some(given_up)}. Its spans are in no figure. "
            "Restore it from a backup under its name without 'broken-', or delete it.",
            {"paths": given_up},
        )
    if foreign := [str(folder / name) for name in names if not name.startswith((*OURS, BROKEN))]:
        yield wrong(
            "foreign file",
            f"not written by cascade-otel, and not read: {some(foreign)}. It goes with the day when the "
            "day is dropped. Move it out of the store.",
            {"paths": foreign},
        )


def _waiting(seen: Seen) -> Iterator[Remark]:
    ages = [age for day in seen.days for path in day.small if (age := _age_s(Path(path))) > WAITING_S]
    if len(ages) >= MANY_SMALL:
        yield wrong(
            "waiting",
            f"{many(len(ages), 'small file')} wait to be merged, the oldest for {max(ages) / 3600:,.1f} "
            "hours: nobody compacts this store, and every page grows slower. Start the drift job: "
            "cascade-otel serve, or cascade-otel drift from time to time.",
            {"files": len(ages), "oldest_s": round(max(ages))},
        )


def _left(tmp: Path) -> Iterator[Remark]:
    listed = sorted(tmp.iterdir()) if tmp.is_dir() else []
    left = [path for path in listed if not path.name.startswith("spill") and _age_s(path) > LEFT_S]
    if left:
        yield wrong(
            "left over",
            f"{many(len(left), 'file')} left in {tmp} by processes that were killed: "
            f"{some([path.name for path in left])}. They are never read. The drift job deletes them, and "
            "does not run here; start it, or delete them.",
            {"paths": [str(path) for path in left]},
        )


def _room(store: Store, seen: Seen, now_ns: int) -> Iterator[Remark]:
    free, today = shutil.disk_usage(store.root).free, now_ns // DAY_NS
    if free < LITTLE_ROOM:
        yield wrong(
            "room",
            f"little room: {free / 1e6:,.0f} MB free; a full disk makes the receiver refuse spans. Make "
            "room, or keep fewer days.",
            {"free": free},
        )
    week = {day: size for day, size in seen.sizes.items() if today - GROWTH_DAYS <= day < today}
    if not any(week.values()):
        return
    a_day = sum(week.values()) / (today - min(week))
    left = free / a_day
    is_soon = left < SOON_DAYS
    until = f"full on {utc(now_ns + round(left) * DAY_NS)[:10]}" if left < 3650 else "enough for ten years"
    advice = " Make room, or keep fewer days: a full disk makes the receiver refuse spans." if is_soon else ""
    yield Remark(
        "growth",
        is_soon,
        f"{megabytes(free)} free, {megabytes(a_day)} a day in the last week: {until} if no day is dropped."
        + advice,
        {"free": free, "bytes_a_day": round(a_day), "days_left": round(left, 1)},
    )


def _size(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0
