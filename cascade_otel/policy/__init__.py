"""What people decide and telemetry cannot know: tiers, τ, budgets, owners; from ``cascade.toml``."""

from __future__ import annotations

from cascade_otel.policy.places import PolicyError
from cascade_otel.policy.reading import load, parse, read
from cascade_otel.policy.shapes import (
    HOURS_PER_MONTH,
    HOURS_PER_YEAR,
    PageBudget,
    Policy,
    Reference,
    TaskPolicy,
    TierPolicy,
)

__all__ = [
    "HOURS_PER_MONTH",
    "HOURS_PER_YEAR",
    "PageBudget",
    "Policy",
    "PolicyError",
    "Reference",
    "TaskPolicy",
    "TierPolicy",
    "load",
    "parse",
    "read",
]
