"""A real gunicorn: every span of every worker arrives, counters count once, SIGTERM ends it cleanly."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.instrumentation.wired import ROOT, Collector

pytest.importorskip("fcntl")  # gunicorn needs a Unix
REQUESTS, WORKERS = 24, 2
APP = """
import os
from cascade_otel import cascade, configure, tier

@tier("small", model="m1")
def small(): return os.getpid()

@cascade("shop", task="t")
def answer(): return small()

def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(answer()).encode()]
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def instances(collector: Collector) -> dict[str, float]:
    """The last count of tier calls of each process, by ``service.instance.id``."""
    found: dict[str, float] = {}
    for body in collector.bodies.get("/v1/metrics", []):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            labels = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "cascade.tier.calls":
                        found[labels["service.instance.id"]] = sum(
                            point.as_double or point.as_int for point in metric.sum.data_points
                        )
    return found


@pytest.mark.parametrize("where", ["before the fork", "in each worker", "in post_fork"])
def test_gunicorn(collector: Collector, tmp_path: Path, where: str) -> None:
    wiring = f"configure(endpoint={collector.url!r}, service_name='shop')"
    program, options, settings = APP, [], ""
    if where == "in post_fork":
        settings = f"def post_fork(server, worker):\n    from cascade_otel import configure\n    {wiring}\n"
    else:
        # a call in the master too, which no worker may count once more
        program += f"{wiring}\nanswer()\n" if where == "before the fork" else f"{wiring}\n"
        options = ["--preload"] if where == "before the fork" else []
    (tmp_path / "shop.py").write_text(program)
    (tmp_path / "settings.py").write_text(settings)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"gunicorn --workers {WORKERS} --bind 127.0.0.1:{port} --config settings.py --no-control-socket"
    server = subprocess.Popen(
        [sys.executable, "-m", *command.split(), *options, "shop:app"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        asked: list[str] = []
        until = time.monotonic() + 60
        while len(asked) < REQUESTS or len(set(asked)) < WORKERS:
            assert server.poll() is None, "gunicorn has gone"
            assert time.monotonic() < until, asked
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10) as answer:
                    asked.append(answer.read().decode())
            except OSError:  # not up yet
                time.sleep(0.1)
        server.send_signal(signal.SIGTERM)
        _, told = server.communicate(timeout=40)
    finally:
        server.kill()
    assert server.returncode == 0, told
    assert "Traceback" not in told
    master = where == "before the fork"
    calls = len(asked) + master
    assert collector.spans() == sorted(["shop: cascade t", "shop: chat m1"] * calls)
    counted = instances(collector)
    assert sorted(counted.values()) == sorted([asked.count(pid) for pid in set(asked)] + [1] * master)
