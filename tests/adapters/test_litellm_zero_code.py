"""A script that knows nothing of us, under ``opentelemetry-instrument``, leaves its cascade in the store."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.receiver_process import Receiver, free_port

SCRIPT = """
from litellm import Router

router = Router(
    model_list=[
        {
            "model_name": "small",
            "litellm_params": {
                "model": "openai/gpt-4o-mini",
                "api_key": "none",
                "mock_response": "litellm.RateLimitError",
            },
        },
        {
            "model_name": "large",
            "litellm_params": {"model": "openai/gpt-4o", "api_key": "none", "mock_response": "blue"},
        },
    ],
    fallbacks=[{"small": ["large"]}],
    num_retries=0,
)
answer = router.completion("small", [{"role": "user", "content": "Which colour?"}])
print(answer.choices[0].message.content)
"""
COLUMNS = ["kind", "span_id", "parent_id", "trace_id_hi", "tier", "outcome", "reason", "task", "cost_nano"]


def under_opentelemetry(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script as ``opentelemetry-instrument python script.py``."""
    (folder / "script.py").write_text(script)
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    inherited = {name: each for name, each in os.environ.items() if not name.startswith(("OTEL_", "PYTHON"))}
    return subprocess.run(
        [instrument, sys.executable, "script.py"],
        cwd=folder,
        env={
            **inherited,
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "CRITICAL",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_an_unchanged_router_script_leaves_one_cascade_of_two_tiers(tmp_path: Path) -> None:
    port = free_port()
    receiver = Receiver(tmp_path / "store", port)
    try:
        done = under_opentelemetry(
            SCRIPT,
            tmp_path,
            OTEL_EXPORTER_OTLP_PROTOCOL="http/protobuf",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}",
            OTEL_SERVICE_NAME="colours",
        )
        assert (done.stdout.strip(), done.returncode) == ("blue", 0), done.stderr
    finally:
        receiver.stop()
    with open_reader(Store(tmp_path / "store")) as reader:
        hours = reader.span_hours()
        assert hours is not None
        rows = reader.rows(None, hours[0], hours[1] + 1, kind=None)
    whole, tiers = rows[rows.kind == 0], rows[rows.kind == 1].sort_values("start_ns")
    assert list(whole.task) == ["small"]
    assert list(whole.final_tier) == ["large"]
    assert list(tiers.tier) == ["small", "large"]
    assert list(tiers.outcome) == ["escalated", "accepted"]
    small, large = tiers.itertuples()
    assert (small.reason, large.cost_source) == ("error", "litellm")
    assert set(tiers.parent_id) == set(whole.span_id)
    assert set(rows.trace_lo) == set(whole.trace_lo)
    assert set(rows.service) == {"colours"}


OWN_CALLBACK = """
import litellm, time
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
trace.set_tracer_provider(TracerProvider())
from cascade_otel.adapters.litellm import LiteLLMInstrumentor

LiteLLMInstrumentor().instrument()
litellm.callbacks = ["otel"]
params = {"model": "openai/gpt-4o", "api_key": "none", "mock_response": "blue"}
router = litellm.Router(model_list=[{"model_name": "small", "litellm_params": params}])
router.completion("small", [{"role": "user", "content": "Which colour?"}])
counts, deadline = {}, time.time() + 20
while "gen_ai.client.operation.duration" not in counts and time.time() < deadline:
    time.sleep(0.05)  # LiteLLM tells its callbacks in a thread
    for scopes in reader.get_metrics_data().resource_metrics:
        for scope in scopes.scope_metrics:
            for metric in scope.metrics:
                if "duration" in metric.name:
                    counts[metric.name] = sum(point.count for point in metric.data.data_points)
print(counts["gen_ai.client.operation.duration"], counts["cascade.tier.duration"], counts["cascade.duration"])
"""


def test_with_litellms_own_callback_on_an_operation_is_counted_once(tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_OTEL_INTEGRATION_ENABLE_METRICS": "true",
        "OTEL_EXPORTER": "console",
    }
    done = subprocess.run(
        [sys.executable, "-c", OWN_CALLBACK],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split()[-3:] == ["1", "1", "1"], done.stderr


def test_what_the_program_does_not_import_is_not_imported_for_it(tmp_path: Path) -> None:
    script = "import sys\nprint(sorted({'litellm', 'cascade_otel'} & set(sys.modules)))"
    done = under_opentelemetry(script, tmp_path, OTEL_TRACES_EXPORTER="none")
    assert done.stdout.strip() == "['cascade_otel']", done.stderr
