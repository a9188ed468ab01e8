"""Does it pay: rate, cost, savings and latency of each task, and whether its confidence is worth anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis import labels as labelled
from cascade_otel.analysis.labels import Quality
from cascade_otel.analysis.money import CURRENCY, NANO
from cascade_otel.analysis.savings import TRACE, Spending, spending
from cascade_otel.records import TaskSummary, TierSummary
from cascade_otel.statistics.intervals import wilson
from cascade_otel.storage import schema
from cascade_otel.storage.failure import GIVEN_UP, failed
from cascade_otel.storage.rollup import Reader

USELESS = 0.6
"""A confidence whose AUROC is surely below this is as good as none."""
UNDECIDED = ("error", *GIVEN_UP)
"""Outcomes of cascade calls that came to no decision; earlier versions recorded them as not escalated."""
CASCADE_COLUMNS = ["task", *TRACE, "purpose", "escalated", "outcome", "duration_ns", "cost_nano"]
TIER_COLUMNS = [
    "task", *TRACE, "tier", "tier_index", "purpose", "escalated", "outcome", "error_type", "reason",
    "cost_nano", "currency", "agreed", "weight_ppm",
]  # fmt: skip


def summarise(
    reader: Reader, start_hour: int | None = None, end_hour: int | None = None
) -> list[TaskSummary]:
    """Each task in [start_hour, end_hour) in order of name, and all of them pooled as the last one.

    Without hours: everything in the store. Read from single rows, so its cost grows with the calls.
    """
    found = reader.span_hours() or (0, -1)
    start = found[0] if start_hour is None else start_hour
    end = found[1] + 1 if end_hour is None else end_hour
    calls = reader.rows(None, start, end, kind=schema.CASCADE, columns=CASCADE_COLUMNS)
    tiers = reader.rows(None, start, end, kind=schema.TIER, columns=TIER_COLUMNS)
    labels = reader.labels(start, end)
    tiers["purpose"] = tiers["purpose"].fillna("")
    decided = calls["escalated"].notna() & ~calls["outcome"].isin(UNDECIDED)
    calls = calls[(calls["purpose"].fillna("") == "") & decided]
    tiers = _placed(tiers[tiers["tier"].notna()])
    groups = [dict(iter(frame.groupby("task", observed=True))) for frame in (calls, tiers, labels)]
    names = sorted({str(task) for group in groups for task in group})
    summaries = [
        _summary(
            task,
            *(
                group.get(task, frame.iloc[:0])
                for group, frame in zip(groups, (calls, tiers, labels), strict=True)
            ),
        )
        for task in names
    ]
    return [*summaries, _summary(None, calls, tiers, labels)]


def lines(summaries: Iterable[TaskSummary]) -> list[str]:
    """The summaries as a table in plain text, and below it each verdict with its tasks."""
    widths = (24, 9, 9, 14, 8, 8, 8, 6)
    titles = ("task", "calls", "escalated", "cost", "savings", "acc.p95", "esc.p95", "AUROC")
    found = [_columns(titles, widths) + "  pays"]
    reasons: dict[str, list[str]] = {}
    audits: list[str] = []
    for one in summaries:
        name = "all" if one.task is None else "".join(c if c.isprintable() else "?" for c in one.task)
        cost = "-" if one.cost is None else f"{_money(one.cost)} {one.currency}"
        latency = (one.latency_accepted_p95_s, one.latency_escalated_p95_s)
        values = (
            name[: widths[0]],
            f"{one.calls:,}",
            _text(one.escalation_rate, ".1%"),
            cost,
            _text(one.savings, ".1%"),
            *(_duration(seconds) for seconds in latency),
            _text(one.auroc, ".3f"),
        )
        found.append(f"{_columns(values, widths)}  {one.pays}")
        reasons.setdefault(f"{one.pays}: {one.pays_reason}", []).append(name)
        if one.agreement is not None:
            low, high = (float(end) for end in wilson(one.agreement * one.audited, one.audited))
            agree = f"{one.agreement:.1%} of accepted answers ({low:.0%} to {high:.0%})"
            audits.append(f"{name}: the stronger tier agrees with {agree}, by {one.audited:,} audits")
    verdicts = [f"{', '.join(names)}: pays {reason}" for reason, names in reasons.items()]
    return [*found, "", *verdicts, *audits]


def _placed(tiers: pd.DataFrame) -> pd.DataFrame:
    """Tier rows with ``first`` and ``last``: belongs to its task's first, or strongest, production tier."""
    production = tiers[tiers["purpose"] == ""]
    index = production["tier_index"].fillna(np.inf)
    counts = (
        production.assign(index=index)
        .groupby(["task", "tier"], observed=True)
        .agg(index=("index", "min"), n=("tier", "size"))
    )
    ordered = counts.reset_index().sort_values(["index", "n", "tier"], ascending=[True, False, True])
    first = ordered.drop_duplicates("task").set_index("task")["tier"]
    audited = tiers[tiers["purpose"] == "audit"]
    # An audited tier is a task's strongest also where no call has been escalated to it yet.
    ranked = pd.concat([ordered, audited.assign(index=audited["tier_index"])])[["task", "tier", "index"]]
    last = (
        ranked.sort_values("index", kind="stable")
        .drop_duplicates("task", keep="last")
        .set_index("task")["tier"]
    )
    single = tiers["task"].map(last) == tiers["task"].map(first)
    return tiers.assign(
        first=(tiers["task"].map(first) == tiers["tier"]),
        last=(tiers["task"].map(last) == tiers["tier"]) & ~single,
    )


def _summary(task: str | None, calls: pd.DataFrame, tiers: pd.DataFrame, labels: pd.DataFrame) -> TaskSummary:
    production = tiers[tiers["purpose"] == ""]
    decided = production[production["first"] & production["escalated"].notna()]
    rate = float(decided["escalated"].astype(bool).mean()) if len(decided) else None
    money = spending(calls, tiers)
    quality = labelled.quality(labels, tiers, decided)
    escalated = calls["escalated"].to_numpy(bool)
    seconds = calls["duration_ns"].to_numpy(float) / NANO
    timed = seconds > 0  # a log without latencies is recorded with none
    accepted, sent_on = (_quantiles(seconds[part & timed]) for part in (~escalated, escalated))
    pays, reason = _pays(len(calls), rate, money, quality)
    named = tiers["currency"].dropna()
    audits = tiers[(tiers["purpose"] == "audit") & tiers["agreed"].notna()]
    return TaskSummary(
        task=task,
        calls=len(calls),
        escalation_rate=rate,
        cost=money.cost,
        currency=str(named.mode().iloc[0]) if len(named) else CURRENCY,
        savings=money.savings,
        savings_source=money.source,
        latency_accepted_p50_s=accepted[0],
        latency_accepted_p95_s=accepted[1],
        latency_escalated_p50_s=sent_on[0],
        latency_escalated_p95_s=sent_on[1],
        tiers=_tiers(production),
        auroc=quality.auroc,
        ece=quality.ece,
        audc=quality.audc,
        audc_normalised=quality.audc_normalised,
        labelled=quality.labelled,
        audited=len(audits),
        agreement=_agreement(audits),
        pays=pays,
        pays_reason=reason,
    )


def _tiers(production: pd.DataFrame) -> tuple[TierSummary, ...]:
    found = []
    for tier, rows in production.groupby("tier", observed=True):
        cost, index = rows["cost_nano"].dropna(), rows["tier_index"].min()
        found.append(
            TierSummary(
                tier=str(tier),
                index=-1 if np.isnan(index) else int(index),
                calls=len(rows),
                escalated=int(rows["escalated"].fillna(False).sum()),
                cost=float(cost.sum()) / NANO if len(cost) else None,
                error_rate=float(failed(rows).mean()),
            )
        )
    return tuple(sorted(found, key=lambda one: (one.index < 0, one.index, one.tier)))


def _agreement(audits: pd.DataFrame) -> float | None:
    if audits.empty:
        return None
    weights = audits["weight_ppm"].fillna(1e6).to_numpy(float)
    return float(np.average(audits["agreed"].to_numpy(float), weights=weights))


def _quantiles(seconds: NDArray[np.float64]) -> tuple[float | None, float | None]:
    if not len(seconds):
        return None, None
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return float(p50), float(p95)


def _pays(
    calls: int, rate: float | None, money: Spending, quality: Quality
) -> tuple[Literal["yes", "no", "unknown"], str]:
    """The verdict and why: money first, then whether the confidence tells right from wrong."""
    if not calls or rate is None:
        return "unknown", "no decided calls yet"
    ends = ""
    if money.break_even is not None:
        ends = f"; it breaks even at {money.break_even:.0%} escalated, now {rate:.0%}"
    if money.savings is not None and money.savings <= 0:
        more = f"{-money.savings:.0%} more than" if money.savings <= -0.005 else "as much as"
        return "no", f"it costs {more} the strong tier alone{ends}"
    if money.reason:
        return "unknown", f"savings are unknown: {money.reason}; one that is free says cost=0"
    if not quality.enough or quality.auroc is None:
        few = f"{quality.labelled:,} labelled calls do not tell" if quality.labelled else "no labels tell"
        how = "call feedback(trace_id, tier, correct), also for a random share of accepted calls"
        return "unknown", f"{few} whether the confidence separates right from wrong; {how}"
    auroc = f"AUROC {quality.auroc:.2f} ({quality.low:.2f} to {quality.high:.2f})"
    if quality.high <= 0.5:
        return "no", f"the confidence points the wrong way: {auroc}"
    if quality.low <= 0.5:
        if quality.high >= USELESS:
            return "unknown", f"too few labels to tell whether the confidence beats a coin: {auroc}"
        return "no", f"the confidence does not tell right from wrong, a coin would do: {auroc}"
    if money.savings is None:
        return "unknown", f"the confidence separates right from wrong ({auroc}), but costs are unknown"
    return "yes", f"it saves {money.savings:.0%} against the strong tier alone; {auroc}{ends}"


def _columns(values: Iterable[str], widths: tuple[int, ...]) -> str:
    first, *others = zip(values, widths, strict=True)
    return " ".join([f"{first[0]:{first[1]}}", *(f"{value:>{width}}" for value, width in others)])


def _money(amount: float) -> str:
    return f"{amount:.3g}" if 0 < amount < 0.1 else f"{amount:,.2f}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{seconds * 1000:.3f} ms"


def _text(value: float | None, style: str) -> str:
    return "-" if value is None else format(value, style)
