"""Each task in numbers: rate, cost, savings, latency, what its confidence is worth, and whether it pays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis.money import CURRENCY, NANO
from cascade_otel.analysis.value import labels as labelled
from cascade_otel.analysis.value import usage
from cascade_otel.analysis.value.labels import Traffic
from cascade_otel.analysis.value.quantiles import of_cells
from cascade_otel.analysis.value.savings import Spending, spending
from cascade_otel.analysis.value.verdict import Verdict, verdict
from cascade_otel.records import TaskSummary, TierSummary
from cascade_otel.statistics.intervals import wilson
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

OUTSIDE = " (outside a cascade)"
"""Marks tiers that were called with no cascade around them; their calls are tier calls."""
ANSWERS = {"yes": "pays", "no": "does not pay", "unknown": "cannot tell yet"}


def summarise(
    reader: Reader, start_hour: int | None = None, end_hour: int | None = None, task: str | None = None
) -> list[TaskSummary]:
    """Each task in [start_hour, end_hour) (or one) in order of name, and all of them pooled as the last one.

    Without hours: everything in the store. Read from what the store has added up, so the cost follows tasks
    and hours, and from the calls that were labelled. Latency is counted in cells by UTC day: quantiles are
    within 9 %, and of every day that the window touches.
    """
    found = reader.span_hours() or (0, -1)
    start = found[0] if start_hour is None else start_hour
    end = found[1] + 1 if end_hour is None else end_hour
    sums = usage.sums(reader, start, end, task)
    sums = sums[(sums["kind"] == schema.CASCADE) | (sums["tier"] != "")]
    cells = reader.cells(start, end, "latency", task, by=("kind", "task", "purpose"))
    cells = cells[(cells["kind"] == schema.CASCADE) & (cells["purpose"] == "")]
    roles = usage.roles(sums)
    sums = sums.merge(roles, left_on="task", right_index=True, how="left").fillna({"first": "", "last": ""})
    flow, first = usage.flow(sums), usage.first_tiers(sums)
    known = labelled.labelled(reader.labels(start, end), roles, _by_path(first))
    money, currencies, tiers = spending(sums), _currencies(reader, start, end, task), _tiers(sums)
    frames = (cells, known.scored, known.pairs)
    parts = [dict(iter(frame.groupby("task", observed=True))) for frame in frames]
    counts = first.reindex(list(flow.tasks)).fillna(0.0)
    inside = np.flatnonzero(~flow.outside)
    windows = [
        (
            str(name),
            np.array([row]),
            [part.get(name, none.iloc[:0]) for part, none in zip(parts, frames, strict=True)],
        )
        for row, name in enumerate(flow.tasks)
    ]
    within = set(np.array(flow.tasks, object)[inside])
    whole = (None, inside, [frame[frame["task"].isin(within)] for frame in frames])
    *summaries, pooled = (
        _summary(
            name,
            flow,
            rows,
            {str(what): float(number) for what, number in counts.iloc[rows].sum().items()},
            money.get(name, Spending()),
            own,
            currencies.get(name, CURRENCY),
            tiers.get(name, ()),
        )
        for name, rows, own in [*windows, whole]
    )
    summaries = [one for one in summaries if one.calls or one.tiers]
    return [*summaries, _resting_on(pooled, summaries)]


def lines(summaries: Iterable[TaskSummary]) -> list[str]:
    """The summaries as a table in plain text, and below it each verdict with its tasks."""
    widths = (24, 9, 9, 14, 8, 9, 9, 9, 6, 6)
    titles = (
        "task", "calls", "escalated", "cost", "savings", "gives up", "acc.p95", "esc.p95", "AUROC", "ECE",
    )  # fmt: skip
    found = [_columns(titles, widths) + "  verdict"]
    verdicts: dict[str, list[str]] = {}
    more: dict[str, list[str]] = {}
    for one in summaries:
        name = "all" if one.task is None else "".join(c if c.isprintable() else "?" for c in one.task)
        name += OUTSIDE if one.outside else ""
        latency = (one.latency_accepted_p95_s, one.latency_escalated_p95_s)
        values = (
            name[: widths[0]],
            f"{one.calls:,}",
            _text(one.escalation_rate, ".1%"),
            "-" if one.cost is None else f"{_money(one.cost)} {one.currency}",
            _text(one.savings, ".1%"),
            "-" if one.given_up is None else f"{100 * one.given_up:.1f} pt",
            *(_duration(seconds) for seconds in latency),
            _text(one.auroc, ".3f"),
            _text(one.ece, ".3f"),
        )
        answer = ANSWERS[one.pays]
        found.append(f"{_columns(values, widths)}  {answer}")
        verdicts.setdefault(f"{answer}: {one.pays_reason}", []).append(name)
        for sentence in (_of_escalations(one), _of_audits(one)):
            if sentence:
                more.setdefault(sentence, []).append(name)
    return [
        *found,
        "",
        *(
            f"{', '.join(names)}: {sentence}"
            for sentences in (verdicts, more)
            for sentence, names in sentences.items()
        ),
    ]


def _summary(
    task: str | None,
    flow: usage.Flow,
    rows: NDArray[np.int64],
    first: Mapping[str, float],
    money: Spending,
    known: Sequence[pd.DataFrame],
    currency: str,
    tiers: tuple[TierSummary, ...],
) -> TaskSummary:
    """Of the tasks in ``rows``; ``known``: their latency cells, labelled calls, those with both labels."""
    cells, scored, pairs = known
    rate, calls = flow.of(rows), round(float(flow.calls[rows].sum()))
    outside = bool(len(rows) and flow.outside[rows].all())
    traffic = Traffic(
        accepted=first["accepted"],
        escalated=first["escalated"],
        audited=int(first["audits"]),
        agreed=first["agreed"] / first["audited"] if first["audited"] else 0.0,
        compared=round(first["compared"]),
        confirmed=first["confirmed"] / first["compared"] if first["compared"] else 0.0,
    )
    quality = labelled.quality(scored, pairs, traffic)
    found = Verdict("unknown", "its tier is called outside a cascade: there is nothing to judge")
    if not outside:
        found = verdict(calls, rate, money, quality)
    cells = cells[cells["cell"] > 0]  # a log without latencies is recorded with none
    accepted, sent_on = (
        _quantiles(cells["cell"], count) for count in (cells["n"] - cells["escalated"], cells["escalated"])
    )
    loss = quality.loss
    return TaskSummary(
        task=task,
        calls=calls,
        escalation_rate=rate[0] if rate else None,
        cost=money.cost,
        currency=currency,
        savings=money.savings,
        savings_source=money.source,
        latency_accepted_p50_s=accepted[0],
        latency_accepted_p95_s=accepted[1],
        latency_escalated_p50_s=sent_on[0],
        latency_escalated_p95_s=sent_on[1],
        tiers=tiers,
        auroc=quality.auroc,
        ece=quality.ece,
        audc=quality.audc,
        audc_normalised=quality.audc_normalised,
        labelled=quality.labelled,
        audited=traffic.audited,
        agreement=traffic.agreed if traffic.audited else None,
        pays=found.pays,
        pays_reason=found.reason,
        pays_as_it_runs=found.as_it_runs,
        outside=outside,
        escalation_low=rate[1] if rate else None,
        escalation_high=rate[2] if rate else None,
        savings_low=money.low,
        savings_high=money.high,
        cheap_cost_per_call=money.cheap_per_call,
        strong_cost_per_call=money.strong_per_call,
        break_even=money.break_even,
        wasted_cost=money.wasted,
        auroc_low=None if quality.auroc is None else quality.low,
        auroc_high=None if quality.auroc is None else quality.high,
        brier=quality.brier,
        apgr=quality.apgr,
        pgr=quality.pgr,
        rescued=quality.rescued,
        broken=quality.broken,
        wasted_escalation=quality.wasted,
        given_up=loss.share if loss else None,
        given_up_low=loss.low if loss else None,
        given_up_high=loss.high if loss else None,
        quality_basis=quality.basis,
        pairs=quality.pairs,
        threshold_within=quality.within[0] if quality.within and quality.within[1] < 1 else None,
        escalation_within=quality.within[1] if quality.within else None,
    )


def _resting_on(pooled: TaskSummary, summaries: Sequence[TaskSummary]) -> TaskSummary:
    """What is said of all tasks with how many of them it rests on."""
    inside = [one for one in summaries if not one.outside]
    told = sum(one.labelled > 0 for one in inside)
    if not pooled.labelled or told == len(inside):
        return pooled
    return replace(
        pooled, pays_reason=f"{pooled.pays_reason}; by the labels of {told} of {len(inside)} tasks alone"
    )


def _by_path(first: pd.DataFrame) -> pd.DataFrame:
    """Calls of first tiers by task and escalated."""
    sides = ((True, first["escalated"]), (False, first["accepted"]))
    return pd.concat(
        [
            pd.DataFrame({"task": calls.index, "escalated": side, "calls": calls.to_numpy()})
            for side, calls in sides
        ]
    )


def _currencies(reader: Reader, start_hour: int, end_hour: int, task: str | None) -> dict[str | None, str]:
    """The currency of most costs of each task's tier calls, and of all (None)."""
    by = ("kind", "task", "currency")
    found = reader.sums_by(by, start_hour, end_hour, task, ("costed",))
    named = found[(found["kind"] == schema.TIER) & (found["currency"] != "")]
    ordered = named.sort_values(["costed", "currency"], ascending=[False, True])
    most = ordered.drop_duplicates("task").set_index("task")["currency"].to_dict()
    whole = named.groupby("currency")["costed"].sum()
    return {str(task): str(name) for task, name in most.items()} | (
        {None: str(whole.idxmax())} if len(whole) else {}
    )


def _tiers(sums: pd.DataFrame) -> dict[str | None, tuple[TierSummary, ...]]:
    """The production tiers of each task, and of all (None)."""
    rows = sums[(sums["kind"] == schema.TIER) & (sums["purpose"] == "")]
    rows = rows.assign(
        cost=usage.standing(rows, ("cost_nano",))["cost_nano"],
        place=rows["tier_index"].where(rows["tier_index"] >= 0),
    )
    counts = ["n", "escalated", "errors", "costed", "cost"]
    found: dict[str | None, list[TierSummary]] = {}
    for by in (["task", "tier"], ["tier"]):
        grouped = rows.groupby(by, observed=True)
        added = grouped[counts].sum().assign(place=grouped["place"].min()).reset_index()
        for one in added.to_dict("records"):
            summary = TierSummary(
                tier=str(one["tier"]),
                index=-1 if np.isnan(one["place"]) else int(one["place"]),
                calls=int(one["n"]),
                escalated=int(one["escalated"]),
                cost=one["cost"] / NANO if one["costed"] else None,
                error_rate=one["errors"] / one["n"],
            )
            found.setdefault(str(one["task"]) if "task" in one else None, []).append(summary)
    return {
        task: tuple(sorted(tiers, key=lambda one: (one.index < 0, one.index, one.tier)))
        for task, tiers in found.items()
    }


def _quantiles(cell: pd.Series[int], count: pd.Series[int]) -> tuple[float | None, float | None]:
    p50, p95 = of_cells(np.asarray(cell, np.int64), np.asarray(count, np.int64), (0.5, 0.95))
    return (None, None) if np.isnan(p50) else (p50, p95)


def _of_escalations(one: TaskSummary) -> str:
    """What escalations came to."""
    if one.wasted_escalation is None:
        return ""
    said = "the first answer was right already"
    if one.quality_basis == "agreement":
        said = "the stronger tier agreed with the first answer"
    parts = [f"in {one.wasted_escalation:.0%} {said}"]
    if one.rescued is not None and one.broken is not None:
        parts = [f"{one.rescued:.0%} put right", f"{one.broken:.0%} made wrong", *parts]
    if one.wasted_cost is not None and one.cost:
        parts.append(f"calls of lower tiers in them are {one.wasted_cost / one.cost:.1%} of the cost")
    return f"of escalated calls {', '.join(parts)}"


def _of_audits(one: TaskSummary) -> str:
    if one.agreement is None:
        return ""
    low, high = (float(end) for end in wilson(one.agreement * one.audited, one.audited))
    agree = f"{one.agreement:.1%} of accepted answers ({low:.0%} to {high:.0%})"
    return f"the stronger tier agrees with {agree}, by {one.audited:,} audits"


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
