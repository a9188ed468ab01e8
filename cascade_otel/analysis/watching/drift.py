"""Is it real? Judges everything that is watched of each task, and of groups of tasks, by their references."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching import groups
from cascade_otel.analysis.watching.baselines import DAYS_NEEDED
from cascade_otel.analysis.watching.learned import Source
from cascade_otel.analysis.watching.levels import changed
from cascade_otel.analysis.watching.monitor import Monitor, Standing, Wanted
from cascade_otel.analysis.watching.running import NEVER
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.policy import PageBudget
from cascade_otel.records import Finding, HourCells, Stream, Window
from cascade_otel.statistics.detector import log_needed
from cascade_otel.storage.state import Baseline

MAIN: tuple[Stream, ...] = ("escalation_rate", "confidence_shape")
"""What there is a finding on for every task, also a quiet one."""
SILENT_HOURS = 6
BUSY_CALLS_A_DAY = 24
"""Only a task that had so many calls a day can be missed when it has none."""

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Subject:
    """One task as it is to be judged."""

    task: str
    tier: str
    """Its first tier."""
    model: str
    """That the tier asks, '' unknown: tasks that share one are a group."""
    baseline: Baseline
    days_learned: int
    """Whole days with calls that lie in the reference so far."""
    threshold_cell: int
    """First accepted confidence cell; -1 unknown."""

    @property
    def is_ready(self) -> bool:
        """Whether enough has been learned to watch it."""
        return self.days_learned >= DAYS_NEEDED


def judge(
    source: Source,
    monitor: Monitor,
    subjects: Sequence[Subject],
    page_budget: PageBudget,
    now_hour: int,
    loud: Collection[str] = (),
    last: Sequence[Finding] = (),
) -> list[Finding]:
    """Findings without cause and cost: of each task on the ``MAIN`` streams, on others where they moved, and
    on groups of tasks that moved together.

    A task whose reference is shorter than 7 days is *learning*. What was never recorded in its reference
    (confidences, audits, costs) has no finding. Looks that take in the same hours find the same.

    Args:
        source: of the counts.
        monitor: what earlier looks remember; it is brought up to date.
        subjects: the tasks.
        page_budget: false pages allowed over all tasks, streams and groups.
        now_hour: the hour in progress, which is not looked at.
        loud: tasks of which every finding is wanted, quiet ones too.
        last: findings of the look before.
    """
    ready = {one.task: one for one in subjects if one.is_ready}
    findings = [
        _blank(one, stream, now_hour)
        for one in subjects
        if not one.is_ready
        for stream in (KINDS if one.task in loud else MAIN[:1])
    ]
    if ready:
        needed = {
            stream: log_needed(len(ready), page_budget.hours, page_budget.pages, kind.weight)
            for stream, kind in KINDS.items()
        }
        standings = monitor.look(
            source,
            Wanted(
                {task: one.baseline for task, one in ready.items()},
                {task: one.tier for task, one in ready.items()},
                {task: one.threshold_cell for task, one in ready.items()},
                needed,
                now_hour,
            ),
        )
        windows = _Windows(source, list(ready.values()), standings.get("escalation_rate"), now_hour)
        for stream, standing in standings.items():
            findings += _of_stream(source, standing, stream, ready, windows, needed[stream], loud)
        findings += _no_longer_watched(findings, ready, loud, needed, now_hour)
        findings = groups.together(source, findings, standings, ready, page_budget, last)
    order = {one.task: place for place, one in enumerate(subjects)}
    streams = list(KINDS)
    return sorted(findings, key=lambda one: (order.get(one.task, len(order)), streams.index(one.stream)))


def _no_longer_watched(
    findings: Sequence[Finding],
    ready: Mapping[str, Subject],
    loud: Collection[str],
    needed: Mapping[Stream, float],
    now_hour: int,
) -> list[Finding]:
    """Quiet findings on streams that a new reference of these tasks does not hold: their alerts are over."""
    known = {(one.task, one.stream) for one in findings}
    return [
        replace(_blank(ready[task], stream, now_hour), state="quiet", log_needed=needed[stream])
        for task in loud
        if task in ready
        for stream in KINDS
        if (task, stream) not in known
    ]


class _Windows:
    """What the first tiers did: in their references, in the last day, and since some hour."""

    def __init__(
        self, source: Source, subjects: Sequence[Subject], rate: Standing | None, now_hour: int
    ) -> None:
        self._source, self._now_hour = source, now_hour
        self._subjects = {one.task: one for one in subjects}
        self._rate = rate
        self._place = {} if rate is None else {task: at for at, task in enumerate(rate.learned.tasks)}
        asked = list(self._subjects)
        tiers = [one.tier for one in subjects]
        cells = source("escalation", asked, tiers, now_hour - 24, now_hour)
        self._last_day = dict(zip(asked, _added(cells, len(asked)), strict=True))

    def reference(self, task: str) -> Window:
        baseline, place = self._subjects[task].baseline, self._place.get(task)
        period = baseline.start_hour, baseline.end_hour
        if self._rate is None or place is None:
            return Window(*period, 0, 0)
        learned = self._rate.learned
        return Window(*period, int(learned.calls[place, 0]), int(learned.hits[place, 0]))

    def last_day(self, task: str) -> Window:
        return Window(self._now_hour - 24, self._now_hour, *self._last_day[task])

    def since(self, task: str, hour: int) -> Window:
        cells = self._source("escalation", [task], [self._subjects[task].tier], hour, self._now_hour)
        return Window(hour, self._now_hour, *_added(cells, 1)[0])

    def silent_since(self, task: str) -> int | None:
        """The hour since which a busy task has had no calls for longer than it ever had; None: it has."""
        place = self._place.get(task)
        if self._rate is None or place is None:
            return None
        learned, trace = self._rate.learned, self._rate.point.trace
        hours = learned.ends[place] - learned.starts[place]
        busy = learned.calls[place, 0] >= BUSY_CALLS_A_DAY * hours / 24
        gap = self._now_hour - 1 - int(trace.called[place])
        silent = busy and gap >= SILENT_HOURS and gap > learned.gap[place]
        return int(trace.called[place]) + 1 if silent else None


def _of_stream(
    source: Source,
    standing: Standing,
    stream: Stream,
    subjects: Mapping[str, Subject],
    windows: _Windows,
    needed: float,
    loud: Collection[str],
) -> Iterable[Finding]:
    trace = standing.point.trace
    for place, task in enumerate(standing.learned.tasks):
        state = trace.state(place)
        silent_since = windows.silent_since(task)
        if silent_since is not None:
            state = "no_data"
        if state in ("quiet", "no_data") and stream not in MAIN and task not in loud:
            continue
        paged, suspect = _hour(trace.paged[place]), _hour(trace.suspect[place])
        finding = replace(
            _blank(subjects[task], stream, standing.point.hour),
            state=state,
            days_learned=DAYS_NEEDED,
            log_evidence=float(trace.most[place] if paged is not None else trace.evidence[place]),
            log_needed=needed,
            reference=windows.reference(task),
            current=windows.last_day(task),
            since_hour=silent_since,
        )
        if state in ("suspect", "drifting"):
            change = changed(source, standing, place)
            finding = replace(
                finding,
                current=windows.since(task, change.since_hour),
                since_hour=change.since_hour,
                since_low_hour=change.low_hour,
                since_high_hour=change.high_hour,
                paged_hour=paged,
                suspect_hour=suspect if state == "suspect" else None,
                before=None if stream in MAIN else change.before,
                now=None if stream in MAIN else change.now,
                quantile=change.quantile,
            )
        yield finding


def _blank(subject: Subject, stream: Stream, now_hour: int) -> Finding:
    baseline = subject.baseline
    return Finding(
        task=subject.task,
        tier=subject.tier,
        stream=stream,
        state="learning",
        hour=now_hour - 1,
        days_learned=subject.days_learned,
        days_needed=DAYS_NEEDED,
        reference=Window(baseline.start_hour, min(baseline.end_hour, now_hour), 0, 0),
    )


def _hour(hour: np.int64) -> int | None:
    return None if hour == NEVER else int(hour)


def _added(cells: HourCells, tasks: int) -> list[tuple[int, int]]:
    """Of each task all calls, and those in cell 1."""
    every = np.bincount(cells.task, cells.calls, tasks)
    hits = np.bincount(cells.task, np.where(cells.cell == 1, cells.calls, 0), tasks)
    return [(int(calls), int(hit)) for calls, hit in zip(every, hits, strict=True)]
