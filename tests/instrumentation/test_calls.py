"""What is recorded of a call, on which SDK, and what never is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cascade_otel import cascade, tier
from cascade_otel.testing import Recorded
from tests.instrumentation.toys import run_python


def test_prompts_do_not_leave(seen: Recorded) -> None:
    """Neither an exception's text nor arguments nor results are recorded."""

    @tier("x")
    def failing(prompt: str) -> None:
        raise ValueError(f"CANARY {prompt}")

    @tier("x")
    def f(prompt: str) -> str:
        return prompt

    @cascade
    def c(prompt: str) -> str:
        try:
            failing(prompt)
        except ValueError:
            return f(prompt)
        return ""

    c("CANARY")
    assert len(seen.spans) == 3
    assert not [span for span in seen.spans if "CANARY" in span.to_json()]


def test_a_clock_step_does_not_make_a_duration_negative(
    seen: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall: Iterator[int] = iter([10**18, 10**18 - 10**12, 10**18 - 10**13])
    monkeypatch.setattr("cascade_otel.instrumentation._calls.time_ns", lambda: next(wall))

    @tier("x")
    def f() -> None: ...

    f()
    assert 0 <= seen.tiers[0].duration_s < 1


def test_without_an_sdk_nothing_is_recorded_and_one_installed_later_is_noticed() -> None:
    from tests.instrumentation.toys import WITH_SDK

    assert run_python(
        """
import asyncio, sys
from cascade_otel import annotate, cascade, scorer, tier
@tier("x")
def x():
    annotate(confidence=.5)
    return 1
@scorer("x")
def judge(): return .5
@cascade
async def c(): return x()
@cascade
async def g():
    yield x()
async def main(): return [await c(), [i async for i in g()], judge()]
with tier("y") as call: call.confidence = .5
with cascade("c") as call: call.visit("small").confidence = .5
print(x(), asyncio.run(main()), any(m.startswith("opentelemetry.sdk") for m in sys.modules))
"""
        + WITH_SDK
        + "print(x(), len(SPANS.get_finished_spans()), calls(cumulative))"
    ).split("\n") == ["1 [1, [1], 0.5] False", "1 1 1"]


def test_metrics_alone_are_enough_and_a_disabled_sdk_records_nothing() -> None:
    code = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
reader = InMemoryMetricReader(); metrics.set_meter_provider(MeterProvider([reader]))
from cascade_otel import cascade, tier
@tier("x", confidence=lambda r: .5)
def x(): return 1
@cascade
def c(): return x()
assert c() == 1
data = reader.get_metrics_data()
scopes = [sm for rm in (data.resource_metrics if data else []) for sm in rm.scope_metrics]
print(sorted(m.name for sm in scopes for m in sm.metrics))
"""
    recorded = [
        "cascade.duration",
        "cascade.tier.calls",
        "cascade.tier.confidence",
        "gen_ai.client.operation.duration",
    ]
    assert run_python(code) == str(recorded)
    assert run_python(code, OTEL_SDK_DISABLED="true") == "[]"
