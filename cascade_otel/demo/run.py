"""``cascade-otel demo``: thirty days are written, an hour is lived through, and the drift job has its say."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cascade_otel import configure, job, serve
from cascade_otel.alerting import message
from cascade_otel.configure import Handle
from cascade_otel.demo import answers, history, live, plan
from cascade_otel.demo.receiving import HOST, receiving
from cascade_otel.policy import HOURS_PER_YEAR, PageBudget, Policy
from cascade_otel.records import HOUR_NS, UserError
from cascade_otel.serve.parts import answers as does_answer
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State, default_path

POLICY = Policy(page_budget=PageBudget(1.0, HOURS_PER_YEAR))
POLICY_TEXT = "[alerts]\npages_per_year = 1\n"
"""The same for ``serve``, which reads it from a file."""
LIVE_HOUR_S = 1.5
"""The calls of the live hour begin within so many seconds."""
STEP_S = 60.0
"""Afterwards calls are drawn for so many seconds at a time."""
RECEIVER_S, FLUSH_S = 60.0, 20.0
BANNER = """\
cascade-otel demo, seed {seed}: eight product attributes, {days} days up to now.
  real  every confidence, and whether the answer was right: published answers of eleven models
        (examples/data/NOTICE says whose)
  made  when calls arrive; costs, tokens and latencies, from tables in cascade_otel/demo/tables.py; which
        answers are drawn when, and so every shift. The live hour is run through in seconds.
Ctrl-C ends it{kept}.
"""


@dataclass(frozen=True)
class Demo:
    """What is run: the plan, the answers it draws from, and the store it writes to."""

    plan: plan.Plan
    pools: answers.Pools
    hide_models: bool
    root: Path


def run(
    seed: int,
    shift: plan.ShiftName,
    headless: bool,
    hide_models: bool,
    store: Path | None,
    port: int,
    dashboard_port: int,
) -> int:
    """Runs the demo and returns the exit code.

    ``headless`` prints one JSON object per firing alert and ends; otherwise receiver, drift job and dashboard
    run on ``port`` and ``dashboard_port``, and calls go on, until Ctrl-C. Without a ``store`` the telemetry
    goes to a temporary folder. Raises UserError where ``store`` already holds something or a port is taken,
    and for a negative seed.
    """
    if seed < 0:
        raise UserError(f"--seed {seed} arrived; wanted: a whole number from 0; type e.g. --seed 7")
    if not headless:
        serve.check_ports(HOST, port, dashboard_port)
    with _folder(store) as root:
        pools = answers.load()
        drawn = plan.draw(seed, shift, time.time_ns() // HOUR_NS, pools)
        demo = Demo(drawn, pools, hide_models, root)
        if not headless:
            kept = "" if store is None else f"; the telemetry stays in {store}"
            print(BANNER.format(seed=seed, days=plan.DAYS, kept=kept), flush=True)
        _write_history(demo)
        return _report(demo) if headless else _show(demo, port, dashboard_port)


@contextlib.contextmanager
def _folder(store: Path | None) -> Iterator[Path]:
    if store is None:
        with tempfile.TemporaryDirectory(prefix="cascade-otel-demo-", ignore_cleanup_errors=True) as made:
            yield Path(made)
        return
    if store.exists() and (not store.is_dir() or any(store.iterdir())):
        raise UserError(f"--store {store} is not empty; wanted: a new folder; type another --store DIR")
    yield store


def _write_history(demo: Demo) -> None:
    began = time.monotonic()
    rows = Store(demo.root).publish(history.write(demo.plan, demo.pools, demo.hide_models))
    _progress(f"{plan.DAYS} days written: {rows:,} rows", began)


def _report(demo: Demo) -> int:
    began = time.monotonic()
    with receiving(demo.root) as endpoint:
        handle = configure(endpoint=endpoint, service_name=history.SERVICE)
        asked = asyncio.run(_live_hour(demo))
        _end(handle)
    _progress(f"live hour run through: {asked:,} calls", began)
    began = time.monotonic()
    state_path = default_path(demo.root)
    job.tick(demo.root, state_path, POLICY)
    with State(state_path) as state:
        firing = state.alerts(status="firing")
    _progress("looked for drift", began)
    for alert in sorted(firing, key=lambda alert: alert.task):
        print(json.dumps(message.json_line(alert)), flush=True)
    return 0


def _show(demo: Demo, port: int, dashboard_port: int) -> int:
    policy = demo.root / "cascade.toml"
    policy.write_text(POLICY_TEXT)
    options = serve.Options(
        store=demo.root, host=HOST, port=port, grpc_port=0, dashboard_port=dashboard_port, policy=policy
    )
    # Ctrl-C stops the receiver while calls are on their way: that is no news.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    stopping = threading.Event()
    calling = threading.Thread(target=_call_until, args=(demo, port, stopping), name="calls", daemon=True)
    calling.start()
    try:
        return serve.run_all(options)
    finally:
        logging.disable(logging.CRITICAL)
        stopping.set()
        calling.join(FLUSH_S)


def _call_until(demo: Demo, port: int, stopping: threading.Event) -> None:
    """Makes live calls once the receiver answers, until told to stop."""
    endpoint = f"http://{HOST}:{port}"
    deadline = time.monotonic() + RECEIVER_S
    while not does_answer(f"{endpoint}/healthz"):
        if stopping.wait(0.2) or time.monotonic() > deadline:
            return
    handle = configure(endpoint=endpoint, service_name=history.SERVICE)
    asyncio.run(_live(demo, stopping))
    handle.shutdown()


async def _live(demo: Demo, stopping: threading.Event) -> None:
    began = time.monotonic()
    asked = await _live_hour(demo)
    _progress(f"live hour run through: {asked:,} calls; they go on at the hour's rate", began)
    extracts, draw, running = _extracts(demo), 1, set[asyncio.Task[int]]()
    while not stopping.is_set():
        hour = np.array([time.time_ns() // HOUR_NS])
        calls = history.draw_calls(
            demo.plan, demo.pools, hour, demo.hide_models, STEP_S * 1e9 / HOUR_NS, draw
        )
        moments = np.random.default_rng([demo.plan.seed, draw]).uniform(0, STEP_S, len(calls))
        task = asyncio.create_task(
            live.answer_all(extracts, zip(moments, live.questions(calls), strict=True))
        )
        running.add(task)
        task.add_done_callback(running.discard)
        draw += 1
        until = time.monotonic() + STEP_S
        while time.monotonic() < until and not stopping.is_set():
            await asyncio.sleep(0.2)


async def _live_hour(demo: Demo) -> int:
    """The calls of the plan's live hour, all within seconds. How many there were."""
    hour = np.array([demo.plan.live_hour])
    calls = history.draw_calls(demo.plan, demo.pools, hour, demo.hide_models)
    moments = np.linspace(0, LIVE_HOUR_S, len(calls))
    return await live.answer_all(_extracts(demo), zip(moments, live.questions(calls), strict=True))


def _extracts(demo: Demo) -> dict[str, live.Extract]:
    return {task.name: live.cascade_of(task, demo.hide_models) for task in demo.plan.tasks}


def _end(handle: Handle) -> None:
    if not (handle.flush(FLUSH_S) and handle.shutdown(FLUSH_S)):
        raise TimeoutError(f"the live hour's spans were not received within {FLUSH_S:g} s")


def _progress(what: str, began: float) -> None:
    print(f"{what} ({time.monotonic() - began:.1f} s)", file=sys.stderr, flush=True)
