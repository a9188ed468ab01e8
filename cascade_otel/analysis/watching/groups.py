"""Shifts that tasks share: one page for the model that they ask, or for all of them, not one for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cascade_otel.analysis.watching.learned import Source
from cascade_otel.analysis.watching.levels import Change, changed
from cascade_otel.analysis.watching.monitor import Standing
from cascade_otel.analysis.watching.running import NEVER, Trace
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.policy import PageBudget
from cascade_otel.records import ALL_TASKS, Finding, Stream, Window
from cascade_otel.statistics.detector import log_needed
from cascade_otel.statistics.detector.groups import Groups, Odds, e_bh

FEWEST_TASKS = 3
"""Fewer tasks are told of one by one."""
FEWEST_SHARE = 0.25
"""... and fewer than this share of the group; of a small one half of it: three shifts in one night may well
be unrelated."""
HALF_UP_TO = 10
SLACK_HOURS = 2
"""An interval of nine in ten misses the hour now and then, mostly by little."""
MOST_TASKS = 100
"""Of more affected tasks the clearest ones say when it was."""
FALSELY_LISTED = 0.1
"""Share of the listed tasks that may not be affected, on average."""

Ints = NDArray[np.int64]


class Asking(Protocol):
    """A task and the model that its first tier asks."""

    @property
    def task(self) -> str:
        """Its name."""

    @property
    def model(self) -> str:
        """'' unknown."""


@dataclass(frozen=True)
class _Group:
    name: str
    members: Ints
    """Places of its tasks in a standing."""


def together(
    source: Source,
    findings: Sequence[Finding],
    standings: Mapping[Stream, Standing],
    asking: Mapping[str, Asking],
    page_budget: PageBudget,
    last: Sequence[Finding],
) -> list[Finding]:
    """The findings, and beside them one for each group of tasks that moves as a whole.

    A group is at least ``FEWEST_TASKS`` tasks whose first tiers ask one model; where there are several
    models, all tasks are one too. Affected are those that e-BH lists, a share of ``FALSELY_LISTED`` of them
    falsely, and of these the ones that may have changed at one and the same hour: what moved at another hour
    has another cause. Their findings name the group, so that they are not told of one by one.

    Args:
        source: of the counts.
        findings: of the single tasks.
        standings: of every stream.
        asking: of every task, by name.
        page_budget: of which groups have a share of their own.
        last: findings of the look before, from which a page that stands keeps its hour.
    """
    found: list[Finding] = []
    affected: dict[tuple[str, Stream], str] = {}
    for stream, standing in standings.items():
        if not KINDS[stream].group_weight:
            continue
        known = _groups(standing, asking)
        if not known:
            continue
        needed = log_needed(len(known), page_budget.hours, page_budget.pages, KINDS[stream].group_weight)
        trace = _trace(known, standing, needed)
        for place, group in enumerate(known):
            state = trace.state(place)
            if state == "quiet":
                continue
            before = next(
                (
                    one
                    for one in last
                    if one.tasks
                    and one.stream == stream
                    and one.task == group.name
                    and one.state == "drifting"
                ),
                None,
            )
            changes = _at_one_hour(
                {at: changed(source, standing, at) for at in _affected(group, standing)[:MOST_TASKS]}
            )
            members = len(group.members)
            if len(changes) >= max(FEWEST_TASKS, min(members / 2, HALF_UP_TO), FEWEST_SHARE * members):
                tasks = [standing.learned.tasks[at] for at in changes]
                own = [one for one in findings if one.stream == stream and one.task in tasks]
                finding = _finding(group, stream, own, list(changes.values()), trace, place, needed, before)
            elif state == "drifting" and before is not None:
                # Some of its tasks are over it already: it lasts as long as its own evidence does.
                evidence = float(max(trace.most[place], trace.evidence[place]))
                finding = replace(before, hour=standing.point.hour - 1, log_evidence=evidence)
            else:
                continue
            found.append(replace(finding, state=state))
            if state == "drifting":
                affected |= {(task, stream): group.name for task in finding.tasks}
    named = [
        replace(one, group=affected[one.task, one.stream]) if (one.task, one.stream) in affected else one
        for one in findings
    ]
    return [*named, *found]


def _groups(standing: Standing, asking: Mapping[str, Asking]) -> list[_Group]:
    by_model: dict[str, list[int]] = {}
    for place, task in enumerate(standing.learned.tasks):
        by_model.setdefault(asking[task].model, []).append(place)
    found = [
        _Group(f"tasks of {model}", np.array(places))
        for model, places in sorted(by_model.items())
        if model and len(places) >= FEWEST_TASKS
    ]
    everything = np.arange(len(standing.learned.tasks))
    if len(by_model) > 1 and len(everything) >= FEWEST_TASKS:
        found.append(_Group(ALL_TASKS, everything))
    return found


def _trace(known: Sequence[_Group], standing: Standing, needed: float) -> Trace:
    """What the groups have been through in the hours whose odds are kept."""
    point = standing.point
    rule, trace = Groups([group.members for group in known], needed), Trace.begin(len(known))
    for back, (shifted, ended) in enumerate(zip(point.shifted, point.ended, strict=True)):
        step = rule.advance(Odds(shifted, ended, shifted > 0))
        hour = point.hour - len(point.shifted) + back
        trace = trace.after(hour, step.page, step.suspect, step.ended, step.log_evidence)
    return trace


def _affected(group: _Group, standing: Standing) -> list[int]:
    """Places of the members with evidence of their own, the clearest first."""
    odds = standing.point.shifted[-1][group.members]
    watched = np.maximum(standing.point.hour - standing.learned.ends[group.members], 1)
    evidence = np.log(np.maximum(odds, 1e-30)) - np.log(watched)
    listed = np.nonzero(e_bh(evidence, FALSELY_LISTED))[0]
    clearest = listed[np.argsort(-evidence[listed], kind="stable")]
    return [int(place) for place in group.members[clearest]]


def _at_one_hour(changes: Mapping[int, Change]) -> dict[int, Change]:
    """The most changes that may have been at the same hour."""
    shared = [
        {
            at: one
            for at, one in changes.items()
            if one.low_hour - SLACK_HOURS <= hour <= one.high_hour + SLACK_HOURS
        }
        for hour in sorted({change.since_hour for change in changes.values()})
    ]
    return max(shared, key=len, default={})


def _finding(
    group: _Group,
    stream: Stream,
    own: Sequence[Finding],
    changes: Sequence[Change],
    trace: Trace,
    place: int,
    needed: float,
    before: Finding | None,
) -> Finding:
    earlier = [before.paged_hour] if before is not None and before.paged_hour is not None else []
    paged = None if trace.paged[place] == NEVER else int(trace.paged[place])
    return Finding(
        task=group.name,
        tier="",
        stream=stream,
        state="drifting",
        hour=max(one.hour for one in own),
        log_evidence=float(max(trace.most[place], trace.evidence[place])),
        log_needed=needed,
        days_learned=own[0].days_needed,
        reference=_joined([one.reference for one in own]),
        current=_joined([one.current for one in own]),
        since_hour=sorted(one.since_hour for one in changes)[len(changes) // 2],
        since_low_hour=min(one.low_hour for one in changes),
        since_high_hour=max(one.high_hour for one in changes),
        paged_hour=paged if paged is None or not earlier else min(paged, *earlier),
        suspect_hour=None if trace.suspect[place] == NEVER else int(trace.suspect[place]),
        group=group.name,
        tasks=tuple(one.task for one in own),
    )


def _joined(windows: Sequence[Window | None]) -> Window | None:
    """One window over several, with all their calls."""
    known = [one for one in windows if one is not None]
    if not known:
        return None
    return Window(
        min(one.start_hour for one in known),
        max(one.end_hour for one in known),
        sum(one.calls for one in known),
        sum(one.escalated for one in known),
    )
