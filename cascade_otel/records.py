"""The frozen shapes that cross layers.

Times are integers since 1970-01-01 UTC: nanoseconds (``*_ns``) or whole hours (``*_hour``). Rates are
fractions; effects of a cause are in percentage points. This module imports the standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS
DAY_NS = 24 * HOUR_NS
CELLS = 101
"""Confidence cells of .01: cell c holds confidences in [c/100, (c+1)/100); cell 100 holds 1.0."""

Stream = Literal[
    "escalation_rate",
    "confidence_shape",
    "tier_errors",
    "missing_confidence",
    "escalation_limit",
    "cost_limit",
    "no_data",
]
"""What is watched. The first two are judged by the detector, the others are fixed limits."""

TaskState = Literal["learning", "quiet", "suspect", "drifting", "no_data"]
CauseName = Literal["model", "inputs", "threshold", "model_or_inputs", "unknown"]
AlertStatus = Literal["pending", "firing", "resolved", "no_data"]


class UserError(ValueError):
    """A mistake that a person can mend: the text says what arrived, what was wanted and what to type."""


@dataclass(frozen=True, slots=True)
class TierCall:
    """One call of one tier, as ``record_call`` takes it. None: unknown."""

    tier: str
    model: str | None = None
    confidence: float | None = None
    threshold: float | None = None
    escalated: bool | None = None
    """None: decided by confidence < threshold where both are known and a later tier follows."""
    duration_s: float = 0.0
    cost: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    response_model: str | None = None
    provider: str | None = None
    reason: str | None = None
    error: str | None = None
    kind: str = "model"


@dataclass(frozen=True)
class TaskHours:
    """Hourly counts of each task's first tier, decided production visits only. M tasks, T hours."""

    tasks: tuple[str, ...]
    tiers: tuple[str, ...]
    hours: NDArray[np.int64]
    """(T,) consecutive hours since 1970 UTC."""
    calls: NDArray[np.int64]
    """(M, T)"""
    escalated: NDArray[np.int64]
    """(M, T)"""
    confidence: NDArray[np.int32] | NDArray[np.int64]
    """(M, T, 101) calls per confidence cell; calls without a confidence are in none."""
    threshold_cell: NDArray[np.int64]
    """(M,) cell of the last declared τ, -1 where none was declared."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of hours [start_hour, end_hour) and what a task's first tier did in it."""

    start_hour: int
    end_hour: int
    calls: int
    escalated: int

    @property
    def rate(self) -> float:
        """Escalation rate, nan without calls."""
        return self.escalated / self.calls if self.calls else float("nan")


@dataclass(frozen=True, slots=True)
class Effect:
    """A change in percentage points with its 90 % interval."""

    points: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a rate moved: an exact split into three effects that add up, and the name they earn."""

    name: CauseName
    inputs: Effect
    model: Effect
    threshold: Effect
    note: str
    """One sentence for a person."""


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
    report: str | None = None
    """Path of the attached drift report, relative to the state's folder."""


@dataclass(frozen=True, slots=True)
class TierSummary:
    """One tier of one task over a window."""

    tier: str
    index: int
    calls: int
    escalated: int
    cost: float | None
    error_rate: float


@dataclass(frozen=True)
class TaskSummary:
    """One task over a window, in the cascade literature's terms; ``task`` is None for all tasks pooled."""

    task: str | None
    calls: int
    escalation_rate: float | None
    cost: float | None
    currency: str
    savings: float | None
    """1 - cost / strong-only cost."""
    savings_source: Literal["audits", "estimated", "unknown"]
    latency_accepted_p50_s: float | None
    latency_accepted_p95_s: float | None
    latency_escalated_p50_s: float | None
    latency_escalated_p95_s: float | None
    tiers: tuple[TierSummary, ...] = ()
    auroc: float | None = None
    ece: float | None = None
    audc: float | None = None
    audc_normalised: float | None = None
    labelled: int = 0
    audited: int = 0
    """Accepted answers that a stronger tier was asked about, where it is known whether it agreed."""
    agreement: float | None = None
    """Share of all accepted answers with which it would agree, as far as audits tell."""
    pays: Literal["yes", "no", "unknown"] = "unknown"
    pays_reason: str = ""
