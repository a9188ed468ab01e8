"""What a policy file says, as frozen shapes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

HOURS_PER_MONTH, HOURS_PER_YEAR = 720.0, 8_760.0


@dataclass(frozen=True, slots=True)
class PageBudget:
    """How many false pages people put up with: ``pages`` in ``hours``, over all tasks and streams."""

    pages: float = 1.0
    hours: float = HOURS_PER_MONTH


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """What a tier is. None: not said."""

    model: str | None = None
    provider: str | None = None
    kind: Literal["model", "multimodal", "human", "rule"] = "model"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a task is compared with, where that is not the trailing weeks: fixed days, or since a version."""

    start_day: int | None = None
    """First UTC day, since 1970; with ``end_day``."""
    end_day: int | None = None
    """The day after the last."""
    version: str | None = None
    """The reference begins when this ``cascade.version`` first decided a call."""


@dataclass(frozen=True, slots=True)
class TaskPolicy:
    """What holds for one task. None: not said."""

    owner: str | None = None
    threshold: float | None = None
    """τ of the first tier: for the reading side, where the calls themselves record none."""
    cost_per_day: float | None = None
    """Most a day may cost, in the currency the calls record."""
    escalation_limit: float | None = None
    """Highest escalation rate of ten minutes."""
    tier_error_rate: float = 0.5
    """Share of a tier's calls that may fail in ten minutes."""
    missing_confidence_rate: float = 0.5
    """Share of a tier's calls that may lack a confidence in ten minutes."""
    min_calls: int = 30
    """With fewer calls in ten minutes a share says nothing."""
    tiers: tuple[str, ...] = ()
    """Whom the runner asks, in this order."""
    thresholds: Mapping[str, float] = field(default_factory=dict)
    """τ by tier, where tiers differ in it."""
    audit_rate: float = 0.0
    """Share of accepted calls for which the runner asks the last tier too."""
    audit_cost_per_day: float | None = None
    """Most these audits may cost a day (USD)."""
    version: str | None = None
    """The user's own configuration or prompt version."""
    reference: Reference | None = None
    """What the drift job compares with; None: the trailing weeks."""
    risk_limit: float | None = None
    """Largest share of all calls that may be accepted and wrong: what advice on τ keeps to."""

    def threshold_of(self, tier: str) -> float | None:
        """τ of one of ``tiers``, None where it has none: the last one's answer always stands."""
        if tier == self.tiers[-1]:
            return None
        return self.thresholds.get(tier) if self.thresholds else self.threshold


@dataclass(frozen=True)
class Policy:
    """The whole file; ``Policy()`` is what holds without one.

    A file with every key there is (all may be left out)::

        [alerts]
        pages_per_month = 1.0        # or pages_per_year; false pages over all tasks

        [webhook]
        url = "https://hooks.example.com/cascade"

        [store]
        keep_days = 400              # older days are dropped; without it everything is kept

        [tiers.small]                # what the runner's tiers are
        model = "gpt-5-nano"
        provider = "openai"
        kind = "model"               # or multimodal, human, rule

        [defaults]                   # for every task
        tiers = ["small", "large"]   # whom the runner asks, in this order
        tier_error_rate = 0.5
        missing_confidence_rate = 0.5
        min_calls = 30

        [tasks."colour"]             # the same keys, for one task
        owner = "catalogue team"
        threshold = 0.8              # or thresholds = {small = 0.8}, where tiers differ in it
        version = "prompt 3"
        audit_rate = 0.02
        audit_cost_per_day = 1.0
        cost_per_day = 20.0
        escalation_limit = 0.6
        risk_limit = 0.05            # most calls that may be accepted and wrong, for advice on τ
        reference = {version = "prompt 3"}  # or {from = 2026-10-01, to = 2026-10-14}, both included
    """

    page_budget: PageBudget = PageBudget()
    defaults: TaskPolicy = TaskPolicy()
    tasks: Mapping[str, TaskPolicy] = field(default_factory=dict)
    tiers: Mapping[str, TierPolicy] = field(default_factory=dict)
    webhook: str | None = None
    keep_days: int | None = None
    """Days before today whose telemetry is kept. None: all."""

    def of(self, task: str) -> TaskPolicy:
        """What holds for one task."""
        return self.tasks.get(task, self.defaults)
