"""What the detector learned of one stream from the references of its tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.streams import KINDS, Counts, count, cuts
from cascade_otel.records import HourCells, Measured, Stream
from cascade_otel.statistics.detector import Null, Reference, Settings, learn, useful
from cascade_otel.storage.state import Baseline

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

CHUNK_HOURS = 7 * 24
"""So much of a long watch is counted at a time."""


CAUTION = 1.15
"""Everything but the escalation rate is believed to wobble by so much more than its reference shows: such a
stream has a small share of the budget, and several indicators that may each be wrong."""


class Source(Protocol):
    """Where counts come from: ``Reader.hour_cells``, or what a test makes up."""

    def __call__(
        self, measure: Measured, tasks: Sequence[str], tiers: Sequence[str], start_hour: int, end_hour: int
    ) -> HourCells:
        """Calls by task, hour and cell."""


@dataclass(frozen=True)
class Learned:
    """M tasks with J indicators each; B = M J streams of counts, task by task."""

    stream: Stream
    tasks: tuple[str, ...]
    tiers: tuple[str, ...]
    """First tier of each task."""
    starts: Ints
    """(M,) first hour of the reference."""
    ends: Ints
    """(M,) the hour after its last: the first that is watched."""
    cuts: Ints
    """(M, J or, of a calibration, J - 1) cells that make the indicators."""
    calls: Ints
    """(M, J) in the reference."""
    hits: Ints
    """(M, J)"""
    gap: Ints
    """(M,) most hours in a row without calls in the reference."""
    null: Null
    use: Bools
    """(B,) indicators that count in their task's evidence."""

    @property
    def groups(self) -> Ints:
        """(B,) place of the task that each stream of counts belongs to."""
        return np.repeat(np.arange(len(self.tasks)), self.calls.shape[1])

    def streams_of(self, places: Ints) -> Ints:
        """Places among the B streams of the tasks at some places."""
        each = self.calls.shape[1]
        return np.asarray((np.asarray(places)[:, None] * each + np.arange(each)).ravel())

    def take(self, places: Ints) -> Learned:
        """The same of the tasks at some places."""
        streams = self.streams_of(places)
        taken: dict[str, Any] = {name: getattr(self, name)[places] for name in _OF_TASKS}
        return replace(
            self,
            tasks=tuple(self.tasks[place] for place in places),
            tiers=tuple(self.tiers[place] for place in places),
            null=self.null.take(streams),
            use=self.use[streams],
            **taken,
        )

    def join(self, other: Learned) -> Learned:
        """These tasks, and after them the other's."""
        joined: dict[str, Any] = {
            name: np.concatenate([getattr(self, name), getattr(other, name)]) for name in _OF_TASKS
        }
        return replace(
            self,
            tasks=self.tasks + other.tasks,
            tiers=self.tiers + other.tiers,
            null=Null.join([self.null, other.null]),
            use=np.concatenate([self.use, other.use]),
            **joined,
        )


_OF_TASKS = ("starts", "ends", "cuts", "calls", "hits", "gap")


def learned_from(
    source: Source,
    stream: Stream,
    baselines: Sequence[Baseline],
    tiers: Sequence[str],
    threshold_cell: Ints,
    known: Learned | None = None,
) -> Learned | None:
    """What the references of some tasks say; None where none of them holds a call that this stream counts.

    Args:
        source: of the counts.
        stream: what is watched.
        baselines: of each task its reference.
        tiers: of each task its first tier.
        threshold_cell: (M,) first accepted confidence cell of each task, -1 unknown.
        known: what other tasks taught; these few learn from their fleet too.
    """
    start = min(one.start_hour for one in baselines)
    end = max(one.end_hour for one in baselines)
    tasks = [one.task for one in baselines]
    cells = source(KINDS[stream].measure, tasks, tiers, start, end)
    starts, ends = (
        np.array([getattr(one, name) for one in baselines]) for name in ("start_hour", "end_hour")
    )
    inside = (cells.hour >= starts[cells.task]) & (cells.hour < ends[cells.task])
    cells = HourCells(*(getattr(cells, field.name)[inside] for field in fields(cells)))
    seen = np.unique(cells.task)
    if not len(seen):
        return None
    if len(seen) < len(tasks):
        own, asked = ([part[place] for place in seen] for part in (baselines, tiers))
        return learned_from(source, stream, own, asked, threshold_cell[seen], known)
    cut = cuts(stream, cells, threshold_cell)
    counts = count(stream, cells, cut, start, end)
    return _learn(stream, baselines, tiers, cut, counts, np.arange(start, end), known)


def _learn(
    stream: Stream,
    baselines: Sequence[Baseline],
    tiers: Sequence[str],
    cut: Ints,
    counts: Counts,
    hours: Ints,
    known: Learned | None,
) -> Learned:
    tasks, each, _ = counts.calls.shape
    starts, ends = (
        np.array([getattr(one, name) for one in baselines]) for name in ("start_hour", "end_hour")
    )
    flat_calls, flat_hits = (part.reshape(tasks * each, -1) for part in (counts.calls, counts.hits))
    valid = (hours >= starts[:, None]) & (hours < ends[:, None])
    groups = np.repeat(np.arange(tasks), each)
    null = learn(
        Reference(
            hours=hours,
            calls=flat_calls,
            hits=flat_hits,
            fleet=[np.arange(place, tasks * each, each) for place in range(each)],
            valid=valid[groups],
        ),
        Settings() if stream == "escalation_rate" else Settings(caution=CAUTION),
        None if known is None else known.null.fleet,
    )
    # An indicator without a single call would dilute the evidence of the others.
    called = flat_calls.sum(1) > 0
    use = useful(np.where(called, null.rate, 0.0), groups)
    return Learned(
        stream,
        tuple(one.task for one in baselines),
        tuple(tiers),
        starts,
        ends,
        cut,
        counts.calls.sum(2),
        counts.hits.sum(2),
        np.array([_longest_gap(calls.sum(0)[own]) for calls, own in zip(counts.calls, valid, strict=True)]),
        null,
        use,
    )


def _longest_gap(calls: Ints) -> int:
    with_calls = np.nonzero(np.concatenate([[1], calls, [1]]))[0]
    return int(np.diff(with_calls).max()) - 1
