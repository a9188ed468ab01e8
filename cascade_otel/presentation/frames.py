"""The first screen in numbers: what all tasks did in a period, and a table with one row per task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis.value.quantiles import of_cells
from cascade_otel.analysis.value.savings import spending
from cascade_otel.analysis.value.summary import OUTSIDE
from cascade_otel.presentation import words
from cascade_otel.presentation.periods import Period
from cascade_otel.presentation.source import Watch
from cascade_otel.presentation.verdicts import COLOURS, Verdict, verdict
from cascade_otel.records import TaskHours
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

NANO = 1e9
COUNTS = (
    "n", "escalated", "errors", "cancelled", "abandoned", "repeated", "costed", "cost_nano", "weight_ppm",
    "duration_ns", "escalated_duration_ns",
)  # fmt: skip
BY_TASK = ("task", "tier", "tier_index")
STATE_HELP = "What the drift job says; it judges a task by hours that are over."
NOW_HELP = "Escalation rate since the change; where there was none, of the last day."
REFERENCE_HELP = "Escalation rate it is compared with."
TREND_HELP = "Escalation rate over the range; all rows share one scale that starts at 0."
CHANGE_HELP = "What the change costs or saves a day at the present traffic."


@dataclass(frozen=True)
class Tile:
    """One number of the first screen with its trend, one point per bucket of finished hours."""

    label: str
    value: str
    note: str
    """A second number or what it is measured against; may be empty."""
    trend: tuple[float, ...]
    help: str
    bars: bool = False


@dataclass(frozen=True)
class Now:
    """The first screen: tiles over all tasks, the table, and the tasks' own names in the table's order."""

    calls: int
    tiles: tuple[Tile, ...]
    table: pd.DataFrame
    """Columns state (a list of one), task, now, reference (both in percent), trend, since, cause,
    change_per_day (text), cost_per_day, calls."""
    tasks: tuple[str, ...]
    highest_rate: float
    """Top of all trends in the table, so that they share one scale."""
    states: dict[str, str]
    """Colour of each state in the table."""
    worst: str | None
    """The first task of the table that has drifted or is suspect."""


def now(reader: Reader, watch: Watch, period: Period) -> Now:
    """The first screen of a period."""
    hourly = _sums(reader, ("hour",), period.start_hour, period.end_hour)
    finished = _sums(reader, BY_TASK, period.start_hour, period.complete_hour)
    unfinished = _sums(reader, BY_TASK, period.complete_hour, period.end_hour)
    sums = pd.concat([finished, unfinished], ignore_index=True)
    latency = reader.cells(period.start_hour, period.end_hour, "latency", by=("kind", "purpose"))
    hours = reader.task_hours(period.start_hour, period.end_hour)
    production = hourly[hourly["purpose"] == ""]
    calls, tiers = (production[production["kind"] == kind] for kind in (schema.CASCADE, schema.TIER))
    total = int(calls["n"].sum()) or int(hours.calls.sum())
    paths = latency[(latency["kind"] == schema.CASCADE) & (latency["purpose"] == "")]
    tiles = (
        _calls(total, calls if len(calls) else tiers, period),
        _rate(hours, period),
        _cost(calls if calls["costed"].sum() else tiers, sums, period),
        _latency("accepted", paths, calls, period),
        _latency("escalated", paths, calls, period),
    )
    table, verdicts = _table(hours, sums, len(finished), watch, period)
    top = max((rate for trend in table["trend"] for rate in trend), default=0.0)
    return Now(
        total,
        tiles,
        table,
        tuple(one.task for one in verdicts),
        top or 100.0,
        {one.state: COLOURS.get(one.state, "gray") for one in verdicts},
        next((one.task for one in verdicts if one.since_hour is not None and not one.is_group), None),
    )


def _sums(reader: Reader, by: Sequence[str], start_hour: int, end_hour: int) -> pd.DataFrame:
    return reader.sums_by((*by, "kind", "purpose"), start_hour, end_hour, counts=COUNTS)


def by_bucket(hour: NDArray[np.int64], value: NDArray[Any], period: Period) -> NDArray[np.float64]:
    """(buckets,) sums of values (N,) by their hours (N,), finished hours only."""
    finished = hour < period.complete_hour
    bucket = (hour[finished] - period.start_hour) // period.step
    return np.bincount(bucket, value[finished].astype(float), period.buckets).astype(np.float64)


def _calls(total: int, calls: pd.DataFrame, period: Period) -> Tile:
    trend = by_bucket(calls["hour"].to_numpy(), calls["n"].to_numpy(), period)
    unit, size = ("a day", 24) if period.complete_hour - period.start_hour > 36 else ("an hour", 1)
    units = _hours_with_data(calls["hour"], period) / size
    # Less than one day says nothing about a day.
    each = trend.sum() / units if units >= 1 else 0.0
    note = f"{words.count(round(each))} {unit}" if each >= 1 else ""
    return Tile(
        "Calls", words.count(total), note, _points(trend), "Production calls of all cascades.", bars=True
    )


def _rate(hours: TaskHours, period: Period) -> Tile:
    calls, escalated = hours.calls.sum(0), hours.escalated.sum(0)
    rate = escalated.sum() / calls.sum() if calls.sum() else None
    trend = _ratio(*(by_bucket(hours.hours, value, period) for value in (escalated, calls)))
    note = f"{words.count(int(escalated.sum()))} escalated" if calls.sum() else ""
    text = "Share of calls whose first tier's answer was not taken, over all tasks."
    return Tile("Escalation rate", words.share(rate), note, _points(trend), text)


def _cost(paid: pd.DataFrame, sums: pd.DataFrame, period: Period) -> Tile:
    spent = float(paid["cost_nano"].sum())
    known = int(paid["costed"].sum())
    trend = by_bucket(paid["hour"].to_numpy(), paid["cost_nano"].to_numpy() / NANO, period)
    money = spending(sums)[None]
    saved = money.savings
    note = (
        (words.name(money.reason, 80) if money.reason and known else "")
        if saved is None
        else f"{words.share(saved)} saved against strong-only"
        if saved >= 0
        else f"{words.share(-saved)} more than strong-only"
    )
    text = (
        "What all tiers cost. Strong-only: the same calls, had the last tier answered every one; accepted "
        "calls are priced by audits where there are enough, else by escalated calls. Savings are unknown "
        "where a tier records no cost: one that is free says cost=0."
    )
    return Tile(
        "Cost",
        words.money(spent / NANO if known else None),
        note,
        _points(trend) if trend.any() else (),
        text,
    )


def _latency(path: str, cells: pd.DataFrame, calls: pd.DataFrame, period: Period) -> Tile:
    escalated = path == "escalated"
    counts = cells["escalated"] if escalated else cells["n"] - cells["escalated"]
    middle, late = of_cells(cells["cell"].to_numpy(), counts.to_numpy(), (0.5, 0.95))
    own, spent = (calls[name].to_numpy() for name in ("escalated", "escalated_duration_ns"))
    if not escalated:
        own, spent = calls["n"].to_numpy() - own, calls["duration_ns"].to_numpy() - spent
    hour = calls["hour"].to_numpy()
    trend = _ratio(by_bucket(hour, spent / NANO, period), by_bucket(hour, own, period))
    note = f"p95 {words.seconds(late)}" if counts.sum() else ""
    text = (
        f"Median of calls that were {path}, over whole UTC days; the line is their mean. A blend of both "
        "paths describes nobody."
    )
    return Tile(f"Latency, {path}", words.seconds(middle), note, _points(trend), text)


def _table(
    hours: TaskHours, sums: pd.DataFrame, finished: int, watch: Watch, period: Period
) -> tuple[pd.DataFrame, list[Verdict]]:
    """``sums`` are of tasks, the first ``finished`` of them of hours that are over."""
    production = sums[sums["purpose"] == ""]
    calls, tiers = (production[production["kind"] == kind] for kind in (schema.CASCADE, schema.TIER))
    rates = {
        task: _ratio(by_bucket(hours.hours, escalated, period), by_bucket(hours.hours, own, period))
        for task, own, escalated in zip(hours.tasks, hours.calls, hours.escalated, strict=True)
    }
    totals = dict(zip(hours.tasks, zip(hours.escalated.sum(1), hours.calls.sum(1), strict=True), strict=True))
    outside = set(tiers["task"]) - set(calls["task"])
    orphans = tiers[tiers["task"].isin(outside)]
    used = pd.concat([calls, orphans]).groupby("task")["n"].sum()
    paid = pd.concat([calls, orphans]) if calls["costed"].sum() else tiers
    cost_per_day = _cost_per_day(paid[paid.index < finished], period)
    judged = {finding.task for finding in watch.findings}
    alone = {alert.task for alert in watch.alerts}
    verdicts = sorted(
        (verdict(watch.of(task), task) for task in {*hours.tasks, *used.index, *judged, *alone}),
        key=lambda one: one.order,
    )
    rows = [
        _row(one, totals.get(one.task, (0, 0)), rates.get(one.task, np.zeros(0)))
        | {
            "task": words.name(one.task) + (OUTSIDE if one.task in outside else ""),
            "cost_per_day": cost_per_day.get(one.task, float("nan")),
            "calls": int(used.get(one.task, 0)),
        }
        for one in verdicts
    ]
    columns = [
        "state",
        "task",
        "now",
        "reference",
        "trend",
        "since",
        "cause",
        "change_per_day",
        "cost_per_day",
        "calls",
    ]
    return pd.DataFrame(rows, columns=columns), verdicts


def _row(one: Verdict, total: tuple[int, int], rates: NDArray[np.float64]) -> dict[str, Any]:
    escalated, calls = total
    shown = escalated / calls if calls else float("nan")
    return {
        "state": [one.state],
        "task": words.name(one.task),
        "now": 100 * (shown if one.current is None else one.current.rate),
        "reference": float("nan") if one.reference is None else 100 * one.reference.rate,
        "trend": [float(100 * rate) for rate in rates if not np.isnan(rate)],
        "since": "" if one.since_hour is None else words.hour(one.since_hour).removesuffix(" UTC"),
        "cause": one.cause,
        "change_per_day": ""
        if one.cost_per_day is None
        else words.change_of_money(one.cost_per_day, one.currency),
    }


def _cost_per_day(paid: pd.DataFrame, period: Period) -> dict[str, float]:
    """Cost a day of each task since its first call in the period, unless that is less than a day ago, or the
    cost is unknown.
    """
    found = paid.groupby("task").agg(
        cost=("cost_nano", "sum"), costed=("costed", "sum"), first_hour=("first_hour", "min")
    )
    days = (period.complete_hour - found["first_hour"]) / 24
    known = (days >= 1) & (found["costed"] > 0)
    return dict((found["cost"] / NANO / days)[known])


def _hours_with_data(hour: pd.Series[int], period: Period) -> int:
    """From the hour of the first call to the end of the last finished hour."""
    return max(period.complete_hour - int(hour.min()), 0) if len(hour) else 0


def _ratio(above: NDArray[np.float64], below: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(below > 0, above / np.maximum(below, 1e-300), np.nan)


def _points(trend: Sequence[float] | NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(value) for value in trend if not np.isnan(value))
