"""Where the detector stands with one stream, and how it goes on hour by hour."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.learned import Learned
from cascade_otel.analysis.watching.streams import Counts
from cascade_otel.records import TaskState
from cascade_otel.statistics.detector import Filter, Memory
from cascade_otel.statistics.detector.persistence import STAND_HOURS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
NEVER = -1
ODDS_HOURS = 24
"""So many hours of odds are kept for what is said of groups of tasks."""


@dataclass(frozen=True)
class Trace:
    """What M tasks have been through since their references ended; hours since 1970, ``NEVER`` where none."""

    paged: Ints
    """(M,) when the page of a shift that has not ended came."""
    most: Floats
    """(M,) greatest evidence since then."""
    over: Ints
    """(M,) hours in a row in which a shift had ended."""
    suspect: Ints
    """(M,) since when the evidence suffices without a page."""
    evidence: Floats
    """(M,) of the newest hour."""
    called: Ints
    """(M,) last hour with calls."""

    @classmethod
    def begin(cls, tasks: int) -> Trace:
        """Nothing has happened yet."""
        never = np.full(tasks, NEVER)
        return cls(never, np.zeros(tasks), np.zeros(tasks, np.int64), never, np.zeros(tasks), never)

    def after(self, hour: int, page: Bools, suspect: Bools, ended: Bools, evidence: Floats) -> Trace:
        """One hour later. A task drifts from its page until the shift has ended for ``STAND_HOURS``: a few
        odd hours end no alert.
        """
        over = np.where(ended & ~page, self.over + 1, 0)
        first = page & (self.paged == NEVER)
        paged = np.where(first, hour, np.where(over >= STAND_HOURS, NEVER, self.paged))
        most = np.where(first, evidence, np.maximum(self.most, evidence))
        since = np.where(suspect, np.where(self.suspect == NEVER, hour, self.suspect), NEVER)
        return Trace(paged, np.where(paged == NEVER, 0.0, most), over, since, evidence, self.called)

    def state(self, task: int) -> TaskState:
        """*drifting*, *suspect* or *quiet*."""
        if self.paged[task] != NEVER:
            return "drifting"
        return "quiet" if self.suspect[task] == NEVER else "suspect"

    def take(self, places: Ints) -> Trace:
        """The same of the tasks at some places."""
        return Trace(*(getattr(self, field.name)[places] for field in fields(self)))

    def join(self, other: Trace) -> Trace:
        """These tasks, and after them the other's."""
        return Trace(*(np.concatenate([getattr(self, f.name), getattr(other, f.name)]) for f in fields(self)))


@dataclass(frozen=True)
class Point:
    """Where the detector stands with M tasks: everything before ``hour`` has been taken in."""

    hour: int
    memory: Memory
    trace: Trace
    shifted: Floats
    """(``ODDS_HOURS``, M) odds of a shift that is still there in the newest hours, the last one last."""
    ended: Floats
    """(``ODDS_HOURS``, M) odds of one that is over."""

    def take(self, places: Ints) -> Point:
        """The same of the tasks at some places."""
        odds = self.shifted[:, places], self.ended[:, places]
        return Point(self.hour, self.memory.take(places), self.trace.take(places), *odds)

    def join(self, other: Point) -> Point:
        """These tasks, and after them the other's, which are at the same hour."""
        if other.hour != self.hour:
            raise ValueError(f"points at the hours {self.hour} and {other.hour} are not one")
        return Point(
            self.hour,
            Memory.join([self.memory, other.memory]),
            self.trace.join(other.trace),
            np.concatenate([self.shifted, other.shifted], axis=1),
            np.concatenate([self.ended, other.ended], axis=1),
        )

    def replace(self, places: Ints, part: Point) -> Point:
        """The same with the tasks at some places as they are in ``part``."""
        order = np.concatenate([np.setdiff1d(np.arange(len(self.trace.paged)), places), places])
        kept = order[: len(order) - len(places)]
        return self.take(kept).join(part).take(np.argsort(order))


class Runner:
    """Takes what was learned of M tasks through the hours; the filter's grid is laid once."""

    def __init__(self, learned: Learned):
        self.learned = learned
        self._filter = Filter(learned.null, learned.groups, learned.use, 1.0)
        self._ends = learned.ends[learned.groups]

    def begin(self, hour: int) -> Point:
        """Before any hour has been watched."""
        tasks = len(self.learned.tasks)
        trace = replace(Trace.begin(tasks), called=self.learned.ends - 1)
        odds = np.zeros((ODDS_HOURS, tasks))
        return Point(hour, self._filter.memory, trace, odds, odds)

    def run(self, point: Point, counts: Counts, start_hour: int, until: int, log_needed: float) -> Point:
        """The point at ``until``, from counts that begin at ``start_hour``, at the latest the point's own."""
        if until <= point.hour:
            return point
        trace, odds = point.trace, list(zip(point.shifted, point.ended, strict=True))
        self._filter.restore(point.memory)
        self._filter.log_needed = np.full(len(trace.paged), log_needed)
        calls, hits = (part.reshape(len(self._ends), -1) for part in (counts.calls, counts.hits))
        # Also hours in which nothing is watched yet: memories can be joined only if they are of one hour.
        for hour in range(point.hour, until):
            now = calls[:, hour - start_hour], hits[:, hour - start_hour]
            step = self._filter.advance(hour, now[0], now[1], self._ends <= hour)
            after = trace.after(hour, step.page, step.suspect, step.ended, step.log_evidence)
            trace = _where(self.learned.ends <= hour, after, trace)
            odds.append((step.shifted_odds, step.ended_odds))
        shifted, ended = (np.stack(part) for part in zip(*odds[-ODDS_HOURS:], strict=True))
        called = _last_called(counts, start_hour, point.hour, until)
        trace = replace(trace, called=np.maximum(trace.called, called))
        return Point(until, self._filter.memory, trace, shifted, ended)


def _last_called(counts: Counts, start_hour: int, since: int, until: int) -> Ints:
    """The last hour (M,) of [since, until) with calls, ``NEVER`` without any."""
    called = counts.calls[:, :, since - start_hour : until - start_hour].sum(1) > 0
    return np.where(called.any(1), until - 1 - called[:, ::-1].argmax(1), NEVER)


def _where(which: Bools, one: Trace, other: Trace) -> Trace:
    return Trace(*(np.where(which, getattr(one, f.name), getattr(other, f.name)) for f in fields(Trace)))
