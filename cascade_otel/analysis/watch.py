"""Runs the detector over every hour of a watch: states, evidence and change points of many tasks at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cascade_otel.records import TaskHours, TaskState
from cascade_otel.statistics.change_point import ChangePoint, change_point
from cascade_otel.statistics.detector import Filter, Null, Reference, hits_below, indicators, learn, useful
from cascade_otel.statistics.persistence import STAND_HOURS
from cascade_otel.storage.state import Baseline

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Streams:
    """Counts of J streams of each of M tasks over the T hours of the history."""

    calls: Ints
    """(M, J, T)"""
    hits: Ints
    """(M, J, T)"""

    @property
    def flat(self) -> tuple[Ints, Ints]:
        """Calls and hits as (M J, T), task by task."""
        hours = self.calls.shape[2]
        return self.calls.reshape(-1, hours), self.hits.reshape(-1, hours)


@dataclass(frozen=True)
class Verdict:
    """What the detector says about one task, and since when it is another."""

    state: TaskState
    evidence: float
    paged_hour: int | None
    change: ChangePoint | None
    """Counted in hours from the start of the watch."""


def rate_streams(history: TaskHours, tasks: Sequence[int]) -> Streams:
    """One stream for each task: calls that escalated."""
    return Streams(history.calls[tasks][:, None], history.escalated[tasks][:, None])


def shape_streams(history: TaskHours, tasks: Sequence[int], baselines: Sequence[Baseline]) -> Streams:
    """A stream for each cut of a task's confidences: calls at or below it. Cuts come from the reference."""
    calls, hits = [], []
    for index, baseline in zip(tasks, baselines, strict=True):
        cells = history.confidence[index]
        usual = cells[part_of(history, baseline.start_hour, baseline.end_hour)].sum(0)[None]
        cuts = indicators(usual, history.threshold_cell[index : index + 1])
        below = hits_below(cells[None], cuts)[0].T
        hits.append(below)
        calls.append(np.broadcast_to(cells.sum(1), below.shape))
    return Streams(np.stack(calls), np.stack(hits))


def watch(hours: Ints, streams: Streams, baselines: Sequence[Baseline], needed: float) -> list[Verdict]:
    """One verdict for each baseline: learn every reference, filter every hour behind it.

    Args:
        hours: (T,) hours of the streams' counts, complete ones only.
        streams: of as many tasks as there are baselines.
        baselines: of each task, all of them learned.
        needed: evidence that a page needs, in nats.
    """
    per_task = streams.calls.shape[1]
    starts, ends = (
        np.array([getattr(one, name) for one in baselines]) for name in ("start_hour", "end_hour")
    )
    calls, hits = streams.flat
    groups = np.repeat(np.arange(len(baselines)), per_task)
    in_reference = (hours < ends.max()) & (hours >= starts.min())
    valid = (hours >= starts[:, None]) & (hours < ends[:, None])
    null = learn(
        Reference(
            hours=hours[in_reference],
            calls=calls[:, in_reference],
            hits=hits[:, in_reference],
            fleet=[np.arange(stream, len(calls), per_task) for stream in range(per_task)],
            valid=valid[groups][:, in_reference],
        )
    )
    use = useful(null.rate, groups)
    detector = Filter(null, groups, use, needed)
    first = int(np.searchsorted(hours, ends.min()))
    steps = [
        detector.advance(
            int(hours[t]), calls[:, t].astype(float), hits[:, t].astype(float), (hours[t] >= ends)[groups]
        )
        for t in range(first, len(hours))
    ]
    verdicts = []
    for task, end in enumerate(ends):
        trace = [
            (
                bool(step.page[task]),
                bool(step.suspect[task]),
                bool(step.ended[task]),
                float(step.log_evidence[task]),
            )
            for step in steps
        ]
        state, evidence, paged = _state(trace)
        watch = slice(int(np.searchsorted(hours, end)), len(hours))
        cuts = np.nonzero((groups == task) & use)[0]
        change = (
            _change(null, cuts, hours[watch], calls[:, watch], hits[:, watch])
            if state in ("suspect", "drifting")
            else None
        )
        verdicts.append(
            Verdict(state, evidence, None if paged is None else int(hours[first + paged]), change)
        )
    return verdicts


def _state(trace: Sequence[tuple[bool, bool, bool, float]]) -> tuple[TaskState, float, int | None]:
    """State, evidence and place of the page from (page, suspect, ended, evidence) of each hour.

    A task drifts from its page until the shift has ended and stayed so for ``STAND_HOURS``: a few odd hours
    end no alert. Its evidence is the most there was since the page.
    """
    paged: int | None = None
    over = 0
    for place, (page, _, ended, _) in enumerate(trace):
        over = over + 1 if ended and not page else 0
        if paged is None and page:
            paged = place
        elif over >= STAND_HOURS:
            paged = None
    if paged is not None:
        return "drifting", max(evidence for *_, evidence in trace[paged:]), paged
    if not trace:
        return "quiet", 0.0, None
    return ("suspect" if trace[-1][1] else "quiet"), trace[-1][3], None


def _change(null: Null, cuts: Ints, hours: Ints, calls: Ints, hits: Ints) -> ChangePoint:
    """The change of the stream that shows it most clearly."""
    usual = null.logit(hours)
    wobble = np.sqrt((null.weights * null.sigma**2).sum(1))
    found = [
        change_point(
            usual[cut],
            calls[cut],
            hits[cut],
            first_hour=int(hours[0]),
            dispersion=float(null.dispersion[cut]),
            wobble=float(wobble[cut]),
            level_se=float(null.level_se[cut]),
            most_calls=null.settings.most_calls,
        )
        for cut in cuts
    ]
    return max(found, key=lambda change: change.log_odds)


def part_of(history: TaskHours, start_hour: int, end_hour: int) -> slice:
    """Where the hours [start_hour, end_hour) are in a history."""
    start, end = np.searchsorted(history.hours, [start_hour, end_hour])
    return slice(int(start), int(end))
