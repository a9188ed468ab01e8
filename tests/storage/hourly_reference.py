"""What the detector counts, counted slowly from single rows."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from cascade_otel.records import HOUR_NS, LABELLED, HourCells, Measured
from cascade_otel.storage import schema
from cascade_otel.storage.failure import BROKEN_OFF, GIVEN_UP
from tests.storage.slow_reference import Row

Found = Counter[tuple[int, int, int]]


def first_tiers(rows: Iterable[Row], start_hour: int, end_hour: int) -> dict[str, dict[str, Any]]:
    """Of each task tier, models that most calls had, and first hour of a decision."""
    of_task: dict[str, dict[str, list[Row]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if _tier_call(row) and row["tier"] and start_hour <= row["hour"] < end_hour:
            of_task[row["task"]][row["tier"]].append(row)
    found = {}
    for task, of_tier in of_task.items():
        tier = min(of_tier, key=lambda tier: (_place(of_tier[tier]), -len(of_tier[tier]), tier))
        models = Counter(row["model"] or row["response_model"] or "" for row in of_tier[tier])
        most = max(models.values())
        found[task] = {
            "tier": tier,
            "models": {model for model, n in models.items() if n == most},
            "first_hour": min((r["hour"] for r in of_tier[tier] if r["escalated"] is not None), default=None),
        }
    return found


def days(
    rows: Iterable[Row], tasks: Sequence[str], tiers: Sequence[str], start: int, end: int
) -> list[set[int]]:
    """Days on which each task's tier decided."""
    return [
        {
            row["hour"] // 24
            for row in rows
            if _tier_call(row)
            and (row["task"], row["tier"] or "") == (task, tier)
            and row["escalated"] is not None
            and start <= row["hour"] < end
        }
        for task, tier in zip(tasks, tiers, strict=True)
    ]


def cells(
    rows: Sequence[Row], measure: Measured, tasks: Sequence[str], tiers: Sequence[str], start: int, end: int
) -> Found:
    """Calls by place of the task, hour and cell."""
    found: Found = Counter()
    numbers = dict(zip(zip(tasks, tiers, strict=True), range(len(tasks)), strict=True))
    if measure in ("disagreement", "calibration"):
        _checked(rows, measure, numbers, found)
    elif measure == "missing":
        _missing(rows, numbers, found)
    for row in rows:
        if measure.startswith(("latency", "cost")):
            _path(row, measure, tasks, found)
            continue
        number = numbers.get((row["task"], row["tier"] or ""))
        cell = _cell(row, measure)
        if _tier_call(row) and number is not None and cell is not None:
            found[number, row["hour"], cell] += 1
    return Counter({key: n for key, n in found.items() if start <= key[1] < end and n > 0})


def cells_of(answer: HourCells) -> Found:
    """The same of what a reader answered, where no entry may be there twice."""
    keys = list(zip(answer.task.tolist(), answer.hour.tolist(), answer.cell.tolist(), strict=True))
    assert len(set(keys)) == len(keys)
    return Counter(dict(zip(keys, answer.calls.tolist(), strict=True)))


def _tier_call(row: Row) -> bool:
    return row["kind"] == schema.TIER and not row["purpose"]


def _place(rows: Sequence[Row]) -> int:
    return min(10**6 if row["tier_index"] is None else row["tier_index"] for row in rows)


def _failed(row: Row) -> bool:
    broken = row["error_type"] is not None and row["outcome"] not in GIVEN_UP
    return broken or row["reason"] in BROKEN_OFF


def _cell(row: Row, measure: Measured) -> int | None:
    if measure == "errors":
        return int(_failed(row))
    if measure == "calibration":
        if row["agreed"] is None or row["confidence_cell"] is None:
            return None
        return int(2 * row["confidence_cell"] + (not row["agreed"]))
    if row["escalated"] is None or measure not in ("escalation", "confidence"):
        return None
    cell: int | None = int(row["escalated"]) if measure == "escalation" else row["confidence_cell"]
    return cell


def _path(row: Row, measure: Measured, tasks: Sequence[str], found: Found) -> None:
    what, path = measure.split("_")
    if (
        row["kind"] == schema.CASCADE
        and not row["purpose"]
        and row["task"] in tasks
        and row["escalated"] is (path == "escalated")
        and row["outcome"] not in ("error", *GIVEN_UP)
        and row[f"{what}_cell"] is not None
    ):
        found[tasks.index(row["task"]), row["hour"], row[f"{what}_cell"]] += 1


def _missing(rows: Sequence[Row], numbers: dict[tuple[str, str], int], found: Found) -> None:
    """Of a site's hour those that neither failed nor were given up, without as many confidences."""
    by_site: dict[Any, list[Row]] = defaultdict(list)
    for row in rows:
        if _tier_call(row) and (row["task"], row["tier"] or "") in numbers:
            by_site[row["site"], row["hour"]].append(row)
    totals: Counter[tuple[int, int]] = Counter()
    hits: Counter[tuple[int, int]] = Counter()
    for (_, hour), own in by_site.items():
        key = numbers[own[0]["task"], own[0]["tier"] or ""], hour
        answered = len(own) - sum(_failed(one) + (one["outcome"] in GIVEN_UP) for one in own)
        totals[key] += answered
        hits[key] += min(answered, max(answered - sum(one["confidence_nano"] is not None for one in own), 0))
    for key in totals:
        found[*key, 0] += max(totals[key] - hits[key], 0)
        found[*key, 1] += max(hits[key], 0)


def _checked(
    rows: Sequence[Row], measure: Measured, numbers: dict[tuple[str, str], int], found: Found
) -> None:
    """Of a call in one trace the newest, in every hour by what of each kind checked it last in that hour."""
    pairs: dict[Any, tuple[tuple[int, ...], Row, Row]] = {}
    for check in rows:
        is_label = check["kind"] == schema.LABEL
        trace = ("linked_trace_hi", "linked_trace_lo") if is_label else ("trace_hi", "trace_lo")
        if is_label and (check["tier"] is None or check["correct"] is None):
            continue
        if not is_label and (
            check["kind"] != schema.TIER or check["purpose"] != "audit" or check["agreed"] is None
        ):
            continue
        for call in rows:
            number = numbers.get((call["task"], call["tier"] or ""))
            if (
                number is None
                or not _tier_call(call)
                or call["tier"] is None
                or call["outcome"] == "repeated"
            ):
                continue
            if (call["trace_hi"], call["trace_lo"]) != (check[trace[0]], check[trace[1]]):
                continue
            same = check["tier"] == call["tier"] if is_label else (
                check["task"] == call["task"] and call["outcome"] == "accepted"
            )  # fmt: skip
            if not same:
                continue
            key = call["trace_hi"], call["trace_lo"], check["start_ns"] // HOUR_NS, number, check["kind"]
            rank = call["start_ns"], -call["span_id"], check["start_ns"], -check["span_id"]
            if key not in pairs or rank > pairs[key][0]:
                pairs[key] = rank, call, check
    for (*_, number, kind), (_, call, check) in pairs.items():
        right = check["correct"] if kind == schema.LABEL else check["agreed"]
        hour = check["start_ns"] // HOUR_NS
        if measure == "disagreement" and kind == schema.TIER:
            found[number, hour, int(not right)] += 1
        elif measure == "calibration" and call["confidence_nano"] is not None:
            offset = LABELLED if kind == schema.LABEL else 0
            found[number, hour, offset + 2 * (call["confidence_nano"] // 10_000_000) + (not right)] += 1
