"""What a page says in sentences: is anything wrong, with which task, since when, why, and what to do."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from cascade_otel.presentation import moved, words
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.second_opinion import SecondOpinion
from cascade_otel.presentation.source import Reach, Watch
from cascade_otel.presentation.task_frames import Escalation, Latency
from cascade_otel.presentation.verdicts import CAUSES, LIMITS, Verdict, newest, verdict
from cascade_otel.records import HOUR_NS, SECOND_NS, Alert, Finding, Stream
from cascade_otel.storage.state import Baseline

Tone = Literal["bad", "warn", "good", "plain"]
STALE_S = 3 * 3600
"""Calls this old are said to be old; the detector has its own, slower judgement of a silent task."""
JOB_LATE_S = 10 * 60
NO_CALLS = "No call of a cascade ended in this range."
NO_DECISIONS = "No call in this range decided whether to escalate."
NO_CONFIDENCE = (
    "No confidence was recorded in this range. Say where it comes from: @tier(…, confidence=…), or a @scorer."
)

SUSPECT = "Nobody is alerted yet: it pages if the change stands, and ends without a word if it was a spike."
NO_DATA = "Whether it has shifted cannot be said until calls are back; an alert that was open stays open."
MOST_SUSPECTS = 3

_OVER: dict[Stream, tuple[str, str]] = {
    "tier_errors": ("{share} of calls to {tier} fail", "{share} of calls to {tier} failed,"),
    "missing_confidence": (
        "{share} of answers of {tier} have no confidence",
        "{share} of answers of {tier} had no confidence,",
    ),
    "escalation_limit": ("escalates {share} of its calls", "escalated {share} of its calls,"),
}
"""Shares with a fixed limit: as the last tick measured them, and as they were when last measured."""


@dataclass(frozen=True)
class Line:
    """One sentence, about a task (shown first and linked) or about everything (None)."""

    tone: Tone
    task: str | None
    text: str


def banner(watch: Watch, tasks: int, reach: Reach | None, now_ns: int) -> tuple[Line, ...]:
    """Everything that is wrong, worst first; one line that says so where nothing is."""
    trouble = [_alert_line(alert, newest(watch.findings, alert), now_ns) for alert in _worst_first(watch)]
    trouble += _suspects(watch, now_ns)
    if reach is None:
        return (*trouble, Line("plain", None, "No calls have arrived yet."))
    if job := _job_line(watch, now_ns):
        trouble.append(job)
    old = (now_ns - reach.last_ns) / SECOND_NS
    if old > STALE_S:
        text = f"The last call ended {words.age(old)} ago, {words.moment(reach.last_ns)}; nothing came since."
        trouble.append(Line("warn", None, text))
    if trouble:
        return tuple(trouble)
    tone, said = _quiet(watch)
    return (Line(tone, None, f"{said} {_watched(tasks)}, data {words.age(old)} old."),)


def task_line(one: Verdict, now_ns: int) -> Line:
    """The state of one task in a sentence."""
    if one.firing:
        return _alert_line(one.firing, None if one.lead is one.firing.finding else one.lead, now_ns)
    lead = one.lead
    if lead is None:
        if one.first_hour is None:
            return Line("plain", one.task, "has not been judged yet: the drift job has not run.")
        return Line("plain", one.task, f"is new: {_first_judged(one.first_hour)}.")
    if lead.state == "suspect":
        return _suspect_line(lead, now_ns)
    if lead.state == "learning":
        return Line("plain", one.task, f"is {one.state}: {_learning(lead)}")
    if lead.state == "no_data":
        since = f"since {words.hour(lead.since_hour)}" if lead.since_hour is not None else "for a while"
        return Line("warn", one.task, f"has sent no calls {since}. {NO_DATA}")
    if lead.state == "drifting":
        return Line("bad", one.task, f"is drifting: {_moved(lead)}.")
    text = "is quiet."
    if one.rate and one.rate.reference and one.rate.current:
        text = (
            f"is quiet: {words.share(one.rate.current.rate)} of calls escalate, "
            f"{words.share(one.rate.reference.rate)} in the reference."
        )
    return Line("good", one.task, text)


def why(one: Verdict) -> str:
    """What a person should know about the change besides its parts."""
    lead = one.lead
    if lead is None:
        return "Nothing has been judged yet."
    if one.since_hour is None:
        return _evidence(lead) or "Nothing to explain."
    parts = [lead.cause.note] if lead.cause else []
    if lead.since_low_hour is not None and lead.since_high_hour is not None:
        low, high = words.hour(lead.since_low_hour).removesuffix(" UTC"), words.hour(lead.since_high_hour + 1)
        parts.append(f"The change lies between {low} and {high}.")
    parts.append(_evidence(lead))
    return " ".join(part for part in parts if part)


def title(task: str) -> str:
    """Heading of the worst task's time line."""
    return f"{words.name(task)}: escalation rate"


def reading(over: Period, known: Reach, now_ns: int) -> str:
    """How to read the first screen."""
    old = words.age((now_ns - known.last_ns) / SECOND_NS)
    return f"{over.name}, times in UTC, data {old} old; click a row for its page"


def reading_of_rate(frame: Escalation, over: Period) -> str:
    """How to read the time line."""
    every = "hour" if over.step == 1 else f"{over.step} hours"
    band = "; band: 95% of such buckets in the reference" if frame.reference is not None else ""
    return f"every {every}, UTC{band}"


def no_rate(calls: int, over: Period) -> str:
    """Why the time line is empty, though there may be ``calls`` in the hour that is not over."""
    if not calls:
        return NO_DECISIONS
    return f"No hour with calls is over yet: the curve begins at {words.clock(over.end_hour)}."


def no_task(task: str, over: Period) -> Line:
    """The address names a task that there is not."""
    return Line(
        "warn", None, f"There is no task {words.name(task)} in this store ({over.name}); choose one above."
    )


def reading_of_latency(frame: Latency, over: Period) -> str:
    """Quantiles of both paths, and what they cover."""
    parts = [
        f"{row['path']} p50 {words.seconds(row['p50'])}, p95 {words.seconds(row['p95'])}"
        for row in frame.quantiles.to_dict("records")
        if row["calls"]
    ]
    return "; ".join([*parts, "whole days (UTC)"] if parts else [])


def reference(baseline: Baseline | None) -> str:
    """What a task is compared with, and why with that; empty where nothing was chosen yet."""
    if baseline is None:
        return ""
    start, end = (
        words.hour(hour).removesuffix(" 00:00 UTC") for hour in (baseline.start_hour, baseline.end_hour)
    )
    chosen = words.moment(baseline.at_ns)
    return (
        f"Compared with {start} to {end}: "
        + {
            "trailing": "past days that move on as long as the task is quiet.",
            "pinned": "past days that are held still until the task is quiet again.",
            "accepted": f"what began then was accepted as the new normal on {chosen}.",
            "version": f"the days since its version came, chosen on {chosen}.",
            "chosen": "days that cascade.toml names.",
        }[baseline.reason]
    )


def part_of_group(one: Verdict) -> str:
    """Where the task moved together with others, with which; empty otherwise."""
    lead = one.lead
    if lead is None or lead.group is None:
        return ""
    if lead.tasks:
        return f"It is about {words.name(lead.group)}: one page for all of them."
    return f"It moved together with {words.name(lead.group)}, for which there is one page."


def accept_command(task: str, store: str) -> str:
    """What to type to take a task's shift as the new normal."""
    return f"cascade-otel drift accept {shlex.quote(task)} \\\n  --store {shlex.quote(store)}"


def report_command(task: str, store: str) -> str:
    """What to type for Evidently's report about a task."""
    return f"cascade-otel drift --evidently {shlex.quote(task)} \\\n  --store {shlex.quote(store)}"


def second_opinion_command(store: str) -> str:
    """What to type to count the pages that Evidently's methods would have sent."""
    return f"cascade-otel drift --also psi,wasserstein,ks \\\n  --store {shlex.quote(store)}"


def second_opinion(one: SecondOpinion) -> str:
    """The counts of one task in a sentence."""
    if not one.days:
        return "None of the days could be compared: too few calls."
    theirs = ", ".join(
        f"{method.method} {method.pages}" if method.days else f"{method.method} cannot be computed"
        for method in one.methods
    )
    return f"Pages about this task in {one.days} days. Evidently: {theirs}; the detector: {one.ours}."


def _worst_first(watch: Watch) -> Iterable[Alert]:
    tasks = {alert.task for alert in watch.alerts if alert.status in ("firing", "no_data")}
    verdicts = sorted((verdict(watch.of(task), task) for task in tasks), key=lambda one: one.order)
    for one in verdicts:
        own = [a for a in watch.of(one.task).alerts if a.status in ("firing", "no_data")]
        yield from sorted(own, key=lambda alert: alert is not one.firing)


def _alert_line(alert: Alert, latest: Finding | None, now_ns: int) -> Line:
    """``latest`` is what the last tick says about the alert's stream; None: it could not say."""
    finding = latest or alert.finding
    passed = words.age((now_ns - alert.start_ns) / SECOND_NS)
    since = f"since {words.moment(alert.start_ns)} ({passed})"
    if alert.stream == "no_data":
        return Line("warn", alert.task, f"has sent no calls {since}.")
    if alert.status == "no_data":
        return Line(
            "warn", alert.task, f"was drifting when its calls stopped: {_moved(alert.finding, since)}."
        )
    if finding.stream == "cost_limit":
        spent, limit = (words.money(amount, finding.currency) for amount in (finding.value, finding.limit))
        return Line("bad", alert.task, f"has cost {spent} since midnight UTC; the limit is {limit}.")
    if finding.stream in _OVER:
        now, before = _OVER[finding.stream]
        verb = now if latest else before
        text = f"{verb.format(share=words.share(finding.value), tier=words.name(alert.tier))} {since}"
        eased = latest and finding.state == "quiet"
        ends = ", and the alert ends well below it" if eased else ""
        return Line("bad", alert.task, f"{text}; the limit is {words.share(finding.limit)}{ends}.")
    return Line("bad", alert.task, f"is drifting: {_moved(finding, since)}.")


def _moved(finding: Finding, since: str = "") -> str:
    before, after = finding.reference, finding.current
    rates = ""
    if finding.stream == "confidence_shape" and before and after:
        rates = f"escalation {words.share(before.rate)} → {words.share(after.rate)}"
    if not since and finding.since_hour is not None:
        since = f"since {words.hour(finding.since_hour)}"
    parts = [f"{moved.change(finding)} {since}".strip(), rates]
    if finding.tasks:
        parts.append(f"{len(finding.tasks)} tasks affected")
    if finding.cause:
        parts.append(_cause(finding))
    if finding.cost_per_day is not None:
        parts.append(f"{words.change_of_money(finding.cost_per_day, finding.currency)} a day")
    return ", ".join(part for part in parts if part)


def _suspects(watch: Watch, now_ns: int) -> list[Line]:
    """Tasks whose evidence suffices, but has not stood; those that alert already are told as alerts."""
    told = {alert.task for alert in watch.alerts if alert.status in ("firing", "no_data")}
    found = sorted(
        (verdict(watch.of(task), task) for task in {one.task for one in watch.findings} - told),
        key=lambda one: one.order,
    )
    leads = [one.lead for one in found if one.lead and one.lead.state == "suspect"]
    lines = [_suspect_line(lead, now_ns) for lead in leads[:MOST_SUSPECTS]]
    if more := len(leads) - len(lines):
        lines.append(
            Line("warn", None, f"{more} more {'is' if more == 1 else 'are'} suspect: see the table.")
        )
    return lines


def _suspect_line(finding: Finding, now_ns: int) -> Line:
    known = "is suspect"
    if finding.suspect_hour is not None:
        known = f"has been suspect for {words.age((now_ns - finding.suspect_hour * HOUR_NS) / SECOND_NS)}"
    parts = ", ".join(filter(None, [_moved(finding), moved.evidence(finding)]))
    return Line("warn", finding.task, f"{known}: {parts}. {SUSPECT}")


def _learning(finding: Finding) -> str:
    left = max(finding.days_needed - finding.days_learned, 1)
    days = "1 more whole day" if left == 1 else f"{left} more whole days"
    return f"{days} of calls until it is judged. Fixed limits hold meanwhile."


def _cause(finding: Finding) -> str:
    cause = finding.cause
    if cause is None or cause.name == "unknown":
        return "cause unknown"
    part = {"model": cause.model, "inputs": cause.inputs, "threshold": cause.threshold}.get(cause.name)
    likely = f"likely the {CAUSES[cause.name]}"
    return f"{likely} ({words.points(part.points)} points)" if part else likely


def _evidence(finding: Finding) -> str:
    if not finding.log_needed:
        return ""
    needs = (
        f"Evidence of a change: {max(finding.log_evidence, 0):.1f}; an alert needs {finding.log_needed:.1f}"
    )
    if finding.state != "suspect":
        return f"{needs}."
    since = f" since {words.hour(finding.suspect_hour)}" if finding.suspect_hour is not None else ""
    return f"{needs}, which it has{since}: it pages if that stands."


def _quiet(watch: Watch) -> tuple[Tone, str]:
    found = [one for one in watch.findings if one.stream not in LIMITS]
    if any(one.state != "learning" for one in found):
        return "good", "Nothing has shifted."
    if found or watch.next_hour is None:
        return "plain", "Nothing to judge yet: learning what is normal."
    return "plain", f"Nothing to judge yet: {_first_judged(watch.next_hour)}."


def _first_judged(hour: int) -> str:
    return f"first judged when the hour is over, {words.clock(hour)}"


def _watched(tasks: int) -> str:
    return "1 task watched" if tasks == 1 else f"{tasks} tasks watched"


def _job_line(watch: Watch, now_ns: int) -> Line | None:
    if watch.last_tick_ns is None:
        if watch.findings:
            return None
        return Line(
            "warn", None, "Nothing judges these tasks: the drift job has not run. Start: cascade-otel serve"
        )
    late = (now_ns - watch.last_tick_ns) / SECOND_NS
    if late < JOB_LATE_S:
        return None
    return Line("warn", None, f"The drift job last ran {words.age(late)} ago; what it says below is as old.")
