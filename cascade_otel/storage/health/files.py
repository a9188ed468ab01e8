"""The files of a store: unreadable, absent, copied, foreign, left over, waiting for compaction."""

from __future__ import annotations

import hashlib
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cascade_otel.storage import files, manifest
from cascade_otel.storage.compaction import LEFT_S
from cascade_otel.storage.health.place import OURS, room
from cascade_otel.storage.health.remarks import Remark, many, noted, size, some, wrong
from cascade_otel.storage.manifest import BrokenManifestError, LaterManifestError, Live, Merged
from cascade_otel.storage.segments import CHECKSUM, Store, damaged, later

WAITING_S, MANY_SMALL = 600, 50
"""So many small files that are older than this wait for a compaction that does not come."""
WRITTEN = re.compile(r"s-\d+-\d+-[0-9a-f]{8}-\d+(-[0-9a-f]{8})?\.parquet")
"""How segments are named; the first version wrote no checksum."""
BROKEN = "broken-"
"""What compaction calls a file it could not read."""


@dataclass(frozen=True)
class Seen:
    """What is to be read, day by day, what of it cannot be, and how many rows each file of rows has."""

    days: tuple[Live, ...]
    broken: dict[str, str]
    """Path to reason; parts of merged files among them."""
    altered: frozenset[str]
    """Those of the broken whose checksum does not hold, but which are read, as they can be."""
    gone: dict[str, str]
    """Path to reason: files that are to be read and are not there."""
    later: dict[str, str]
    """Path to reason: files of rows that a later version wrote, of which what is known here is read."""
    rows: dict[str, int]
    sizes: dict[int, int]
    """Bytes of each day's folder."""

    @property
    def left_out(self) -> dict[str, str]:
        """What no figure can be taken from, with the reason."""
        broken = {path: reason for path, reason in self.broken.items() if path not in self.altered}
        return broken | self.gone


def look(store: Store) -> Seen:
    """Reads every file that is to be read: against the checksum in its name, or through where it has none."""
    days = tuple(store.read(lambda days: days))
    paths = [path for day in days for path in (*day.rows(), *_parts(day))]
    sealed = [path for path in paths if CHECKSUM.search(path)]
    changed = damaged(sealed)
    broken = changed | _unreadable(store, [path for path in paths if path not in set(sealed)])
    altered, rows = _readable(store, changed), {}
    for path in (path for day in days for path in day.rows() if path in altered or path not in broken):
        try:
            footer = pq.read_metadata(path)
        except FileNotFoundError:  # merged meanwhile
            continue
        except (OSError, pa.ArrowException) as error:
            broken[path] = str(error).splitlines()[0]
            continue
        rows[path] = footer.num_rows
    sizes = {day.day: _size(store.folder(day.day)) for day in days}
    return Seen(days, broken, altered, store.lost(paths), later(rows), rows, sizes)


def _readable(store: Store, paths: Iterable[str]) -> frozenset[str]:
    """Those of the files that DuckDB reads through all the same."""
    found = set()
    connection = files.connect(store)
    try:
        for path in paths:
            try:
                connection.execute(f"SELECT max(COLUMNS(*)) FROM {files.relation([path])}").fetchall()
            except duckdb.Error:
                continue
            found.add(path)
    finally:
        connection.close()
    return frozenset(found)


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
    copies = dict(_copies(seen))
    for path, reason in sorted(seen.broken.items()):
        if path not in copies:
            yield wrong("unreadable", _broken(seen, path, reason), {"path": path, "reason": reason})
    yield from _absent(seen)
    yield from (_copy(seen, path, original) for path, original in sorted(copies.items()))
    yield from _renamed(seen, copies)
    for path, reason in sorted(seen.later.items()):
        yield wrong(
            "later version",
            f"from a later version: {path} ({reason}). What is known of it is read; it is not merged.",
            {"path": path, "reason": reason},
        )
    sound = {path: count for path, count in seen.rows.items() if path not in seen.broken}
    for day in seen.days:
        yield from _manifest(store, day, sound)
        yield from _foreign(store.folder(day.day))
    yield from _waiting(seen)
    yield from _left(store.tmp)
    yield from room(store.root, seen.sizes, now_ns)
    total, number = sum(seen.sizes.values()), len(seen.rows)
    rows, full = sum(seen.rows.values()), sum(bool(day.rows()) for day in seen.days)
    yield noted(
        "size",
        f"{store.root}: {many(rows, 'row')} in {many(number, 'file')} of {many(full, 'day')}, {size(total)}. "
        "A span that stands in several files of a day counts once.",
        {"rows": rows, "days": full, "files": number, "bytes": total},
    )
    if empty := [str(store.folder(day.day)) for day in seen.days if not day.files() and not day.small]:
        yield noted("empty day", f"nothing to be read in {some(empty)}.", {"paths": empty})


def _parts(day: Live) -> list[str]:
    return [*day.checked, *(name for entry in day.merged for name in entry.names() if name != entry.rows)]


def _entry(seen: Seen, path: str) -> Merged | None:
    """The merged file that the path is the rows of."""
    return next((entry for day in seen.days for entry in day.merged if entry.rows == path), None)


def _without_rows(seen: Seen, entry: Merged) -> str:
    """What it means that the rows of a merged file cannot be read, or are not there."""
    if lacking := [name for name in entry.names() if name != entry.rows and name in seen.left_out]:
        return (
            f"Its {many(entry.n, 'span')} are missing where single calls are listed, and in every figure "
            f"that is taken from {some(lacking)}."
        )
    return (
        f"Figures keep its {many(entry.n, 'span')}, by the sums beside it; they are missing where single "
        "calls are looked at: lists of calls, limits over minutes, the comparison with what sources counted."
    )


def _broken(seen: Seen, path: str, reason: str) -> str:
    if path in seen.altered:
        return (
            f"not what was written: {path} ({reason}). It is read as it is now, so its figures may be wrong, "
            "and it is not merged. Restore it from a backup, or move it out of the store."
        )
    if not Path(path).name.startswith(("s-", "rows-")):
        return f"cannot be read: {path} ({reason}). {_made_of_rows(seen, path)}"
    entry = _entry(seen, path)
    meaning = "Its spans are in no figure." if entry is None else _without_rows(seen, entry)
    return (
        f"cannot be read and is left out: {path} ({reason}). {meaning} The other files are read. "
        "Restore it from a backup, or move it out of the store."
    )


def _made_of_rows(seen: Seen, path: str) -> str:
    """What it means that a part cannot be read or is not there, and what to do."""
    manifest_path = Path(path).with_name(manifest.NAME)
    anew = f"Delete {manifest_path}, and the next pass of the drift job makes all parts of the day anew."
    owner = next((e for day in seen.days for e in day.merged if path in e.names()), None)
    if owner is None:
        return f"Labels and audits that it joined with their calls are in no figure. {anew}"
    if owner.rows in seen.left_out:
        return "The rows it was made of cannot be read either. Restore both from a backup."
    return (
        f"It holds sums of rows that are still there, and figures are taken from these, more slowly. "
        f"Nothing is lost. {anew}"
    )


def _absent(seen: Seen) -> Iterator[Remark]:
    """Files that a manifest names, or links that lead nowhere."""
    for path in sorted(seen.gone):
        entry, name = _entry(seen, path), Path(path).with_name(manifest.NAME)
        if entry is not None:
            meaning = (
                f"{_without_rows(seen, entry)} Restore it from a backup; or, to do without its spans in "
                f"every figure, delete {name}: what is there is then merged anew."
            )
        elif Path(path).name.startswith("s-"):
            meaning = "It is a link that leads nowhere. Its spans are in no figure. Restore it, or delete it."
        else:
            meaning = _made_of_rows(seen, path)
        yield wrong("missing file", f"not there: {path}. {meaning}", {"path": path, "missing": [path]})


def _copies(seen: Seen) -> Iterator[tuple[str, str]]:
    """Files of rows with the content of another one, and that one."""
    by_size: dict[int, list[str]] = defaultdict(list)
    for path in (path for day in seen.days for path in day.rows()):
        try:
            by_size[Path(path).stat().st_size].append(path)
        except FileNotFoundError:  # it is named as not there, or was merged meanwhile
            continue
    for alike in (paths for paths in by_size.values() if len(paths) > 1):
        originals: dict[str, str] = {}
        # The one that was written is that whose name holds.
        for path in sorted(alike, key=lambda path: (path in seen.broken, not CHECKSUM.search(path), path)):
            try:
                with open(path, "rb") as content:
                    digest = hashlib.file_digest(content, "sha256").hexdigest()
            except OSError:
                continue
            if (original := originals.setdefault(digest, path)) != path:
                yield path, original


def _copy(seen: Seen, path: str, original: str) -> Remark:
    meaning = "Spans that stand in both count once."
    if Path(path).parent != Path(original).parent:
        meaning = "It is in the folder of another day: figures that take in both days count its spans twice."
    elif path in seen.broken:
        meaning += f" It is not merged ({seen.broken[path]})."
    return wrong(
        "copy",
        f"a copy: {path} has the content of {original}. {meaning} Delete one of the two.",
        {"path": path, "original": original},
    )


def _renamed(seen: Seen, copies: Iterable[str]) -> Iterator[Remark]:
    left_out = {*seen.broken, *seen.gone, *seen.later, *copies}
    small = (path for day in seen.days for path in day.small if path not in left_out)
    named = [path for path in small if not Path(path).name.startswith("rows-")]
    if odd := [path for path in named if not WRITTEN.fullmatch(Path(path).name)]:
        yield noted(
            "renamed",
            f"named otherwise than cascade-otel does, maybe copied or restored: {some(odd)}. It is read and "
            "merged, and a span of it that stands in another file of the day counts once.",
            {"paths": odd},
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
            "counts twice. The next pass of the drift job makes it anew; if none runs, start it: "
            "cascade-otel serve",
            {"path": str(path), "reason": str(error)},
        )
        return
    if said is None:
        if any(Path(name).name.startswith("rows-") for name in day.small):
            yield wrong(
                "manifest",
                f"{path} is gone, though files were merged. All files of the day are read, more slowly, "
                "and no span counts twice. The next pass of the drift job makes it anew; if none runs, "
                "start it: cascade-otel serve",
                {"path": str(path), "reason": "gone"},
            )
        return
    for entry in (one.under(store.folder(day.day)) for one in said.files):
        if (found := rows.get(entry.rows, entry.n)) != entry.n:
            yield wrong(
                "manifest",
                f"{path} promises {many(entry.n, 'row')} in {entry.rows}, which has {found:,}. Something "
                "else than cascade-otel wrote to the store. Delete the manifest: what is there is then "
                "merged anew.",
                {"path": str(path), "file": entry.rows, "promised": entry.n, "found": found},
            )


def _foreign(folder: Path) -> Iterator[Remark]:
    try:
        names = sorted(path.name for path in folder.iterdir() if path.name != manifest.NAME)
    except FileNotFoundError:  # dropped meanwhile
        return
    if given_up := [str(folder / name) for name in names if name.startswith(BROKEN)]:
        yield wrong(
            "given up",
            f"could not be read when it was to be merged: {some(given_up)}. Its spans are in no figure. "
            "Restore it from a backup with 's-' in the place of 'broken-rows-' in its name, and delete this "
            "one; or delete it.",
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
