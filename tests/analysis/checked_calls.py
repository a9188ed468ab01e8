"""Made-up stores for threshold advice: calls whose every answer's truth is known to the maker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from cascade_otel.records import HOUR_NS
from cascade_otel.storage import schema
from cascade_otel.storage.calls import two_tier_rows
from cascade_otel.storage.segments import Store
from tests.analysis.made_up import END, TEXTS

LEVELS = np.array([0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0])
ERRORS = np.array([0.7, 0.5, 0.4, 0.3, 0.22, 0.15, 0.1, 0.05, 0.02, 0.01])


@dataclass(frozen=True)
class Log:
    """What a store of one task holds."""

    task: str = "organic"
    calls: int = 6000
    days: int = 14
    threshold: float | None = 0.8
    """Recorded; the decision is at ``decided_at``."""
    decided_at: float = 0.8
    audit_rate: float = 0.1
    agree: bool = True
    """Agreement is recorded, of escalated and audited calls."""
    labels: float = 0.0
    """Share of the calls whose cheap answer is labelled."""
    unscored: float = 0.0
    broken: float = 0.0
    """Share of calls escalated for another reason."""
    costs: bool = True
    seed: int = 1
    weights: tuple[float, ...] = (2, 3, 4, 5, 5, 8, 10, 30, 18, 15)
    """How often each of ``LEVELS`` is said."""


def calls(log: Log) -> pd.DataFrame:
    """The calls as ``two_tier_rows`` takes them, with the truth in ``wrong``; oldest first."""
    random = np.random.default_rng([log.seed, *log.task.encode()])
    n = log.calls
    level = random.choice(len(LEVELS), n, p=np.array(log.weights) / sum(log.weights))
    confidence = LEVELS[level].copy()
    wrong = random.random(n) < ERRORS[level]
    confidence[random.random(n) < log.unscored] = np.nan
    escalated = ~(confidence >= log.decided_at) | (random.random(n) < log.broken)
    start = (END - 24 * log.days) * HOUR_NS + np.sort(random.integers(0, 24 * log.days * HOUR_NS, n))
    frame = pd.DataFrame(
        {
            "trace_hi": random.integers(1, 2**62, n),
            "trace_lo": random.integers(1, 2**62, n),
            "start_ns": start,
            "service": "shop",
            "cascade": "extract",
            "task": log.task,
            "cheap_tier": "small",
            "strong_tier": "large",
            "cheap_confidence": confidence,
            "threshold": np.nan if log.threshold is None else log.threshold,
            "escalated": escalated,
            "audited": ~escalated & (random.random(n) < log.audit_rate),
            "cheap_duration_ns": random.integers(5 * 10**8, 10**9, n),
            "strong_duration_ns": random.integers(2 * 10**9, 4 * 10**9, n),
            "wrong": wrong,
        }
    )
    if log.costs:
        frame["cheap_cost_nano"], frame["strong_cost_nano"] = 1_000_000, 9_000_000
    if log.labels:
        labelled = random.random(n) < log.labels
        frame["cheap_correct"] = pd.arrays.BooleanArray(~wrong, ~labelled)
    return frame


def rows(log: Log, frame: pd.DataFrame) -> pa.Table:
    """Segment rows of the calls, with agreement and the weight of audits."""
    texts = [name for name in TEXTS if name in frame]
    table = two_tier_rows(frame.drop(columns="wrong").astype(dict.fromkeys(texts, "category")))
    if not log.agree:
        return table
    wrong = dict(zip(frame["trace_lo"], frame["wrong"], strict=True))
    differs = np.array([wrong.get(trace, False) for trace in table["trace_lo"].to_pylist()])
    audit = pc.fill_null(pc.equal(table["purpose"].cast(pa.string()), "audit"), False).to_numpy(False)
    first = pc.fill_null(pc.equal(table["tier"].cast(pa.string()), "small"), False).to_numpy(False)
    tier = table["kind"].to_numpy() == schema.TIER
    sent = pc.fill_null(table["escalated"], False).to_numpy(False)
    compared = tier & (audit | (first & sent))
    weight = pa.array(np.full(len(table), round(1e6 / max(log.audit_rate, 1e-6))), mask=~(tier & audit))
    columns = {
        "agreed": pa.array(~differs, mask=~compared),
        "weight_ppm": pc.coalesce(weight, table["weight_ppm"]),
    }
    for name, column in columns.items():
        table = table.set_column(table.schema.get_field_index(name), table.schema.field(name), column)
    return table


def write(root: Path, *logs: Log) -> Store:
    """A store of these logs."""
    store = Store(root)
    store.publish([rows(log, calls(log)) for log in logs])
    return store
