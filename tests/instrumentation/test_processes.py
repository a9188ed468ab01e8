"""Processes that are forked, spawned, pooled, ended by ``os._exit`` or by a signal: whose spans arrive."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.instrumentation.toys import WITH_SDK, run_python
from tests.instrumentation.wired import ROOT, Collector, run_app

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
TORTURE = bool(os.environ.get("CASCADE_OTEL_TORTURE"))
CHILDREN, CALLS = 2, 5


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


# A program whose children call a tier. As a file, since a spawned child imports it anew.
PROGRAM = """
import concurrent.futures, multiprocessing, os, sys
from cascade_otel import configure, tier
{at_import}

@tier("x", model="m")
def ask(): return 1

def work(_=None):
    for _ in range({calls}): ask()
    return os.getpid()

if __name__ == "__main__":
    {in_main}
    context = multiprocessing.get_context({method!r})
    {run}
    {end}
"""
RUNS = {
    "process": "children = [context.Process(target=work) for _ in range(2)]; "
    "[each.start() for each in children]; [each.join() for each in children]; "
    "assert [each.exitcode for each in children] == [0, 0]",
    "pool": "pool = context.Pool(2); pool.map(work, range(2), 1); pool.close(); pool.join()",
    "executor": "pool = concurrent.futures.ProcessPoolExecutor(2, mp_context=context); "
    "list(pool.map(work, range(2))); pool.shutdown()",
}
METHODS = ["fork", "spawn", "forkserver"]
ALL_WAYS = list(itertools.product(METHODS, RUNS))
FIVE_WAYS = [("fork", "process"), ("fork", "pool"), ("spawn", "process"), ("spawn", "executor"),
             ("forkserver", "process")]  # fmt: skip


def run_program(folder: Path, run: str, method: str, *, at_import: str = "", in_main: str = "pass") -> str:
    program = folder / "program.py"
    code = PROGRAM.format(
        at_import=at_import, in_main=in_main, run=run, method=method, calls=CALLS, end="print('done')"
    )
    program.write_text(code)
    done = subprocess.run(
        [sys.executable, program],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "done" in done.stdout
    return done.stdout + done.stderr


@pytest.mark.parametrize(("method", "run"), ALL_WAYS if TORTURE else FIVE_WAYS)
def test_spans_of_children_that_multiprocessing_ends_arrive(
    collector: Collector, tmp_path: Path, run: str, method: str
) -> None:
    """It ends them by ``os._exit``, past ``atexit``: the SDK alone delivers none of these spans."""
    wiring = f"handle = configure(endpoint={collector.url!r}, service_name='shop')"
    run_program(tmp_path, RUNS[run], method, at_import=wiring)
    assert collector.spans() == ["shop: chat m"] * (CHILDREN * CALLS)


def test_a_store_takes_the_spans_of_forked_children(tmp_path: Path) -> None:
    """Several processes write into one folder."""
    import pyarrow.parquet as parquet

    store = tmp_path / "store"
    run_program(tmp_path, RUNS["process"], "fork", in_main=f"configure(store={str(store)!r})")
    rows = sum(parquet.read_metadata(path).num_rows for path in store.rglob("*.parquet"))
    assert rows == CHILDREN * CALLS


def test_with_the_sdk_alone_the_spans_of_such_children_are_gone(tmp_path: Path) -> None:
    """Not ours to cure: a host that wires the SDK itself flushes it at the end of the child's work."""
    wiring = """
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)
"""
    lost = run_program(tmp_path, RUNS["process"], "fork", at_import=wiring)
    assert lost.count('"name": "chat m"') == 0
    flushed = RUNS["process"].replace("target=work", "target=lambda: (work(), provider.force_flush())")
    kept = run_program(tmp_path, flushed, "fork", at_import=wiring)
    assert kept.count('"name": "chat m"') == CHILDREN * CALLS


def test_forked_children_do_not_mix_their_bytes_with_their_parents(collector: Collector) -> None:
    """Each has a connection of its own; over the one they inherit, bodies come out as none of them sent."""
    run_app(
        f"endpoint={collector.url!r}",
        """
        import os
        assert handle.flush(20), "a connection is there now"
        children = []
        for _ in range(3):
            if (pid := os.fork()) == 0:
                done = [(extract(), handle.flush(20))[1] for _ in range(20)]
                os._exit(not all(done))
            children.append(pid)
        for _ in range(20):
            extract()
            assert handle.flush(20)
        assert [os.waitpid(each, 0)[1] for each in children] == [0] * 3
        """,
    )
    assert len(collector.spans()) == 3 * (1 + 4 * 20)
    assert "cascade.tier.calls" in collector.metrics()


def test_after_os_exit_of_a_forked_child_what_was_not_flushed_is_gone(collector: Collector) -> None:
    """Nothing runs any more: what is older than a second has gone out, the rest needs a flush before."""
    child = (
        "import os\nhandle.flush(9)\nif os.fork() == 0:\n    extract()\n    {}\n    os._exit(0)\nos.wait()"
    )
    run_app(f"endpoint={collector.url!r}", child.format("pass"))
    assert len(collector.spans()) == 3, "the parent's"
    collector.bodies.clear()
    run_app(f"endpoint={collector.url!r}", child.format("assert handle.flush(9)"))
    assert len(collector.spans()) == 6


def test_a_terminated_child_has_handed_on_what_is_older_than_a_second(collector: Collector) -> None:
    """As ``with multiprocessing.Pool()`` ends its workers: by a signal that nobody handles."""
    run_app(
        f"endpoint={collector.url!r}",
        """
        import multiprocessing, time
        handle.flush(9)
        def work():
            extract()
            time.sleep(60)
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        time.sleep(3)
        child.terminate(); child.join()
        """,
    )
    assert len(collector.spans()) == 6


def test_a_child_of_a_hung_collector_ends_soon() -> None:
    """The deadline at exit holds for a child of multiprocessing too."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        run_app(
            f"endpoint='http://127.0.0.1:{silent.getsockname()[1]}'",
            """
            import multiprocessing, os, time
            start = time.monotonic()
            child = multiprocessing.get_context("fork").Process(target=extract)
            child.start(); child.join()
            assert time.monotonic() - start < 7.5, time.monotonic() - start
            os._exit(0)
            """,
        )


def test_a_fork_beside_calls_in_other_threads_leaves_a_child_whose_calls_go_on() -> None:
    """One of those threads is inside a histogram's lock, which no one gives back in the child."""
    printed = run_python(
        WITH_SDK
        + """
import faulthandler, threading
from opentelemetry.sdk.metrics._internal.aggregation import _ExplicitBucketHistogramAggregation as Inside
@cascade
@tier("x", confidence=lambda r: .5)
def x(): return 1
x()
inside, go, aggregate = threading.Event(), threading.Event(), Inside.aggregate
def holding(self, *args):
    with self._lock:
        inside.set(); go.wait(30)
Inside.aggregate = holding
busy = threading.Thread(target=x)
busy.start(); inside.wait(30)
Inside.aggregate = aggregate
if os.fork() == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    print(x()); sys.stdout.flush(); os._exit(0)
print(os.wait()[1]); go.set(); busy.join()
"""
    )
    assert printed == "1\n0"


def test_a_forked_childs_histograms_begin_anew() -> None:
    """Also where the SDK is installed after us; what the parent had measured is not told twice."""
    printed = run_python(
        """
import os, sys
from cascade_otel import tier
@tier("x")
def x(): return 1
"""
        + WITH_SDK
        + """
def durations():
    data = cumulative.get_metrics_data()
    found = [m for rm in data.resource_metrics for sm in rm.scope_metrics for m in sm.metrics if
             sm.scope.version == "forked"]
    return {m.name: sum(getattr(p, "count", 0) or p.value for p in m.data.data_points) for m in found}
for _ in range(5): x()
if os.fork() == 0:
    for _ in range(3): x()
    print(durations()); sys.stdout.flush(); os._exit(0)
os.wait()
print(durations(), calls(cumulative))
"""
    )
    assert printed.split("\n") == ["{'gen_ai.client.operation.duration': 3, 'cascade.tier.calls': 3}", "{} 5"]


def test_a_fork_while_a_reader_collects_leaves_a_child_whose_collection_hangs() -> None:
    """Not ours to cure: the SDK does not renew that lock. Calls in the child go on, spans too."""
    printed = run_python(
        WITH_SDK
        + """
import threading, time
@tier("x")
def x(): return 1
x()
inside, go = threading.Event(), threading.Event()
def slow(options):
    inside.set(); go.wait(30)
    return []
metrics.get_meter("host").create_observable_gauge("slow", [slow])
collecting = threading.Thread(target=cumulative.collect)
collecting.start(); inside.wait(30)
if os.fork() == 0:
    go.set()
    hanging = threading.Thread(target=cumulative.collect, daemon=True)
    hanging.start(); hanging.join(1)
    before = len(SPANS.get_finished_spans())
    print(hanging.is_alive(), x(), len(SPANS.get_finished_spans()) - before)
    sys.stdout.flush(); os._exit(0)
os.wait(); go.set(); collecting.join()
"""
    )
    assert printed == "True 1 1"


def test_such_a_child_sends_its_spans_and_ends_within_the_deadline(collector: Collector) -> None:
    """A fork while our own reader collects."""
    run_app(
        f"endpoint={collector.url!r}",
        """
        import os, threading, time
        from opentelemetry import metrics
        inside, go, first = threading.Event(), threading.Event(), [1]
        def slow(options):
            if first: first.pop(); inside.set(); go.wait(30)
            return []
        metrics.get_meter("host").create_observable_gauge("slow", [slow])
        flushing = threading.Thread(target=handle.flush, args=[30])
        flushing.start(); inside.wait(30)
        if os.fork() == 0:
            extract()
            start = time.monotonic()
            handle.shutdown(2)
            os._exit(time.monotonic() - start > 7.5)
        status = os.wait()[1]
        go.set(); flushing.join()
        assert status == 0
        """,
    )
    assert len(collector.spans()) == 6
