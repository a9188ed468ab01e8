"""Where telemetry rests: a folder of immutable Parquet segments, one folder per UTC day.

::

    store/tmp/                      files being written; never read
    store/day=20781/s-*.parquet     one per commit, in the day of the spans' start; never changed
    store/day=20781/rows-*.parquet  merged segments, named by the manifest
    store/day=20781/manifest.json   {"files": [{"rows": name}], "consumed": {name: time}}

A segment exists once it has been renamed into its day and that folder is synced: before that nobody sees
it, afterwards nothing short of the disk loses it. Any number of processes may write and read at once.
"""

from __future__ import annotations

import itertools
import json
import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cascade_otel.records import DAY_NS, UserError
from cascade_otel.storage.schema import SCHEMA

T = TypeVar("T")

NUMBERS_WITHOUT_REPEATS = (
    "trace_hi", "trace_lo", "span_id", "parent_id", "linked_trace_hi", "linked_trace_lo",
    "start_ns", "duration_ns",
)  # fmt: skip
"""Columns a dictionary would only make larger."""
ROW_GROUP = 122_880
READ_TRIES = 50


class Store:
    """A folder of segments, at ``root``.

    With ``create`` false the folder has to be there. Raises UserError that says what to type where it is
    not, or cannot be made.
    """

    def __init__(self, root: str | Path, create: bool = True):
        self.root = Path(root)
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
        return self._rename_all(self._write_all([table]))

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

        self._rename_all(self._write_all(counted()))
        return total

    def days(self) -> list[int]:
        """Days (since 1970) that have a folder, in order."""
        names = (path.name.removeprefix("day=") for path in self.root.glob("day=*"))
        return sorted(int(name) for name in names if name.isdigit())

    def live(self, day: int) -> tuple[list[str], list[str]]:
        """Paths of the day's (merged, small) segments that are to be read now.

        The folder is listed first and the manifest read second. A segment that is gone from the listing
        was consumed by a manifest published before the segment was deleted, and that manifest is the one
        read here. The other order loses rows.
        """
        folder = self._folder(day)
        try:
            listed = [path.name for path in folder.iterdir()]
        except FileNotFoundError:
            return [], []
        files, consumed = self._manifest(day)
        small = (
            name
            for name in listed
            if name.startswith("s-") and name.endswith(".parquet") and name not in consumed
        )
        merged = [str(folder / entry["rows"]) for entry in files]
        return merged, [str(folder / name) for name in sorted(small)]

    def read(self, query: Callable[[list[str], list[str]], T], days: Iterable[int] | None = None) -> T:
        """``query(merged, small)`` over one consistent set of paths; asked again when a file went away
        meanwhile.

        ``days`` None means all. Raises TimeoutError if the store keeps changing.
        """
        wanted = None if days is None else list(days)
        for _ in range(READ_TRIES):
            sets = [self.live(day) for day in (self.days() if wanted is None else wanted)]
            try:
                return query(
                    [path for merged, _ in sets for path in merged],
                    [path for _, small in sets for path in small],
                )
            except Exception as error:
                if not _went_away(error):
                    raise
                time.sleep(0.01)
        raise TimeoutError(f"{self.root}: files went away at every one of {READ_TRIES} reads")

    def _folder(self, day: int) -> Path:
        return self.root / f"day={day}"

    def _manifest(self, day: int) -> tuple[list[dict[str, str]], dict[str, float]]:
        """What was merged into which files, and which small ones that made superfluous."""
        try:
            found = json.loads((self._folder(day) / "manifest.json").read_bytes())
        except FileNotFoundError:
            return [], {}
        return found["files"], found["consumed"]

    def _write_all(self, tables: Iterable[pa.Table]) -> list[tuple[Path, int, str]]:
        """Every segment of every table, written and synced in tmp: (temporary path, day, name to be)."""
        written: list[tuple[Path, int, str]] = []
        try:
            for table in tables:
                for day, part in _by_day(table):
                    name = self._new_name()
                    written.append((self.tmp / name, day, name))
                    with open(self.tmp / name, "wb") as out:
                        _write(part, out)
                        out.flush()
                        os.fsync(out.fileno())
        except BaseException:
            _unlink(path for path, _, _ in written)
            raise
        return written

    def _new_name(self) -> str:
        # The process is named because a forked one has inherited the rest.
        milliseconds = time.time_ns() // 1_000_000
        return f"s-{milliseconds}-{os.getpid()}-{self._writer}-{next(self._count)}.parquet"

    def _rename_all(self, written: Sequence[tuple[Path, int, str]]) -> list[str]:
        folders = set()
        try:
            for path, day, name in written:
                self._rename(path, day, name)
                folders.add(self._folder(day))
            for folder in sorted(folders):
                _sync_folder(folder)
        except BaseException:
            _unlink(path for path, _, _ in written)
            raise
        return [name for _, _, name in written]

    def _rename(self, path: Path, day: int, name: str) -> None:
        folder = self._folder(day)
        for last_try in (False, False, True):
            if not folder.is_dir():
                folder.mkdir(exist_ok=True)
                _sync_folder(self.root)
            try:
                path.rename(folder / name)
            except FileNotFoundError:
                # Retention may move a day's folder away between the two steps.
                if last_try:
                    raise
            else:
                return


def unreadable(paths: Iterable[str]) -> dict[str, str]:
    """Which of the segments cannot be read, and why; looks inside only if the ends of all are well."""
    listed = list(paths)
    broken = _complaints(listed, pq.read_metadata)
    return broken or _complaints(listed, pq.read_table)


def _complaints(paths: list[str], look: Callable[..., object]) -> dict[str, str]:
    found = ((path, _complaint(path, look)) for path in paths)
    return {path: reason for path, reason in found if reason}


def _complaint(path: str, look: Callable[..., object]) -> str | None:
    try:
        if b"cascade_otel.schema" not in (pq.read_schema(path).metadata or {}):
            return "a Parquet file, but not a segment of cascade-otel"
        look(path)
    except FileNotFoundError:
        return None
    except (OSError, pa.ArrowException) as error:
        return str(error).splitlines()[0]
    return None


def _by_day(table: pa.Table) -> list[tuple[int, pa.Table]]:
    if table.schema != SCHEMA:
        raise ValueError("a table in another schema arrived; wanted: one made by schema.rows(...)")
    days = table["start_ns"].to_numpy() // DAY_NS
    return [(day, table.filter(pa.array(days == day))) for day in sorted(set(days.tolist()))]


def _sorted(table: pa.Table) -> pa.Table:
    # Arrow cannot sort by a dictionary, so the task's texts are sorted instead.
    keys = pa.table(
        {"task": table["task"].cast(pa.string()), "kind": table["kind"], "start_ns": table["start_ns"]}
    )
    return table.take(pc.sort_indices(keys, [(name, "ascending") for name in keys.column_names]))


def _write(table: pa.Table, out: object) -> None:
    pq.write_table(
        table,
        out,
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP,
        use_dictionary=[name for name in table.column_names if name not in NUMBERS_WITHOUT_REPEATS],
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _went_away(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError) or any(
        text in str(error) for text in ("No such file", "No files found")
    )
