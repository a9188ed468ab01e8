"""A small store whose every number is known, and what a drift job would say about it.

Ten days up to ``now_hour``. ``steady``: 20 calls an hour, 4 of them escalated. ``shifted``: the same, but in
the last 48 hours 8 escalate and a new model answers. ``young``: two days, 10 calls an hour, 1 escalated.
``steady`` has 5 more, accepted, in the unfinished hour. A cheap call costs $0.002 and lasts .5 s, a strong
one $0.01 and 2 s; every escalated call and every third accepted one is labelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from cascade_otel.presentation.source import Source, Watch, watch
from cascade_otel.records import HOUR_NS, Alert, Cause, Effect, Finding, TaskState, Window
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.reading.rollup import Reader, open_reader
from cascade_otel.storage.segments import Store
from cascade_otel.storage.state import State

NOW_HOUR = 490_000
DAYS = 10
SHIFT_HOURS = 48


@dataclass(frozen=True)
class Built:
    """The store's place, and the hour it was built for."""

    source: Source
    now_hour: int

    def watch(self) -> Watch:
        with State(self.source.state) as state:
            return watch(state)

    def reader(self) -> Reader:
        return open_reader(Store(self.source.store, create=False))


def build(root: Path, now_hour: int = NOW_HOUR, names: dict[str, str] | None = None) -> Built:
    """Writes the store and its state; ``names`` gives tasks other names."""
    start = now_hour - DAYS * 24
    hours = np.arange(start, now_hour)
    parts = [
        calls("steady", hours, 20, 4),
        calls("shifted", hours[:-SHIFT_HOURS], 20, 4),
        calls("shifted", hours[-SHIFT_HOURS:], 20, 8, response_model="small-b"),
        calls("young", hours[-48:], 10, 1),
        calls("steady", np.array([now_hour]), 5, 0),
    ]
    frame = pd.concat(parts, ignore_index=True)
    frame["task"] = frame["task"].replace(names or {})
    frame = frame.astype(dict.fromkeys(frame.select_dtypes(["object", "string"]), "category"))
    frame["trace_hi"] = np.arange(1, len(frame) + 1)
    frame["trace_lo"] = np.arange(1, len(frame) + 1) * 7919
    Store(root).append(two_tier_rows(frame))
    place = Source(root, root / "state.sqlite")
    with State(place.state) as state:
        found = [rename(one, names or {}) for one in findings(now_hour)]
        state.put_findings(found)
        state.put_alert(alert(next(one for one in found if one.state == "drifting"), now_hour))
        state.tick("drift", now_hour * HOUR_NS)
    return Built(place, now_hour)


def calls(
    task: str, hours: np.ndarray, each: int, escalated: int, response_model: str = "small-a"
) -> pd.DataFrame:
    """``each`` calls in every hour, evenly spread; the first ``escalated`` of them escalate."""
    hour, place = np.repeat(hours, each), np.tile(np.arange(each), len(hours))
    low = place < escalated
    labelled = low | (place % 3 == 0)
    right = np.where(low, place % 2 == 0, True)
    n = len(hour)
    return pd.DataFrame(
        {
            "start_ns": hour * HOUR_NS + place * (HOUR_NS // 100),
            "service": "shop",
            "cascade": "extract",
            "task": task,
            "version": "1",
            "cheap_tier": "small",
            "strong_tier": "large",
            "cheap_model": "small",
            "strong_model": "large",
            "cheap_response_model": response_model,
            "strong_response_model": "large-a",
            "threshold": 0.8,
            "cheap_confidence": np.where(low, 0.5, 0.9),
            "escalated": low,
            "audited": ~low & labelled,
            "cheap_duration_ns": 500_000_000,
            "strong_duration_ns": 2_000_000_000,
            "cheap_cost_nano": 2_000_000,
            "strong_cost_nano": 10_000_000,
            "cheap_correct": pd.arrays.BooleanArray(right, ~labelled),
            "strong_correct": pd.arrays.BooleanArray(np.ones(n, bool), ~labelled),
        }
    )


def findings(now_hour: int = NOW_HOUR) -> list[Finding]:
    """One drifting, one quiet, one learning; both streams."""
    start, change = now_hour - DAYS * 24, now_hour - SHIFT_HOURS
    cause = Cause(
        "model",
        Effect(0.5, -1.0, 2.0),
        Effect(19.0, 17.0, 21.0),
        Effect(0.5, -0.5, 1.5),
        "small-b answers now.",
    )
    drifting = Finding(
        task="shifted",
        tier="small",
        stream="escalation_rate",
        state="drifting",
        hour=now_hour - 1,
        log_evidence=25.0,
        log_needed=10.9,
        days_learned=8,
        reference=Window(start, change, 3840, 768),
        current=Window(change, now_hour, 960, 384),
        since_hour=change,
        since_low_hour=change - 2,
        since_high_hour=change + 3,
        paged_hour=change + 9,
        cause=cause,
        cost_per_day=3.84,
    )
    return [
        _quiet(
            "steady",
            "quiet",
            10,
            Window(start, now_hour - 24, 4320, 864),
            Window(now_hour - 24, now_hour, 480, 96),
        ),
        _quiet("young", "learning", 2, None, Window(now_hour - 24, now_hour, 240, 24)),
        drifting,
    ]


def _quiet(task: str, state: TaskState, days: int, reference: Window | None, current: Window) -> Finding:
    return Finding(
        task=task,
        tier="small",
        stream="escalation_rate",
        state=state,
        hour=current.end_hour - 1,
        log_evidence=-1.0 if reference else 0.0,
        log_needed=10.9 if reference else 0.0,
        days_learned=days,
        reference=reference,
        current=current,
    )


def alert(
    finding: Finding, now_hour: int = NOW_HOUR, status: str = "firing", fingerprint: str = "f1"
) -> Alert:
    """An alert about a finding, opened when its evidence sufficed."""
    start = finding.since_hour if finding.since_hour is not None else now_hour - 1
    return Alert(
        fingerprint=fingerprint,
        status=status,  # type: ignore[arg-type]  # one of the four
        task=finding.task,
        tier=finding.tier,
        stream=finding.stream,
        start_ns=start * HOUR_NS,
        opened_ns=(finding.paged_hour or now_hour - 1) * HOUR_NS,
        updated_ns=now_hour * HOUR_NS,
        finding=finding,
    )


def rename(finding: Finding, names: dict[str, str]) -> Finding:
    """The finding about the task under its other name."""
    return replace(finding, task=names.get(finding.task, finding.task))
