"""One call wires exporting, with a deadline; a collector that hangs or refuses never holds the program up."""

from __future__ import annotations

import gzip
import http.server
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel import configure

ROOT = Path(__file__).resolve().parents[1]
APP = """
from cascade_otel import cascade, configure, tier
handle = configure({arguments})
@tier("small", model="m1", threshold=.8, confidence=lambda r: r)
def small(): return .5
@tier("large", model="m2")
def large(): return 1
@cascade("extract", task="organic")
def extract(): return small() if False else (small(), large())
extract()
"""


def run_app(arguments: str, end: str = "", **environment: str) -> tuple[str, float]:
    """What the app prints, and how many seconds its process took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", APP.format(arguments=arguments) + textwrap.dedent(end)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr, time.monotonic() - started


class Collector:
    """Takes OTLP over HTTP and keeps what came, by path."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                collector.bodies.setdefault(self.path, []).append(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[str]:
        """Names of the spans that came, sorted, and the service they came from."""
        names = []
        for body in self.bodies.get("/v1/traces", []):
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                service = {a.key: a.value.string_value for a in resource.resource.attributes}["service.name"]
                names += [f"{service}: {span.name}" for scope in resource.scope_spans for span in scope.spans]
        return sorted(names)

    def metrics(self) -> set[str]:
        """Names of the metrics that came."""
        requests = [
            ExportMetricsServiceRequest.FromString(body) for body in self.bodies.get("/v1/metrics", [])
        ]
        return {
            metric.name
            for request in requests
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A collector that accepts connections and says nothing."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(64)
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


def test_spans_and_metrics_are_sent_at_a_normal_exit(collector: Collector) -> None:
    run_app(f"endpoint={collector.url!r}, service_name='shop'")
    assert collector.spans() == ["shop: cascade organic", "shop: chat m1", "shop: chat m2"]
    assert {"cascade.tier.calls", "cascade.escalations", "cascade.duration"} <= collector.metrics()
    assert "gen_ai.client.token.usage" not in collector.metrics()


def test_the_standard_variables_are_read(collector: Collector) -> None:
    run_app("", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_SERVICE_NAME="shop")
    assert collector.spans() == ["shop: cascade organic", "shop: chat m1", "shop: chat m2"]


def test_flush_hands_on_at_once(collector: Collector) -> None:
    printed, _ = run_app(
        f"endpoint={collector.url!r}",
        "print(handle.flush(5)); import os, sys; sys.stdout.flush(); os._exit(0)",
    )
    assert printed == "True\n"
    assert len(collector.spans()) == 3


def test_a_forked_child_exports_its_own_spans(collector: Collector) -> None:
    run_app(
        f"endpoint={collector.url!r}, service_name='shop'",
        "import os\nhandle.flush(5)\nif os.fork() == 0:\n    extract()\nelse:\n    os.wait()",
    )
    assert len(collector.spans()) == 6


def test_a_collector_that_hangs_costs_two_seconds_at_exit(hanging: str) -> None:
    _, quick = run_app("endpoint='http://127.0.0.1:9'", "import os; os._exit(0)")
    printed, took = run_app(f"endpoint={hanging!r}")
    assert took - quick < 2.9
    assert "does the collector answer?" in printed


def test_a_collector_that_hangs_blocks_no_call_and_no_flush(hanging: str) -> None:
    printed, _ = run_app(
        f"endpoint={hanging!r}",
        """
        import os, sys, time
        start = time.monotonic()
        for _ in range(2000): extract()
        calls = time.monotonic() - start
        start = time.monotonic()
        done = handle.flush(.3)
        print(done, calls < 5, .25 < time.monotonic() - start < 1)
        sys.stdout.flush(); os._exit(0)
        """,
    )
    assert printed.split("\n")[0] == "False True True"


def test_a_collector_that_refuses_does_not_hold_up_the_exit() -> None:
    _, quick = run_app("endpoint='http://127.0.0.1:9'", "import os; os._exit(0)")
    _, took = run_app("endpoint='http://127.0.0.1:9'")
    assert took - quick < 2.9


def test_a_store_needs_no_receiver(tmp_path: Path) -> None:
    """Spans are written into segments by the process itself, and are readable after its end."""
    segments = pytest.importorskip("cascade_otel.storage.segments")
    run_app(f"store={str(tmp_path / 'store')!r}, service_name='shop'")
    assert segments.Store(tmp_path / "store").days()
    found = run_app(
        f"store={str(tmp_path / 'store')!r}",
        f"""
        handle.flush(10)
        from cascade_otel.storage.rollup import open_reader
        from cascade_otel.storage.segments import Store
        with open_reader(Store({str(tmp_path / "store")!r})) as reader:
            start, end = reader.span_hours()
            rows = reader.rows("organic", start, end + 1)
        print(rows[["tier", "escalated"]].to_dict("records"))
        """,
    )[0]
    assert found.count("'escalated': True") == 2, found


def test_the_example_of_two_tiers_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "examples" / "two_tiers.py", tmp_path / "store"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "organic: 4 of 50 calls were escalated",
        "low_sugar: 35 of 50 calls were escalated",
    ]
    assert list((tmp_path / "store").rglob("*.parquet"))


def test_both_a_store_and_an_endpoint_are_refused_with_what_to_type() -> None:
    with pytest.raises(ValueError, match=r"one of them is wanted.*configure\(store="):
        configure(store="folder", endpoint="http://127.0.0.1:4318")
