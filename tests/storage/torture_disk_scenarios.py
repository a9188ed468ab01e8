"""What is done on a disk that is full or read-only, and what has to be true then, for ``torture_disk``."""

from __future__ import annotations

import concurrent.futures
import contextlib
import gzip
import http.client
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from google.rpc.error_details_pb2 import RetryInfo
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from cascade_otel.records import DAY_NS, SECOND_NS
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.reading.rollup import open_reader
from cascade_otel.storage.segments import Store
from tests.storage import metric_samples, torture_spans
from tests.storage.receiver_process import PROTOBUF, body, ids, stored_ids
from tests.storage.storage_samples import DAY, rows
from tests.storage.torture_disk import PAGE, Limited, Small
from tests.storage.torture_processes import Processes, free_port
from tests.storage.torture_spans import Batch

Disk = Small | Limited
COUNTED = 300
EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
ROOMS = range(0, 40 * PAGE, PAGE if os.environ.get("CASCADE_OTEL_TORTURE") else 5 * PAGE)
"""How much fits on the disk before it is full: at another place of another file each time."""


class Client:
    """Sends to a receiver in a process of its own, by both ways."""

    def __init__(self, processes: Processes, root: Path):
        self.ports = [free_port(), free_port()]
        processes.start("receiver", "receive", root=str(root), ports=self.ports)
        processes.wait(self._is_up)

    def http(self, encoded: bytes) -> tuple[int, int]:
        """The status, and after how many seconds to send again (0: not told)."""
        status, headers = self._ask("POST", "/v1/traces", gzip.compress(encoded))
        return status, int(headers.get("Retry-After") or 0)

    def metrics(self, encoded: bytes) -> int:
        """The status of a request with metrics."""
        return self._ask("POST", "/v1/metrics", gzip.compress(encoded))[0]

    def grpc(self, encoded: bytes) -> tuple[str, int]:
        """The same of gRPC."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[1]}") as channel:
            try:
                channel.unary_unary(EXPORT)(encoded, timeout=20)
            except grpc.RpcError as error:
                info = RetryInfo()
                info.ParseFromString(dict(error.trailing_metadata())["google.rpc.retryinfo-bin"])
                return error.code().name, info.retry_delay.seconds
        return "OK", 0

    def export(self, number: int) -> list[SpanExportResult]:
        """What the official exporters say in the end."""
        exporters = (
            HttpExporter(f"http://127.0.0.1:{self.ports[0]}/v1/traces", timeout=20),
            GrpcExporter(f"http://127.0.0.1:{self.ports[1]}", timeout=20),
        )
        today = time.time_ns() // DAY_NS - 1
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = [
                pool.submit(exporter.export, torture_spans.readable(Batch(way, number), today))
                for way, exporter in enumerate(exporters)
            ]
            return [one.result() for one in waiting]

    def _is_up(self) -> bool:
        try:
            return self._ask("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def _ask(self, method: str, path: str, content: bytes = b"") -> tuple[int, http.client.HTTPMessage]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, content, PROTOBUF)
            response = connection.getresponse()
            response.read()
            return response.status, response.headers


@contextlib.contextmanager
def receiving(disk: Disk) -> Iterator[tuple[Client, int, Path]]:
    """A receiver with its store on the disk: how to reach it, its process, the store."""
    root = disk.folder / "store"
    with Processes("tests.storage.torture_roles", disk.folder.parent / "errors") as processes:
        yield Client(processes, root), processes.pid("receiver"), root
        processes.kill_all()


def receiver_on_a_full_disk(disk: Disk) -> None:
    """Both ways say 'try later', nothing is acknowledged that is not stored, and it passes by itself."""
    numbers = itertools.count(1)
    with receiving(disk) as (client, pid, root):
        first = body(3, seed=next(numbers))
        assert client.http(first) == (200, 0)
        acknowledged, owed, counted = ids(first), [], []
        for room in (0, PAGE, 3 * PAGE):
            with disk.full(pid, room):
                for send, later in ((client.http, 503), (client.grpc, "UNAVAILABLE")):
                    refused = body(1_500, seed=next(numbers))
                    status, after_s = send(refused)
                    assert status == later
                    assert after_s > 0
                    owed.append(refused)
                    counted.append(calls_counted(next(numbers)))
                    # A little room may do for these.
                    assert client.metrics(counted[-1]) in ((200, 503) if room else (503,))
                is_nothing_else_there(root, acknowledged)
        with concurrent.futures.ThreadPoolExecutor() as pool, disk.full(pid):
            exporting = pool.submit(client.export, 1)
            time.sleep(0.5)
            assert not exporting.done()
            is_nothing_else_there(root, acknowledged)
        assert exporting.result() == [SpanExportResult.SUCCESS] * 2
        for refused in owed:
            assert client.http(refused) == (200, 0)
            acknowledged |= ids(refused)
        for request in counted:
            assert client.metrics(request) == 200
        with Counters(root) as counters:
            assert counters.calls(0, 10**7)["n"].sum() == len(counted) * COUNTED
        spans = {span.id for way in range(2) for span in torture_spans.spans(Batch(way, 1), 20_000)}
        is_nothing_else_there(root, acknowledged | spans)


def calls_counted(number: int) -> bytes:
    """A request that says: so many calls since the last one, each with an outcome of its own."""
    now_ns = time.time_ns()
    source = {"start_ns": now_ns - SECOND_NS, "time_ns": now_ns, "instance": str(number)}
    return metric_samples.request(*[1] * COUNTED, temporality=metric_samples.DELTA, **source)


def receiver_on_a_read_only_disk(disk: Disk) -> None:
    """The same where nothing may be written."""
    with receiving(disk) as (client, pid, root):
        first, refused = body(3, seed=1), body(300, seed=2)
        assert client.http(first) == (200, 0)
        with disk.read_only(pid):
            for send, later in ((client.http, 503), (client.grpc, "UNAVAILABLE")):
                status, after_s = send(refused)
                assert status == later
                assert after_s > 0
            is_nothing_else_there(root, ids(first))
        assert client.grpc(refused) == ("OK", 0)
        is_nothing_else_there(root, ids(first) | ids(refused))


def serve_on_a_full_disk(disk: Disk) -> None:
    """All parts start and stay, the receiver says 'try later', and with room they do their work."""
    root, ports = disk.folder / "store", [free_port() for _ in range(3)]
    Store(root)
    options = zip(("--port", "--grpc-port", "--dashboard-port"), map(str, ports), strict=True)
    command = [sys.executable, "-m", "cascade_otel.cli", "serve", "--store", str(root)]
    said = disk.folder.parent / "said"

    def ask(method: str, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", ports[0], timeout=20)
        with contextlib.closing(connection):
            connection.request(method, path, gzip.compress(body(3, seed=1)), PROTOBUF)
            return connection.getresponse().status

    with open(said, "w") as log, disk.full(os.getpid()):
        served = subprocess.Popen([*command, *itertools.chain(*options)], stdout=log, stderr=log)
        try:
            for wanted in ("receiver   http", "dashboard  http", "a look of the drift job failed (1"):
                until(lambda wanted=wanted: wanted in said.read_text(), served)
            assert ask("GET", "/healthz") == 200
            assert [ask("POST", "/v1/traces") for _ in range(2)] == [503, 503]
            assert ask("GET", "/healthz") == 503
            if isinstance(disk, Small):
                disk.make_room()
                until(lambda: ask("POST", "/v1/traces") == 200, served)
                assert ask("GET", "/healthz") == 200
                if os.environ.get("CASCADE_OTEL_TORTURE"):  # the job looks once a minute
                    until(lambda: "drift job  looks" in said.read_text(), served)
                assert sorted(stored_ids(root)) == sorted(ids(body(3, seed=1)))
        finally:
            served.terminate()
            assert served.wait(20) == 0
    lines = said.read_text()
    assert "Traceback" not in lines
    assert lines.count("the store cannot be written to: No space left on device") <= 1


def until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Waits for it, as long as the process lives."""
    deadline = time.monotonic() + 100
    while not is_so():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


def is_nothing_else_there(root: Path, wanted: set[int]) -> None:
    """Exactly these spans, each once, and no file half written."""
    found = stored_ids(root)
    assert sorted(found) == sorted(wanted)
    assert [path for path in (root / "tmp").iterdir() if path.is_file()] == []


def compactor_on_a_full_disk(disk: Disk) -> None:
    """Wherever it runs out of room the day stays as it was; with room it goes on."""
    store, now_ns = _half_compacted(disk.folder / "store")
    before, figures, failures = files(store), answers(store), 0
    with Compactor(store) as compactor:
        for room in ROOMS:
            with disk.full(os.getpid(), room):
                done = compactor.run(now_ns)
                if not done.failed:
                    break
                failures += 1
                assert files(store) == before, room
                assert answers(store) == figures, room
        assert failures > 2, failures
        compactor.run(now_ns)
    assert answers(store) == figures
    assert store.live(DAY).small == ()
    print(failures)


def compactor_on_a_read_only_disk(disk: Disk) -> None:
    """Nothing changes, and it is told; with room it goes on."""
    store, now_ns = _half_compacted(disk.folder / "store")
    before, figures = files(store), answers(store)
    with Compactor(store) as compactor:
        with disk.read_only(os.getpid()):
            with contextlib.suppress(OSError):
                assert compactor.run(now_ns).failed
            assert files(store) == before
            assert answers(store) == figures
        compactor.run(now_ns)
    assert answers(store) == figures
    assert store.live(DAY).small == ()


def _half_compacted(root: Path) -> tuple[Store, int]:
    """A store with merged files, small segments, labels and audits; when it is compacted next."""
    store, now_ns = Store(root), (DAY + 1) * DAY_NS
    for number in range(8):
        store.append(rows(400, seed=number))
        if number in (3, 5):
            with Compactor(store) as compactor:
                compactor.run(now_ns)
    return store, now_ns


def files(store: Store) -> dict[str, int]:
    """Every file but the lock, with its size."""
    found = (path for path in store.root.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path.relative_to(store.root)): path.stat().st_size for path in found}


def answers(store: Store) -> str:
    """What a reader says."""
    hours = DAY * 24, DAY * 24 + 24
    with open_reader(store) as reader:
        spans = reader.rows(None, *hours, kind=None, columns=["span_id"])["span_id"]
        sums = reader.sums(*hours)[["n", "escalated", "cost_nano"]].sum()
        cells = reader.cells(*hours, "latency")["n"].sum()
    return json.dumps([sorted(map(int, spans)), [int(one) for one in sums], int(cells)])
