"""How fast the store takes spans in, and how fast it adds them up.

python benchmarks/store.py [--seconds 8] [--clients 32] [--rows 1000000]

Receiver on one core, load on another: gzipped OTLP bodies of 512 spans, every check on, acknowledged when
durable. On a machine that does other things as well, trust CPU times and ratios.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from cascade_otel.records import DAY_NS
from cascade_otel.storage import schema
from cascade_otel.storage.decode import decode
from cascade_otel.storage.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store

SPANS, BODIES = 512, 32
TIERS = (("small", "gpt-5-nano"), ("large", "gpt-5"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--seconds", type=float, default=8)
    options.add_argument("--clients", type=int, default=32)
    options.add_argument("--rows", type=int, default=1_000_000)
    chosen = options.parse_args()
    bodies = [made_body(seed) for seed in range(BODIES)]
    zipped = len(gzip.compress(bodies[0]))
    print(f"{SPANS} spans a body, {len(bodies[0]) // SPANS} bytes a span, {zipped // SPANS} gzipped")
    with tempfile.TemporaryDirectory() as folder:
        in_process = decoding(bodies, Path(folder) / "decoded")
        receiving(bodies, Path(folder) / "received", chosen.clients, chosen.seconds, in_process)
        adding_up(Path(folder) / "many", chosen.rows)


def made_body(seed: int) -> bytes:
    """Half tier spans and half cascade spans with the attributes a real cascade has."""
    dice = random.Random(seed)
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    put(resource.resource, {"service.name": "shop"})
    scope = resource.scope_spans.add()
    now = time.time_ns()
    for _ in range(SPANS // 2):
        trace, root, start = dice.randbytes(16), dice.randbytes(8), now - dice.randrange(3_600 * 10**9)
        tier, model = TIERS[dice.random() < 0.3]
        cost = round(dice.lognormvariate(-8, 1), 8)
        shared = {
            "cascade.name": "extract",
            "cascade.task": f"attribute-{dice.randrange(200):03d}",
            "cascade.version": "a",
            "cascade.input.segment": "de",
            "cascade.escalated": False,
            "cascade.outcome": "accepted",
        }
        of_a_tier = {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": "openai",
            "gen_ai.request.model": model,
            "gen_ai.response.model": f"{model}-2026-08-07",
            "gen_ai.usage.input_tokens": dice.randrange(4000),
            "gen_ai.usage.output_tokens": dice.randrange(500),
            "cascade.tier.name": tier,
            "cascade.tier.index": 0,
            "cascade.confidence.score": dice.betavariate(6, 2),
            "cascade.confidence.source": "mean_logprob",
            "cascade.threshold": 0.8,
            "cascade.cost.amount": cost,
            "cascade.cost.currency": "USD",
            "cascade.cost.source": "genai-prices",
        }
        of_a_cascade = {
            "cascade.total_cost": cost,
            "cascade.tier.count": 1,
            "cascade.final.tier.name": tier,
            "cascade.input.size": dice.randrange(5000),
        }
        for span_id, parent, values in ((dice.randbytes(8), root, of_a_tier), (root, b"", of_a_cascade)):
            span = scope.spans.add(trace_id=trace, span_id=span_id, parent_span_id=parent)
            span.start_time_unix_nano, span.end_time_unix_nano = start, start + 10**9
            put(span, shared | values)
    encoded: bytes = request.SerializeToString()
    return encoded


def put(target: Any, values: dict[str, str | bool | int | float]) -> None:
    kinds = {bool: "bool_value", int: "int_value", float: "double_value", str: "string_value"}
    for name, value in values.items():
        setattr(target.attributes.add(key=name).value, kinds[type(value)], value)


def decoding(bodies: list[bytes], folder: Path) -> float:
    """CPU seconds per span of decoding and writing in this process."""
    total = len(bodies) * SPANS
    official = timed(lambda: [ExportTraceServiceRequest.FromString(body) for body in bodies]) / total
    decoded = timed(lambda: decode(bodies)) / total
    store = Store(folder)
    start = time.process_time()
    for index in range(0, len(bodies), 4):
        store.append(decode(bodies[index : index + 4]).table)
    whole = (time.process_time() - start) / total
    print(
        f"decode: {decoded * 1e6:.1f} µs a span, {decoded / official:.1f} × parsing official messages alone"
    )
    print(f"decode and write durably, in this process: {whole * 1e6:.1f} µs CPU a span")
    return whole


def receiving(bodies: list[bytes], folder: Path, clients: int, seconds: float, in_process: float) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    program = f"from cascade_otel.storage import receiver; receiver.run({str(folder)!r}, '127.0.0.1', {port})"
    cores = sorted(os.sched_getaffinity(0))
    pin = f"import os; os.sched_setaffinity(0, [{cores[-1]}]); "
    receiver = subprocess.Popen([sys.executable, "-c", pin + program])
    try:
        os.sched_setaffinity(0, {cores[0]})
        requests = [raw_request(gzip.compress(body)) for body in bodies]
        asyncio.run(load(port, requests, clients, 2.0))
        before, start = cpu_s(receiver.pid), time.monotonic()
        latencies = asyncio.run(load(port, requests, clients, seconds))
        wall, cpu = time.monotonic() - start, cpu_s(receiver.pid) - before
    finally:
        os.sched_setaffinity(0, cores)
        receiver.send_signal(signal.SIGTERM)
        receiver.wait(30)
    spans = len(latencies) * SPANS
    latencies.sort()
    median, worst = latencies[len(latencies) // 2], latencies[int(len(latencies) * 0.99)]
    print(
        f"receiver, {clients} clients: {spans / wall:,.0f} spans/s acknowledged durable with "
        f"{cpu / wall:.0%} of a core; {cpu / spans * 1e6:.1f} µs CPU a span, "
        f"{cpu / spans / in_process:.2f} × in process; p50 {median * 1e3:.0f} ms, p99 {worst * 1e3:.0f} ms"
    )


def raw_request(content: bytes) -> bytes:
    head = "POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\n"
    head += "Content-Type: application/x-protobuf\r\n"
    return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def load(port: int, requests: list[bytes], clients: int, seconds: float) -> list[float]:
    """Latencies of every request that was acknowledged in the time."""
    latencies: list[float] = []
    end = time.monotonic() + seconds

    async def client(number: int) -> None:
        reader, writer = await connect(port)
        while time.monotonic() < end:
            start = time.monotonic()
            writer.write(requests[number % len(requests)])
            number += clients
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200") or b"content-length: 0" not in head.lower():
                raise RuntimeError(head.decode())
            latencies.append(time.monotonic() - start)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return latencies


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(300):
        try:
            return await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
    raise TimeoutError("the receiver did not start")


def adding_up(folder: Path, count: int) -> None:
    """30 days of 20 tasks, in one segment a day; every answer is taken out whole."""
    dice = np.random.default_rng(0)
    kind = np.where(np.arange(count) % 5 < 2, schema.CASCADE, schema.TIER)
    tier = np.where(kind == schema.CASCADE, None, np.where(dice.random(count) < 0.7, "small", "large"))
    table = schema.rows(
        {
            "kind": kind,
            **{name: dice.integers(1, 2**62, count) for name in ("trace_hi", "trace_lo", "span_id")},
            "start_ns": 20_700 * DAY_NS + dice.integers(0, 30 * DAY_NS, count),
            "duration_ns": dice.integers(10**6, 10**9, count),
            "cascade": np.full(count, "extract"),
            "task": np.array([f"t{index:02d}" for index in range(20)])[dice.integers(0, 20, count)],
            "tier": tier,
            "tier_index": pa.array(np.where(tier == "large", 1, 0), mask=kind == schema.CASCADE),
            "escalated": dice.random(count) < 0.3,
            "threshold": pa.array(np.full(count, 0.8), mask=kind == schema.CASCADE),
            "confidence_nano": pa.array(dice.integers(0, 10**9, count), mask=kind == schema.CASCADE),
            "cost_nano": dice.integers(0, 10**9, count),
        }
    )
    store = Store(folder)
    start = time.process_time()
    store.publish([table])
    size = sum(path.stat().st_size for path in folder.rglob("*.parquet"))
    cpu = (time.process_time() - start) / count
    print(f"{count:,} rows written: {cpu * 1e6:.1f} µs CPU and {size / count:.0f} bytes a row")
    first, end = 20_700 * 24, 20_730 * 24
    with open_reader(store) as reader:
        reader.last_seen()
        two_columns = "SELECT sum(confidence_cell), sum(cost_nano) FROM spans"
        scan = timed(lambda: reader._connection.execute(two_columns).fetchall())
        full = timed(lambda: everything(reader, first, end))
        print(f"full rollup: {full:.2f} s CPU, {full / scan:.0f} × scanning two columns ({scan:.3f} s)")
        print(f"sums of one day: {timed(lambda: reader.sums(end - 24, end)) * 1e3:.0f} ms CPU")
        print(f"task hours of 30 days: {timed(lambda: reader.task_hours(first, end)) * 1e3:.0f} ms CPU")
        print(
            f"one task's rows of 7 days: {timed(lambda: reader.rows('t03', end - 168, end)) * 1e3:.0f} ms CPU"
        )


def everything(reader: Reader, first: int, end: int) -> None:
    reader.sums(first, end)
    for measure in ("confidence", "latency", "cost"):
        reader.cells(first, end, measure)


def timed(action: Callable[[], object]) -> float:
    """The least of three CPU times."""
    found = []
    for _ in range(3):
        start = time.process_time()
        action()
        found.append(time.process_time() - start)
    return min(found)


if __name__ == "__main__":
    main()
