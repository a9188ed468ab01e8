"""When somebody is told: the states an alert goes through, from what each tick found."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from cascade_otel.records import HOUR_NS, Alert, AlertStatus, Finding, Stream

PRECEDENCE: tuple[Stream, ...] = (
    "tier_errors",
    "missing_confidence",
    "error_rate",
    "missing_confidence_rate",
    "escalation_rate",
    "escalation_limit",
    "confidence_shape",
    "audited_disagreement",
    "calibration_gap",
    "cost_limit",
    "cost_accepted",
    "cost_escalated",
    "latency_accepted",
    "latency_escalated",
)
"""Which stream speaks where several begin in one tick: a failing tier explains the rate, not vice versa."""

RELIEF = 0.8
"""A fixed limit is kept again at this share of it: a value that hovers about its limit is told of once."""


@dataclass(frozen=True)
class Changes:
    """What one tick did to the alerts."""

    alerts: list[Alert]
    """New or different: to be stored."""
    notify: list[Alert]
    """To be told, each once. Always among ``alerts``."""


@dataclass(frozen=True)
class _Tick:
    store: str
    now_ns: int


def advance(
    open_alerts: Sequence[Alert], findings: Sequence[Finding], store_name: str, now_ns: int
) -> Changes:
    """Takes the alerts that are open and one tick's findings to what is open afterwards. Pure.

    ==================  =====================================================================================
    a stream's finding  what becomes of the task's and tier's alert
    ==================  =====================================================================================
    suspect             opened as *pending*: stored, not told; one that fires stays so while it is suspect
    drifting            *firing*, told once; a further stream joins ``also`` and is not told
    quiet, learning     *resolved* once none of its streams moves: told if it was firing, else a spike
                        that nobody hears of
    no_data             *no_data*, told once for each alert, firing again without a word when calls are back;
                        a task with nothing open gets an alert of the stream ``no_data``; a pending one is
                        dropped, since the detector keeps its evidence
    absent              nothing is known, nothing changes
    ==================  =====================================================================================

    A task that moves as a part of its group is not told of: the group has an alert of its own, under its
    name. A fixed limit is *drifting* beyond its limit and *quiet* below it, which resolves it once it is well
    below (``RELIEF``); with too few calls to say, it is absent. There is at most one open alert for each
    task and tier. Its fingerprint never changes. Its content is the newest finding of the stream that named
    it, or of the escalation rate where the shape of the confidences named it. The same alerts and findings
    give the same result, and what it returns, given again with the same findings, tells nobody anything.
    Resolved alerts among ``open_alerts`` are passed over.
    """
    tick = _Tick(store_name, now_ns)
    by_task: dict[str, list[Finding]] = defaultdict(list)
    for finding in sorted(findings, key=lambda finding: (finding.tier, finding.stream)):
        by_task[finding.task].append(finding)
    opened: dict[str, list[Alert]] = defaultdict(list)
    for alert in open_alerts:
        if alert.status != "resolved":
            opened[alert.task].append(alert)
    changes = Changes([], [])
    for task in sorted(by_task):
        _advance_task(tick, by_task[task], opened[task], changes)
    return changes


def fingerprint(store_name: str, task: str, tier: str, stream: Stream, start_hour: int) -> str:
    """Sixteen hexadecimal digits that name one alert for good: the same shift always has the same."""
    parts = json.dumps([store_name, task, tier, stream, start_hour])
    return hashlib.sha256(parts.encode()).hexdigest()[:16]


def _advance_task(tick: _Tick, findings: list[Finding], alerts: list[Alert], changes: Changes) -> None:
    by_tier: dict[str, dict[Stream, Finding]] = defaultdict(dict)
    for finding in findings:
        by_tier[finding.tier][finding.stream] = finding
    silence = _silence(findings)
    seen = None if silence else _sign_of_life(findings)
    if seen is not None:
        # Before anything else, so that a task whose calls are back has one alert open, not two.
        for alert in alerts:
            if alert.stream == "no_data":
                _put(changes, alert, _resolved(tick, alert, seen), tell=True)
        alerts = [alert for alert in alerts if alert.stream != "no_data"]
    elif silence is None:
        alerts = [alert for alert in alerts if alert.status != "no_data"]
    mine = {alert.tier: alert for alert in alerts}
    heard = False
    for tier in sorted(set(by_tier) | set(mine)):
        if silence is None:
            _advance_tier(tick, by_tier[tier], mine.get(tier), changes)
        else:
            heard |= _fall_silent(tick, by_tier[tier], mine.get(tier), changes, tell=not heard)
    if silence is not None and not heard:
        _put(changes, None, _open(tick, replace(silence, stream="no_data"), "no_data"), tell=True)


def _silence(findings: list[Finding]) -> Finding | None:
    """The finding that says that the task has no calls: its own stream decides, else the detector's."""
    own = [finding for finding in findings if finding.stream == "no_data"]
    judged = own or [f for f in findings if f.stream in ("escalation_rate", "confidence_shape")]
    if judged and all(finding.state == "no_data" for finding in judged):
        return judged[0]
    return None


def _sign_of_life(findings: list[Finding]) -> Finding | None:
    """A finding that there are calls. One that is learning is none: it may have had no calls for days."""
    return next((f for f in findings if f.state in ("quiet", "suspect", "drifting")), None)


def _advance_tier(
    tick: _Tick, streams: Mapping[Stream, Finding], alert: Alert | None, changes: Changes
) -> None:
    moving = _in_state(streams, "drifting")
    suspect = _in_state(streams, "suspect")
    if alert is None:
        if moving or suspect:
            lead = _lead(None, moving or suspect)
            after = _open(tick, streams[lead], "firing" if moving else "pending")
            tell = _of_its_own(streams, moving)
            _put(changes, None, replace(_join(after, moving), told=tell), tell=tell)
        return
    if moving:
        content = streams[_lead(alert.stream, moving)]
        known = alert.told and alert.status != "pending"
        after = _join(replace(alert, status="firing", finding=content), moving)
        if alert.status == "pending":
            # Evidently's report was about fewer calls.
            after = replace(after, report=None)
        tell = not known and _of_its_own(streams, moving)
        _put(changes, alert, _touched(tick, alert, replace(after, told=known or tell)), tell=tell)
    elif suspect:
        if alert.status == "pending":
            after = replace(alert, finding=streams[_lead(alert.stream, suspect)])
        else:
            after = replace(alert, status="firing")
        _put(changes, alert, _touched(tick, alert, after), tell=False)
    elif (last := streams.get(alert.finding.stream)) is not None and _is_over(last):
        told = alert.told and alert.status != "pending"
        _put(changes, alert, _resolved(tick, alert, last), tell=told)
    elif alert.status == "no_data":
        _put(changes, alert, _touched(tick, alert, replace(alert, status="firing")), tell=False)


def _fall_silent(
    tick: _Tick, streams: Mapping[Stream, Finding], alert: Alert | None, changes: Changes, *, tell: bool
) -> bool:
    """Turns a tier's alert to no data; says whether people know, by it, that the task is silent."""
    moving = _in_state(streams, "drifting")
    if alert is None:
        if moving:
            after = _join(_open(tick, streams[_lead(None, moving)], "no_data"), [*moving, "no_data"])
            _put(changes, None, after, tell=True)
        return bool(moving)
    if alert.status == "pending" and not moving:
        _put(changes, alert, _resolved(tick, alert, alert.finding), tell=False)
        return False
    content = streams[_lead(alert.stream, moving)] if moving else alert.finding
    after = _join(replace(alert, status="no_data", finding=content), [*moving, "no_data"])
    known = alert.stream == "no_data" or "no_data" in alert.also
    tell = alert.status == "pending" or (tell and not known)
    _put(changes, alert, _touched(tick, alert, replace(after, told=alert.told or tell)), tell=tell)
    return True


def _of_its_own(streams: Mapping[Stream, Finding], moving: Sequence[Stream]) -> bool:
    """Whether something moves that no group is told of."""
    return any(not _is_part(streams[stream]) for stream in moving)


def _is_part(finding: Finding) -> bool:
    """Whether a task moved with its group."""
    return finding.group is not None and not finding.tasks


def _is_over(last: Finding) -> bool:
    if last.value is not None and last.limit is not None and last.value > RELIEF * last.limit:
        return False
    return last.state in ("quiet", "learning")


def _in_state(streams: Mapping[Stream, Finding], state: str) -> list[Stream]:
    return [stream for stream in PRECEDENCE if stream in streams and streams[stream].state == state]


def _lead(named: Stream | None, moving: list[Stream]) -> Stream:
    if named == "confidence_shape" and "escalation_rate" in moving:
        return "escalation_rate"
    return named if named in moving else moving[0]


def _open(tick: _Tick, finding: Finding, status: AlertStatus) -> Alert:
    start_ns = tick.now_ns if finding.since_hour is None else finding.since_hour * HOUR_NS
    name = fingerprint(tick.store, finding.task, finding.tier, finding.stream, start_ns // HOUR_NS)
    return Alert(
        fingerprint=name,
        status=status,
        task=finding.task,
        tier=finding.tier,
        stream=finding.stream,
        start_ns=start_ns,
        opened_ns=tick.now_ns,
        updated_ns=tick.now_ns,
        finding=finding,
    )


def _join(alert: Alert, moving: Iterable[Stream]) -> Alert:
    new = tuple(stream for stream in moving if stream != alert.stream and stream not in alert.also)
    return replace(alert, also=alert.also + new)


def _resolved(tick: _Tick, alert: Alert, last: Finding) -> Alert:
    return replace(alert, status="resolved", finding=last, resolved_ns=tick.now_ns, updated_ns=tick.now_ns)


def _touched(tick: _Tick, before: Alert, after: Alert) -> Alert:
    return after if after == before else replace(after, updated_ns=tick.now_ns)


def _put(changes: Changes, before: Alert | None, after: Alert, *, tell: bool) -> None:
    if after != before:
        changes.alerts.append(after)
    if tell:
        changes.notify.append(after)
