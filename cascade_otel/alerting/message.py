"""What an alert says: a text that people read, and the same as fields for programs."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import quote

from cascade_otel.alerting import sentences, words
from cascade_otel.alerting.advice import RUNBOOKS, runbook, steps
from cascade_otel.records import HOUR_NS, Alert, Effect, Finding

VERSION = 1
"""Of the body; it changes when a field changes its meaning or goes away."""

LONGEST_LINK = 1500


def text(
    alert: Alert,
    dashboard_url: str,
    runbooks: str = RUNBOOKS,
    owner: str | None = None,
    store: str | None = None,
) -> str:
    """The message as plain text of at most 14 lines, which a terminal and a chat show alike.

    ``runbooks``: address or path of the runbooks' page. ``owner``: whose the task is. ``store``: folder that
    commands name. Names that came with telemetry are made harmless.
    """
    lines = [sentences.headline(alert), *sentences.story(alert)]
    lines += [f"Do: {number}) {step}" for number, step in enumerate(steps(alert, store), start=1)]
    lines += [
        f"Runbook: {runbook(alert, runbooks)}",
        f"Dashboard: {link(alert, dashboard_url)}",
        f"Alert {alert.fingerprint}" + (f", for {words.harmless(owner, 60)}" if owner else ""),
    ]
    return "\n".join(lines)


def body(
    alert: Alert,
    dashboard_url: str,
    runbooks: str = RUNBOOKS,
    owner: str | None = None,
    store: str | None = None,
) -> dict[str, Any]:
    """What a webhook gets: ``text`` and every field of ``json_line``, with links. JSON-able.

    Slack shows ``text`` and passes over the rest; ``mrkdwn`` and ``unfurl_*`` keep it from reading markup
    into names and from fetching what they point to.
    """
    return {
        "text": text(alert, dashboard_url, runbooks, owner, store),
        "mrkdwn": False,
        "unfurl_links": False,
        "unfurl_media": False,
        "version": VERSION,
        **json_line(alert),
        "owner": owner,
        "dashboard": link(alert, dashboard_url),
        "runbook": runbook(alert, runbooks),
        "report": None if alert.report is None else _clean(alert.report),
    }


def json_line(alert: Alert) -> dict[str, Any]:
    """The alert's fields, JSON-able: times ISO 8601 in UTC, rates fractions, effects percentage points."""
    finding = alert.finding
    before, after = finding.reference, finding.current
    cause = finding.cause
    return {
        "task": _clean(alert.task),
        "tier": _clean(alert.tier),
        "status": alert.status,
        "stream": finding.stream,
        "also": [stream for stream in (alert.stream, *alert.also) if stream != finding.stream],
        "cause": None if cause is None else cause.name,
        "from": None if before is None else _number(before.rate),
        "to": _now_at(finding),
        "since": words.iso(alert.start_ns if finding.since_hour is None else finding.since_hour * HOUR_NS),
        "since_low": _hour(finding.since_low_hour),
        "since_high": _hour(finding.since_high_hour),
        "log_evidence": _number(finding.log_evidence),
        "log_needed": _number(finding.log_needed),
        "calls": None if after is None else after.calls,
        "reference_calls": None if before is None else before.calls,
        "effects": None
        if cause is None
        else {
            "inputs": _effect(cause.inputs),
            "model": _effect(cause.model),
            "threshold": _effect(cause.threshold),
        },
        "note": None if cause is None else _clean(cause.note),
        "cost_per_day": _number(finding.cost_per_day),
        "currency": _clean(finding.currency),
        "before": _number(finding.before),
        "now": _number(finding.now),
        "quantile": finding.quantile,
        "group": None if finding.group is None else _clean(finding.group),
        "tasks": [_clean(task) for task in finding.tasks],
        "value": _number(finding.value),
        "limit": _number(finding.limit),
        "opened": words.iso(alert.opened_ns),
        "updated": words.iso(alert.updated_ns),
        "resolved": None if alert.resolved_ns is None else words.iso(alert.resolved_ns),
        "fingerprint": alert.fingerprint,
    }


def link(alert: Alert, dashboard_url: str) -> str:
    """The task's page over the last seven days; the first screen for a group of tasks, or for a name too long
    for an address.
    """
    root = dashboard_url.rstrip("/")
    quoted = quote(alert.task, safe="", errors="replace")
    if alert.finding.tasks or len(quoted) > LONGEST_LINK:
        return root
    return f"{root}/task?task={quoted}&range=7d"


def _now_at(finding: Finding) -> float | None:
    """The rate now, or the share that passed a fixed limit."""
    if finding.stream == "cost_limit":
        return None
    if finding.value is not None:
        return _number(finding.value)
    return None if finding.current is None else _number(finding.current.rate)


def _effect(effect: Effect) -> dict[str, float | None]:
    return {"points": _number(effect.points), "low": _number(effect.low), "high": _number(effect.high)}


def _hour(number: int | None) -> str | None:
    return None if number is None else words.iso(number * HOUR_NS)


def _number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(float(value), 6)


def _clean(value: str) -> str:
    return value.encode("utf-8", "replace").decode()
