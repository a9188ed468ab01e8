"""Watches LLM cascades: what was escalated, why, at what confidence and cost, recorded with OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cascade_otel.configure import configure
from cascade_otel.instrumentation._cascade import cascade
from cascade_otel.instrumentation._feedback import feedback
from cascade_otel.instrumentation._record import record_call
from cascade_otel.instrumentation._scorer import annotate, scorer
from cascade_otel.instrumentation._tier import tier

if TYPE_CHECKING:
    from cascade_otel.records import TierCall

__all__ = ["TierCall", "annotate", "cascade", "configure", "feedback", "record_call", "scorer", "tier"]


def __getattr__(name: str) -> object:
    if name == "TierCall":  # half of the import's time otherwise, for what only record_call needs
        from cascade_otel.records import TierCall

        return TierCall
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
