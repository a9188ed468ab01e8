"""The folder itself: is it a store, what else lies in it, can it be written, is there room for more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from cascade_otel.records import DAY_NS
from cascade_otel.storage import counters, manifest
from cascade_otel.storage.health.remarks import Remark, noted, size, some, utc, wrong
from cascade_otel.storage.receiving import put_aside
from cascade_otel.storage.segments import DAY, Store

LITTLE_ROOM = 1 << 30
"""Fewer free bytes than this are wrong."""
FULL = 1 << 12
"""With fewer free bytes than one block has, nothing can be stored."""
GROWTH_DAYS, SOON_DAYS = 7, 7
"""Growth is that of the last week; a disk that is full within a week of it is wrong."""
OURS = ("s-", "rows-", "sites-", "sums-", "cells-", "checks-", "checked-")
"""How the names of files of a day begin."""
BESIDE = (counters.NAME, "state.sqlite", put_aside.NEWER, put_aside.OLDER, "put_aside.new", "lock")
OF_SQLITE = ("", "-wal", "-shm", "-journal")


def is_full(path: Path) -> bool:
    """Whether nothing more can be written to the disk the path is on."""
    return shutil.disk_usage(path).free < FULL


def no_store(root: Path, state_path: Path) -> Remark | None:
    """What is to be said of a folder in which something lies, but nothing that makes it a store."""
    names = _listed(root)
    if not names or _is_store(root, state_path):
        return None
    near = [path for path in (root.parent, *map(root.joinpath, names)) if path.is_dir() and _has_days(path)]
    advice = f"cascade-otel doctor --store {near[0]}" if near else "cascade-otel doctor --store DIR"
    return wrong(
        "no store",
        f"no store here: {root} has {some(names)}, but no folder of a day (day=20781) and nothing else that "
        f"cascade-otel writes. If the store is elsewhere, type: {advice}; to begin one, type: cascade-otel "
        f"serve --store {root}",
        {"path": str(root), "found": names, "stores": [str(path) for path in near]},
    )


def _is_store(root: Path, state_path: Path) -> bool:
    return (
        _has_days(root)
        or any((root / name).exists() for name in BESIDE)
        or (state_path.parent == root and state_path.exists())
        or _is_tmp(root / "tmp")
    )


def _has_days(folder: Path) -> bool:
    return any(DAY.fullmatch(name) and (folder / name).is_dir() for name in _listed(folder))


def _is_tmp(tmp: Path) -> bool:
    """Whether all there is in it are files as a store has them while they are written."""
    return tmp.is_dir() and all(
        name.startswith((*OURS, "spill", "trash-")) or name.endswith(manifest.NAME) for name in _listed(tmp)
    )


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:  # gone meanwhile, or not ours to look into
        return []


def remarks(store: Store, state_path: Path) -> Iterator[Remark]:
    """What is to be said of the folder."""
    yield from _foreign(store.root, state_path)
    yield from _unwritable(store)


def _foreign(root: Path, state_path: Path) -> Iterator[Remark]:
    known = {name + end for name in (*BESIDE, state_path.name) for end in OF_SQLITE} | {"tmp", "lost+found"}
    others = [name for name in _listed(root) if name not in known and not name.startswith(".")]
    others = [name for name in others if not (DAY.fullmatch(name) and (root / name).is_dir())]
    harmful = [name for name in others if name.startswith("day=") or name.endswith(".parquet")]
    if harmful:
        paths = [str(root / name) for name in harmful]
        yield wrong(
            "foreign file",
            f"not a day's folder, and not read: {some(paths)}. A day is a folder day=N, N the days since "
            "1970 without a zero before them. Spans in it are in no figure: give it the name it had, or "
            "move it out of the store.",
            {"paths": paths},
        )
    if harmless := [str(root / name) for name in others if name not in harmful]:
        yield noted(
            "foreign file",
            f"not written by cascade-otel, and not read: {some(harmless)}. It harms nothing here, and is "
            "never deleted.",
            {"paths": harmless},
        )


def _unwritable(store: Store) -> Iterator[Remark]:
    folders = [store.root, store.tmp, *(store.folder(day) for day in store.days())]
    closed = [str(path) for path in folders if path.is_dir() and not os.access(path, os.W_OK | os.X_OK)]
    if not closed:
        return
    what = "nothing" if {str(store.root), str(store.tmp)} & set(closed) else "nothing of these days"
    is_read_only = bool(os.statvfs(store.root).f_flag & os.ST_RDONLY)
    why, advice = (
        f"user {os.geteuid()} may not write to it",
        "Give it to the user who runs cascade-otel serve",
    )
    if is_read_only:
        why, advice = "its file system is read-only", "Mount it to be written"
    yield wrong(
        "read-only",
        f"{some(closed)}: {why}, so {what} can be stored or compacted here"
        + ("" if is_read_only else " by this user")
        + f". {advice}"
        + ("." if is_read_only else ", or run cascade-otel doctor as that user."),
        {"paths": closed, "read_only_file_system": is_read_only},
    )


def room(root: Path, sizes: Mapping[int, int], now_ns: int) -> Iterator[Remark]:
    """What is to be said of the disk; ``sizes`` are the bytes of each day."""
    free, today = shutil.disk_usage(root).free, now_ns // DAY_NS
    if free < FULL:
        yield wrong(
            "room",
            f"no room: {size(free)} free. Spans are being refused now, and nothing is compacted; senders "
            "try again for a while, and what they give up is lost. Make room, or keep fewer days.",
            {"free": free},
        )
    elif free < LITTLE_ROOM:
        yield wrong(
            "room",
            f"little room: {size(free)} free; a full disk makes the receiver refuse spans. Make "
            "room, or keep fewer days.",
            {"free": free},
        )
    week = {day: bytes_ for day, bytes_ in sizes.items() if today - GROWTH_DAYS <= day < today}
    if free < FULL or not any(week.values()):
        return
    a_day = sum(week.values()) / (today - min(week))
    left = free / a_day
    is_soon = left < SOON_DAYS
    until = f"full on {utc(now_ns + round(left) * DAY_NS)[:10]}" if left < 3650 else "enough for ten years"
    advice = " Make room, or keep fewer days: a full disk makes the receiver refuse spans." if is_soon else ""
    yield Remark(
        "growth",
        is_soon,
        f"{size(free)} free, {size(a_day)} a day in the last week: {until} if no day is dropped." + advice,
        {"free": free, "bytes_a_day": round(a_day), "days_left": round(left, 1)},
    )
