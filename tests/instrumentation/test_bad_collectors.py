"""A collector that is down, hangs or refuses: no call waits, memory is bounded, the exit is soon."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.instrumentation.wired import Collector, run_app

TORTURE = bool(os.environ.get("CASCADE_OTEL_TORTURE"))
HUNG = 20 if TORTURE else 2
SOAK_S, WEATHER_S = (600, 30) if TORTURE else (6, 1.2)
CALLS = 20_000 if TORTURE else 6_000
EXIT_S = 2.5  # what is promised
BUSY_S = 5.0  # what a busy machine may add

# Prints the longest call in seconds, the growth of resident memory in MiB, and when the calls were over.
MANY = f"""
import os, time
def resident(): return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
for _ in range(1_000): extract()
before, longest = resident(), 0.
for _ in range({CALLS}):
    start = time.monotonic()
    extract()
    longest = max(longest, time.monotonic() - start)
print("longest", longest, "grew", resident() - before, "over", time.monotonic())
"""


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # the test is over
                    return
                threading.Thread(target=one, args=[connection], daemon=True).start()

        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    answer(connection)
                except OSError:  # the program has gone
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def hangs(connection: socket.socket) -> None:
    while connection.recv(65_536):
        pass


def resets(connection: socket.socket) -> None:
    connection.recv(1)


def talks_garbage(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"\x00\xff" * 50 + b"\r\n\r\n")


def drips(connection: socket.socket) -> None:
    """One byte of an answer that never ends, every tenth of a second."""
    connection.recv(65_536)
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 10_000:
        connection.sendall(bytes([byte]))
        time.sleep(0.1)


def says(status: int) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode())

    return answer


@contextmanager
def down() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as once:
        port = once.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


WAYS = {
    "down": down,
    "hangs": lambda: answering(hangs),
    "resets": lambda: answering(resets),
    "garbage": lambda: answering(talks_garbage),
    "drips": lambda: answering(drips),
    "refuses": lambda: answering(says(403)),
    "overloaded": lambda: answering(says(503)),
}


@pytest.mark.parametrize("way", WAYS if TORTURE else ["down", "hangs", "garbage", "refuses"])
def test_no_call_waits_memory_is_bounded_and_the_exit_is_soon(way: str) -> None:
    """More spans than fit, and the exporter gets none of them off."""
    with WAYS[way]() as url:
        printed, _ = run_app(
            f"endpoint={url!r}",
            MANY + "import atexit, sys\n"
            # registered last, hence run first; and one that was registered first of all
            "atexit.register(lambda: print('exit', time.monotonic(), flush=True))\n",
            before="import atexit, time\n"
            "atexit.register(lambda: print('ended', time.monotonic(), flush=True))\n",
        )
    longest, grew, began, ended = (
        float(re.search(rf"{word} ([\d.e+-]+)", printed)[1])  # type: ignore[index]  # no match fails the test
        for word in ("longest", "grew", "exit", "ended")
    )
    assert longest < 2, "a call that waited for the collector would take ten seconds or more"
    assert grew < 100, "MiB"
    assert ended - began < EXIT_S + BUSY_S


@pytest.mark.parametrize("time_of", range(HUNG))
def test_a_hung_collector_never_holds_up_the_exit(time_of: int) -> None:
    with answering(hangs) as url:
        printed, took = run_app(f"endpoint={url!r}")
    assert "does the collector answer?" in printed
    assert took < EXIT_S + BUSY_S


def counted(collector: Collector) -> dict[str, float]:
    """The last value of ``cascade.telemetry.dropped``, by reason."""
    found: dict[str, float] = {}
    for body in collector.bodies.get("/v1/metrics", []):
        for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    if metric.name == "cascade.telemetry.dropped":
                        for point in metric.sum.data_points:
                            reason = point.attributes[0].value.string_value
                            found[reason] = point.as_double or point.as_int
    return found


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_spans_that_a_hung_collector_did_not_take_are_counted_in_the_metrics(collector: Collector) -> None:
    """Made are dropped at the full queue and left at exit, to the span."""
    with answering(hangs) as url:
        run_app(
            "",
            "for _ in range(7_000): extract()",
            OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{url}/v1/traces",
            OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{collector.url}/v1/metrics",
        )
    lost = counted(collector)
    assert set(lost) == {"queue", "exit"}
    assert sum(lost.values()) == 3 * 7_001


@pytest.mark.timeout(SOAK_S + 180)
def test_a_soak_through_good_and_bad_times_loses_no_span_without_counting_it(collector: Collector) -> None:
    """The collector takes, refuses, and hangs in turn; memory stays flat; made = delivered + counted.

    A batch that the collector took but answered for too late is both, so that a few may count twice.
    """
    over, until = threading.Event(), time.monotonic() + SOAK_S - 2 * WEATHER_S

    def weather() -> None:
        while time.monotonic() < until and not over.is_set():
            for collector.status in (200, 403, 0):
                over.wait(WEATHER_S)
        collector.status = 200  # at the end it is told what was lost

    turning = threading.Thread(target=weather)
    turning.start()
    try:
        printed, _ = run_app(
            f"endpoint={collector.url!r}",
            f"""
            import os, threading, time
            def resident():
                return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
            begin, made, sizes = time.monotonic(), 1, []
            while (now := time.monotonic() - begin) < {SOAK_S}:
                extract()
                made += 1
                time.sleep(.002)
                if made % 50 == 0: sizes.append((now, resident(), threading.active_count()))
            calm = [each for each in sizes if each[0] > {SOAK_S} / 3]
            print("made", 3 * made, "grew", calm[-1][1] - calm[0][1], "threads", calm[-1][2] - calm[0][2])
            """,
            seconds=SOAK_S + 120,
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )
    finally:
        over.set()
        turning.join()
    made, grew, threads = (
        float(re.search(rf"{word} ([\d.e+-]+)", printed)[1])  # type: ignore[index]  # no match fails the test
        for word in ("made", "grew", "threads")
    )
    delivered, lost = len(collector.spans()), sum(counted(collector).values())
    assert lost, "the bad times were bad"
    assert made <= delivered + lost
    assert grew < 10, "MiB"
    assert threads <= 0
