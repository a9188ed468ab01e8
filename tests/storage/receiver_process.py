"""A receiver in a process of its own, for tests, and what it has stored."""

from __future__ import annotations

import gzip
import http.client
import json
import signal
import socket
import ssl
import struct
import subprocess
import sys
import time
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage.storage_samples import body as made_body

ROOT = Path(__file__).parents[2]
PROTOBUF = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
PROGRAM = """
import sys
from pathlib import Path
from cascade_otel.storage.receiving import receiver
from cascade_otel.storage.receiving.access import tls_of
root, port, token, grpc_port, *pair = sys.argv[1:]
metrics = (lambda: b"up 1\\n") if token else None
tls = tls_of(*map(Path, pair)) if pair else None
receiver.run(root, "127.0.0.1", int(port), token or None, metrics, grpc_port=int(grpc_port), tls=tls)
"""
"""Arguments: store, port, token or '', gRPC's port (0: none), and if wanted a certificate and its key."""


def body(count=3, change=None, seed=0):
    return made_body(count, change, seed, time.time_ns())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Receiver:
    """A receiver in a process of its own, with gRPC too; ``pair`` is a certificate and its key."""

    def __init__(self, root, port, token="", grpc_port=None, pair=(), log=None, program=PROGRAM):
        self.port = port
        self.grpc_port = free_port() if grpc_port is None else grpc_port
        self.tls = ssl.create_default_context(cafile=pair[0]) if pair else None
        arguments = map(str, [root, port, token, self.grpc_port, *pair])
        self.process = subprocess.Popen([sys.executable, "-c", program, *arguments], cwd=ROOT, stderr=log)
        for _ in range(400):
            try:
                if self.ask("GET", "/healthz")[0] == 200:
                    return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise AssertionError("the receiver did not start")

    def ask(self, method, path, content=b"", headers=None):
        connection = (
            http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10, context=self.tls)
            if self.tls
            else http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        )
        try:
            connection.request(method, path, content, headers or {})
            response = connection.getresponse()
            return response.status, response.read(), response.headers
        finally:
            connection.close()

    def send(self, encoded, **headers):
        return self.ask("POST", "/v1/traces", gzip.compress(encoded), PROTOBUF | headers)

    def send_json(self, document, path="/v1/traces", **headers):
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        return self.ask("POST", path, content, {"Content-Type": "application/json"} | headers)

    def counts(self):
        return json.loads(self.ask("GET", "/healthz")[1])

    def resident(self, which="VmRSS") -> int:
        """Memory in kB; ``VmHWM`` is the most there ever was."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith(which))

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
