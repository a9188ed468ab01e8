"""Fixed limits over the last ten minutes: what must not wait for statistics."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from cascade_otel.policy import Policy
from cascade_otel.records import DAY_NS, HOUR_NS, SECOND_NS, Finding, Stream, TaskState, Window
from cascade_otel.storage import schema
from cascade_otel.storage.failure import failed
from cascade_otel.storage.reading.rollup import Reader

STREAMS: frozenset[Stream] = frozenset(
    {"tier_errors", "missing_confidence", "escalation_limit", "cost_limit"}
)
MINUTES = 10
NANO = 1e9
COLUMNS = [
    "task", "tier", "tier_index", "start_ns", "purpose", "escalated", "threshold", "confidence_nano",
    "error_type", "outcome", "reason",
]  # fmt: skip


def check(reader: Reader, policy: Policy, now_ns: int) -> list[Finding]:
    """*drifting* where a limit is reached, *quiet* where it is not; nothing where too few calls can say.

    Production calls that began in the ten minutes before ``now_ns`` count; the cost is that of the UTC day so
    far, and its finding has no tier.
    """
    return [*_shares(reader, policy, now_ns), *_costs(reader, policy, now_ns)]


def _shares(reader: Reader, policy: Policy, now_ns: int) -> Iterator[Finding]:
    start_ns = now_ns - MINUTES * 60 * SECOND_NS
    hours = start_ns // HOUR_NS, now_ns // HOUR_NS + 1
    rows = reader.rows(None, *hours, kind=schema.TIER, columns=COLUMNS, since_ns=start_ns)
    past = rows["start_ns"] <= now_ns
    rows = rows[past & (rows["purpose"].fillna("") == "") & rows["tier"].notna()]
    if rows.empty:
        return
    first = _first_tiers(rows)
    decided = rows["escalated"].notna()
    scored = rows["confidence_nano"].notna()
    wanted = decided & ~failed(rows) & (rows["threshold"].notna() | (rows["reason"] == "missing_confidence"))
    marked = pd.DataFrame(
        {
            "task": rows["task"],
            "tier": rows["tier"],
            "n": 1,
            "failed": failed(rows),
            "wanted": wanted,
            "missing": wanted & ~scored,
            "decided": decided,
            "escalated": rows["escalated"].fillna(False).astype(bool),
        }
    )
    counted = marked.groupby(["task", "tier"], observed=True).sum()
    for task, tier, count in zip(
        counted.index.get_level_values("task"),
        counted.index.get_level_values("tier"),
        counted.to_dict("records"),
        strict=True,
    ):
        limits = policy.of(task)
        checks: list[tuple[Stream, str, str, float | None]] = [
            ("tier_errors", "failed", "n", limits.tier_error_rate),
            ("missing_confidence", "missing", "wanted", limits.missing_confidence_rate),
        ]
        if first[task] == tier:
            checks.append(("escalation_limit", "escalated", "decided", limits.escalation_limit))
        for stream, hits, of, limit in checks:
            if limit is not None and count[of] >= limits.min_calls:
                yield _finding(
                    task, tier, stream, count[hits] / count[of], limit, now_ns, count[of], count[hits]
                )


def _costs(reader: Reader, policy: Policy, now_ns: int) -> Iterator[Finding]:
    limits = {task: limit for task, said in policy.tasks.items() if (limit := said.cost_per_day) is not None}
    if policy.defaults.cost_per_day is None and not limits:
        return
    counts = ("costed", "cost_nano")
    sums = reader.sums_by(
        ("task", "kind", "purpose"), now_ns // DAY_NS * 24, now_ns // HOUR_NS + 1, None, counts
    )
    calls = sums[(sums["kind"] == schema.CASCADE) & (sums["purpose"] == "") & (sums["costed"] > 0)]
    for task, cost in calls.groupby("task")["cost_nano"].sum().items():
        limit = policy.of(str(task)).cost_per_day
        if limit is not None:
            yield _finding(str(task), "", "cost_limit", cost / NANO, limit, now_ns)


def _first_tiers(rows: pd.DataFrame) -> dict[str, str]:
    ordered = rows.assign(place=rows["tier_index"].fillna(float("inf"))).sort_values("place", kind="stable")
    return dict(ordered.groupby("task", observed=True)["tier"].first())


def _finding(
    task: str,
    tier: str,
    stream: Stream,
    value: float,
    limit: float,
    now_ns: int,
    calls: int = 0,
    hits: int = 0,
) -> Finding:
    state: TaskState = "drifting" if value >= limit else "quiet"
    hour = now_ns // HOUR_NS
    counted = Window(hour, hour + 1, int(calls), int(hits)) if calls else None
    return Finding(task, tier, stream, state, hour, current=counted, value=float(value), limit=limit)
