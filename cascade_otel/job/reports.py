"""Evidently's reports on what the drift job finds: written between looks, and on demand."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

from cascade_otel.analysis.watching.look import look
from cascade_otel.analysis.watching.streams import KINDS
from cascade_otel.job.metrics import STATES
from cascade_otel.policy import Policy
from cascade_otel.records import Finding, UserError, Window
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State

log = logging.getLogger(__name__)


def write_report(store_root: str | Path, state_path: str | Path, task: str) -> Path:
    """Write Evidently's drift report of a task's newest window against its reference; returns where.

    Raises:
        UserError: the task is not known, or has no reference yet.
    """
    with State(state_path) as state, open_reader(Store(store_root, create=False)) as reader:
        known = state.findings()
        if all(one.task != task for one in known):
            known = look(reader, state, Policy(), time.time_ns(), afresh=True).findings
        own = [one for one in known if one.task == task and one.stream in KINDS]
        for finding in sorted(own, key=lambda one: STATES.index(one.state)):
            if finding.reference is not None and finding.current is not None:
                return _write_report(reader, state, finding, finding.reference)
    raise UserError(
        f"task {task!r} has no reference to compare with; wanted: a task with calls; "
        f"to see them, type: cascade-otel drift --store {store_root}"
    )


def attach_report(store_root: Path, state_path: Path, failed: set[str]) -> bool:
    """Attach Evidently's report to one suspect or firing alert that has none; False: there is none to do.

    Takes seconds, so it is done between looks. ``failed``: fingerprint and status of alerts that go without,
    for a suspect with too few calls may have enough once it fires.
    """
    with State(state_path) as state:
        for alert in state.alerts():
            if alert.status not in ("pending", "firing"):
                continue
            finding, attempt = alert.finding, f"{alert.fingerprint} {alert.status}"
            done = alert.report is not None or attempt in failed
            # A group has no calls of its own: its tasks have reports.
            if done or finding.tasks or finding.stream not in KINDS or finding.reference is None:
                continue
            try:
                with open_reader(Store(store_root)) as reader:
                    path = _write_report(reader, state, finding, finding.reference)
                report = os.path.relpath(path.resolve(), state.path.resolve().parent)
                state.put_alert(replace(alert, report=report))
            except Exception:
                failed.add(attempt)
                log.exception("the drift report of %r was not written; its alert goes without", alert.task)
            return True
    return False


def _write_report(reader: Reader, state: State, finding: Finding, reference: Window) -> Path:
    from cascade_otel.presentation import drift_report

    current = finding.current or Window(finding.hour - 23, finding.hour + 1, 0, 0)
    return drift_report.write(reader, finding, reference, current, state.path.parent / drift_report.FOLDER)
