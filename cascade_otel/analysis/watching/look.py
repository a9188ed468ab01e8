"""One look at a store: which baselines hold, what shifted and why, which limits are passed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from cascade_otel.analysis import money
from cascade_otel.analysis.causes import diagnosis
from cascade_otel.analysis.watching import baselines, drift, kept, limits
from cascade_otel.analysis.watching.monitor import Monitor
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.analysis.watching.tasks import Tasks
from cascade_otel.policy import Policy
from cascade_otel.records import HOUR_NS, Alert, Finding, Stream
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.schema import confidence_cell
from cascade_otel.storage.state import Baseline, State

log = logging.getLogger(__name__)

JUDGED = "drift judged"
"""Tick of the state whose time is the end of the newest hour the detector has looked at."""
MEMORY = "detector"
"""Name of the detector's memory in the state."""
KEEP_EVERY_HOURS = 24
"""So much a job that was killed has to take in again, beside what may come late."""


@dataclass
class Watcher:
    """What a job remembers between looks."""

    tasks: Tasks = field(default_factory=Tasks)
    monitor: Monitor | None = None
    """None: what the state remembers has not been looked at yet."""


@dataclass(frozen=True)
class Look:
    """What there was to be found."""

    findings: list[Finding]
    baselines: list[Baseline]
    """Those that changed."""
    before: Mapping[str, Baseline]
    """Those that were read. One that is another by now was accepted meanwhile, and holds."""
    judged_hour: int
    judged_before_ns: int | None
    """What ``JUDGED`` was."""
    memory: bytes | None = None
    """The detector's memory, where it is time to keep it."""


def look(
    reader: Reader, state: State, policy: Policy, now_ns: int, afresh: bool, watcher: Watcher | None = None
) -> Look:
    """Everything there is to find now; writes nothing.

    Args:
        reader: of the store.
        state: what earlier looks left.
        policy: page budget, references and limits.
        now_ns: the present.
        afresh: judge every task, also where no hour has become complete since it was last done.
        watcher: of a job that looks again and again; by default what the state remembers is used.
    """
    now_hour = now_ns // HOUR_NS
    last, before, judged_before_ns = state.findings(), state.baselines(), state.last_tick(JUDGED)
    opened = [alert for alert in state.alerts() if alert.status != "resolved"]
    changed: list[Baseline] = []
    memory = None
    judged_before = [finding for finding in last if finding.stream not in limits.STREAMS]
    if afresh or not judged_before or (judged_before_ns or 0) < now_hour * HOUR_NS:
        watcher = Watcher() if watcher is None else watcher
        if watcher.monitor is None:
            watcher.monitor = _remembered(state)
        found, references = judged_at(reader, watcher, policy, before, last, opened, now_hour)
        changed = [one for task, one in references.items() if one != before.get(task)]
        judged = _explained(reader, found)
        memory = _to_keep(state, watcher.monitor, now_hour)
    else:
        judged = judged_before
    told = {(alert.task, alert.tier) for alert in opened}
    passed = [
        finding
        for finding in limits.check(reader, policy, now_ns)
        if finding.state != "quiet" or (finding.task, finding.tier) in told
    ]
    findings = [*judged, *passed, *_lifted(opened, judged, policy, now_hour)]
    return Look(findings, changed, before, now_hour, judged_before_ns, memory)


def judged_at(
    reader: Reader,
    watcher: Watcher,
    policy: Policy,
    previous: Mapping[str, Baseline],
    last: Sequence[Finding],
    opened: Sequence[Alert],
    now_hour: int,
) -> tuple[list[Finding], dict[str, Baseline]]:
    """What the detector finds, without cause and cost, and the reference of every task.

    Args:
        reader: of the store.
        watcher: what earlier looks remember; it is brought up to date.
        policy: page budget and references.
        previous: baselines of the look before.
        last: its findings.
        opened: alerts that are open.
        now_hour: the hour in progress, which is not looked at.
    """
    if watcher.monitor is None:
        watcher.monitor = Monitor()
    watcher.tasks.refresh(reader, now_hour, _oldest(previous, policy))
    restless = {alert.task for alert in opened if alert.stream in KINDS}
    restless |= {task for alert in opened for task in alert.finding.tasks}
    restless |= {one.task for one in last if one.stream in KINDS and _is_restless(one)}
    subjects = _subjects(reader, watcher.tasks, policy, previous, restless, now_hour)
    loud = {alert.task for alert in opened}
    found = drift.judge(
        reader.hour_cells, watcher.monitor, subjects, policy.page_budget, now_hour, loud, last
    )
    return found, {one.task: one.baseline for one in subjects}


def _oldest(previous: Mapping[str, Baseline], policy: Policy) -> int | None:
    """Where the oldest reference begins: its days must be known for as long as it holds."""
    said = [one.reference for one in (policy.defaults, *policy.tasks.values())]
    chosen = [one.start_day * 24 for one in said if one is not None and one.start_day is not None]
    return min([*chosen, *(one.start_hour for one in previous.values())], default=None)


def _is_restless(finding: Finding) -> bool:
    """Whether a reference must not move on: nobody knows yet what is normal."""
    if finding.state in ("suspect", "drifting", "no_data"):
        return True
    return finding.log_evidence > finding.log_needed / 2 > 0


def _remembered(state: State) -> Monitor:
    """A monitor that goes on from what the state remembers, or begins anew."""
    monitor = Monitor()
    found = state.memory(MEMORY)
    if found is not None:
        try:
            monitor.restore(kept.unpacked(found[1]))
        except ValueError as error:
            log.warning("the detector's memory in %s cannot be read, it learns anew: %s", state.path, error)
            return Monitor()
    return monitor


def _to_keep(state: State, monitor: Monitor, now_hour: int) -> bytes | None:
    kept_hour = state.memory_hour(MEMORY)
    due = kept_hour is None or not 0 <= now_hour - kept_hour < KEEP_EVERY_HOURS
    return kept.packed(monitor.kept()) if due else None


def _lifted(
    opened: Sequence[Alert], judged: Sequence[Finding], policy: Policy, now_hour: int
) -> list[Finding]:
    """Quiet findings for what nothing else would ever end: alerts whose limit is in the policy no more, and
    those of groups that do not move any longer.
    """
    limited = {"escalation_limit": "escalation_limit", "cost_limit": "cost_per_day"}
    moving = {(one.task, one.stream) for one in judged}
    still = [
        replace(alert.finding, state="quiet", hour=now_hour - 1)
        for alert in opened
        if alert.finding.tasks and (alert.task, alert.finding.stream) not in moving
    ]
    return still + [
        Finding(alert.task, alert.tier, alert.stream, "quiet", now_hour)
        for alert in opened
        if alert.stream in limited and getattr(policy.of(alert.task), limited[alert.stream]) is None
    ]


def _subjects(
    reader: Reader,
    tasks: Tasks,
    policy: Policy,
    previous: Mapping[str, Baseline],
    restless: Collection[str],
    now_hour: int,
) -> list[drift.Subject]:
    """The tasks that have had complete hours, in order of name, each with what it is compared with."""
    versions = _version_hours(reader, tasks, policy, now_hour)
    found = []
    for task, known in sorted(tasks.known.items()):
        days = tasks.days(task, now_hour)
        said, version_hour = policy.of(task).reference, versions.get(task)
        quiet = task not in restless
        baseline = baselines.choose(task, previous.get(task), days, now_hour, quiet, said, version_hour)
        threshold = known.threshold if known.threshold is not None else policy.of(task).threshold
        cell = -1 if threshold is None else int(confidence_cell(np.array(round(threshold * 1e9))))
        learned = len(baselines.learned(baseline, days))
        found.append(drift.Subject(task, known.tier, known.model, baseline, learned, cell))
    return found


def _version_hours(reader: Reader, tasks: Tasks, policy: Policy, now_hour: int) -> dict[str, int]:
    """Of each task whose reference is to begin with a version, when that first decided a call."""
    found = {}
    start = now_hour - baselines.LOOK_BACK_DAYS * 24
    for task, known in tasks.known.items():
        said = policy.of(task).reference
        if said is None or said.version is None:
            continue
        sums = reader.sums_by(("tier", "version", "purpose"), start, now_hour, task, ("decided",))
        own = (sums["tier"] == known.tier) & (sums["version"] == said.version) & (sums["purpose"] == "")
        decided = sums[own & (sums["decided"] > 0)]
        # What reaches back to where was looked began before that.
        if len(decided) and int(decided["first_hour"].min()) >= start + 24:
            found[task] = int(decided["first_hour"].min())
    return found


def _explained(reader: Reader, findings: Sequence[Finding]) -> list[Finding]:
    """The findings with cause and cost; a task of which several streams moved has one cause, its rate's."""
    explained: dict[tuple[str, Stream], Finding] = {}
    for finding in findings:
        if finding.tasks:
            continue
        if finding.state in ("suspect", "drifting"):
            rate = explained.get((finding.task, "escalation_rate"))
            if rate is not None and rate.cause is not None:
                cause, cost, currency = rate.cause, rate.cost_per_day, rate.currency
            else:
                cause = diagnosis.cause(reader, finding)
                cost, currency = money.cost_change_per_day(reader, finding)
            finding = replace(finding, cause=cause, cost_per_day=cost, currency=currency)
        explained[finding.task, finding.stream] = finding
    groups = [_explained_group(finding, explained) for finding in findings if finding.tasks]
    return [*explained.values(), *groups]


def _explained_group(finding: Finding, explained: Mapping[tuple[str, Stream], Finding]) -> Finding:
    """The cause that most of its tasks have, and what they cost together."""
    own = [one for task in finding.tasks if (one := explained.get((task, finding.stream))) and one.cause]
    if not own:
        return finding
    names = [one.cause.name for one in own if one.cause]
    common = max(sorted(set(names)), key=names.count)
    cause = next(one.cause for one in own if one.cause and one.cause.name == common)
    costs = [one.cost_per_day for one in own if one.cost_per_day is not None]
    return replace(finding, cause=cause, cost_per_day=sum(costs) if costs else None, currency=own[0].currency)
