"""What the drift job finds out, and what people are told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cascade_otel.records.counts import Window

Stream = Literal[
    "escalation_rate",
    "confidence_shape",
    "missing_confidence_rate",
    "error_rate",
    "audited_disagreement",
    "calibration_gap",
    "latency_accepted",
    "latency_escalated",
    "cost_accepted",
    "cost_escalated",
    "tier_errors",
    "missing_confidence",
    "escalation_limit",
    "cost_limit",
    "no_data",
]
"""What is watched. The detector judges the first ten, fixed limits are the four before the last."""

TaskState = Literal["learning", "quiet", "suspect", "drifting", "no_data"]

CauseName = Literal[
    "model",
    "inputs",
    "threshold",
    "confidence_scale",
    "hidden_inputs",
    "silent_decay",
    "model_or_inputs",
    "unknown",
]
"""Another model that answers worse; another mix of inputs; a moved τ; confidences on another scale with
answers as good as before; inputs harder in a way no segment shows; answers worse at unchanged confidence."""

ToKnow = Literal["canaries", "audits", "segments", "time"]
"""What would tell causes apart: canary replays, more audits, recorded segments, a longer window."""

AlertStatus = Literal["pending", "firing", "resolved", "no_data"]

ALL_TASKS = "all tasks"
"""The group of every task."""


@dataclass(frozen=True, slots=True)
class Effect:
    """A change in percentage points with its 90 % interval."""

    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class CauseProbability:
    """How probable a cause is, given all measurements; several may be there at once."""

    name: CauseName
    probability: float


@dataclass(frozen=True, slots=True)
class Coincidence:
    """Something else that changed with a task, at about the hour of the change; no proof of anything."""

    what: Literal["response_model", "model", "version", "threshold", "error_rate", "volume", "segment"]
    before: str | float
    """A name; of ``threshold`` τ, of ``error_rate`` and ``segment`` a share, of ``volume`` calls an hour."""
    now: str | float
    share: float = 1.0
    """Of calls that have the new model, version or τ."""
    hour: int | None = None
    """When it began, where that is known."""
    name: str = ""
    """Of a segment."""


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a rate moved: an exact split into three effects that add up, and the causes they come from."""

    name: CauseName
    inputs: Effect
    model: Effect
    threshold: Effect
    note: str
    """A sentence or three for a person."""
    probabilities: tuple[CauseProbability, ...] = ()
    named: tuple[CauseName, ...] = ()
    """Every cause that is probable enough, the one that moved the rate most first; ``name`` is of them, or
    ``model`` where one that was rolled out changed the scale."""
    unsure: tuple[CauseName, ...] = ()
    """Causes of which one at least is there, without it being known which."""
    to_know: tuple[ToKnow, ...] = ()
    """What would tell these apart."""
    changes: tuple[Coincidence, ...] = ()
    """What else changed at about the same hour."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one tick found out about one stream of one task."""

    task: str
    tier: str
    stream: Stream
    state: TaskState
    hour: int
    """Newest complete hour looked at."""
    log_evidence: float = 0.0
    """Evidence for a shift in nats; a page needs ``log_needed``."""
    log_needed: float = 0.0
    days_learned: int = 0
    days_needed: int = 7
    reference: Window | None = None
    current: Window | None = None
    """From the estimated change (or, without one, the last 24 hours) to ``hour``."""
    since_hour: int | None = None
    since_low_hour: int | None = None
    since_high_hour: int | None = None
    paged_hour: int | None = None
    """When the evidence first sufficed."""
    cause: Cause | None = None
    cost_per_day: float | None = None
    """Change of the task's cost a day against the reference; None where costs are unknown."""
    currency: str = "USD"
    limit: float | None = None
    """The fixed limit that was passed, for the streams that have one."""
    value: float | None = None
    """What was measured against ``limit``."""
    before: float | None = None
    """What a stream but the first two measures, in its reference: a share; of latency seconds, of cost
    ``currency``.
    """
    now: float | None = None
    """The same in ``current``."""
    quantile: float | None = None
    """Of latency and cost, the quantile that ``before`` and ``now`` are."""
    suspect_hour: int | None = None
    """When the evidence of a *suspect* began to suffice."""
    group: str | None = None
    """The group of tasks this is about, or of whose shift this task's is a part: the model they share, or
    ``ALL_TASKS``."""
    tasks: tuple[str, ...] = ()
    """Of a finding about a group: those of its tasks that are affected."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing somebody is told once: its identity never changes, its content may."""

    fingerprint: str
    status: AlertStatus
    task: str
    tier: str
    stream: Stream
    start_ns: int
    """Start of the change, or of the first tick that saw it."""
    opened_ns: int
    updated_ns: int
    finding: Finding
    also: tuple[Stream, ...] = ()
    """Other streams of the same task that moved with it."""
    resolved_ns: int | None = None
    told: bool = True
    """Whether anybody has been told of it: not of a suspicion, nor of what moves with its group."""
    report: str | None = None
    """Path of the attached drift report, relative to the state's folder."""
