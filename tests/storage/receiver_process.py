"""A receiver in a process of its own, for tests, and what it has stored."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel.storage.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import body as made_body

ROOT = Path(__file__).parents[2]
PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
PROGRAM = """
import sys
from cascade_otel.storage import receiver
token = sys.argv[3] or None
receiver.run(sys.argv[1], "127.0.0.1", int(sys.argv[2]), token, (lambda: b"up 1\\n") if token else None)
"""


def body(count=3, change=None, seed=0):
    return made_body(count, change, seed, time.time_ns())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receiver:
    """A receiver in a process of its own."""

    def __init__(self, root: Path, port: int, token: str = ""):
        self.port = port
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(root), str(port), token], cwd=ROOT
        )
        for _ in range(400):
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                time.sleep(0.05)
        raise AssertionError("the receiver did not start")

    def ask(self, method, path, content=b"", headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, content, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def send(self, encoded, **headers):
        return self.ask("POST", "/v1/traces", gzip.compress(encoded), PROTOBUF | headers)

    def counts(self):
        return json.loads(self.ask("GET", "/healthz")[1])

    def stop(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(10)


def stored_ids(root) -> list[int]:
    with open_reader(Store(root)) as reader:
        hours = reader.span_hours()
        if hours is None:
            return []
        return [
            int(span)
            for span in reader.rows(None, hours[0], hours[1] + 1, kind=None, columns=["span_id"])["span_id"]
        ]


def ids(encoded) -> set[int]:
    request = ExportTraceServiceRequest.FromString(encoded)
    return {
        struct.unpack(">q", span.span_id)[0]
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }
