"""One look at a store: which baselines hold, what shifted and why, which limits are passed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from cascade_otel.analysis import baselines, diagnosis, drift, limits, money
from cascade_otel.policy import Policy
from cascade_otel.records import HOUR_NS, Alert, Finding, Stream, TaskHours
from cascade_otel.storage.rollup import Reader
from cascade_otel.storage.schema import confidence_cell
from cascade_otel.storage.state import Baseline, State

JUDGED = "drift judged"
"""Tick of the state whose time is the end of the newest hour the detector has looked at."""


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


def look(reader: Reader, state: State, policy: Policy, now_ns: int, afresh: bool) -> Look:
    """Everything there is to find now; writes nothing.

    Args:
        reader: of the store.
        state: what earlier looks left.
        policy: page budget and limits.
        now_ns: the present.
        afresh: judge every task, also where no hour has become complete since it was last done.
    """
    now_hour = now_ns // HOUR_NS
    last, before, judged_before_ns = state.findings(), state.baselines(), state.last_tick(JUDGED)
    opened = [alert for alert in state.alerts() if alert.status != "resolved"]
    changed: list[Baseline] = []
    judged_before = [finding for finding in last if finding.stream not in limits.STREAMS]
    if afresh or not judged_before or (judged_before_ns or 0) < now_hour * HOUR_NS:
        history = _history(reader, before, policy, now_hour)
        judged: list[Finding] = []
        if history is not None:
            references = _baselines(history, before, last, opened, now_hour)
            changed = [one for task, one in references.items() if one != before.get(task)]
            found = drift.judge(history, references, policy.page_budget, now_hour)
            judged = _explained(reader, found)
    else:
        judged = judged_before
    told = {(alert.task, alert.tier) for alert in opened}
    passed = [
        finding
        for finding in limits.check(reader, policy, now_ns)
        if finding.state != "quiet" or (finding.task, finding.tier) in told
    ]
    return Look(
        [*judged, *passed, *_lifted(opened, policy, now_hour)], changed, before, now_hour, judged_before_ns
    )


def _lifted(opened: Sequence[Alert], policy: Policy, now_hour: int) -> list[Finding]:
    """Quiet findings for alerts whose limit is in the policy no more: nothing else would ever end them."""
    limited = {"escalation_limit": "escalation_limit", "cost_limit": "cost_per_day"}
    return [
        Finding(alert.task, alert.tier, alert.stream, "quiet", now_hour)
        for alert in opened
        if alert.stream in limited and getattr(policy.of(alert.task), limited[alert.stream]) is None
    ]


def _history(
    reader: Reader, before: Mapping[str, Baseline], policy: Policy, now_hour: int
) -> TaskHours | None:
    """The hours that every reference and its watch lie in; None in an empty store.

    A reference that began long ago is reached back to only if it is still watched: one that a silent task
    keeps for good would make every look dearer.
    """
    found = reader.span_hours()
    if found is None or found[0] >= now_hour:
        return None
    start = now_hour // 24 * 24 - baselines.LOOK_BACK_DAYS * 24
    watched = (one.start_hour for one in before.values() if one.end_hour > start)
    start = min([start, *watched])
    history = reader.task_hours(max(start, found[0] // 24 * 24), now_hour)
    declared = [policy.of(task).threshold for task in history.tasks]
    nano = np.array([np.nan if one is None else one * 1e9 for one in declared])
    cells = np.where(np.isnan(nano), -1, confidence_cell(np.rint(np.nan_to_num(nano)).astype(np.int64)))
    return replace(
        history, threshold_cell=np.where(history.threshold_cell < 0, cells, history.threshold_cell)
    )


def _baselines(
    history: TaskHours,
    previous: Mapping[str, Baseline],
    last: Sequence[Finding],
    opened: Sequence[Alert],
    now_hour: int,
) -> dict[str, Baseline]:
    restless = {alert.task for alert in opened} | {
        finding.task
        for finding in last
        if finding.stream in drift.WEIGHTS
        and (
            finding.state in ("suspect", "drifting", "no_data")
            or finding.log_evidence > finding.log_needed / 2 > 0
        )
    }
    return {
        task: baselines.choose(task, previous.get(task), days, now_hour, task not in restless)
        for task, days in zip(history.tasks, drift.days_with_calls(history), strict=True)
    }


def _explained(reader: Reader, findings: Sequence[Finding]) -> list[Finding]:
    """The findings with cause and cost; a task whose rate and shape both moved has one cause, its rate's."""
    explained: dict[tuple[str, Stream], Finding] = {}
    for finding in findings:
        rate = explained.get((finding.task, "escalation_rate"))
        if finding.state in ("suspect", "drifting"):
            if rate is not None and rate.cause is not None:
                cause, cost, currency = rate.cause, rate.cost_per_day, rate.currency
            else:
                cause = diagnosis.cause(reader, finding)
                cost, currency = money.cost_change_per_day(reader, finding)
            finding = replace(finding, cause=cause, cost_per_day=cost, currency=currency)
        explained[finding.task, finding.stream] = finding
    return list(explained.values())
