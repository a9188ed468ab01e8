"""What other tools' decorators cost, each in its own environment: ``benchmarks/overhead.py --peers``.

Base is a span with 12 attributes and three metric points by hand, timed in the same process. Ours records 16
and six; of the peers only util-genai records metrics, and none a confidence or a decision.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Decorate = Callable[[Callable[[int], Any]], Callable[[int], Any]]
ENVIRONMENTS = Path(os.environ.get("PEER_ENVIRONMENTS", Path(__file__).parent / ".peers"))
CALLS, ROUNDS = (300, 7) if "--quick" in sys.argv else (1500, 21)
RESULT = {"text": "organic", "confidence": 0.83, "input_tokens": 212, "output_tokens": 7, "cost": 0.00021}
STATIC = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "cascade.name": "triage",
    "cascade.tier.name": "small",
    "cascade.tier.index": 0,
    "cascade.threshold": 0.7,
}
LABELS = {"cascade.name": "triage", "cascade.tier.name": "small", "gen_ai.request.model": "gpt-4o-mini"}


def providers() -> tuple[Any, Any]:
    """A tracer and a meter provider of the SDK, that export to nowhere."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    tracers = TracerProvider()
    tracers.add_span_processor(batches())
    return tracers, MeterProvider([InMemoryMetricReader()])


def batches() -> Any:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(nowhere(), max_queue_size=1 << 17)


def nowhere() -> Any:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    return Nowhere()


def by_hand(tracers: Any, meters: Any) -> Decorate:
    from opentelemetry.trace import SpanKind

    tracer, meter = tracers.get_tracer("by-hand"), meters.get_meter("by-hand")
    duration, calls = meter.create_histogram("duration", unit="s"), meter.create_counter("calls")
    cost = meter.create_counter("cost")

    def decorate(function: Callable[[int], Any]) -> Callable[[int], Any]:
        def hand(x: int) -> Any:
            start = time.perf_counter()
            with tracer.start_as_current_span(
                "chat gpt-4o-mini", kind=SpanKind.CLIENT, attributes=STATIC
            ) as span:
                result = function(x)
                span.set_attributes(
                    {
                        "cascade.confidence": result["confidence"],
                        "cascade.escalated": False,
                        "gen_ai.usage.input_tokens": result["input_tokens"],
                        "gen_ai.usage.output_tokens": result["output_tokens"],
                        "cascade.cost": result["cost"],
                    }
                )
                labels = {**LABELS, "cascade.escalated": False}
                duration.record(time.perf_counter() - start, labels)
                cost.add(result["cost"], labels)
                calls.add(1, labels)
            return result

        return hand

    return decorate


def traceloop() -> Decorate:
    os.environ |= {"TRACELOOP_TELEMETRY": "false", "TRACELOOP_METRICS_ENABLED": "false"}
    from traceloop.sdk import Traceloop
    from traceloop.sdk.decorators import task

    Traceloop.init(app_name="b", processor=batches(), telemetry_enabled=False, instruments=set())
    return task(name="small")


def openinference() -> Decorate:
    from openinference.instrumentation import TracerProvider

    tracers = TracerProvider()
    tracers.add_span_processor(batches())
    return tracers.get_tracer("b").chain(name="small")


def langfuse() -> Decorate:
    os.environ.setdefault("OTEL_BSP_MAX_QUEUE_SIZE", str(1 << 17))
    from langfuse import Langfuse, observe

    Langfuse(public_key="pk", secret_key="sk", base_url="http://127.0.0.1:9", span_exporter=nowhere())
    return observe(name="small", as_type="generation")


def logfire() -> Decorate:
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        additional_span_processors=[batches()],
    )
    return logfire.instrument("small", record_return=True)


def openlit() -> Decorate:
    import openlit

    openlit.init(application_name="b", environment="t", disable_metrics=True)
    return openlit.trace


def mlflow() -> Decorate:
    os.environ |= {"MLFLOW_ENABLE_ASYNC_TRACE_LOGGING": "true", "MLFLOW_ALLOW_FILE_STORE": "true"}
    import mlflow
    from mlflow.tracing.export.mlflow_v3 import MlflowV3SpanExporter

    MlflowV3SpanExporter.export = lambda self, spans: None  # its own store costs far more than its decorator
    mlflow.set_tracking_uri(f"file:{ENVIRONMENTS}/mlruns")
    return mlflow.trace(name="small", span_type="LLM")


def util_genai() -> Decorate:
    from opentelemetry.util.genai.handler import TelemetryHandler

    tracers, meters = providers()
    handler = TelemetryHandler(tracer_provider=tracers, meter_provider=meters)

    def decorate(function: Callable[[int], Any]) -> Callable[[int], Any]:
        def call(x: int) -> Any:
            with handler.inference("openai", request_model="gpt-4o-mini") as operation:
                result = function(x)
                operation.input_tokens = result["input_tokens"]
                operation.output_tokens = result["output_tokens"]
                operation.attributes.update(
                    {
                        **{key: value for key, value in STATIC.items() if key.startswith("cascade")},
                        "cascade.confidence": result["confidence"],
                        "cascade.escalated": False,
                        "cascade.cost": result["cost"],
                    }
                )
            return result

        return call

    return decorate


def ours() -> Decorate:
    from opentelemetry import metrics, trace

    from cascade_otel import tier

    tracers, meters = providers()
    trace.set_tracer_provider(tracers)
    metrics.set_meter_provider(meters)
    return tier(
        "small",
        model="gpt-4o-mini",
        provider="openai",
        threshold=0.7,
        confidence="confidence",
        cost="cost",
        usage=lambda result: (result["input_tokens"], result["output_tokens"]),
    )


PEERS: dict[str, tuple[Callable[[], Decorate], str]] = {
    "cascade-otel": (ours, ""),
    "Traceloop": (traceloop, "traceloop-sdk httpx"),
    "OpenInference": (openinference, "openinference-instrumentation opentelemetry-sdk"),
    "util-genai": (util_genai, "opentelemetry-util-genai opentelemetry-sdk"),
    "Logfire": (logfire, "logfire"),
    "OpenLIT": (openlit, "openlit"),
    "Langfuse": (langfuse, "langfuse"),
    "MLflow": (mlflow, "mlflow"),
}


def compare(name: str) -> float:
    """The peer's CPU time against by hand: median over rounds, in this process."""
    decorate = PEERS[name][0]()

    def plain(x: int) -> dict[str, Any]:
        return dict(RESULT)

    tracers, meters = providers()
    theirs, hand = decorate(plain), by_hand(tracers, meters)(plain)

    def chunk(function: Callable[[int], Any]) -> float:
        start = time.process_time_ns()
        for i in range(CALLS):
            function(i)
        return float(time.process_time_ns() - start)

    chunk(hand), chunk(theirs)
    return statistics.median(b / a for a, b in ((chunk(hand), chunk(theirs)) for _ in range(ROUNDS)))


def run_all() -> None:
    """Installs each peer into an environment of its own, if need be, and prints the table."""
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    print("\n| decorator | CPU against a span and three points by hand | version |\n|---|---|---|")
    for name, (_, packages) in PEERS.items():
        folder = ENVIRONMENTS / name
        python = folder / "bin" / "python" if packages else Path(sys.executable)
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True)
            subprocess.run(
                [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages.split()],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        command = [python, __file__, name, *(each for each in sys.argv if each == "--quick")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ENVIRONMENTS, check=False)
        if done.returncode:
            print(f"| {name} | does not run: {done.stderr.strip().splitlines()[-1]} | |", flush=True)
            continue
        ratio, version = json.loads(done.stdout.strip().splitlines()[-1])
        print(f"| {name} | {ratio:.2f} | {version} |", flush=True)


if __name__ == "__main__":
    from importlib.metadata import version

    ratio = compare(sys.argv[1])
    print(json.dumps([ratio, version((PEERS[sys.argv[1]][1] or sys.argv[1]).split()[0])]))
    sys.stdout.flush()
    os._exit(0)  # nothing is exported, so nothing is waited for
