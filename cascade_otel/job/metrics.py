"""The drift job's findings as metrics."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from cascade_otel.analysis.watching import limits
from cascade_otel.records import Finding, TaskState
from cascade_otel.storage.state import State

JOB = "drift"
"""Name of the job's ticks in the state."""
STATES: tuple[TaskState, ...] = ("drifting", "suspect", "no_data", "learning", "quiet")
"""Of several streams the earlier state is the task's."""


def job_metrics(state: State) -> bytes:
    """The job's findings in the Prometheus text format."""
    registry = CollectorRegistry()
    ticked = Gauge(
        "cascade_drift_last_tick_timestamp_seconds", "When the drift job last looked.", registry=registry
    )
    rate = Gauge(
        "cascade_drift_baseline_escalation_rate",
        "Escalation rate of the task's reference.",
        ["cascade_task"],
        registry=registry,
    )
    states = Gauge(
        "cascade_drift_task_state",
        "1 for the state the task is in.",
        ["cascade_task", "state"],
        registry=registry,
    )
    ticked.set((state.last_tick(JOB) or 0) / 1e9)
    by_task: dict[str, list[Finding]] = {}
    for finding in state.findings():
        by_task.setdefault(finding.task, []).append(finding)
    for task, findings in by_task.items():
        now = worst([finding for finding in findings if finding.stream not in limits.STREAMS] or findings)
        for name in STATES:
            states.labels(task, name).set(name == now)
        for finding in findings:
            if finding.stream == "escalation_rate" and finding.reference and finding.state != "learning":
                rate.labels(task).set(finding.reference.rate)
    return generate_latest(registry)


def worst(findings: Sequence[Finding]) -> TaskState:
    """The state of a task, from those of its streams."""
    return min((finding.state for finding in findings), key=STATES.index)
