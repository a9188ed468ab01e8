"""Small segments become large ones, each span once, and parts are made of them: one process at a time.

Kill it anywhere: what it has not published in a day's manifest nobody reads, and what it has not yet
deleted the manifest names. Cost follows what is new: a file is merged again only with as much that is newer,
so that a row is rewritten a logarithmic number of times, and a late span makes a small file of its own.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType

import duckdb
import pyarrow as pa

from cascade_otel.records import DAY_NS, HOUR_NS
from cascade_otel.storage import files, manifest
from cascade_otel.storage.manifest import BrokenManifestError, LaterManifestError, Manifest
from cascade_otel.storage.merging import ORDERS, Merging
from cascade_otel.storage.segments import Store, sync_folder

GRACE_S = 30.0
"""How long a superfluous file stays for readers that have listed it."""
BATCH_BYTES = 64 << 20
"""Small segments merged at once."""
LEFT_S = 86_400
"""A temporary file so old was left by a process that has died."""
MADE = tuple(f"{kind}-" for kind in ORDERS)
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What one pass did: rows newly merged, days dropped, and days that failed with the reason."""

    rows: int = 0
    dropped: tuple[int, ...] = ()
    failed: dict[int, str] = field(default_factory=dict)


class Compactor:
    """Compacts a store, pass after pass. A context manager; not to be shared between threads."""

    def __init__(self, store: Store, grace_s: float = GRACE_S):
        self.store, self.grace_s = store, grace_s
        self._connection = files.connect(store)
        self._told: set[str] = set()
        self._at_rest: dict[int, int] = {}

    def __enter__(self) -> Compactor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Frees its memory."""
        self._connection.close()

    def run(self, now_ns: int | None = None, keep_days: int | None = None) -> Done:
        """One pass over every day that has something new; days older than ``keep_days`` are dropped.

        Does nothing where another process compacts. A day that fails (disk full) is left as it was.
        """
        now_ns = time.time_ns() if now_ns is None else now_ns
        today, days = now_ns // DAY_NS, self.store.days()
        # A clock that is wrong by a year must not cost one: the newest day of the store counts too.
        oldest = None if keep_days is None or not days else min(today, days[-1]) - keep_days
        rows, dropped, failed = 0, [], {}
        with self.store.locked() as alone:
            if not alone:
                return Done()
            for day in days:
                try:
                    if oldest is not None and day < oldest:
                        self._drop(day)
                        dropped.append(day)
                    elif day >= today - 1 or self._has_work(day):
                        rows += self._compact(day, now_ns)
                except (OSError, duckdb.Error, pa.ArrowException, ValueError) as error:
                    failed[day] = str(error).splitlines()[0]
                    self._tell(f"day {day} was not compacted, and is left as it was: {failed[day]}")
            self._sweep()
        return Done(rows, tuple(dropped), failed)

    def _has_work(self, day: int) -> bool:
        """Whether a day long over has small segments, something to be deleted, or no manifest that holds."""
        listed = self.store.listed(day)
        if any(name.startswith("s-") for name in listed):
            return True
        path = self.store.folder(day) / manifest.NAME
        try:
            at_ns = path.stat().st_mtime_ns
            if self._at_rest.get(day) == at_ns:
                return False
            said = self.store.manifest(day)
        except (FileNotFoundError, BrokenManifestError):
            return any(name.startswith("rows-") for name in listed)
        if said is None or said.consumed:
            return True
        self._at_rest[day] = at_ns
        return False

    def _tell(self, line: str) -> None:
        if line not in self._told:
            logger.warning("%s", line)
        self._told.add(line)

    def _compact(self, day: int, now_ns: int) -> int:
        total, more = 0, True
        while more:
            rows, more = self._step(day, now_ns)
            total += rows
        return total

    def _step(self, day: int, now_ns: int) -> tuple[int, bool]:
        """Takes in one batch of small segments: how many rows are new, and whether there are more."""
        listed, now_s = sorted(self.store.listed(day)), time.time()
        try:
            before = self.store.manifest(day)
        except LaterManifestError as error:
            raise OSError(f"{self.store.folder(day) / manifest.NAME}: {error}") from error
        except BrokenManifestError:
            before = None
        said = Manifest() if before is None else self._cleaned(day, before, listed, now_s)
        consumed = before.consumed if before else ()
        waiting = [name for name in listed if name.startswith("s-") and name not in consumed]
        batch = _first(self.store.folder(day), waiting)
        merged = [name for name in listed if name.startswith("rows-")]
        if before is None and merged:
            # Every row stands in one of these files, maybe in several; what is left out would be lost.
            batch = waiting = [*waiting, *merged]
        merging = Merging(self.store, self._connection, day, said, now_s, self._told)
        try:
            rows = merging.take_in(batch)
            merging.look(now_ns // HOUR_NS, has_new=rows > 0)
        except BaseException:
            merging.discard()
            raise
        if merging.said != (before or Manifest()):
            merging.publish()
        return rows, bool(batch) and len(batch) < len(waiting)

    def _cleaned(self, day: int, said: Manifest, listed: Sequence[str], now_s: float) -> Manifest:
        """The manifest without what has been superfluous for long enough, which is deleted."""
        folder, kept = self.store.folder(day), said.names()
        for name in listed:
            if name.startswith(MADE) and name not in kept and name not in said.consumed:
                (folder / name).unlink(missing_ok=True)  # of a pass that was killed before it published
        due = [name for name, at in said.consumed.items() if not now_s - self.grace_s < at <= now_s]
        for name in due:
            (folder / name).unlink(missing_ok=True)
        return replace(said, consumed={n: at for n, at in said.consumed.items() if n not in due})

    def _drop(self, day: int) -> None:
        self.store.folder(day).rename(self.store.tmp / f"trash-{day}-{uuid.uuid4().hex[:8]}")
        sync_folder(self.store.root)

    def _sweep(self) -> None:
        for path in self.store.tmp.iterdir():
            try:
                if path.name.startswith("trash-") or (path.is_dir() and _is_left(path)):
                    shutil.rmtree(path)
                elif path.is_file() and _is_old(path):
                    path.unlink()
            except FileNotFoundError:  # renamed by its writer meanwhile
                continue
            except OSError as error:
                self._tell(f"{path} cannot be removed: {error.strerror}")


def _is_old(path: Path) -> bool:
    return time.time() - path.stat().st_mtime > LEFT_S


def _is_left(spill: Path) -> bool:
    """Whether a folder that DuckDB spilled into is old, and the process that made it has died."""
    kind, _, rest = spill.name.partition("-")
    try:
        os.kill(int(rest.partition("-")[0]), 0)
    except (ProcessLookupError, ValueError):
        return kind == "spill" and _is_old(spill)
    except PermissionError:
        return False
    return False


def _first(folder: Path, names: Sequence[str]) -> list[str]:
    """As many of the files as are merged at once, at least one."""
    batch: list[str] = []
    size = 0
    for name in names:
        size += (folder / name).lstat().st_size
        if batch and size > BATCH_BYTES:
            break
        batch.append(name)
    return batch
