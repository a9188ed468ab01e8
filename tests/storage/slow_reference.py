"""What a reader has to answer, counted slowly from single rows, and rows that are hard to count."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from cascade_otel.records import CELLS, DAY_NS, HOUR_NS, TaskHours
from cascade_otel.storage import parts, schema
from cascade_otel.storage.failure import BROKEN_OFF, GIVEN_UP
from tests.storage.storage_samples import DAY

Row = dict[str, Any]
NAMES = ("plain", "", 'it\'s "quoted"', "two\nlines", "‮right to left", "naïve 🦜 café", "%_[*?]", "null")
TIERS = ("small", "large", "", "it's")
MOST = 2**63 - 1


def hostile(count: int, seed: int = 0, days: int = 2) -> pa.Table:
    """Cascade, tier and feedback rows; anything that may be missing is missing somewhere."""
    dice = np.random.default_rng(seed)

    def some(values: Any, missing: float = 0.3) -> pa.Array:
        listed = [value.item() if isinstance(value, np.generic) else value for value in values]
        return pa.array([None if dice.random() < missing else value for value in listed])

    def text(*choices: str, missing: float = 0.3) -> pa.Array:
        return some([choices[at] for at in dice.integers(0, len(choices), count)], missing).cast(pa.string())

    traces = dice.integers(0, max(count // 6, 1), count)
    kind = dice.choice([schema.CASCADE, schema.TIER, schema.LABEL], count, p=[0.2, 0.5, 0.3])
    bounds = [0, 1, 2**62, MOST, MOST]
    start = DAY * DAY_NS + dice.integers(0, days * DAY_NS, count)
    # Crowded at the edges of hours and days.
    start = np.where(dice.random(count) < 0.3, start // HOUR_NS * HOUR_NS + dice.integers(0, 2, count), start)
    columns: Row = {
        "kind": kind,
        "trace_hi": traces - 3,
        "trace_lo": traces * 7 - 11,
        "span_id": np.arange(count) - count // 2,
        "linked_trace_hi": pa.array(np.where(kind == schema.LABEL, traces - 3, 0)),
        "linked_trace_lo": pa.array(np.where(kind == schema.LABEL, traces * 7 - 11, 0)),
        "start_ns": start,
        "duration_ns": some(dice.choice([0, 5, 10**9, MOST // 4], count), 0),
        "service": text("shop", ""),
        "cascade": text("extract", missing=0),
        "task": text(*NAMES, missing=0),
        "version": text("a", ""),
        "purpose": text("audit", "canary", missing=0.7),
        "tier": text(*TIERS),
        "final_tier": text(*TIERS),
        "tier_kind": text("model", "human"),
        "tier_index": some(dice.integers(0, 3, count)),
        "model": text("m"),
        "response_model": text("m-2026"),
        "currency": text("USD", "EUR"),
        "outcome": text("accepted", *parts.OUTCOMES, missing=0.2),
        "reason": text(*parts.REASONS),
        "error_type": text("TimeoutError", missing=0.8),
        "escalated": some(dice.random(count) < 0.4),
        "agreed": some(dice.random(count) < 0.5),
        "correct": some(dice.random(count) < 0.5),
        "threshold": some(dice.choice([0.0, 0.7, 0.8, 1.0, math.nan], count)),
        "confidence_nano": some(dice.choice([0, 1, 699_999_999, 700_000_000, 10**9], count)),
        "cost_nano": some(dice.choice(bounds, count)),
        "input_tokens": some(dice.choice([0, 2**31 - 1], count)),
        "output_tokens": some(dice.integers(0, 9, count)),
        "weight_ppm": some(dice.choice([0, 10**6, 10**12], count)),
    }
    return schema.rows(columns)


def listed(table: pa.Table) -> list[Row]:
    """The rows, missing values as None."""
    return table.to_pylist()


def sums(rows: Iterable[Row]) -> dict[tuple[Any, ...], Counter[str]]:
    """``parts.COUNTS`` by hour and names, none beyond what fits."""
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row["kind"] != schema.LABEL:
            found[row["hour"], *_names(row)].update(_counted(row))
    return {key: Counter({name: min(n, MOST) for name, n in one.items()}) for key, one in found.items()}


def sums_of(frame: pd.DataFrame) -> dict[tuple[Any, ...], Counter[str]]:
    """The same from what a reader answered."""
    found: dict[tuple[Any, ...], Counter[str]] = defaultdict(Counter)
    for row in frame.to_dict("records"):
        key = (row["hour"], *(_rounded(row[n]) if n == "threshold" else row[n] for n in parts.SITE_NAMES))
        found[key].update({name: row[name] for name in parts.COUNTS})
    return {key: Counter({name: min(n, MOST) for name, n in one.items()}) for key, one in found.items()}


def cells(rows: Iterable[Row], measure: str) -> Counter[tuple[Any, ...]]:
    """Calls by bucket, kind, task, tier, purpose, τ and cell; and of these, decided and escalated."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in rows:
        if row["kind"] == schema.LABEL or (cell := row[f"{measure}_cell"]) is None:
            continue
        names = dict(zip(parts.SITE_NAMES, _names(row), strict=True))
        bucket = row["hour"] if measure == "confidence" else row["hour"] // 24 * 24
        key = (bucket, *(names[one] for one in ("kind", "task", "tier", "purpose", "threshold")), cell)
        found[*key, "n"] += 1
        found[*key, "decided"] += measure == "confidence" and row["escalated"] is not None
        found[*key, "escalated"] += row["escalated"] is True
    return +found


def cells_of(frame: pd.DataFrame) -> Counter[tuple[Any, ...]]:
    """The same from what a reader answered."""
    found: Counter[tuple[Any, ...]] = Counter()
    for row in frame.to_dict("records"):
        key = (row["bucket_hour"], row["kind"], row["task"], row["tier"], row["purpose"])
        for name in ("n", "decided", "escalated"):
            found[*key, _rounded(row["threshold"]), row["cell"], name] += row[name]
    return +found


def task_hours(rows: Iterable[Row], start_hour: int, end_hour: int) -> TaskHours:
    """Of the first tiers, one row after the other."""
    calls = [
        row
        for row in rows
        if row["kind"] == schema.TIER and not row["purpose"] and row["tier"]
        and start_hour <= row["hour"] < end_hour
    ]  # fmt: skip
    tasks = sorted({row["task"] for row in calls})
    tiers, thresholds = [], []
    shape = (len(tasks), end_hour - start_hour)
    counts, escalated = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    confidence = np.zeros((*shape, CELLS), np.int64)
    for index, task in enumerate(tasks):
        of_tier: dict[str, list[Row]] = defaultdict(list)
        for row in calls:
            if row["task"] == task:
                of_tier[row["tier"]].append(row)
        first = min(of_tier, key=lambda tier: (_place(of_tier[tier]), -len(of_tier[tier]), tier))
        tiers.append(first)
        decided = [row for row in of_tier[first] if row["escalated"] is not None]
        for row in decided:
            at = row["hour"] - start_hour
            counts[index, at] += 1
            escalated[index, at] += row["escalated"]
            if row["confidence_cell"] is not None:
                confidence[index, at, row["confidence_cell"]] += 1
        thresholds.append(_declared(decided))
    hours = np.arange(start_hour, end_hour)
    return TaskHours(tuple(tasks), tuple(tiers), hours, counts, escalated, confidence, np.array(thresholds))


def labels(rows: Iterable[Row]) -> set[tuple[Any, ...]]:
    """(trace_hi, trace_lo, tier, span's confidence, correct, weight) of every labelled call."""
    every = list(rows)
    said = _newest(
        (row["linked_trace_hi"], row["linked_trace_lo"], row["tier"], row)
        for row in every
        if row["kind"] == schema.LABEL and row["tier"] is not None and row["correct"] is not None
    )
    called = _newest((row["trace_hi"], row["trace_lo"], row["tier"], row) for row in every if _stood(row))
    return {
        (*key, call["task"], call["confidence_nano"], said[key]["correct"], _weight(said[key]))
        for key, call in called.items()
        if key in said
    }


def audits(rows: Iterable[Row]) -> set[tuple[Any, ...]]:
    """(trace_hi, trace_lo, task, tier, hour, confidence, agreed, weight, cost, tier of the audit)."""
    every = list(rows)
    made: dict[Any, Row] = _newest(
        (row["trace_hi"], row["trace_lo"], row["task"], row)
        for row in every
        if row["kind"] == schema.TIER and row["purpose"] == "audit" and row["agreed"] is not None
    )
    accepted = _newest(
        ((row["trace_hi"], row["trace_lo"], row["task"]), row["tier"], None, row)
        for row in every
        if _stood(row) and not row["purpose"] and row["outcome"] == "accepted"
    )
    found = set()
    for (key, tier, _), call in accepted.items():
        if key in made:
            audit = made[key]
            told = (call["confidence_nano"], audit["agreed"], _weight(audit), audit["cost_nano"])
            found.add((*key, tier, call["hour"], *told, audit["tier"] or ""))
    return found


def _names(row: Row) -> tuple[Any, ...]:
    tier = row["final_tier"] if row["kind"] == schema.CASCADE else row["tier"]
    index = -1 if row["tier_index"] is None else row["tier_index"]
    special = {"tier": tier or "", "tier_index": index, "threshold": _rounded(row["threshold"])}
    return tuple(
        special.get(name, row[name] or "") if name != "kind" else row["kind"] for name in parts.SITE_NAMES
    )


def _rounded(threshold: float | None) -> int:
    return -1 if threshold is None or math.isnan(threshold) else round(threshold * 100)


def _counted(row: Row) -> Row:
    failed = row["error_type"] is not None and row["outcome"] not in GIVEN_UP
    return {
        "n": 1,
        "escalated": int(row["escalated"] is True),
        "decided": int(row["escalated"] is not None),
        "errors": int(failed or row["reason"] in BROKEN_OFF),
        **{name: int(row["reason"] == name) for name in parts.REASONS},
        **{name: int(row["outcome"] == name) for name in parts.OUTCOMES},
        **{name: row[name] or 0 for name in parts.TOTALS},
        "escalated_duration_ns": row["duration_ns"] if row["escalated"] else 0,
        "costed": int(row["cost_nano"] is not None),
        "scored": int(row["confidence_nano"] is not None),
        "compared": int(row["agreed"] is not None),
        "agreed": int(row["agreed"] is True),
        "weight_ppm": 10**6 if row["weight_ppm"] is None else row["weight_ppm"],
    }


def _place(rows: list[Row]) -> int:
    return min(10**6 if row["tier_index"] is None else row["tier_index"] for row in rows)


def _declared(decided: list[Row]) -> int:
    """Cell of the last τ: of the newest hour with one, of its sites the busiest, of these the greatest."""
    of_site: dict[tuple[int, int], list[Row]] = defaultdict(list)
    for row in decided:
        of_site[row["hour"], row["site"]].append(row)
    known = [
        (hour, len(own), max(said))
        for (hour, _), own in of_site.items()
        if (
            said := [
                r["threshold"] for r in own if r["threshold"] is not None and not math.isnan(r["threshold"])
            ]
        )
    ]
    return round(max(known)[2] * 1e9) // 10_000_000 if known else -1


def _stood(row: Row) -> bool:
    return row["kind"] == schema.TIER and row["tier"] is not None and row["outcome"] != "repeated"


def _newest(found: Iterable[tuple[Any, Any, Any, Row]]) -> dict[Any, Row]:
    """Of each key the row that began last, of several the one with the smallest id."""
    ordered = sorted(found, key=lambda one: (one[3]["start_ns"], -one[3]["span_id"]))
    return {one[:3]: one[3] for one in ordered}


def _weight(row: Row) -> float:
    return 1.0 if row["weight_ppm"] is None else row["weight_ppm"] / 1e6
