"""Stores of worlds in which it is known what changed, as the decorators would have recorded them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cascade_otel.analysis.causes import diagnosis
from cascade_otel.records import HOUR_NS, Cause, Finding, Stream, Window
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader
from cascade_otel.storage.segments import Store
from tests.statistics.cause_worlds import Calls, Case

FIRST_DAY = 2858 * 7
"""A Thursday of 2024, like the first day of all."""


def write(root: Path, cases: dict[str, Case], **columns: Any) -> Store:
    """A store in which each case is a task.

    Columns may be added to the calls of the later window, as ``name=value`` or ``name=(before, now)``.
    """
    store = Store(root)
    for number, (task, case) in enumerate(cases.items()):
        tables = [
            _calls(
                task,
                calls,
                [number, place],
                case,
                {name: _of(value, place) for name, value in columns.items()},
            )
            for place, calls in enumerate((case.before, case.now))
        ]
        store.publish([pa.concat_tables(tables).unify_dictionaries().combine_chunks()])
    return store


def finding(case: Case, task: str, stream: Stream = "escalation_rate") -> Finding:
    """That of a shift at the first hour of the later window."""
    start, since = (hour_of(int(calls.day.min())) for calls in (case.before, case.now))
    end = hour_of(int(case.now.day.max()) + 1)
    windows = (
        Window(*hours, len(calls.day), int(calls.escalated.sum()))
        for hours, calls in (((start, since), case.before), ((since, end), case.now))
    )
    return Finding(
        task, "small", stream, "drifting", end - 1, log_evidence=14.0, log_needed=11.6,
        since_hour=since, since_low_hour=since - 1, since_high_hour=since + 1,
        **dict(zip(("reference", "current"), windows, strict=True)),
    )  # fmt: skip


def cause(reader: Reader, case: Case, task: str, stream: Stream = "escalation_rate") -> Cause:
    """What a diagnosis finds."""
    return diagnosis.cause(reader, finding(case, task, stream))


def hour_of(day: int) -> int:
    """The first hour of a day of a case."""
    return (FIRST_DAY + day) * 24


def _of(value: Any, place: int) -> Any:
    return value[place] if isinstance(value, tuple) else value


def _calls(task: str, calls: Calls, seed: list[int], case: Case, columns: dict[str, Any]) -> pa.Table:
    random = np.random.default_rng([9, *seed])
    now = bool(seed[1])
    hour = hour_of(0) + calls.day * 24 + random.integers(0, 24, len(calls.day))
    trace = random.integers(1, 2**62, len(hour))
    known = ~np.isnan(calls.right)
    tier = pd.DataFrame(
        {
            "trace_lo": trace, "start_ns": hour * HOUR_NS + random.integers(0, HOUR_NS, len(hour)),
            "tier": "small", "tier_index": 0, "purpose": None, "canary_id": None,
            "segment": [f"kind {number}" for number in calls.stratum],
            "escalated": calls.escalated, "confidence": calls.confidence,
            "threshold": case.thresholds[now],
            "agreed": np.where(known & calls.escalated, calls.right, np.nan),
        }
    ).assign(**columns)  # fmt: skip
    audited = tier[known & ~calls.escalated]
    audits = audited.assign(
        tier="large", tier_index=1, purpose="audit", escalated=None, confidence=np.nan, threshold=np.nan,
        agreed=calls.right[known & ~calls.escalated],
    )  # fmt: skip
    frames = [tier, audits]
    if case.canaries is not None:
        confidence, right = (
            getattr(case.canaries, f"{name}_{'now' if now else 'before'}") for name in ("confidence", "right")
        )
        low = confidence < case.thresholds[now]
        frames.append(
            pd.DataFrame(
                {
                    "trace_lo": random.integers(1, 2**62, len(low)), "start_ns": (hour.max() - 3) * HOUR_NS,
                    "tier": "small", "tier_index": 0, "purpose": "canary",
                    "canary_id": [f"prompt {number}" for number in range(len(low))],
                    "segment": None, "escalated": low, "confidence": confidence,
                    "threshold": case.thresholds[now], "agreed": np.where(low, right, np.nan),
                }
            )
        )  # fmt: skip
    rows = pd.concat(frames, ignore_index=True).astype({"agreed": "object", "escalated": "object"})
    nano = np.rint(rows.pop("confidence").to_numpy(float) * 1e9)
    agreed = rows.pop("agreed").map(lambda one: None if pd.isna(one) else bool(one))
    return schema.rows(
        {
            "kind": np.full(len(rows), schema.TIER, np.int8), "trace_hi": np.zeros(len(rows), np.int64),
            "span_id": random.integers(1, 2**62, len(rows)), "duration_ns": np.full(len(rows), 10**9),
            "cascade": pa.repeat("extract", len(rows)), "task": pa.repeat(task, len(rows)),
            "confidence_nano": pa.array(nano, from_pandas=True), "agreed": pa.array(agreed, pa.bool_()),
            **{name: pa.array(rows[name], from_pandas=True) for name in rows},
        }
    )  # fmt: skip
