"""What is the same for every call of one tier in one task, prepared at the first: names, labels, cells."""

from __future__ import annotations

import functools
from typing import NamedTuple

from opentelemetry.trace import SpanKind

from cascade_otel import semconv
from cascade_otel.instrumentation import _instruments as instruments
from cascade_otel.instrumentation._counters import Attributes, Cell
from cascade_otel.instrumentation._values import Names

MOST_PREPARED = 10_000
"""Prepared entries per place in the code; what comes after them is prepared anew each time."""

cascades, tasks, tiers = Names("cascade"), Names("task"), Names("tier")
models, purposes, versions = Names("model"), Names("purpose"), Names("version")
CLIENT_KINDS = ("model", "multimodal")


class Labels:
    """What a cascade's spans, its tiers' spans, and all their metrics have in common."""

    def __init__(self, spans: Attributes, measured: Attributes) -> None:
        self.spans, self.metrics = spans, measured
        self.span_name = f"cascade {spans.get(semconv.CASCADE_TASK)}"
        self._with_outcome: dict[str, Attributes] = {}

    def with_outcome(self, outcome: str) -> Attributes:
        """The metrics' labels of a whole cascade call."""
        labels = self._with_outcome.get(outcome)
        if labels is None:
            labels = self._with_outcome[outcome] = {**self.metrics, semconv.OUTCOME: outcome}
        return labels


NO_CASCADE = Labels({}, {})


@functools.lru_cache(MOST_PREPARED)  # tiers key what they prepare by this very object
def cascade_labels(cascade: str, task: str | None, purpose: str | None, version: str | None) -> Labels:
    """The labels of one task of a cascade. Without a task, the cascade's name is its task."""
    spans: Attributes = {}
    measured: Attributes = {}
    spans[semconv.CASCADE_NAME], measured[semconv.CASCADE_NAME] = cascades(cascade)
    spans[semconv.CASCADE_TASK], measured[semconv.CASCADE_TASK] = tasks(cascade if task is None else task)
    if purpose is not None and purpose != semconv.PURPOSES[0]:
        spans[semconv.CASCADE_PURPOSE], measured[semconv.CASCADE_PURPOSE] = purposes(purpose)
    if version is not None:
        spans[semconv.CASCADE_VERSION] = versions(version)[0]
    return Labels(spans, measured)


class Kind(NamedTuple):
    """What sort of thing answers for a tier."""

    kind: str = "model"
    operation: str = "chat"
    provider: str | None = None
    instrumented: bool = False
    """Whether a client's own instrumentation already makes the span of the operation, inside ours: its
    operation, tokens and duration stand there and not here."""


class Series:
    """Names and attributes of one tier in one task."""

    def __init__(self, kind: Kind, tier: str, model: str | None, labels: Labels) -> None:
        on_spans, on_metrics = tiers(tier)
        self.tier, self.instrumented = on_spans, kind.instrumented
        self.metrics: Attributes = {**labels.metrics, semconv.TIER_NAME: on_metrics}
        self.cost_metrics = self.metrics
        self.at_start: Attributes = {
            **labels.spans,
            semconv.TIER_NAME: on_spans,
            semconv.TIER_KIND: kind.kind,
        }
        self.span_name, self.span_kind = f"cascade.tier {on_spans}", SpanKind.INTERNAL
        operation: Attributes = {}
        client = kind.kind in CLIENT_KINDS and not kind.instrumented
        if client:
            operation[semconv.OPERATION_NAME] = kind.operation
        if kind.provider is not None:
            operation[semconv.PROVIDER_NAME] = kind.provider
        self.duration_metrics: Attributes = {**self.metrics, **operation}
        if model is not None:
            model_on_spans, model_on_metrics = models(model)
            operation[semconv.REQUEST_MODEL] = model_on_spans
            self.cost_metrics = {**self.metrics, semconv.REQUEST_MODEL: model_on_metrics}
            self.duration_metrics[semconv.REQUEST_MODEL] = model_on_metrics
            if client:
                self.span_name, self.span_kind = f"{kind.operation} {model_on_spans}", SpanKind.CLIENT
        self.at_start.update(operation)
        self.duration = instruments.operation_duration if client else instruments.tier_duration


class Tally:
    """The counter cells of a series. Escalations of a tier with a threshold show a 0 before the first."""

    def __init__(self, series: Series, has_threshold: bool) -> None:
        self.metrics = series.metrics
        self.cost = instruments.tier_cost.cell(series.cost_metrics)
        self.sent, self.received = (
            instruments.tier_tokens.cell({**self.metrics, semconv.TOKEN_TYPE: each})
            for each in ("input", "output")
        )
        self._calls: dict[str, Cell] = {}
        self._escalations: dict[str, Cell] = {}
        if has_threshold:
            self.escalations(semconv.REASONS[0])

    def calls(self, outcome: str) -> Cell:
        """The cell of calls with this outcome."""
        cell = self._calls.get(outcome)
        if cell is None:
            cell = self._calls[outcome] = instruments.tier_calls.cell(
                {**self.metrics, semconv.OUTCOME: outcome}
            )
        return cell

    def escalations(self, reason: str) -> Cell:
        """The cell of escalations for this reason."""
        cell = self._escalations.get(reason)
        if cell is None:
            cell = self._escalations[reason] = instruments.escalations.cell(
                {**self.metrics, semconv.ESCALATION_REASON: reason}
            )
        return cell
