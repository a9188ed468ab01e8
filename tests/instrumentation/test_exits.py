"""However a program ends: what it recorded is handed on within a deadline."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator

import pytest

from tests.instrumentation.wired import APP, ROOT, Collector

ENDS = {
    "at the end": ("", 0),
    "sys.exit": ("import sys; sys.exit(3)", 3),
    "an unhandled exception": ("raise KeyError('own')", 1),
    "KeyboardInterrupt": ("raise KeyboardInterrupt", -signal.SIGINT),
    "a daemon thread that still calls": (
        """
        import threading, time
        def calling():
            while True: time.sleep(.01); small()
        threading.Thread(target=calling, daemon=True).start()
        """,
        0,
    ),
    "a daemon thread inside a call": (
        """
        import threading, time
        entered = threading.Event()
        @tier("slow")
        def slow(): entered.set(); time.sleep(60)
        threading.Thread(target=slow, daemon=True).start(); entered.wait(30)
        """,
        0,
    ),
    "a thread that ends later": (
        """
        import threading, time
        def last(): time.sleep(.3); extract()
        threading.Thread(target=last).start()
        """,
        0,
    ),
    "a handler at exit that calls": ("import atexit; atexit.register(extract)", 0),
    "SIGTERM, handled": (
        """
        import os, signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)
        """,
        0,
    ),
}
MORE = {"a thread that ends later": 6, "a handler at exit that calls": 6}


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def run(end: str, url: str) -> tuple[int, float]:
    """The status of a program with that end, and how many seconds it took."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", APP.format(wiring=f"configure(endpoint={url!r})") + textwrap.dedent(end)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    return done.returncode, time.monotonic() - started


@pytest.mark.parametrize("end", ENDS)
def test_spans_and_metrics_arrive(collector: Collector, end: str) -> None:
    code, status = ENDS[end]
    returned, took = run(code, collector.url)
    # Python itself forgets that it was an interrupt where a thread still imports something
    assert returned == status or (status == -signal.SIGINT and returned == 1), "the program's own"
    wanted = MORE.get(end, 3)
    arrived = len(collector.spans())
    assert arrived >= wanted if end == "a daemon thread that still calls" else arrived == wanted
    assert "cascade.tier.calls" in collector.metrics()
    assert took < 20


def test_sigterm_that_nobody_handles_ends_python_at_once(collector: Collector) -> None:
    """Nothing of Python's runs then; a program that wants its last second handles it, as servers do."""
    code = "import os, signal, time; os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
    status, _ = run(code, collector.url)
    assert status == -signal.SIGTERM
    assert not collector.bodies
