"""What all findings and alerts about one task come to: its state in plain words, since when, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cascade_otel.presentation import words
from cascade_otel.presentation.source import Watch
from cascade_otel.records import Alert, CauseName, Effect, Finding, Stream, TaskState, Window

CAUSES: dict[CauseName, str] = {
    "model": "model",
    "inputs": "inputs",
    "threshold": "threshold",
    "confidence_scale": "confidence scale",
    "hidden_inputs": "hidden inputs",
    "silent_decay": "silent decay",
    "model_or_inputs": "model or inputs",
    "unknown": "unknown",
}
COLOURS = {"drifting": "red", "over limit": "red", "suspect": "orange", "no data": "orange", "quiet": "green"}
"""Of each state; the rest is grey."""
LIMITS: tuple[Stream, ...] = ("tier_errors", "missing_confidence", "escalation_limit", "cost_limit")
_RANK: dict[TaskState, int] = {"drifting": 1, "suspect": 2, "no_data": 3, "learning": 4, "quiet": 5}


@dataclass(frozen=True)
class Verdict:
    """One task as the drift job sees it. None: it has not said."""

    task: str
    state: str
    """drifting, over limit, suspect, no data, learning day 3 of 7, quiet, first judged 12:00 UTC, or
    not judged yet."""
    firing: Alert | None
    lead: Finding | None
    """The finding that made the state."""
    rate: Finding | None
    """The finding on the escalation rate."""
    order: tuple[int, float, str]
    """Worst first, and among equals the one with more evidence."""
    first_hour: int | None = None
    """When a task is judged that has not been yet; None: it has been, or no job ticks."""

    @property
    def is_group(self) -> bool:
        """Whether it is about several tasks that moved together: it has no calls of its own."""
        return self.lead is not None and bool(self.lead.tasks)

    @property
    def current(self) -> Window | None:
        """What the escalation rate is now."""
        return self.rate.current if self.rate else None

    @property
    def reference(self) -> Window | None:
        """What it is compared with."""
        return self.rate.reference if self.rate else None

    @property
    def since_hour(self) -> int | None:
        """Estimated hour of the change, of a task that is drifting or suspect."""
        shifted = self.lead is not None and self.lead.state in ("drifting", "suspect")
        return self.lead.since_hour if self.lead and shifted else None

    @property
    def cause(self) -> str:
        """Why, in a word or three; empty where nothing was found out."""
        lead = self.lead
        return CAUSES[lead.cause.name] if lead and lead.cause and self.since_hour is not None else ""

    @property
    def effects(self) -> tuple[tuple[str, Effect], ...]:
        """The parts of the change that add up to it, named."""
        cause = self.lead.cause if self.lead else None
        return (
            (("inputs", cause.inputs), ("model", cause.model), ("threshold", cause.threshold))
            if cause
            else ()
        )

    @property
    def currency(self) -> str:
        """Of what it costs."""
        return self.lead.currency if self.lead else "USD"

    @property
    def cost_per_day(self) -> float | None:
        """Change of the cost a day, of a task that is drifting or suspect."""
        return self.lead.cost_per_day if self.lead and self.since_hour is not None else None


def verdict(watch: Watch, task: str) -> Verdict:
    """The verdict on one task, of what the watch says about it."""
    firing = min(
        (alert for alert in watch.alerts if alert.status in ("firing", "no_data")),
        key=lambda alert: (alert.stream not in LIMITS, -alert.finding.log_evidence),
        default=None,
    )
    lead = min(watch.findings, key=_worst_first, default=None)
    if firing:
        # What the last tick says about the alert's stream is newer than what the alert was opened with.
        lead = newest(watch.findings, firing) or firing.finding
    first_hour = watch.next_hour if lead is None else None
    rates = (finding for finding in watch.findings if finding.stream == "escalation_rate")
    rate = next(rates, None) or (firing.finding if firing and firing.stream == "escalation_rate" else None)
    limited = lead is not None and lead.stream in LIMITS and (firing is not None or lead.state == "drifting")
    rank = 0 if limited else _RANK[lead.state] if lead else 6
    return Verdict(
        task=task,
        state="over limit" if limited else _state(lead, first_hour),
        firing=firing,
        lead=lead,
        rate=rate,
        order=(rank, -max((one.log_evidence for one in watch.findings if one.log_needed), default=0.0), task),
        first_hour=first_hour,
    )


def newest(findings: Iterable[Finding], alert: Alert) -> Finding | None:
    """What the last tick says about what an alert is about; None where it could not say."""
    about = (alert.task, alert.tier, alert.finding.stream)
    return next((one for one in findings if (one.task, one.tier, one.stream) == about), None)


def _worst_first(finding: Finding) -> tuple[int, bool, float]:
    # The escalation rate speaks for what moved with it, as it does in alerts.
    return _RANK[finding.state], finding.stream != "escalation_rate", -finding.log_evidence


def _state(lead: Finding | None, first_hour: int | None) -> str:
    if lead is None:
        return "not judged yet" if first_hour is None else f"first judged {words.clock(first_hour)}"
    if lead.state == "learning":
        return f"learning, day {min(lead.days_learned + 1, lead.days_needed)} of {lead.days_needed}"
    return lead.state.replace("_", " ")
