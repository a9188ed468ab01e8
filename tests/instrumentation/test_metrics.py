"""What every metric holds: its labels, its buckets, its unit; and what a sampler is given."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, SamplingResult

from cascade_otel import cascade, tier
from cascade_otel.instrumentation import _calls
from cascade_otel.instrumentation._settings import settings
from cascade_otel.testing import Recorded, record

SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
LONG_SECONDS = (*SECONDS, 300, 900, 3_600, 14_400, 86_400, 259_200, 604_800)
TWENTIETHS = tuple(hundredth / 100 for hundredth in range(5, 101, 5))
TOKENS = tuple(4**power for power in range(14))

WHOLE = {"cascade.name": "measured", "cascade.task": "organic", "cascade.purpose": "audit"}
SMALL, LARGE, HUMAN = ({**WHOLE, "cascade.tier.name": name} for name in ("small", "large", "human"))
ASKED = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "m1",
}


def label(labels: dict[str, str], **more: str) -> frozenset[tuple[str, str]]:
    """Labels of a point, with more of them, a dot written as two underscores."""
    return frozenset({**labels, **{name.replace("__", "."): value for name, value in more.items()}}.items())


def points(reader: InMemoryMetricReader) -> dict[str, dict[frozenset[Any], Any]]:
    """Points of the cascade called measured, by metric and labels."""
    data = reader.get_metrics_data()
    found: dict[str, dict[frozenset[Any], Any]] = {}
    for resource in () if data is None else data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = dict(point.attributes or {})
                    if labels.get("cascade.name") == "measured":
                        found.setdefault(metric.name, {})[frozenset(labels.items())] = point
    return found


def test_every_metric(seen: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three tiers; the clock stands still but for half a second in each tier, and the last one fails."""
    now = [1_000_000_000]

    def half_a_second(answer: Any) -> Any:
        now[0] += 500_000_000
        return answer

    @tier("small", model="m1", provider="openai", threshold=0.8, confidence=lambda r: r, cost=0.25,
          usage=lambda _: (3, 70))  # fmt: skip
    def small() -> Any:
        return half_a_second(0.42)

    @tier("large", model="m2", confidence=lambda r: r)
    def large() -> Any:
        return half_a_second(0.97)

    @tier("human", kind="human")
    def human() -> None:
        raise half_a_second(KeyError())

    @cascade("measured", task="organic", purpose="audit", version="v1")
    def measured() -> None:
        small()
        large()
        human()

    provider = metrics.get_meter_provider()
    assert isinstance(provider, MeterProvider)
    reader = InMemoryMetricReader()
    monkeypatch.setattr(_calls, "perf_counter_ns", lambda: now[0])
    monkeypatch.setattr(settings, "token_usage", True)
    provider.add_metric_reader(reader)
    try:
        with pytest.raises(KeyError):
            measured()
        found = points(reader)
    finally:
        provider.remove_metric_reader(reader)

    histograms = {
        name: (of_one.explicit_bounds, {labels: point.sum for labels, point in by_labels.items()})
        for name, by_labels in found.items()
        for of_one in by_labels.values()
        if hasattr(of_one, "explicit_bounds")
    }
    failed = {"error__type": "KeyError"}
    large_asked = {**LARGE, "gen_ai.operation.name": "chat", "gen_ai.request.model": "m2"}
    assert histograms == {
        "gen_ai.client.operation.duration": (
            SECONDS,
            {label({**SMALL, **ASKED}): 0.5, label(large_asked): 0.5},
        ),
        "cascade.tier.duration": (LONG_SECONDS, {label(HUMAN, **failed): 0.5}),
        "cascade.duration": (SECONDS, {label(WHOLE, cascade__outcome="error", **failed): 1.5}),
        "cascade.tier.confidence": (TWENTIETHS, {label(SMALL): 0.42, label(LARGE): 0.97}),
        "gen_ai.client.token.usage": (
            TOKENS,
            {
                label({**SMALL, **ASKED}, gen_ai__token__type="input"): 3,
                label({**SMALL, **ASKED}, gen_ai__token__type="output"): 70,
            },
        ),
    }
    counters = {
        name: {labels: point.value for labels, point in by_labels.items()}
        for name, by_labels in found.items()
        if name not in histograms
    }
    reason = "cascade__escalation__reason"
    assert counters == {
        "cascade.tier.calls": {
            label(SMALL, cascade__outcome="escalated"): 1,
            label(LARGE, cascade__outcome="escalated"): 1,
            label(HUMAN, cascade__outcome="error"): 1,
        },
        "cascade.escalations": {
            label(SMALL, **{reason: "low_confidence"}): 1,
            label(LARGE, **{reason: "policy"}): 1,
        },
        "cascade.tier.cost": {label({**SMALL, "gen_ai.request.model": "m1"}): 0.25},
        "cascade.tier.tokens": {
            label(SMALL, gen_ai__token__type="input"): 3,
            label(SMALL, gen_ai__token__type="output"): 70,
        },
    }


def test_a_sampler_is_given_what_is_known_at_the_start() -> None:
    asked: dict[str, dict[str, Any]] = {}

    class Sampler(type(ALWAYS_ON)):  # type: ignore[misc]  # a class that is made at run time
        def should_sample(
            self, parent: Any, trace_id: int, name: str, kind: Any, attributes: Any, *rest: Any
        ) -> SamplingResult:
            asked[name] = dict(attributes or {})
            return super().should_sample(parent, trace_id, name, kind, attributes, *rest)

    whole_call = cascade("measured", task="organic", purpose="audit", version="v1", segment="en")
    small = tier("small", model="m1", provider="openai")
    with record(TracerProvider(sampler=Sampler(ALWAYS_ON._decision))), whole_call, small:
        pass
    whole = {**WHOLE, "cascade.version": "v1", "cascade.input.segment": "en"}
    assert asked == {
        "cascade organic": whole,
        "chat m1": {**whole, **ASKED, "cascade.tier.name": "small", "cascade.tier.kind": "model"},
    }
