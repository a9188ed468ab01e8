"""The drift job looks at everything once a minute; what it finds rests in the state, so it may be killed."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cascade_otel import policy as policies
from cascade_otel.alerting import message
from cascade_otel.alerting.sinks import Sink, StandardOutput, Webhook, deliver
from cascade_otel.alerting.states import Changes, advance
from cascade_otel.analysis.watching import baselines
from cascade_otel.analysis.watching.look import JUDGED, MEMORY, Watcher, look
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.job.metrics import JOB, worst
from cascade_otel.job.reports import attach_report
from cascade_otel.policy import Policy
from cascade_otel.records import HOUR_NS, SECOND_NS, Alert, Finding, UserError
from cascade_otel.storage.compaction import Compactor
from cascade_otel.storage.counters import Counters
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import Baseline, State, default_path

log = logging.getLogger(__name__)

EVERY_S = 60.0
COMPACT_EVERY_S = 10.0
"""Between looks too: every small file costs a reader as much as ten thousand merged rows."""
LEASE_S = 90.0
JOB_IS_ALIVE_S = 300
DASHBOARD = "http://127.0.0.1:8501"


class AcceptError(UserError):
    """There is nothing to accept: the text says what arrived and what was wanted."""


@dataclass(frozen=True)
class Watch:
    """What a job keeps open over a store: a reader, which remembers what it has read, a compactor, and what
    the detector remembers.
    """

    reader: Reader
    compactor: Compactor
    watcher: Watcher


@dataclass(frozen=True)
class TickResult:
    """What one look found and did."""

    findings: list[Finding]
    alerts: list[Alert]
    """New or changed."""
    notified: list[Alert]
    """Put into the outbox, each once for every sink."""
    acted: bool
    """False: another job looks after this state, and nothing in it was changed."""


@dataclass(frozen=True)
class Options:
    """What a job that runs for good is told. None: the default."""

    store: Path
    state: Path | None = None
    policy: Path | None = None
    webhook: str | None = None
    """Instead of the one in the policy."""
    dashboard_url: str = DASHBOARD
    every_s: float = EVERY_S


@contextmanager
def watching(store_root: str | Path) -> Iterator[Watch]:
    """What ``tick`` needs of the store, for as long as the block lasts."""
    store = Store(store_root)
    with open_reader(store) as reader, Compactor(store) as compactor:
        yield Watch(reader, compactor, Watcher())


def tick(
    store_root: str | Path,
    state_path: str | Path,
    policy: Policy,
    now_ns: int | None = None,
    *,
    sinks: Sequence[Sink] | None = (),
    dashboard_url: str = DASHBOARD,
    owner: str | None = None,
    afresh: bool = True,
    watch: Watch | None = None,
) -> TickResult:
    """Look once: compact, find shifts and passed limits, bring the alerts up to date, tell the sinks.

    Args:
        store_root: folder of the telemetry.
        state_path: file of findings and alerts, made if absent.
        policy: budget and limits.
        now_ns: the present; the clock's by default.
        sinks: who is told. What cannot be delivered waits in the state for the next look. None: nobody, and
            alerts stay as they are, so that a look by hand takes no message from the job; where a job has
            looked of late, everything stays as it is.
        dashboard_url: what links point to.
        owner: keeps the lease under this name; without one the lease ends with this look.
        afresh: run the detector also where no hour has become complete since the last look.
        watch: of a job that looks again and again; by default made for this look.
    """
    now_ns = time.time_ns() if now_ns is None else now_ns
    who = owner or f"{_self()}-once"
    with State(state_path) as state, ExitStack() as own:
        if not state.lease(who, LEASE_S, now_ns):
            return TickResult(state.findings(), [], [], acted=False)
        try:
            watch = watch or own.enter_context(watching(store_root))
            compact(watch.compactor, policy, now_ns)
            found = look(watch.reader, state, policy, now_ns, afresh, watch.watcher)
            if sinks is None and _is_watched(state, now_ns):
                return TickResult(found.findings, [], [], acted=False)
            changes = Changes([], [])
            if sinks is not None:
                opened = [alert for alert in state.alerts() if alert.status != "resolved"]
                changes = advance(opened, found.findings, Path(store_root).resolve().name, now_ns)
            with state.together():
                for baseline in found.baselines:
                    if state.baseline(baseline.task) == found.before.get(baseline.task):
                        state.put_baseline(baseline)
                state.put_findings(found.findings)
                for alert in changes.alerts:
                    state.put_alert(alert)
                for alert in changes.notify:
                    body = message.body(
                        alert, dashboard_url, owner=policy.of(alert.task).owner, store=str(store_root)
                    )
                    for sink in sinks or ():
                        state.enqueue(alert.fingerprint, sink.name, body)
                if found.memory is not None:
                    state.put_memory(MEMORY, found.judged_hour, found.memory)
                if state.last_tick(JUDGED) == found.judged_before_ns:
                    state.tick(JUDGED, found.judged_hour * HOUR_NS)
                if sinks is not None:
                    state.tick(JOB, now_ns)
            deliver(state, sinks or (), now_ns)
        finally:
            if owner is None:
                state.release(who)
    return TickResult(found.findings, changes.alerts, changes.notify, acted=True)


def run_forever(options: Options, stop: threading.Event | None = None) -> None:
    """Look at once and then every minute, until SIGTERM, SIGINT or ``stop``. One bad look ends nothing.

    The policy is read anew each time; a broken one is logged and the last good one holds.
    """
    stop = stop or threading.Event()
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
    state_path = options.state or default_path(options.store)
    owner, failures = _self(), 0
    policy = policies.load(options.policy)
    without_report: set[str] = set()
    first = True
    while not stop.is_set():
        began = time.monotonic()
        try:
            with watching(options.store) as watch:
                while not stop.is_set():
                    began = time.monotonic()
                    policy = _reloaded(options.policy, policy)
                    webhook = options.webhook or policy.webhook
                    tick(
                        options.store,
                        state_path,
                        policy,
                        sinks=[StandardOutput(), *([Webhook(webhook)] if webhook else [])],
                        dashboard_url=options.dashboard_url,
                        owner=owner,
                        afresh=first,
                        watch=watch,
                    )
                    first = False
                    _release(state_path, owner)
                    while (left := began + options.every_s - time.monotonic()) > 0 and not stop.is_set():
                        if not attach_report(options.store, state_path, without_report):
                            stop.wait(min(left, COMPACT_EVERY_S))
                            compact(watch.compactor, policy)
        except Exception as error:
            failures += 1
            # Of a full disk a traceback says nothing more.
            log.error(
                "a look of the drift job failed (%d since its start); the next one is tried: %s",
                failures,
                error,
                exc_info=not isinstance(error, OSError | sqlite3.OperationalError),
            )
        _release(state_path, owner)
        stop.wait(max(options.every_s - (time.monotonic() - began), 0.0))


def compact(compactor: Compactor, policy: Policy, now_ns: int | None = None) -> None:
    """Merge what is new in the store, and drop what the policy keeps no longer; what fails is logged."""
    try:
        done = compactor.run(now_ns, policy.keep_days)
        if done.dropped:
            with Counters(compactor.store.root) as counters:
                counters.drop_before((max(done.dropped) + 1) * 24)
    except (OSError, sqlite3.Error) as error:
        log.warning("%s was not compacted: %s", compactor.store.root, error)


def accept(store_root: str | Path, state_path: str | Path, task: str) -> str:
    """Take a task's shift as the new normal: its reference begins anew at the estimated hour of the change.
    Of a group of tasks, by its name, all that are affected.

    Its alert is resolved, and people are told, at the job's next look.

    Returns:
        A sentence that says what was done.

    Raises:
        AcceptError: no shift has been found in this task.
    """
    with State(state_path) as state:
        findings = [finding for finding in state.findings() if finding.task == task]
        alerts = [a.finding for a in state.alerts() if a.task == task and a.status != "resolved"]
        shifted = [
            finding
            for finding in (*findings, *alerts)
            if finding.stream in KINDS and finding.since_hour is not None and finding.paged_hour is not None
        ]
        if not shifted:
            known = sorted({finding.task for finding in state.findings()})
            judged = [finding for finding in findings if finding.stream in KINDS]
            what = (
                f"is {worst(judged).replace('_', ' ')}" if judged else "is not known, or has no full hour yet"
            )
            wanted = "a task that drifts" if judged else f"one of: {', '.join(known[:20]) or 'none so far'}"
            raise AcceptError(
                f"task {task!r} {what}; wanted: {wanted}; to see them, type: "
                f"cascade-otel drift --store {store_root}"
            )
        since = max(finding.since_hour for finding in shifted if finding.since_hour is not None)
        end = (-(-since // 24) + baselines.DAYS_NEEDED) * 24
        members = dict.fromkeys(member for finding in shifted for member in finding.tasks)
        with state.together():
            for one in members or (task,):
                state.put_baseline(Baseline(one, since, end, "accepted", time.time_ns()))
            state.tick(JUDGED, 0)
    return (
        f"{task}: what it does since {_utc(since)} is the new normal; it is learned anew for "
        f"{baselines.DAYS_NEEDED} days, and its alert is resolved at the drift job's next look"
    )


def _is_watched(state: State, now_ns: int) -> bool:
    """Whether a job that tells people has looked within the last ``JOB_IS_ALIVE_S``."""
    last = state.last_tick(JOB)
    return last is not None and 0 <= now_ns - last < JOB_IS_ALIVE_S * SECOND_NS


def _release(state_path: Path, owner: str) -> None:
    try:
        with State(state_path) as state:
            state.release(owner)
    except (OSError, sqlite3.Error, UserError) as error:
        log.warning("the lease was not given back, and ends by itself: %s", error)


def _reloaded(path: Path | None, last: Policy) -> Policy:
    try:
        return policies.load(path)
    except UserError as error:
        log.error("%s; the policy read before still holds", error)
        return last


def _self() -> str:
    return f"{socket.gethostname()}-{os.getpid()}"


def _utc(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%d %H:%M UTC")
