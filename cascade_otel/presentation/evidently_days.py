"""Counts the pages that Evidently's methods and the detector would have sent, day by day, on equal terms."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.past import PastDay, looked_back
from cascade_otel.policy import Policy
from cascade_otel.presentation import evidently_process
from cascade_otel.presentation.evidently_child import TELL_EVERY_S
from cascade_otel.presentation.second_opinion import (
    COLUMNS,
    DAYS,
    Column,
    MethodPages,
    SecondOpinion,
    SecondOpinions,
    keep,
)
from cascade_otel.records import CELLS, HOUR_NS, Measured
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State

FEWEST_CALLS = 30
"""A day, or a reference, with fewer is not compared."""
MOST_CALLS = 20_000
"""Drawn of a day and of a reference."""
MOST_OF = {"empirical_mmd": 250}
"""Methods whose time grows with the square of the sample or faster get a smaller one."""
TIMEOUT_S = 600.0

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class DayCounts:
    """Calls of first tiers by day and value."""

    start_day: int
    of: Mapping[Column, Mapping[str, Ints]]
    """Of each column and task (D, 101): D days from ``start_day`` on, and cells of .01 from 0 to 1."""


@dataclass(frozen=True)
class _Answer:
    """What the child says: see ``evidently_child.days``."""

    done: int
    thresholds: Mapping[str, float]
    drifted: Mapping[str, Sequence[bool | None]]


@dataclass(frozen=True)
class _Pair:
    """A day's calls to be compared with a reference's."""

    task: str
    column: Column
    day: int
    reference: tuple[int, int]
    """Its hours."""


def ask(store_root: Path, state_path: Path, policy: Policy, chosen: Sequence[str]) -> SecondOpinions | None:
    """Counts the last ``DAYS`` days, tells on standard error how far it is, and keeps it in the state.

    None where no day can be compared yet. Takes a minute or more. Raises UserError where Evidently fails.
    """
    now_hour, progress = time.time_ns() // HOUR_NS, _Progress(f"of {DAYS} days judged anew")
    _say(
        f"the last {DAYS} days are judged anew, then Evidently compares each with its reference by "
        f"{', '.join(chosen)}; this takes a minute or more"
    )
    with open_reader(Store(store_root)) as reader:
        days = looked_back(reader, policy, now_hour, DAYS, progress.tell)
        references = [one for day in days for one in day.references.values()]
        if not references:
            _say("no task has a reference of seven days yet: nothing to compare")
            return None
        start_day = min(one.start_hour for one in references) // 24
        counts = count(reader, start_day, days[-1].day + 1)
    found = compare(days, counts, chosen)
    with State(state_path) as state:
        keep(state, found, now_hour)
    return found


class _Progress:
    """Says on standard error how much is done, every few seconds."""

    def __init__(self, what: str):
        self._what, self._told_s = what, time.monotonic()

    def tell(self, done: int) -> None:
        """So much is done."""
        if time.monotonic() - self._told_s > TELL_EVERY_S:
            self._told_s = time.monotonic()
            _say(f"{done} {self._what}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def compare(days: Sequence[PastDay], counts: DayCounts, chosen: Sequence[str]) -> SecondOpinions:
    """What ``chosen`` methods of Evidently would have paged on these days, and what the detector did.

    Every day of a task is compared with the reference that the detector had for it that day. Raises UserError
    where Evidently fails.
    """
    tasks = sorted({task for day in days for task in day.references})
    pairs = [pair for task in tasks for column in COLUMNS for pair in _pairs(days, counts, task, column)]
    said = _ask(pairs, counts, chosen) if pairs else _Answer(0, {}, {})
    late = {pair.task for pair in pairs[said.done :]}
    opinions = []
    for task in (task for task in tasks if task not in late):
        places = [place for place, pair in enumerate(pairs) if pair.task == task]
        opinions.append(
            SecondOpinion(
                task,
                tuple(name for name in COLUMNS if any(pairs[place].column == name for place in places)),
                len({pairs[place].day for place in places}),
                sum(task in day.paged for day in days),
                tuple(_pages(name, pairs, places, said.drifted.get(name, ())) for name in chosen),
            )
        )
    return SecondOpinions(
        days[0].day if days else 0,
        days[-1].day + 1 if days else 0,
        said.thresholds,
        tuple(opinions),
        len(late),
    )


def count(reader: Reader, start_day: int, end_day: int) -> DayCounts:
    """Calls by task, day and cell over the days [start_day, end_day)."""
    hours = start_day * 24, end_day * 24
    first = reader.first_tiers(*hours)
    tasks, tiers = list(first["task"]), list(first["tier"])
    shape = (len(tasks), end_day - start_day, CELLS)

    def by_day(measure: Measured, cell_of: Ints) -> dict[str, Ints]:
        cells = reader.hour_cells(measure, tasks, tiers, *hours)
        place = (cells.task * shape[1] + cells.hour // 24 - start_day) * CELLS + cell_of[cells.cell]
        added = np.bincount(place, cells.calls, int(np.prod(shape))).astype(np.int64).reshape(shape)
        return dict(zip(tasks, added, strict=True))

    escalated = by_day("escalation", np.array([0, CELLS - 1]))
    return DayCounts(
        start_day, {"confidence": by_day("confidence", np.arange(CELLS)), "escalated": escalated}
    )


def _pairs(days: Sequence[PastDay], counts: DayCounts, task: str, column: Column) -> list[_Pair]:
    """Days of a task with enough calls on both sides."""
    by_day = counts.of[column].get(task)
    if by_day is None:
        return []
    found = []
    for day in days:
        if task not in day.references:
            continue
        hours = day.references[task].start_hour, day.references[task].end_hour
        before = _between(by_day, counts.start_day, *hours).sum()
        if min(before, by_day[day.day - counts.start_day].sum()) >= FEWEST_CALLS:
            found.append(_Pair(task, column, day.day, hours))
    return found


def _between(by_day: Ints, start_day: int, start_hour: int, end_hour: int) -> Ints:
    """(101,) calls of the days in [start_hour, end_hour)."""
    return np.asarray(by_day[max(start_hour // 24 - start_day, 0) : end_hour // 24 - start_day].sum(0))


def _ask(pairs: Sequence[_Pair], counts: DayCounts, chosen: Sequence[str]) -> _Answer:
    rows: dict[tuple[str, Column, tuple[int, int]], int] = {}
    references, current, reference_of = [], [], []
    for pair in pairs:
        by_day = counts.of[pair.column][pair.task]
        key = pair.task, pair.column, pair.reference
        if key not in rows:
            rows[key] = len(rows)
            references.append(_between(by_day, counts.start_day, *pair.reference))
        reference_of.append(rows[key])
        current.append(by_day[pair.day - counts.start_day])
    with tempfile.TemporaryDirectory(prefix="cascade-otel-") as scratch:
        np.savez(
            Path(scratch) / "asked.npz",
            reference=np.stack(references),
            current=np.stack(current),
            reference_of=np.array(reference_of),
            methods=np.array(chosen),
            most=np.array([MOST_OF.get(name, MOST_CALLS) for name in chosen]),
        )
        evidently_process.run(("days", "asked.npz", "answered.json"), Path(scratch), TIMEOUT_S, told=True)
        return _Answer(**json.loads((Path(scratch) / "answered.json").read_text(encoding="utf-8")))


def _pages(
    name: str, pairs: Sequence[_Pair], places: Sequence[int], drifted: Sequence[bool | None]
) -> MethodPages:
    said: dict[int, bool] = {}
    for place in places:
        if (drifts := drifted[place]) is not None:
            said[pairs[place].day] = said.get(pairs[place].day, False) or drifts
    paged = sorted(day for day, drifts in said.items() if drifts)
    # Of days in a row, day and place in the list differ by the same.
    spells = len(list(groupby(enumerate(paged), key=lambda item: item[1] - item[0])))
    return MethodPages(name, len(paged), spells, len(said))
