"""One task in numbers: escalation rate against its reference, confidences, latencies, last calls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis.value.quantiles import edges, of_cells
from cascade_otel.presentation import words
from cascade_otel.presentation.changes import Mark, alarm_marks, stack, version_marks
from cascade_otel.presentation.frames import by_bucket
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.source import Watch
from cascade_otel.presentation.verdicts import Verdict, verdict
from cascade_otel.records import CELLS, Window
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

HOUR_MS = 3_600_000
BAND_SD = 1.96
"""Half width of the reference band in standard deviations: about 95 % of quiet buckets lie inside."""
NEAR_HOURS = 24
PATHS = ("accepted", "escalated")


@dataclass(frozen=True)
class Escalation:
    """The escalation rate of the first tier over a period."""

    points: pd.DataFrame
    """One row per bucket with calls: time_ms (its middle), when, calls, rate, low, high (band in fractions;
    nan without a reference)."""
    reference: float | None
    marks: tuple[Mark, ...]
    change_ms: tuple[int, int] | None
    """The interval in which the change lies."""
    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Confidence:
    """The first tier's confidences now and in the reference."""

    cells: pd.DataFrame
    """One row per cell of .01 that occurs: cell (its lower edge), now, before (shares of scored calls;
    nan: without a reference)."""
    thresholds: tuple[float, ...]
    """τ in force lately, last."""
    earlier_thresholds: tuple[float, ...]
    """τ of the reference that is no longer in force."""
    note: str


@dataclass(frozen=True)
class Latency:
    """Latency of whole cascade calls by path, over whole UTC days."""

    cells: pd.DataFrame
    """path, seconds (middle of the cell), share (of the path's calls)."""
    quantiles: pd.DataFrame
    """path, calls, p50, p95 in seconds."""


@dataclass(frozen=True)
class Tier:
    """The first tier of a task, by hour of a window that covers both the period and the reference."""

    name: str
    rows: pd.DataFrame
    """Rows of ``Reader.sums`` of its production calls."""


def tasks(reader: Reader, watch: Watch, period: Period) -> tuple[str, ...]:
    """Every task that the period or the drift job knows, worst first."""
    known = {
        *reader.sums_by(("task",), period.start_hour, period.end_hour, counts=("n",))["task"],
        *(finding.task for finding in watch.findings),
        *(alert.task for alert in watch.alerts),
    }
    verdicts = sorted((verdict(watch.of(task), task) for task in known), key=lambda one: one.order)
    return tuple(one.task for one in verdicts)


def first_tier(reader: Reader, one: Verdict, period: Period) -> Tier:
    """The tier everything on the page is about, with its hourly sums."""
    start = min(period.start_hour, one.reference.start_hour if one.reference else period.start_hour)
    sums = reader.sums(start, period.end_hour, one.task)
    tiers = sums[(sums["kind"] == schema.TIER) & (sums["purpose"] == "") & (sums["tier"] != "")]
    if one.rate and one.rate.tier in set(tiers["tier"]):
        return Tier(one.rate.tier, tiers[tiers["tier"] == one.rate.tier])
    if tiers.empty:
        return Tier("", tiers)
    ordered = tiers.groupby("tier").agg(place=("tier_index", "min"), n=("n", "sum")).reset_index()
    name = str(ordered.sort_values(["place", "n"], ascending=[True, False])["tier"].iloc[0])
    return Tier(name, tiers[tiers["tier"] == name])


def escalation(tier: Tier, one: Verdict, period: Period) -> Escalation:
    """The rate by bucket, its band, and what else changed when."""
    hour, decided, escalated = (
        tier.rows[name].to_numpy(np.int64) for name in ("hour", "decided", "escalated")
    )
    shown = hour >= period.start_hour
    calls, hits = (by_bucket(hour[shown], value[shown], period) for value in (decided, escalated))
    start = period.start_hour + period.step * np.arange(period.buckets)
    rate = np.divide(hits, calls, out=np.full(len(calls), np.nan), where=calls > 0)
    low, high = _band(hour, decided, escalated, one.reference, calls, period.step)
    points = pd.DataFrame(
        {
            "time_ms": (start + period.step / 2) * HOUR_MS,
            "when": [words.hour(int(first)) for first in start],
            "calls": calls.astype(np.int64),
            "rate": rate,
            "low": low,
            "high": high,
        }
    )
    first_ms, last_ms = period.start_hour * HOUR_MS, period.complete_hour * HOUR_MS
    marks = (*alarm_marks(one), *version_marks(tier.rows, period))
    lead = one.lead
    change = None
    if (
        lead
        and one.since_hour is not None
        and lead.since_low_hour is not None
        and lead.since_high_hour is not None
    ):
        change = (
            max(lead.since_low_hour * HOUR_MS, first_ms),
            min((lead.since_high_hour + 1) * HOUR_MS, last_ms),
        )
    return Escalation(
        points[points["calls"] > 0].reset_index(drop=True),
        one.reference.rate if one.reference and one.reference.calls else None,
        stack([mark for mark in marks if first_ms <= mark.time_ms <= last_ms], first_ms, last_ms),
        change if change and change[0] < change[1] else None,
        first_ms,
        last_ms,
    )


def confidence(reader: Reader, tier: Tier, one: Verdict, period: Period) -> Confidence:
    """Confidences since the change (without one: of the period) against those of the reference."""
    start = one.current.start_hour if one.current and one.since_hour is not None else period.start_hour
    now = _cells(reader, tier, one.task, start, period.end_hour)
    before = np.zeros(CELLS)
    if one.reference:
        before = _cells(reader, tier, one.task, one.reference.start_hour, one.reference.end_hour)
    note = f"bars: {_window_text(start, one, period)}, {words.count(int(now.sum()))} calls"
    if before.any() and one.reference:
        note += f"; ticks: reference, {words.count(int(before.sum()))} calls"
    used = np.flatnonzero((now > 0) | (before > 0))
    cells = pd.DataFrame(
        {
            "cell": used / 100,
            "now": now[used] / max(now.sum(), 1),
            "before": before[used] / before.sum() if before.any() else np.nan,
        }
    )
    lately = _thresholds(tier.rows, max(start, period.complete_hour - NEAR_HOURS), period.end_hour)
    earlier = (
        _thresholds(tier.rows, one.reference.start_hour, one.reference.end_hour) if one.reference else ()
    )
    return Confidence(cells, lately, tuple(set(earlier) - set(lately)) if lately else earlier, note)


def latency(reader: Reader, task: str, period: Period) -> Latency:
    """Distribution of latency for accepted and for escalated calls, of the UTC days the period touches."""
    found = reader.cells(period.start_hour, period.end_hour, "latency", task, by=("kind", "purpose"))
    found = found[(found["kind"] == schema.CASCADE) & (found["purpose"] == "")]
    cells, quantiles = [], []
    for path in PATHS:
        counts = found["escalated"] if path == "escalated" else found["n"] - found["escalated"]
        total = np.bincount(found["cell"].to_numpy(np.int64), counts.to_numpy(float), 256)
        used = np.flatnonzero(total)
        lower, upper = edges(used)
        middle, late = of_cells(used, total[used].astype(np.int64), (0.5, 0.95))
        share = total[used] / max(total.sum(), 1)
        cells.append(
            pd.DataFrame({"path": path, "seconds": np.sqrt(np.maximum(lower, 1e-6) * upper), "share": share})
        )
        quantiles.append({"path": path, "calls": int(total.sum()), "p50": middle, "p95": late})
    return Latency(pd.concat(cells, ignore_index=True), pd.DataFrame(quantiles))


def last_calls(reader: Reader, task: str, limit: int = 50) -> pd.DataFrame:
    """The newest calls; confidence, threshold and model are the first tier's, latency is in seconds."""
    found = reader.last_calls(task, limit)
    records: list[dict[str, Any]] = found.to_dict("records")  # type: ignore[assignment]  # its keys are texts
    rows = [
        {
            "time": pd.Timestamp(call["start_ns"]),
            "path": " → ".join(words.name(tier, 24) for tier in _path(call["tiers"], call["final_tier"])),
            "confidence": _first(call["confidences"], np.nan),
            "threshold": _first(call["thresholds"], np.nan),
            "outcome": _outcome(call["outcome"], call["escalated"]),
            "cost": call["cost_nano"] / 1e9,
            "latency": call["duration_ns"] / 1e9,
            "model": words.name(_first(call["models"], "") or "–", 40),
            "trace": f"{call['trace_hi'] % 2**64:016x}{call['trace_lo'] % 2**64:016x}",
            "purpose": call["purpose"] or "production",
        }
        for call in records
    ]
    columns = [
        "time",
        "path",
        "confidence",
        "threshold",
        "outcome",
        "cost",
        "latency",
        "model",
        "trace",
        "purpose",
    ]
    return pd.DataFrame(rows, columns=columns)


def _first(values: Sequence[Any], otherwise: Any) -> Any:
    return values[0] if len(values) else otherwise


def _outcome(recorded: Any, escalated: Any) -> Any:
    """Every call that has an answer was accepted in the end: what tells them apart is the escalation."""
    return "escalated" if recorded == "accepted" and escalated is True else recorded


def _path(tiers: list[str], final: str) -> list[str]:
    """The tiers up to the final one: an audit that ran beside the call is no part of its path."""
    listed = list(tiers)
    return listed[: listed.index(final) + 1] if final in listed else listed


def _band(
    hour: NDArray[np.int64],
    calls: NDArray[np.int64],
    hits: NDArray[np.int64],
    reference: Window | None,
    shown: NDArray[np.float64],
    step: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where buckets with ``shown`` calls (K,) lie in a quiet time: binomial, restless as the reference."""
    nowhere = np.full(len(shown), np.nan)
    if reference is None or not reference.calls:
        return nowhere, nowhere
    inside = (hour >= reference.start_hour) & (hour < reference.end_hour)
    bucket = (hour[inside] - reference.start_hour) // step
    n, k = (np.bincount(bucket, value[inside]) for value in (calls, hits))
    n, k = n[n > 0], k[n > 0]
    p = reference.rate
    # What the buckets of the reference vary by beyond what so many coin tosses would.
    wobble = (
        max(float(((k - n * p) ** 2 - n * p * (1 - p)).sum() / (n * n).sum()), 0.0) if len(n) > 1 else 0.0
    )
    half = BAND_SD * np.sqrt(p * (1 - p) / np.maximum(shown, 1) + wobble)
    return np.clip(p - half, 0, 1), np.clip(p + half, 0, 1)


def _cells(reader: Reader, tier: Tier, task: str, start: int, end: int) -> NDArray[np.float64]:
    found = reader.cells(start, end, "confidence", task)
    own = found[(found["kind"] == schema.TIER) & (found["purpose"] == "") & (found["tier"] == tier.name)]
    return np.bincount(own["cell"].to_numpy(np.int64), own["n"].to_numpy(float), CELLS).astype(np.float64)


def _thresholds(rows: pd.DataFrame, start: int, end: int) -> tuple[float, ...]:
    """Declared τ between two hours that at least one in twenty calls had, the one seen last as the last."""
    own = rows[(rows["hour"] >= start) & (rows["hour"] < end)].dropna(subset="threshold")
    used = own.groupby("threshold").agg(n=("n", "sum"), hour=("hour", "max"))
    used = used[used["n"] >= used["n"].sum() / 20].sort_values("hour", kind="stable")
    return tuple(float(value) for value in used.index)


def _window_text(start: int, one: Verdict, period: Period) -> str:
    if one.since_hour is not None and one.current and start == one.current.start_hour:
        return f"since {words.hour(start)}"
    return period.name
