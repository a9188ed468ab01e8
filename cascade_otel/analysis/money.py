"""What a shift costs a day."""

from __future__ import annotations

from cascade_otel.records import Finding, Window
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

NANO = 1e9
CURRENCY = "USD"


def cost_change_per_day(reader: Reader, finding: Finding) -> tuple[float | None, str]:
    """How much more (or less) a task costs a day than before, at present traffic, and in what currency.

    None where the cost of either window is unknown.
    """
    reference, current = finding.reference, finding.current
    if reference is None or current is None or current.end_hour <= current.start_hour:
        return None, CURRENCY
    before, now = (_cost_per_call(reader, finding.task, window) for window in (reference, current))
    money = currency(reader, finding.task, current)
    if before is None or now is None:
        return None, money
    calls_per_day = now[1] * 24 / (current.end_hour - current.start_hour)
    return (now[0] - before[0]) * calls_per_day, money


def currency(reader: Reader, task: str | None, window: Window) -> str:
    """The currency of most costs of tier calls in a window; USD where none is named."""
    counts = ("costed", "n")
    sums = reader.sums_by(("kind", "currency"), window.start_hour, window.end_hour, task, counts)
    named = sums[(sums["kind"] == schema.TIER) & (sums["currency"] != "")]
    ordered = named.sort_values(["costed", "n", "currency"], ascending=[False, False, True])
    return str(ordered["currency"].iloc[0]) if len(ordered) else CURRENCY


def _cost_per_call(reader: Reader, task: str, window: Window) -> tuple[float, int] | None:
    """Mean cost of a production cascade call, and how many calls there were; None where no cost is known."""
    counts = ("n", "costed", "cost_nano")
    sums = reader.sums_by(("kind", "purpose"), window.start_hour, window.end_hour, task, counts)
    calls = sums[(sums["kind"] == schema.CASCADE) & (sums["purpose"] == "")]
    costed = int(calls["costed"].sum())
    if not costed:
        return None
    return int(calls["cost_nano"].sum()) / costed / NANO, int(calls["n"].sum())
