"""Where the threshold of a cascade should be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """What one threshold would have done with a window's calls: it accepts confidence >= ``threshold``."""

    threshold: float
    escalation: float
    """Share of calls escalated, those that no threshold decides over included."""
    risk: float | None
    """Estimated share of all calls (or, where the risk is selective, of the accepted) accepted and wrong;
    None where no answer was checked."""
    risk_upper: float | None
    """Its upper bound at confidence 1 - delta, for this threshold alone."""
    labelled: int
    """Calls among the accepted of which it is known whether they were wrong."""
    cost: float | None = None
    """Per call; None where costs are unknown."""
    latency_p50_s: float | None = None
    latency_p95_s: float | None = None


@dataclass(frozen=True, slots=True)
class AuditAdvice:
    """How much to audit until the next advice, at the window's traffic."""

    rate_now: float | None
    """Share of accepted calls audited now; None without audits."""
    rate: float | None
    """Advised share; None where auditing everything certifies nothing, and for a selective risk."""
    least: float
    """Share below which nothing can be certified; above 1: so few calls never certify anything."""
    escalation: float | None
    """Escalation rate that the advised share is expected to certify."""
    strong_calls: float | None
    """Calls of the strong tier per call then: escalated ones and audits."""


@dataclass(frozen=True, slots=True)
class ThresholdAdvice:
    """Where the threshold of a task's first tier should be, by the calls of one window."""

    task: str
    tier: str
    start_hour: int
    end_hour: int
    calls: int
    """Decided production calls."""
    alpha: float
    """Largest share of calls accepted and wrong."""
    delta: float
    """The advised threshold exceeds ``alpha`` with probability at most this."""
    selective: bool
    """The share is of accepted calls instead of all."""
    wrong_means: Literal["disagrees", "labelled wrong", "unknown"]
    """A wrong answer: the strong tier disagrees with it, or a label says so."""
    now: ThresholdPoint | None
    """At the threshold in force; None where none is known."""
    advised: ThresholdPoint | None
    reason: str
    """Why nothing is advised, in plain words; '' where something is."""
    curve: tuple[ThresholdPoint, ...]
    """From the highest threshold to the lowest."""
    labelled: int
    needed: int
    """Labelled accepted calls below which nothing can be certified."""
    audit: AuditAdvice
    remarks: tuple[str, ...]
    """Sentences: what a threshold nearby would do, what is assumed, what cannot be known."""
    setting: str | None
    """Lines for ``cascade.toml`` that set the advised threshold."""
    currency: str = "USD"


@dataclass(frozen=True, slots=True)
class ThresholdDay:
    """One UTC day as it was, and as it would have been under another threshold."""

    start_hour: int
    calls: int
    escalated: int
    escalated_then: int
    differ: int
    """Calls that would have been decided otherwise."""
    wrong: int
    """Known wrong answers among the accepted."""
    wrong_then: int
    unknown: int
    """Accepted calls of which nobody knows whether they were right."""
    unknown_then: int
    cost: float | None
    """Of the day; None where costs are unknown."""
    cost_then: float | None
