"""The sentences of an alert: one wording for every stream in every status."""

from __future__ import annotations

import math

from cascade_otel.alerting import words
from cascade_otel.records import HOUR_NS, Alert, AlertStatus, Finding, Stream

LIMIT_MINUTES = 10
MOST_NAMED = 10

_STATUS: dict[AlertStatus, str] = {
    "pending": "SUSPECT",
    "firing": "FIRING",
    "resolved": "RESOLVED",
    "no_data": "NO DATA",
}
_EXPLAINED: tuple[Stream, ...] = (
    "escalation_rate",
    "confidence_shape",
    "audited_disagreement",
    "calibration_gap",
)
"""Streams whose cause is inputs, model or threshold."""
_MOVED: dict[Stream, str] = {
    "escalation_rate": "another escalation rate",
    "confidence_shape": "other confidences",
    "missing_confidence_rate": "answers without a confidence",
    "error_rate": "failing calls",
    "audited_disagreement": "audits that disagree",
    "calibration_gap": "wrong answers at the same confidence",
    "latency_accepted": "the latency of accepted calls",
    "latency_escalated": "the latency of escalated calls",
    "cost_accepted": "the cost of an accepted call",
    "cost_escalated": "the cost of an escalated call",
    "tier_errors": "failing calls",
    "missing_confidence": "missing confidences",
    "escalation_limit": "more escalated calls than the limit allows",
    "cost_limit": "higher costs than the limit allows",
    "no_data": "no calls for a while",
}


def headline(alert: Alert) -> str:
    """What changed, from where to where."""
    return f"[{_STATUS[alert.status]}] {words.name(alert.task)}: {_what(alert)}"


def story(alert: Alert) -> list[str]:
    """Since when, how sure, why and what it costs; one line each, at most seven."""
    if alert.status == "resolved":
        return _ended(alert)
    return _silent(alert) if alert.status == "no_data" else _movement(alert)


def _what(alert: Alert) -> str:
    finding, tier = alert.finding, words.name(alert.tier)
    if alert.status == "resolved":
        return _calm(alert, tier)
    if alert.status == "no_data":
        return "no calls any more"
    if finding.tasks:
        tier = f"{len(finding.tasks)} tasks moved together: the first tier"
    match finding.stream:
        case "escalation_rate":
            return f"{tier} escalates {_from_to(finding)}"
        case "missing_confidence_rate":
            return f"{tier} gives no confidence in {_levels(finding)}"
        case "error_rate":
            return f"{tier} fails in {_levels(finding)}"
        case "audited_disagreement":
            return f"audits disagree with {tier} in {_levels(finding)}"
        case "calibration_gap":
            return f"{tier} is wrong at the same confidence in {_levels(finding)}"
        case "latency_accepted" | "latency_escalated" | "cost_accepted" | "cost_escalated":
            return _amounts(finding)
        case "confidence_shape":
            return f"{tier} gives other confidences than before; it escalates {_from_to(finding)}"
        case "tier_errors":
            return f"{tier} fails in {_share(finding)}"
        case "missing_confidence":
            return f"{tier} gives no confidence in {_share(finding)}"
        case "escalation_limit":
            return f"{tier} escalates {_share(finding)}"
        case "cost_limit":
            return f"has cost {_spent(finding)}"
        case "no_data":
            return "no calls any more"


def _calm(alert: Alert, tier: str) -> str:
    finding = alert.finding
    if alert.stream == "no_data":
        return "calls are back"
    if finding.state == "learning":
        day = min(finding.days_learned + 1, finding.days_needed)
        return f"what it does now is learned anew (day {day} of {finding.days_needed})"
    if finding.state != "quiet":
        return "a suspicion ended with its calls"
    match finding.stream:
        case "escalation_rate":
            return f"{tier} escalates as before again: {_now(finding)}"
        case "confidence_shape":
            return f"{tier} gives confidences as before again"
        case (
            "missing_confidence_rate"
            | "error_rate"
            | "audited_disagreement"
            | "calibration_gap"
            | "latency_accepted"
            | "latency_escalated"
            | "cost_accepted"
            | "cost_escalated"
        ):
            return f"as before again: {_MOVED[finding.stream]}"
        case "tier_errors":
            return f"{tier} answers again: it fails in {_share(finding)}"
        case "missing_confidence":
            return f"{tier} gives confidences again: none in {_share(finding)}"
        case "escalation_limit":
            return f"within its limit again: {tier} escalates {_share(finding)}"
        case "cost_limit":
            return f"within its budget again: {_spent(finding)}"
        case "no_data":
            return "calls are back"


def _movement(alert: Alert) -> list[str]:
    finding = alert.finding
    lines = [_since(alert)]
    if finding.log_needed:
        lines.append(_certainty(finding))
    if finding.stream in ("escalation_rate", "confidence_shape"):
        lines.append(_calls(finding))
    if finding.stream in _EXPLAINED:
        lines += [*_cause(finding), _cost(finding)]
    return [*lines, *_tasks(finding), *_also(alert)]


def _tasks(finding: Finding) -> list[str]:
    """The tasks of a group, the clearest first."""
    if not finding.tasks:
        return []
    named = [words.name(task) for task in finding.tasks[:MOST_NAMED]]
    more = len(finding.tasks) - len(named)
    return [f"Tasks: {', '.join(named)}" + (f" and {more:,} more." if more else ".")]


def _silent(alert: Alert) -> list[str]:
    finding = alert.finding
    if finding.stream == "no_data":
        return [
            f"Since: {_start(alert)} UTC",
            "Nothing can be said about this task until calls are back.",
        ]
    return [
        f"Noticed: {words.moment(alert.updated_ns)} UTC",
        f"Before that an alert was open, since {_start(alert)} UTC: {_moved(alert)}.",
        "This alert stays open: without calls nobody knows whether that is over.",
    ]


def _ended(alert: Alert) -> list[str]:
    end = alert.updated_ns if alert.resolved_ns is None else alert.resolved_ns
    lasted = words.stretch((end - alert.start_ns) / HOUR_NS)
    return [
        f"It lasted {lasted}, from {words.moment(alert.start_ns)} to {words.moment(end)} UTC.",
        *_also(alert),
    ]


def _since(alert: Alert) -> str:
    finding = alert.finding
    line = f"Since: {_start(alert)} UTC"
    if finding.since_low_hour is not None and finding.since_high_hour is not None:
        low, high = words.hour(finding.since_low_hour), words.hour(finding.since_high_hour)
        if low != high:
            line += f" (90 %: between {low} and {high})"
    return line


def _certainty(finding: Finding) -> str:
    if finding.log_evidence < finding.log_needed:
        when = (
            "" if finding.paged_hour is None else f"; it passed that on {words.hour(finding.paged_hour)} UTC"
        )
        return (
            f"How sure: evidence is {finding.log_evidence:.1f}, a page needs {finding.log_needed:.1f}{when}."
        )
    years = math.exp(min(finding.log_evidence, 50.0)) / words.HOURS_A_YEAR
    rare = "over 1,000 years" if years > 1000 else words.stretch(years * words.HOURS_A_YEAR)
    return (
        f"How sure: evidence is {finding.log_evidence:.1f}, a page needs {finding.log_needed:.1f}; "
        f"without a change a task gets this far once in {rare}, or less often."
    )


def _calls(finding: Finding) -> str:
    if finding.current is None or finding.reference is None:
        return "Calls: unknown."
    now, before = finding.current, finding.reference
    return (
        f"Calls: {now.escalated:,} of {now.calls:,} escalated since then, "
        f"{before.escalated:,} of {before.calls:,} in the reference."
    )


def _cause(finding: Finding) -> list[str]:
    cause = finding.cause
    if cause is None:
        return ["Likely cause: not known yet."]
    named = {
        "model": "the model",
        "inputs": "the inputs",
        "threshold": "the threshold τ",
        "confidence_scale": "the scale of the confidences",
        "hidden_inputs": "the inputs, in a way no segment shows",
        "silent_decay": "answers that got worse at unchanged confidence",
        "model_or_inputs": "the model, or inputs in a way no segment shows",
        "unknown": "cannot be told",
    }
    parts = (("model", cause.model), ("inputs", cause.inputs), ("threshold", cause.threshold))
    split = ", ".join(f"{part} {words.effect(effect)}" for part, effect in parts)
    # A cause that cannot be told may come without a split at all.
    known = any(effect.points for _, effect in parts)
    likely = " and ".join(named[one] for one in (cause.name, *(n for n in cause.named if n != cause.name)))
    lines = [f"Likely cause: {likely}." + (f" {split[0].upper()}{split[1:]}." if known else "")]
    return [*lines, words.harmless(cause.note)] if cause.note else lines


def _cost(finding: Finding) -> str:
    if finding.cost_per_day is None:
        return "Cost: unknown (these calls carry none)."
    return (
        f"Cost: {words.money(finding.cost_per_day, finding.currency, sign=True)} a day against the reference."
    )


def _also(alert: Alert) -> list[str]:
    others = _moved(alert, but=alert.finding.stream)
    return [f"With it: {others}."] if others else []


def _moved(alert: Alert, but: Stream = "no_data") -> str:
    """The alert's streams in words, without one of them."""
    return ", ".join(_MOVED[s] for s in (alert.stream, *alert.also) if s not in (but, "no_data"))


def _from_to(finding: Finding) -> str:
    if finding.current is None:
        return "at another rate"
    now = f"{words.percent(finding.current.rate)} of calls"
    if finding.reference is None:
        return now
    change = words.points(100.0 * (finding.current.rate - finding.reference.rate))
    return f"{now}, was {words.percent(finding.reference.rate)} ({change} points)"


def _levels(finding: Finding) -> str:
    if finding.now is None:
        return "another share of its calls"
    was = "" if finding.before is None else f", was {words.percent(finding.before)}"
    return f"{words.percent(finding.now)} of calls{was}"


def _amounts(finding: Finding) -> str:
    """What a path takes or costs, at the quantile that shows it best."""
    what, path = finding.stream.split("_")
    if finding.before is None or finding.now is None or finding.quantile is None:
        return f"{path} calls have another {what}"
    before, now = (
        words.seconds(amount) if what == "latency" else words.money(amount, finding.currency)
        for amount in (finding.before, finding.now)
    )
    which = "half" if finding.quantile == 0.5 else f"{1 - finding.quantile:.0%}"
    verb = "take longer than" if what == "latency" else "cost more than"
    return f"{which} of {path} calls {verb} {now}, was {before}"


def _now(finding: Finding) -> str:
    if finding.current is None or not finding.current.calls:
        return "within its usual range"
    usual = "" if finding.reference is None else f" (reference {words.percent(finding.reference.rate)})"
    return f"{words.percent(finding.current.rate)} of calls{usual}"


def _share(finding: Finding) -> str:
    """What a fixed limit saw, the numbers it saw it in, and the limit."""
    seen = "too many calls" if finding.value is None else f"{words.percent(finding.value)} of calls"
    parts = []
    if finding.current is not None and finding.current.calls and finding.value is not None:
        hit = round(finding.value * finding.current.calls)
        parts.append(f"{hit:,} of {finding.current.calls:,} in {LIMIT_MINUTES} minutes")
    if finding.limit is not None:
        parts.append(f"limit {words.percent(finding.limit)}")
    return f"{seen} ({'; '.join(parts)})" if parts else seen


def _spent(finding: Finding) -> str:
    if finding.value is None or finding.limit is None:
        return "an unknown amount since midnight UTC"
    spent, limit = (words.money(amount, finding.currency) for amount in (finding.value, finding.limit))
    return f"{spent} since midnight UTC (limit {limit} a day)"


def _start(alert: Alert) -> str:
    since = alert.finding.since_hour
    return words.moment(alert.start_ns) if since is None else words.hour(since)
