"""Whether a cascade pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """With the figures it rests on; the first of them is what decided."""
    pays_as_it_runs: bool | None = None
    """With the present τ: where it does not, ``pays`` is yes if another τ would, unknown if one may. None:
    cannot tell."""
    outside: bool = False
    """Its tier is called with no cascade around it: ``calls`` are tier calls."""
    escalation_low: float | None = None
    """Of 90 % intervals this and every other ``low`` and ``high``."""
    escalation_high: float | None = None
    savings_low: float | None = None
    savings_high: float | None = None
    cheap_cost_per_call: float | None = None
    strong_cost_per_call: float | None = None
    break_even: float | None = None
    """Escalation rate above which the strong tier alone is cheaper: 1 - cheap / strong cost per call."""
    wasted_cost: float | None = None
    """What lower tiers cost in calls whose answer came from a higher one."""
    auroc_low: float | None = None
    auroc_high: float | None = None
    brier: float | None = None
    apgr: float | None = None
    """Mean over all escalation rates of the share of the gap between the tiers that is closed; .5: a coin."""
    pgr: float | None = None
    """The same as the cascade runs."""
    rescued: float | None = None
    """Of escalated calls: first answer wrong, strong answer right."""
    broken: float | None = None
    """Of escalated calls: first answer right, strong answer wrong."""
    wasted_escalation: float | None = None
    """Of escalated calls: first answer right already."""
    given_up: float | None = None
    """Share of right answers lost against the strong tier alone; where ``quality_basis`` is agreement, at
    most."""
    given_up_low: float | None = None
    given_up_high: float | None = None
    quality_basis: Literal["labels", "agreement", "none"] = "none"
    """What ``given_up`` and ``wasted_escalation`` rest on."""
    pairs: int = 0
    """Calls in which both tiers' answers are labelled."""
    threshold_within: float | None = None
    """Lowest τ that surely gives up at most two points of right answers; None: none does, or not known."""
    escalation_within: float | None = None
    """What it would escalate."""
