"""One call wires exporting, with a deadline; a collector that hangs or refuses never holds the program up."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as parquet
import pytest

from cascade_otel import configure
from cascade_otel.configure import Handle, _url
from cascade_otel.storage.segments import Store
from tests.instrumentation.wired import ROOT, Collector, run_app

AT_EXIT_S = 8.0  # 2 are ours, the rest is for a busy machine; the SDK alone waits 20 to 30


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def elsewhere() -> Iterator[Collector]:
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


def test_each_signals_own_variable_is_read(collector: Collector, elsewhere: Collector) -> None:
    run_app(
        "",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/spans",
        OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=f"{elsewhere.url}/numbers",
    )
    assert (list(collector.bodies), list(elsewhere.bodies)) == (["/spans"], ["/numbers"])


@pytest.mark.parametrize("signal", ["traces", "metrics"])
def test_the_variable_of_one_signal_leaves_the_other_alone(
    signal: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT", "http://elsewhere/own")
    (other,) = {"traces", "metrics"} - {signal}
    assert _url(None, signal) is None, "the exporter reads it"
    assert _url(None, other) == f"http://127.0.0.1:4318/v1/{other}"
    assert _url("http://here/", signal) == f"http://here/v1/{signal}"


def test_a_host_that_has_an_sdk_keeps_it(collector: Collector) -> None:
    """Its tracer provider also gets our exporter; its metrics are left as they are."""
    printed, _ = run_app(
        f"endpoint={collector.url!r}, service_name='not the host'",
        """
        from opentelemetry import metrics, trace
        assert trace.get_tracer_provider() is tracers
        assert metrics.get_meter_provider() is meters
        handle.shutdown(10)
        print(len(kept.get_finished_spans()), reader.get_metrics_data() is not None)
        """,
        before="""
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
        from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
        kept, reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider(resource=Resource.create({"service.name": "host"}))
        tracers.add_span_processor(SimpleSpanProcessor(kept))
        meters = MeterProvider([reader])
        trace.set_tracer_provider(tracers)
        metrics.set_meter_provider(meters)
        """,
    )
    assert printed == "3 True\n"
    assert collector.spans() == ["host: cascade organic", "host: chat m1", "host: chat m2"]
    assert not collector.metrics()


def test_the_switches_are_applied(collector: Collector) -> None:
    """``token_usage`` and ``read_results``."""
    answer = """
        @tier("reader", model="m3")
        def read(): return {"model": "m3-2025", "usage": {"input_tokens": 3, "output_tokens": 4}}
        read()
        """
    usage = "gen_ai.client.token.usage"
    run_app(f"endpoint={collector.url!r}, token_usage=True", answer)
    assert usage in collector.metrics()
    assert b"m3-2025" in b"".join(collector.bodies["/v1/traces"])
    collector.bodies.clear()
    run_app(f"endpoint={collector.url!r}, token_usage=True, read_results=False", answer)
    assert usage not in collector.metrics()
    assert b"m3-2025" not in b"".join(collector.bodies["/v1/traces"])


def test_a_stream_broken_off_last_is_handed_on_at_exit(collector: Collector) -> None:
    """Also where the SDK is the host's, whose own handler at exit we run before."""
    stream = """
        @tier("stream", model="m4")
        def stream(): yield from (1, 2)
        running = stream(); next(running); running.close()
        """
    run_app(f"endpoint={collector.url!r}, service_name='shop'", stream)
    assert "shop: chat m4" in collector.spans()
    printed, _ = run_app(
        None,
        stream,
        before="""
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
        trace.set_tracer_provider(TracerProvider())
        trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
        """,
    )
    assert '"name": "chat m4"' in printed


def test_configured_again_the_later_takes_the_earlier_ones_place(collector: Collector) -> None:
    """As where a notebook's cell is run again: no span twice, one warning, and metrics go on."""
    printed, _ = run_app(
        f"endpoint={collector.url!r}, service_name='shop'",
        f"""
        assert handle.flush(10)
        again = configure(endpoint={collector.url!r})
        extract()
        assert again.flush(10) and again.shutdown(10)
        import threading
        left = [each for each in threading.enumerate() if each.name == "cascade_otel"]
        for each in left: each.join(10)
        print("left:", sum(each.is_alive() for each in left))
        """,
    )
    assert printed.count("configure was called again") == 1
    assert "left: 0" in printed
    assert len(collector.spans()) == 6
    collector.bodies.clear()
    printed, _ = run_app(
        f"endpoint={collector.url!r}",
        f"handle.shutdown(10); configure(endpoint={collector.url!r}); extract()",
    )
    assert "again" not in printed
    assert len(collector.bodies["/v1/metrics"]) == 2
    assert len(collector.spans()) == 6


def test_a_store_configured_again_gets_no_span_twice(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    run_app(f"store={store!r}", f"configure(store={store!r}); extract()")
    assert sum(parquet.read_metadata(path).num_rows for path in Path(store).rglob("*.parquet")) == 6


def test_flush_says_that_telemetry_was_refused_and_later_that_it_was_taken(collector: Collector) -> None:
    collector.status = 401
    printed, _ = run_app(f"endpoint={collector.url!r}", "print(handle.flush(10), handle.shutdown(10))")
    assert "False False" in printed, "metrics are sent once more at the end"
    collector.status = 200
    printed, _ = run_app(f"endpoint={collector.url!r}", "print(handle.flush(10), handle.shutdown(10))")
    assert printed == "True True\n"


def test_flush_says_that_the_stores_folder_is_gone(tmp_path: Path) -> None:
    store = str(tmp_path / "store")
    printed, _ = run_app(
        f"store={store!r}",
        f"""
        import pathlib, shutil
        handle.flush(10)
        shutil.rmtree({store!r}); pathlib.Path({store!r}).touch()
        extract()
        print(handle.flush(10), handle.flush(10))
        """,
    )
    assert "False True" in printed, "the second has nothing to write"


def test_the_example_of_two_tiers_says_that_it_was_refused(collector: Collector) -> None:
    collector.status = 401
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "two_tiers.py"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        check=False,
    )
    assert done.returncode == 1
    assert "not sent" in done.stderr


@pytest.mark.parametrize("error", [KeyError, SystemExit])
def test_a_step_that_raises_skips_no_other_and_ends_no_thread(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []

    def fail(seconds: float) -> None:
        raise error

    handle = Handle([fail, lambda _: done.append("flushed")], [fail, lambda _: done.append("shut down")], 1.0)
    assert [handle.flush(10), handle.flush(10), handle.shutdown(10)] == [False, False, False]
    assert done == ["flushed", "flushed", "shut down"]
    assert [each.levelname for each in caplog.records] == ["WARNING"] * 3
    assert handle.flush(10), "nothing is left to do"


def test_an_exporter_that_raises_system_exit_leaves_its_thread_alive(tmp_path: Path) -> None:
    """Otherwise spans pile up and vanish without a word."""
    printed, _ = run_app(
        f"store={str(tmp_path / 'store')!r}",
        """
        print(tried.get(timeout=20), handle.flush(10))
        extract()
        print(tried.get(timeout=20))
        """,
        before="""
        import queue, sys, threading
        from cascade_otel.storage.exporter import SegmentExporter
        tried = queue.SimpleQueue()
        def export(self, spans):
            tried.put(threading.current_thread().name)
            sys.exit()
        SegmentExporter.export = export
        """,
    )
    assert "cascade_otel_spans False\ncascade_otel_spans\n" in printed


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
    """The SDK alone waits for ten times as long."""
    _, quick = run_app(f"endpoint={hanging!r}", "import os; os._exit(0)")
    printed, took = run_app(f"endpoint={hanging!r}")
    assert took - quick < AT_EXIT_S
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
        print(done, calls < 15, .25 < time.monotonic() - start < 5)
        sys.stdout.flush(); os._exit(0)
        """,
    )
    assert printed.split("\n")[0] == "False True True"


def test_a_collector_that_refuses_does_not_hold_up_the_exit() -> None:
    _, quick = run_app("endpoint='http://127.0.0.1:9'", "import os; os._exit(0)")
    _, took = run_app("endpoint='http://127.0.0.1:9'")
    assert took - quick < AT_EXIT_S


def test_a_store_needs_no_receiver(tmp_path: Path) -> None:
    """Spans are written into segments by the process itself, and are readable after its end."""
    run_app(f"store={str(tmp_path / 'store')!r}, service_name='shop'")
    assert Store(tmp_path / "store").days()
    found = run_app(
        f"store={str(tmp_path / 'store')!r}",
        f"""
        handle.flush(10)
        from cascade_otel.storage.reading.rollup import open_reader
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
