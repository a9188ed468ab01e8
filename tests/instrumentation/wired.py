"""A program that is wired by ``configure``, and a collector that takes what it sends."""

from __future__ import annotations

import gzip
import http.server
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).resolve().parents[2]
APP = """
from cascade_otel import cascade, configure, tier
{wiring}
@tier("small", model="m1", threshold=.8, confidence=lambda r: r)
def small(): return .5
@tier("large", model="m2")
def large(): return 1
@cascade("extract", task="organic")
def extract(): return small() if False else (small(), large())
extract()
"""


def run_app(
    arguments: str | None, end: str = "", *, before: str = "", seconds: float = 60, **environment: str
) -> tuple[str, float]:
    """What the app prints, and how many seconds its process took. Without arguments nothing is configured."""
    wiring = "" if arguments is None else f"handle = configure({arguments})"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(before) + APP.format(wiring=wiring) + textwrap.dedent(end)],
        capture_output=True,
        text=True,
        timeout=seconds,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr, time.monotonic() - started


class Collector:
    """Takes OTLP over HTTP and keeps what came, by path."""

    def __init__(self) -> None:
        self.status = 200  # what it answers; 0: nothing, ever
        self.bodies: dict[str, list[bytes]] = {}
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"  # a connection is kept, as real collectors do

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                status = collector.status
                if not status:
                    self.rfile.read(1)  # until the other side gives up
                    return
                if status == 200:
                    collector.bodies.setdefault(self.path, []).append(body)
                self.send_response(status)
                self.send_header("Content-Length", "0")
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
