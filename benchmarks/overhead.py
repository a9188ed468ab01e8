"""CPU of decorated calls against hand-written SDK code that emits the same spans and metric points.

The by-hand side is built from what one decorated call was seen to emit (points of value 0 left out). Chunks
of both are interleaved in one process, metrics are collected within each chunk; a ratio is the median over
rounds of CPU time of the whole process, export threads included.
Run: ``python benchmarks/overhead.py [--quick] [--peers]``; the peers are other tools' decorators.
"""

from __future__ import annotations

import asyncio
import compileall
import gc
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CALLS, ROUNDS = (200, 9) if "--quick" in sys.argv else (800, 25)
BARS = {"tier": 0.70, "two": 0.78, "one": 0.85, "sampled out": 0.40, "no SDK": 0.03}
CALLERS_BAR = 0.70  # of a bare tier: what a cascade adds to it is one span more, which is as dear by hand
EARLY = (
    "gen_ai.operation",
    "gen_ai.provider",
    "gen_ai.request",
    "cascade.name",
    "cascade.task",
    "cascade.tier.name",
)


class Usage:
    input_tokens, output_tokens = 212, 7


class Answer:
    model, usage, cost = "gpt-4o-mini-2024-07-18", Usage(), 0.00021

    def __init__(self, confidence: float) -> None:
        self.confidence = confidence


HIGH, LOW = Answer(0.83), Answer(0.4)


def decorated(shape: str, mode: str) -> Callable[[int], Any]:
    """A bare tier, a cascade of one tier, or a cascade of two that escalates."""
    from cascade_otel import cascade, tier

    first = LOW if shape == "two" else HIGH
    small_is = tier(
        "small", model="gpt-4o-mini", provider="openai", threshold=0.7, confidence="confidence", cost="cost"
    )
    large_is = tier("large", model="gpt-4o", provider="openai", confidence="confidence", cost="cost")
    triage = cascade("triage", task="organic")
    if mode == "async":

        @small_is
        async def small_later(x: int) -> Answer:
            return first

        @large_is
        async def large_later(x: int) -> Answer:
            return HIGH

        @triage
        async def both_later(x: int) -> Answer:
            answer = await small_later(x)
            return answer if answer.confidence >= 0.7 else await large_later(x)

        return small_later if shape == "tier" else both_later

    @small_is
    def small(x: int) -> Answer:
        return first

    @large_is
    def large(x: int) -> Answer:
        return HIGH

    @triage
    def both(x: int) -> Answer:
        answer = small(x)
        return answer if answer.confidence >= 0.7 else large(x)

    return small if shape == "tier" else both


class Step(NamedTuple):
    """One span as seen, and the metric points that belong to it."""

    name: str
    kind: Any
    start: dict[str, Any]
    end: dict[str, Any]
    points: list[tuple[Callable[..., None], float, dict[str, Any]]]


def _instrument(meter: Any, name: str) -> Callable[..., None]:
    """A histogram with the same buckets, or a counter."""
    if "duration" in name or "confidence" in name:
        bounds = [i / 20 for i in range(1, 21)] if "confidence" in name else [0.01 * 2**i for i in range(14)]
        made = meter.create_histogram(f"by_hand.{name}", explicit_bucket_boundaries_advisory=bounds).record
    else:
        made = meter.create_counter(f"by_hand.{name}").add
    return cast("Callable[..., None]", made)


def by_hand(function: Callable[[int], Any], mode: str, reader: Any) -> Callable[[int], Any]:
    """The same telemetry as one call of ``function``, as one would write it on the SDK."""
    from opentelemetry import metrics, trace

    from cascade_otel.testing import record

    reader.get_metrics_data()
    with record() as seen:
        asyncio.run(function(0)) if mode == "async" else function(0)
    tracer, meter = trace.get_tracer("by-hand"), metrics.get_meter("by-hand")
    points = []
    for name in seen.metrics():
        record_it = _instrument(meter, name)
        points += [(record_it, float(n), dict(said)) for said, n in seen.metric(name).items() if n]
    steps = []
    for span in sorted(seen.spans, key=lambda each: each.start_time or 0):
        said = dict(span.attributes or {})
        start = {key: value for key, value in said.items() if key.startswith(EARLY)}
        mine = [each for each in points if each[2].get("cascade.tier.name") == said.get("cascade.tier.name")]
        end = {key: value for key, value in said.items() if key not in start}
        steps.append(Step(span.name, span.kind, start, end, mine))
    counts = [len(span.attributes or {}) for span in seen.spans]
    print(f"  one call: {len(steps)} spans with {counts} attributes, {len(points)} metric points", flush=True)

    def run(step: Step, inside: Sequence[Step]) -> None:
        with tracer.start_as_current_span(step.name, kind=step.kind, attributes=step.start) as span:
            for each in inside:
                run(each, ())
            span.set_attributes(dict(step.end))
            for record_it, value, attributes in step.points:
                record_it(value, dict(attributes))

    def hand(x: int) -> None:
        run(steps[0], steps[1:])

    async def hand_later(x: int) -> None:
        run(steps[0], steps[1:])

    return hand_later if mode == "async" else hand


def chunk(function: Callable[[int], Any], mode: str, collect: Callable[[], Any]) -> tuple[float, float]:
    """Microseconds of CPU a call: of the process, and of the caller's thread."""

    def calls(n: int) -> None:
        for i in range(n):
            function(i)

    async def later() -> None:
        for i in range(CALLS):
            await function(i)

    process, caller = time.process_time_ns(), time.thread_time_ns()
    if mode == "async":
        asyncio.run(later())
    elif mode == "8 threads":
        threads = [threading.Thread(target=calls, args=(CALLS // 8,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:
        calls(CALLS)
    caller = time.thread_time_ns() - caller
    collect()
    return (time.process_time_ns() - process) / CALLS / 1e3, caller / CALLS / 1e3


def compare(
    ours: Callable[[int], Any], hand: Callable[[int], Any], mode: str, reader: Any
) -> tuple[float, float, float]:
    """Ratio of the process's CPU, ratio of the caller's thread's, and microseconds by hand."""
    for function in (hand, ours):
        chunk(function, mode, reader.get_metrics_data)
    gc.collect()
    gc.freeze()
    process, caller, base = [], [], []
    for _ in range(ROUNDS):
        a, a_caller = chunk(hand, mode, reader.get_metrics_data)
        b, b_caller = chunk(ours, mode, reader.get_metrics_data)
        process.append(b / a)
        caller.append(b_caller / a_caller)
        base.append(a)
    return statistics.median(process), statistics.median(caller), statistics.median(base)


def with_sdk() -> None:
    from opentelemetry import metrics, trace
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    from cascade_otel import semconv
    from cascade_otel.instrumentation import _instruments

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    reader = InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=1 << 17))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))
    rows: list[tuple[str, float, float | None, float]] = []
    for shape in ("tier", "two", "one"):
        for mode in ("sync", "async", "8 threads"):
            print(f"{shape}, {mode}", flush=True)
            ours = decorated(shape, mode)
            hand = by_hand(ours, mode, reader)
            ratio, caller, base = compare(ours, hand, mode, reader)
            rows.append((f"{shape}, {mode}", ratio, BARS[shape], base))
            if mode == "sync":
                rows.append(
                    (f"{shape}, caller's thread", caller, CALLERS_BAR if shape == "tier" else None, base)
                )
    ours = decorated("tier", "sync")
    hand = by_hand(ours, "sync", reader)
    _instruments.tracer = TracerProvider(sampler=ALWAYS_OFF).get_tracer(semconv.SCOPE)
    ratio, _, base = compare(ours, hand, "sync", reader)
    rows.append(("tier, sampled out", ratio, BARS["sampled out"], base))
    compileall.compile_dir(Path(__file__).parents[1] / "cascade_otel", quiet=1)  # as an installed package is
    alone = subprocess.run(
        [sys.executable, __file__, "no-sdk"], capture_output=True, text=True, check=True
    ).stdout
    bare, import_ms = map(float, alone.split())
    tier_base = rows[0][3]
    rows.append((f"tier, no SDK ({bare:.2f} µs)", bare / tier_base, BARS["no SDK"], tier_base))
    print("\n| decorated against by hand | CPU ratio | bar | by hand, µs |\n|---|---|---|---|")
    for name, ratio, bar, base in rows:
        verdict = "" if bar is None else f"{bar:.2f}{'' if ratio <= bar else ' missed'}"
        print(f"| {name} | {ratio:.3f} | {verdict} | {base:.0f} |")
    print(f"\nimport beyond the OpenTelemetry API: {import_ms:.1f} ms (bar 20)")


def without_sdk() -> None:
    """Prints the µs a decorated call costs while no SDK is installed, and the ms of the import."""
    import opentelemetry.metrics
    import opentelemetry.trace  # noqa: F401 (loaded before the clock starts)

    start = time.process_time_ns()
    import cascade_otel  # noqa: F401

    import_ms = (time.process_time_ns() - start) / 1e6
    function, took = decorated("tier", "sync"), []
    for _ in range(200):
        start = time.process_time_ns()
        for i in range(200):
            function(i)
        took.append((time.process_time_ns() - start) / 200 / 1e3)
    print(min(took), import_ms)


if __name__ == "__main__":
    without_sdk() if "no-sdk" in sys.argv else with_sdk()
    if "--peers" in sys.argv:
        import _peers

        _peers.run_all()
    sys.stdout.flush()
    os._exit(0)  # nothing is exported, so nothing is waited for
