"""Where telemetry rests: a folder of immutable Parquet segments, one folder per UTC day.

::

    store/tmp/                        files being written; never read
    store/lock                        held by whoever compacts, or drops days
    store/day=20781/s-*.parquet       one per commit, in the day of the spans' start; never changed
    store/day=20781/rows-*.parquet    merged segments and the parts made of them (see ``compaction``)
    store/day=20781/manifest.json     which merged files are read, and which files they made superfluous

A segment exists once it has been renamed into its day and that folder is synced: before that nobody sees
it, afterwards nothing short of the disk loses it. Any number of processes may write and read at once.
"""

from __future__ import annotations

import fcntl
import itertools
import logging
import os
import re
import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cascade_otel.records import DAY_NS, UserError
from cascade_otel.storage import manifest
from cascade_otel.storage.manifest import BrokenManifestError, Live, Manifest
from cascade_otel.storage.schema import SCHEMA, VERSION

T = TypeVar("T")

NUMBERS_WITHOUT_REPEATS = (
    "trace_hi", "trace_lo", "span_id", "parent_id", "linked_trace_hi", "linked_trace_lo",
    "start_ns", "duration_ns",
)  # fmt: skip
"""Columns a dictionary would only make larger."""
ROW_GROUP = 122_880
READ_TRIES = 50
DAY = re.compile("day=(0|[1-9][0-9]*)")
CHECKSUM = re.compile(r"-([0-9a-f]{8})\.parquet$")
logger = logging.getLogger(__name__)


class Store:
    """A folder of segments, at ``root``.

    With ``create`` false the folder has to be there. Raises UserError that says what to type where it is
    not, or cannot be made.
    """

    def __init__(self, root: str | Path, create: bool = True):
        self.root = Path(root)
        if "\\" in str(root):  # with which DuckDB cannot be told what is a pattern and what is not
            raise UserError(
                f"--store {root} has a backslash in it; wanted: a path without one; type another --store DIR"
            )
        self.tmp = self.root / "tmp"
        if create:
            try:
                self.tmp.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"--store {self.root} cannot be made a folder ({error.strerror}); wanted: a folder that "
                    "can be written; type another --store DIR"
                ) from error
        elif not self.root.is_dir():
            raise UserError(
                f"no store at {self.root}; wanted: a folder of segments; "
                f"start one with: cascade-otel serve --store {self.root}"
            )
        self._writer, self._count = uuid.uuid4().hex[:8], itertools.count()

    def append(self, table: pa.Table) -> list[str]:
        """Store one commit, a table in ``SCHEMA``. It is durable when this returns: the names of its
        segments.

        A table that spans midnight becomes one segment a day. Raises OSError (disk full, read-only
        folder) and then leaves no half-written file; segments of earlier days of the same table may
        already be there.
        """
        # For a few rows, what zstd sets up for every column costs more than it saves until they are merged.
        return self._rename_all(self._write_all([table], "snappy"))

    def publish(self, tables: Iterable[pa.Table]) -> int:
        """Write every table first, then make all of them visible together: how many rows were stored.

        For imports: rows are sorted by task, so that one task can be read alone. If anything fails while
        writing, nothing becomes visible. The renames at the end are not one atomic step: a process
        killed between them has published a part, which repeating the import completes, since a span
        counts once by its id.
        """
        total = 0

        def counted() -> Iterable[pa.Table]:
            nonlocal total
            for table in tables:
                total += table.num_rows
                yield _sorted(table)

        self._rename_all(self._write_all(counted(), "zstd"))
        return total

    def days(self) -> list[int]:
        """Days (since 1970) that have a folder, in order."""
        found = (DAY.fullmatch(path.name) for path in self.root.iterdir() if path.is_dir())
        return sorted(int(name[1]) for name in found if name)

    def live(self, day: int) -> Live:
        """Paths of the day that are to be read now.

        The folder is listed first and the manifest read second. A segment that is gone from the listing
        was consumed by a manifest published before the segment was deleted, and that manifest is the one
        read here. The other order loses rows.

        Where the manifest is broken or missing, every file of rows is read as a small segment: a span that
        stands in several counts once.
        """
        listed = self.listed(day)
        try:
            said = self.manifest(day)
        except BrokenManifestError as error:
            logger.warning("%s: %s; all files of the day are read", self.folder(day) / manifest.NAME, error)
            said = None
        if said is None:
            return Live(day, small=self._paths(day, (n for n in listed if n.startswith(("s-", "rows-")))))
        return Live(
            day,
            merged=tuple(entry.under(self.folder(day)) for entry in said.files),
            small=self._paths(day, (n for n in listed if n.startswith("s-") and n not in said.consumed)),
            checked=self._paths(day, said.checked),
        )

    def read(self, query: Callable[[list[Live]], T], days: Iterable[int] | None = None) -> T:
        """``query`` over one consistent set of paths, day by day in order; asked again when a file went
        away meanwhile.

        ``days`` None means all. Raises TimeoutError if the store keeps changing.
        """
        wanted = None if days is None else list(days)
        for _ in range(READ_TRIES):
            sets = [self.live(day) for day in (self.days() if wanted is None else wanted)]
            try:
                return query(sets)
            except Exception as error:
                if not went_away(error):
                    raise
                time.sleep(0.01)
        raise TimeoutError(f"{self.root}: files went away at every one of {READ_TRIES} reads")

    def lost(self, paths: Iterable[str]) -> dict[str, str]:
        """Which of the files are not there although they are to be read, and that as a reason.

        What compaction has merged is named no more before it is deleted: a file that is named still after
        its absence was noticed was taken away by somebody else.
        """
        absent = [path for path in paths if not Path(path).exists()]
        days = {int(name[1]) for path in absent if (name := DAY.fullmatch(Path(path).parent.name))}
        lives = [self.live(day) for day in days]
        named = {path for live in lives for path in (*live.files(), *live.small)}
        return {path: "it is not there" for path in absent if path in named}

    def folder(self, day: int) -> Path:
        """Where the day's files are."""
        return self.root / f"day={day}"

    def listed(self, day: int) -> list[str]:
        """Names of the Parquet files of the day; none where there is no such folder."""
        try:
            return [path.name for path in self.folder(day).iterdir() if path.suffix == ".parquet"]
        except FileNotFoundError:
            return []

    def manifest(self, day: int) -> Manifest | None:
        """What was merged into which files, and which that made superfluous; None where nothing was yet.

        Raises BrokenManifestError.
        """
        try:
            return manifest.decoded((self.folder(day) / manifest.NAME).read_bytes())
        except FileNotFoundError:
            return None

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether this process alone may now compact and drop days; a dead one holds nothing."""
        with open(self.root / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _paths(self, day: int, names: Iterable[str]) -> tuple[str, ...]:
        return tuple(str(self.folder(day) / name) for name in sorted(names))

    def _write_all(self, tables: Iterable[pa.Table], compression: str) -> list[tuple[Path, int, str]]:
        """Every segment of every table, written and synced in tmp: (temporary path, day, name to be)."""
        written: list[tuple[Path, int, str]] = []
        try:
            for table in tables:
                for day, part in _by_day(table):
                    stem = self._new_stem()
                    written.append((self.tmp / f"{stem}.parquet", day, ""))
                    path, *_ = written[-1]
                    with open(path, "wb") as out:
                        _write(part, out, compression)
                        out.flush()
                        os.fsync(out.fileno())
                    written[-1] = path, day, checked_name(stem, path)
        except BaseException:
            _unlink(path for path, _, _ in written)
            raise
        return written

    def _new_stem(self) -> str:
        # The process is named because a forked one has inherited the rest.
        milliseconds = time.time_ns() // 1_000_000
        return f"s-{milliseconds}-{os.getpid()}-{self._writer}-{next(self._count)}"

    def _rename_all(self, written: Sequence[tuple[Path, int, str]]) -> list[str]:
        folders = set()
        try:
            for path, day, name in written:
                self._rename(path, day, name)
                folders.add(self.folder(day))
            for folder in sorted(folders):
                with suppress(FileNotFoundError):  # retention has taken it: what was dropped needs no sync
                    sync_folder(folder)
        except BaseException:
            _unlink(path for path, _, _ in written)
            raise
        return [name for _, _, name in written]

    def _rename(self, path: Path, day: int, name: str) -> None:
        folder = self.folder(day)
        for last_try in (False, False, True):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                sync_folder(self.root)
            try:
                path.rename(folder / name)
            except FileNotFoundError:
                # Retention may move a day's folder away between the two steps.
                if last_try:
                    raise
            else:
                return


def checked_name(stem: str, path: Path) -> str:
    """Name of a written file, which ends with the CRC-32 of its content."""
    return f"{stem}-{_checksum(path):08x}.parquet"


def damaged(paths: Iterable[str]) -> dict[str, str]:
    """Which of the files have no longer the content their names promise; of older files nothing is known."""
    found = ((path, _damage(path)) for path in paths)
    return {path: reason for path, reason in found if reason}


def _damage(path: str) -> str | None:
    promised = CHECKSUM.search(path)
    try:
        holds = promised is None or int(promised[1], 16) == _checksum(Path(path))
    except FileNotFoundError:
        return None
    except OSError as error:
        return error.strerror or type(error).__name__
    return None if holds else "its checksum does not hold"


def _checksum(path: Path) -> int:
    found = 0
    with open(path, "rb") as content:
        while piece := content.read(1 << 20):
            found = zlib.crc32(piece, found)
    return found


def later(paths: Iterable[str]) -> dict[str, str]:
    """Which of the files were written by a later version, which may have columns that this one would lose."""
    versions = ((path, _version(path)) for path in paths)
    return {
        path: f"written by a later version ({version}); upgrade cascade-otel"
        for path, version in versions
        if version is not None and version > int(VERSION)
    }


def _version(path: str) -> int | None:
    said = (pq.read_schema(path).metadata or {}).get(b"cascade_otel.schema")
    return None if said is None else int(said)


def unreadable(paths: Iterable[str]) -> dict[str, str]:
    """Which of the segments cannot be read, and why; looks inside only if the ends of all are well."""
    listed = list(paths)
    broken = _complaints(listed, pq.read_metadata)
    return broken or _complaints(listed, _read_through)


def _read_through(path: str) -> None:
    for _ in pq.ParquetFile(path).iter_batches():
        pass


def _complaints(paths: list[str], look: Callable[..., object]) -> dict[str, str]:
    found = ((path, _complaint(path, look)) for path in paths)
    return {path: reason for path, reason in found if reason}


def _complaint(path: str, look: Callable[..., object]) -> str | None:
    try:
        if _version(path) is None:
            return "a Parquet file, but not a segment of cascade-otel"
        if damage := _damage(path):
            return damage
        look(path)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, pa.ArrowException) as error:
        return str(error).splitlines()[0]
    return None


def _by_day(table: pa.Table) -> list[tuple[int, pa.Table]]:
    if table.schema != SCHEMA:
        raise ValueError("a table in another schema arrived; wanted: one made by schema.rows(...)")
    days = table["start_ns"].to_numpy() // DAY_NS
    if len(days) and days.min() < 0:
        raise ValueError("a start before 1970 arrived; wanted: start_ns from 0 on")
    if len(days) and days.min() == days.max():
        return [(int(days[0]), table)]
    return [(day, table.filter(pa.array(days == day))) for day in sorted(set(days.tolist()))]


def _sorted(table: pa.Table) -> pa.Table:
    # Arrow cannot sort by a dictionary, so the task's texts are sorted instead.
    keys = pa.table(
        {"task": table["task"].cast(pa.string()), "kind": table["kind"], "start_ns": table["start_ns"]}
    )
    return table.take(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]))


def _write(table: pa.Table, out: object, compression: str) -> None:
    pq.write_table(
        table,
        out,
        compression=compression,
        row_group_size=ROW_GROUP,
        use_dictionary=[name for name in table.column_names if name not in NUMBERS_WITHOUT_REPEATS],
    )


def sync_folder(folder: Path) -> None:
    """Makes what was renamed into the folder, or out of it, last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def went_away(error: Exception) -> bool:
    """Whether it says that a file is there no more: then the question is to be asked again."""
    return isinstance(error, FileNotFoundError) or any(
        text in str(error) for text in ("No such file", "No files found")
    )
