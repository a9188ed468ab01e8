"""How fast the receiver takes spans in: acknowledged is durable, with every check on.

python benchmarks/receiver.py [--clients 32] [--seconds 8] [--peers] [--soak 600]

The receiver has one core and the clients another. Bodies are gzipped and hold 512 spans each. ``--peers``
sends the same bodies to the servers of Phoenix and MLflow, each installed into an environment of its own.
``--soak`` watches the receiver's memory under that load, half of it over gRPC. On a machine that does other
things as well, trust CPU times and ratios.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import itertools
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _bodies
import _load
import _measure as measure
import _servers
import numpy as np
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel.storage.otlp.decode import decode
from cascade_otel.storage.receiving.intake import inflate
from cascade_otel.storage.segments import Store

BODIES, PEER_BODIES = 64, 384
BODIES_A_COMMIT, FRESH = 4, 8
WARM_S, SETTLE_S, SOAK_STEP_S = 2.0, 30.0, 10
SPANS_BAR, RATIO_BAR, MEMORY_BAR, DECODE_BAR = 20_000, 1.6, 300, 15
HEAD = (
    "receiver", "spans/s", "of its core", "spans a CPU second", "CPU a span", "× in process", "p50", "p99",
    "peak memory", "refused", "stored when acknowledged", "acknowledged means",
)  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--peers", action="store_true")
    options.add_argument("--soak", type=int, metavar="SECONDS")
    chosen = options.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    load_core, receiver_core = cores[0], cores[-1]
    bodies = _bodies.bodies(PEER_BODIES if chosen.peers else BODIES)
    zipped = [gzip.compress(body, 6) for body in bodies]
    size, small = (sum(map(len, each)) / len(bodies) / _bodies.SPANS for each in (bodies, zipped))
    print(f"{measure.machine()}; {_bodies.SPANS} spans a body, {size:.0f} bytes a span, {small:.0f} gzipped")
    with tempfile.TemporaryDirectory() as folder, only_on(receiver_core):
        root = Path(folder)
        in_process = decoding(bodies[:BODIES], zipped[:BODIES], root / "decoded")
        with only_on(load_core):
            if chosen.soak:
                soak(bodies, zipped, root / "soaked", chosen.clients, chosen.soak, receiver_core)
                return
            lines = []
            for server in (_servers.CASCADE_OTEL, *(_servers.PEERS if chosen.peers else ())):
                for over_grpc in (False, True) if server.grpc else (False,):
                    measured = Trial(server, over_grpc, chosen.clients, chosen.seconds, receiver_core)
                    lines.append(measured.run(bodies, zipped, root, in_process))
                    print(".", end="", flush=True)
        in_process_again = writing(zipped[:BODIES], root / "again")
    measure.table(f"Receiver on one core, {chosen.clients} clients on another", HEAD, lines)
    print(f"in process, before and after: {in_process * 1e6:.1f} and {in_process_again * 1e6:.1f} µs a span")


@contextlib.contextmanager
def only_on(core: int) -> Iterator[None]:
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, own)


def decoding(bodies: list[bytes], zipped: list[bytes], folder: Path) -> float:
    """CPU seconds a span of inflating, decoding, writing and syncing in this process, on this core."""
    decode(bodies[:1])
    official, decoded = float("inf"), float("inf")
    for first in range(0, len(bodies), FRESH):  # none twice: decode remembers the texts it has read
        part = bodies[first : first + FRESH]
        spans = len(part) * _bodies.SPANS
        parsing, _ = measure.took(partial(parsed, part), 3)
        decoding, found = measure.took(partial(decode, part))
        if found.table.num_rows != spans:
            raise RuntimeError(f"{found.table.num_rows} of {spans} spans were decoded: {found.rejected}")
        official, decoded = min(official, parsing.cpu / spans), min(decoded, decoding.cpu / spans)
    whole = writing(zipped, folder)
    lines = [
        ("parsing the official messages alone", f"{official * 1e6:.2f} µs", ""),
        (
            "decode, every check, typed columns",
            f"{decoded * 1e6:.2f} µs",
            measure.at_most(decoded / official, DECODE_BAR, unit=" ×"),
        ),
        (f"inflate, decode, write, sync, {BODIES_A_COMMIT} bodies a commit", f"{whole * 1e6:.2f} µs", ""),
    ]
    measure.table("In process, on one core", ("step", "CPU a span", "× official messages"), lines)
    return whole


def parsed(bodies: list[bytes]) -> list[ExportTraceServiceRequest]:
    return [ExportTraceServiceRequest.FromString(body) for body in bodies]


def writing(zipped: list[bytes], folder: Path) -> float:
    store = Store(folder)

    def stored() -> None:
        for first in range(0, len(zipped), BODIES_A_COMMIT):
            batch = [inflate(body, "gzip") for body in zipped[first : first + BODIES_A_COMMIT]]
            store.append(decode(batch).table)

    return measure.took(stored, 3)[0].cpu / len(zipped) / _bodies.SPANS


class Trial:
    """One receiver under load over one protocol."""

    def __init__(self, server: _servers.Server, over_grpc: bool, clients: int, seconds: float, core: int):
        self.server, self.over_grpc = server, over_grpc
        self.clients, self.seconds, self.core = min(clients, server.most_clients), seconds, core

    def run(self, bodies: list[bytes], zipped: list[bytes], root: Path, in_process: float) -> list[str]:
        """Its line of the table."""
        ours, name = not self.server.package, f"{self.server.name} {'gRPC' if self.over_grpc else 'HTTP'}"
        content = bodies if self.over_grpc else zipped
        with _servers.running(self.server, root / name.replace(" ", "-"), self.core) as receiver:
            # Another tool's server may store a repeated span faster than a new one, so it gets each once.
            source = itertools.cycle(content) if ours else iter(content)
            before_warm = self.server.stored(receiver.folder)
            warm = self.load(receiver, source, *((self.clients, WARM_S) if ours else (1, 0.01)))
            family = measure.family(receiver.pid)
            cpu = measure.cpu_s(family)
            sent = self.load(receiver, source, self.clients, self.seconds)
            cpu = measure.cpu_s(family) - cpu
            memory = measure.resident_mb(family, peak=True)
            count = len(sent.latencies) * _bodies.SPANS
            now = self.server.stored(receiver.folder)
            there = now - before_warm - len(warm.latencies) * _bodies.SPANS
            stored = f"{min(max(there / count, 0), 1):.0%}"
            if there < count:
                time.sleep(SETTLE_S)
                later = there + self.server.stored(receiver.folder) - now
                stored += f", {min(max(later / count, 0), 1):.0%} after {SETTLE_S:.0f} s more"
        speed, a_span = count / sent.wall, cpu / count
        figures = [
            measure.at_least(speed, SPANS_BAR) if ours else f"{speed:,.0f}",
            f"{cpu / sent.wall:.0%}",
            f"{1 / a_span:,.0f}",
            f"{a_span * 1e6:.1f} µs",
            measure.at_most(a_span / in_process, RATIO_BAR, ".2f") if ours else f"{a_span / in_process:.1f}",
            f"{sent.at(0.5):.0f} ms",
            f"{sent.at(0.99):.0f} ms",
            measure.at_most(memory, MEMORY_BAR, ".0f", " MB") if ours else f"{memory:.0f} MB",
        ]
        if not ours:
            name += f" {self.server.version()}, {self.clients} clients"
        return [name, *figures, str(sent.refused), stored, self.server.promise]

    def load(
        self, receiver: _servers.Running, source: Iterator[bytes], clients: int, seconds: float
    ) -> _load.Sent:
        if self.over_grpc:
            return _load.over_grpc(receiver.grpc_port, source, clients, seconds)
        return _load.http(receiver.port, source, clients, seconds, self.server.headers)


def soak(bodies: list[bytes], zipped: list[bytes], root: Path, clients: int, seconds: int, core: int) -> None:
    """Prints resident memory while half of the clients send over HTTP and half over gRPC."""
    with _servers.running(_servers.CASCADE_OTEL, root, core) as receiver:
        sent: list[_load.Sent] = []

        def http() -> None:
            sent.append(_load.http(receiver.port, itertools.cycle(zipped), clients // 2, seconds, {}))

        def over_grpc() -> None:
            sent.append(_load.over_grpc(receiver.grpc_port, itertools.cycle(bodies), clients // 2, seconds))

        senders = [threading.Thread(target=each) for each in (http, over_grpc)]
        start = time.monotonic()
        for sender in senders:
            sender.start()
        seen: list[tuple[float, float]] = []
        while (now := time.monotonic() - start) < seconds:
            seen.append((now / 60, measure.resident_mb([receiver.pid])))
            print(f"{now:4.0f} s  {seen[-1][1]:.0f} MB", flush=True)
            time.sleep(SOAK_STEP_S)
        for sender in senders:
            sender.join()
        peak = measure.resident_mb([receiver.pid], peak=True)
    spans = sum(len(each.latencies) for each in sent) * _bodies.SPANS
    speed = measure.at_least(spans / max(each.wall for each in sent), SPANS_BAR)
    print(f"{speed} spans/s acknowledged; peak {measure.at_most(peak, MEMORY_BAR, '.0f', ' MB')}")
    later = np.array([each for each in seen if each[0] >= 2])
    if len(later) > 2:
        (slope, _), covariance = np.polyfit(later[:, 0], later[:, 1], 1, cov=True)
        error = 2 * float(np.sqrt(covariance[0, 0]))
        print(f"slope after minute 2: {slope:.2f} ± {error:.2f} MB a minute")


if __name__ == "__main__":
    main()
