"""Watches LLM cascades: what was escalated, why, at what confidence and cost, recorded with OpenTelemetry."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cascade_otel.configure import configure
from cascade_otel.instrumentation._audit import Audit
from cascade_otel.instrumentation._cascade import cascade
from cascade_otel.instrumentation._feedback import feedback
from cascade_otel.instrumentation._record import record_call
from cascade_otel.instrumentation._scorer import annotate, scorer
from cascade_otel.instrumentation._tier import tier

if TYPE_CHECKING:
    from cascade_otel.policy import PolicyError
    from cascade_otel.records import TierCall
    from cascade_otel.runner import Runner

__all__ = [
    "Audit",
    "PolicyError",
    "Runner",
    "TierCall",
    "annotate",
    "cascade",
    "configure",
    "feedback",
    "record_call",
    "scorer",
    "tier",
]

# half of the import's time otherwise
_AT_FIRST_USE = {"PolicyError": "policy", "Runner": "runner", "TierCall": "records"}


def __getattr__(name: str) -> object:
    if name in _AT_FIRST_USE:
        return getattr(importlib.import_module(f"cascade_otel.{_AT_FIRST_USE[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
