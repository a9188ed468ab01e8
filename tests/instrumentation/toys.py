"""Toy answers and tiers, and short ways to look at what was recorded of them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cascade_otel import tier
from cascade_otel.testing import Recorded

ROOT = Path(__file__).resolve().parents[2]


class Answer:
    def __init__(self, confidence: float | None = None, cost: float | None = None) -> None:
        self.confidence, self.cost = confidence, cost


def two_tiers(
    small: Any = None, large: Any = None, threshold: float | None = 0.8
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """The tiers of the README; what is an exception is raised."""
    small, large = small or Answer(0.9), large or Answer(0.95)

    def answer(what: Any) -> Any:
        if isinstance(what, BaseException) or (isinstance(what, type) and issubclass(what, BaseException)):
            raise what
        return what

    @tier("small", model="m1", threshold=threshold, confidence="confidence", cost="cost")
    def cheap() -> Any:
        return answer(small)

    @tier("large", model="m2", confidence="confidence")
    def strong() -> Any:
        return answer(large)

    return cheap, strong


def outcomes(seen: Recorded) -> dict[str, list[str]]:
    """Outcomes of each tier's calls, in order of start."""
    found: dict[str, list[str]] = {}
    for each in seen.tiers:
        found.setdefault(each.tier, []).append(each.outcome)
    return found


def total(seen: Recorded, metric: str) -> float:
    """A counter's increase, or the number of values of a histogram, over all attributes."""
    return sum(seen.metric(metric).values())


def run_python(code: str, **environment: str) -> str:
    """What a new interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.strip()


WITH_SDK = """
import os, sys, gc
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import Counter, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
SPANS, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(SPANS))
trace.set_tracer_provider(provider)
DELTA = AggregationTemporality.DELTA
cumulative, delta = InMemoryMetricReader(), InMemoryMetricReader({Counter: DELTA, ObservableCounter: DELTA})
metrics.set_meter_provider(MeterProvider([cumulative, delta]))
def calls(reader):
    data = reader.get_metrics_data()
    found = [m for rm in data.resource_metrics for sm in rm.scope_metrics for m in sm.metrics]
    return sum(p.value for m in found if m.name == "cascade.tier.calls" for p in m.data.data_points)
from cascade_otel import cascade, tier
"""
