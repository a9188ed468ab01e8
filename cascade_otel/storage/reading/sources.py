"""What a question is asked of, as SQL: the rows of a store, and the parts that stand for most of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Literal

from cascade_otel.storage import parts
from cascade_otel.storage.files import relation
from cascade_otel.storage.manifest import Live
from cascade_otel.storage.reading.fresh import Fresh

Kind = Literal["sums", "cells", "sites", "checks"]
MADE: dict[Kind, Callable[[str], str]] = {
    "sums": parts.sums,
    "cells": parts.cells,
    "sites": parts.sites,
    "checks": parts.checks,
}
"""SQL that makes a part out of rows."""
EMPTY = {
    **{f"no_{kind}": make("nothing") for kind, make in MADE.items()},
    "no_checked": parts.checked(f"({parts.calls('nothing')})", f"({parts.checks('nothing')})"),
}
"""Tables without rows, to be made beside ``nothing``: what there is of a part where there are no files."""


class Sources:
    """The relations of one consistent set of live files, without those that cannot be read.

    Every relation is an SQL subquery. ``opened`` collects the paths of all that has been asked for.
    """

    def __init__(self, days: Iterable[Live], unreadable: Collection[str], fresh: Fresh):
        self._fresh, self._unreadable = fresh, unreadable
        self.days = [
            replace(day, small=self._readable(day.small), checked=self._readable(day.checked)) for day in days
        ]
        self.opened: list[str] = []

    def state(self) -> list[tuple[Live, list[str]]]:
        """Of each day what decides over every answer: its files, and those that cannot be read."""
        return [(day, [path for path in _named(day) if path in self._unreadable]) for day in self.days]

    def of(self, days: Collection[int]) -> Sources:
        """The same of some of the days; what is asked of it counts as opened here too."""
        some = Sources((day for day in self.days if day.day in days), self._unreadable, self._fresh)
        some.opened = self.opened
        return some

    def rows(self) -> str:
        """Every row once."""
        return _united("nothing", [*self._read(self._merged(self.days)), *self._small(self.days)])

    def merged_rows(self) -> str:
        """The rows of merged files."""
        return _united("nothing", self._read(self._merged(self.days)))

    def fresh_rows(self) -> str:
        """The rows that are not compacted yet, each once."""
        return _united("nothing", self._small(self.days))

    def part(self, kind: Kind, where: str = "true") -> str:
        """A part of everything, not added up yet; ``where`` is a condition on what is not compacted yet."""
        if not any(day.small for day in self.days):
            return self.kept(kind)
        rows = f"(SELECT * FROM {self.fresh_rows()} WHERE {where})"
        return f"(SELECT * FROM {self.kept(kind)} UNION ALL BY NAME SELECT * FROM ({MADE[kind](rows)}))"

    def kept(self, kind: Kind) -> str:
        """The part of merged files alone."""
        found = [self._kept(kind, day) for day in self.days]
        lost = self._read(path for _, rows in found for path in rows)
        made = [f"({MADE[kind](rows)})" for rows in lost]
        return _united(f"no_{kind}", [*self._read(path for kept, _ in found for path in kept), *made])

    def small(self) -> str:
        """The rows of small segments, also those that are superfluous."""
        return _united("nothing", self._read(path for day in self.days for path in day.small))

    def checked(self) -> str:
        """The calls that the compactor joined with what checked them."""
        return _united("no_checked", self._read(path for day in self.days for path in day.checked))

    def _kept(self, kind: Kind, day: Live) -> tuple[list[str], list[str]]:
        """Paths of the day's parts, and of the rows whose part cannot be read."""
        named = [(str(path), entry.rows) for entry in day.merged if (path := getattr(entry, kind))]
        return (
            [path for path, _ in named if path not in self._unreadable],
            [rows for path, rows in named if path in self._unreadable and rows not in self._unreadable],
        )

    def _merged(self, days: Iterable[Live]) -> list[str]:
        return [e.rows for day in days for e in day.merged if e.rows not in self._unreadable]

    def _small(self, days: Sequence[Live]) -> list[str]:
        with_small = [
            replace(day, merged=tuple(one for one in day.merged if one.rows not in self._unreadable))
            for day in days
            if day.small
        ]
        self.opened += [path for day in with_small for path in day.rows()]
        return self._fresh.relations(with_small)

    def _read(self, paths: Iterable[str]) -> list[str]:
        listed = list(paths)
        self.opened += listed
        return [relation(listed)] if listed else []

    def _readable(self, paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(path for path in paths if path not in self._unreadable)


def _united(empty: str, relations: Sequence[str]) -> str:
    return "(" + " UNION ALL BY NAME ".join(f"SELECT * FROM {one}" for one in (empty, *relations)) + ")"


def _named(day: Live) -> Iterable[str]:
    return (path for entry in day.merged for path in entry.names())
