"""What a cascade saves against sending everything to its strong tier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from cascade_otel.analysis.money import NANO
from cascade_otel.analysis.value import usage
from cascade_otel.statistics.causes.blocks import ratio_interval
from cascade_otel.storage import schema

ENOUGH_AUDITS = 30
"""Fewer audits say too little about what the strong tier would have cost."""
FEW = 0.01
"""Up to this share of a tier's calls may lack a cost."""
Floats = NDArray[np.float64]
Source = Literal["audits", "estimated", "unknown"]
AUDITS: Source = "audits"
ESTIMATED: Source = "estimated"


@dataclass(frozen=True)
class Spending:
    """What calls cost, and what they would have cost with the strong tier alone; None: unknown."""

    cost: float | None = None
    savings: float | None = None
    low: float | None = None
    """Lower end of the 90 % interval of the savings; None: too short a time to tell."""
    high: float | None = None
    source: Source = "unknown"
    cheap_per_call: float | None = None
    strong_per_call: float | None = None
    wasted: float | None = None
    """What lower tiers cost in calls whose answer came from a higher one."""
    reason: str = ""
    """Why the savings are unknown, where a tier is to blame."""

    @property
    def break_even(self) -> float | None:
        """Escalation rate above which the cascade costs more than the strong tier alone."""
        if self.cheap_per_call is None or not self.strong_per_call:
            return None
        return 1 - self.cheap_per_call / self.strong_per_call


@dataclass(frozen=True)
class _Money:
    """Money of M tasks in B blocks of time, in nanodollars; the first two (M, B)."""

    spent: Floats
    against: Floats
    """Had the strong tier answered every call, linear in what each block adds, so that its spread is that of
    the estimate."""
    source: NDArray[np.str_]
    """(M,)"""
    known: NDArray[np.bool_]
    """(M,) is it known what the strong tier alone would have cost?"""


def spending(sums: pd.DataFrame) -> dict[str | None, Spending]:
    """Of each task with cascade calls, and of all of them pooled (None): cost and savings.

    Savings are 1 - cost / strong-only cost. What the strong tier would have cost for calls that did not reach
    it is known from audits of them, else taken to be what it cost for those it got. Pooled they are those of
    the tasks where one of both is known. A call of unknown cost is not free: a tier that records none leaves
    the savings of its task, and of all pooled, unknown.

    The interval is that of the delta method with blocks of time as the units: savings are a smooth function
    of totals, what each block adds to them is linear, and the spread of that says how far the estimate would
    move in other such weeks. It covers the price of few audits as well as days that differ.

    Args:
        sums: rows with ``usage.BY``, block (absent: one block for all) and ``usage.COSTS``.
    """
    calls = sums[(sums["kind"] == schema.CASCADE) & (sums["purpose"] == "")]
    visits = sums[(sums["kind"] == schema.TIER) & (sums["tier"] != "") & sums["task"].isin(calls["task"])]
    tasks = pd.Index(sorted(calls["task"].unique()))
    roles = usage.roles(visits).reindex(tasks).fillna("")
    block = pd.Index(sorted(sums["block"].unique())) if "block" in sums else pd.Index([0])
    calls, visits = _counted(calls, tasks, block), _counted(visits, tasks, block)
    made = visits[visits["purpose"] == ""]
    first = made["tier"].to_numpy() == roles["first"].to_numpy()[made["row"]]
    by_task = _by(calls, "costed", len(tasks)) > 0
    # Where no cascade call has a total, the costs of its tiers add up to it.
    paid = pd.concat([calls[by_task[calls["row"]]], made[~by_task[made["row"]]]])
    shape = len(tasks), len(block)
    money = _money(_table(paid, "cost", shape), calls, visits, roles["last"].to_numpy(), shape)
    reasons = without_cost(
        made.assign(done=made["n"] - made["errors"] - made["cancelled"] - made["abandoned"])
    )
    costs, costed = _by(paid, "cost", len(tasks)), _by(paid, "costed", len(tasks))
    cheap = _ratio(_by(made[first], "cost", len(tasks)), _by(made[first], "visits", len(tasks)))
    wasted = _wasted(calls, made, len(tasks))
    number = _by(calls, "calls", len(tasks))
    found: dict[str | None, Spending] = {}
    for row, task in enumerate(tasks):
        one = _saved(money, np.array([row]), float(number[row])) if not reasons.get(task) else Spending()
        found[task] = replace(
            one,
            cost=float(costs[row]) / NANO if costed[row] else None,
            cheap_per_call=_number(cheap[row]),
            wasted=_number(wasted[row]) if costed[row] else None,
            reason=reasons.get(task, "") if costed[row] else "",
        )
    whole = _saved(money, np.flatnonzero(money.known), float(number[money.known].sum()))
    reason = reasons.get(None, "") if costed.sum() else ""
    found[None] = replace(
        Spending() if reason else whole,
        cost=float(costs.sum()) / NANO if costed.sum() else None,
        cheap_per_call=_number(_ratio(made[first]["cost"].sum(), made[first]["visits"].sum())),
        wasted=float(np.nansum(wasted)) / NANO if costed.sum() else None,
        reason=reason,
    )
    return found


def without_cost(visits: pd.DataFrame) -> dict[str | None, str]:
    """Of each task with a tier that records no cost which one, and of all pooled (None) the worst.

    Args:
        visits: production tier calls of cascades, any number to a row: task, tier, ``done`` (calls that
            neither failed nor were given up) and ``costed`` (calls that have a cost).
    """
    counted = visits.groupby(["task", "tier"], observed=True, as_index=False)[["done", "costed"]].sum()
    missing = (counted["done"] - counted["costed"]) / counted["done"].clip(lower=1)
    silent = counted.assign(share=missing)[missing > FEW]
    worst = silent.sort_values("share", ascending=False, kind="stable")
    reasons: dict[str | None, str] = {}
    for one in worst.itertuples():
        name = "".join(c if c.isprintable() else "?" for c in str(one.tier))[:48]
        part = f" for {one.share:.0%} of its calls" if one.costed else ""
        for whose in (str(one.task), None):
            reasons.setdefault(whose, f"tier {name} records no cost{part}")
    return reasons


def _counted(sums: pd.DataFrame, tasks: pd.Index, blocks: pd.Index) -> pd.DataFrame:
    """The rows with what they stand for: cost, visits (priced calls without repeats), calls and escalations;
    and the places of their task and block."""
    once = sums.assign(visits=(sums["costed"] - sums["repeated"]).clip(lower=0), sent_on=sums["escalated"])
    names = {"cost": "cost_nano", "visits": "visits", "calls": "n", "sent_on": "sent_on"}
    standing = usage.standing(once, list(names.values()))
    standing.columns = pd.Index(names)
    return sums.assign(
        **standing,
        row=tasks.get_indexer(pd.Index(sums["task"])),
        column=blocks.get_indexer(pd.Index(sums["block"])) if "block" in sums else 0,
    )


def _money(
    spent: Floats,
    calls: pd.DataFrame,
    visits: pd.DataFrame,
    last: NDArray[np.object_],
    shape: tuple[int, int],
) -> _Money:
    strong = visits[visits["tier"].to_numpy() == last[visits["row"]]]
    reached, audits = (strong[strong["purpose"] == purpose] for purpose in ("", "audit"))
    made = _table(calls, "calls", shape)
    kept = made - _table(reached, "visits", shape)
    left = np.maximum(kept.sum(1), 0.0)
    counted = _by(audits, "costed", shape[0])
    enough = (counted > 0) & (counted >= np.minimum(ENOUGH_AUDITS, np.maximum(left, 1.0)))
    cost, number = (
        np.where(enough[:, None], _table(audits, name, shape), _table(reached, name, shape))
        for name in ("cost", "visits")
    )
    price = _ratio(cost.sum(1), number.sum(1))
    # The price is a ratio of totals: what a block adds to it is how far it lies from that of all blocks.
    surprise = (cost - price[:, None] * number) / np.maximum(number.sum(1), 1e-300)[:, None]
    against = _table(reached, "cost", shape) + price[:, None] * kept + left[:, None] * surprise
    return _Money(
        spent=spent,
        against=against,
        source=np.where(enough, AUDITS, ESTIMATED),
        known=np.isfinite(price) & (np.nan_to_num(against).sum(1) > 0) & (spent.sum(1) > 0),
    )


def _saved(money: _Money, rows: NDArray[np.int64], calls: float) -> Spending:
    """The savings of some tasks together."""
    rows = rows[money.known[rows]]
    if not len(rows):
        return Spending()
    spent, against = money.spent[rows].sum(0), money.against[rows].sum(0)
    share = float(spent.sum() / against.sum())
    ends = ratio_interval(spent, against)
    return Spending(
        savings=1 - share,
        low=1 - ends[1] if ends else None,
        high=1 - ends[0] if ends else None,
        source=AUDITS if (money.source[rows] == AUDITS).all() else ESTIMATED,
        strong_per_call=float(against.sum()) / NANO / calls if calls else None,
    )


def _wasted(calls: pd.DataFrame, made: pd.DataFrame, tasks: int) -> Floats:
    """(M,) cost of escalated calls less what the tier cost that answered them; nan where it has no price."""
    each = made.groupby(["row", "tier"], as_index=False, observed=True)[["cost", "visits"]].sum()
    each = each.assign(price=_ratio(each["cost"].to_numpy(), each["visits"].to_numpy()))
    ended = calls[calls["sent_on"] > 0].merge(each[["row", "tier", "price"]], on=["row", "tier"], how="left")
    share = ended["sent_on"] / ended["calls"]
    return _by(
        ended.assign(wasted=ended["cost"] * share - ended["price"] * ended["sent_on"]), "wasted", tasks
    )


def _table(rows: pd.DataFrame, name: str, shape: tuple[int, int]) -> Floats:
    """(M, B) sums of one column."""
    flat = rows["row"].to_numpy(np.int64) * shape[1] + rows["column"].to_numpy(np.int64)
    added = np.bincount(flat, rows[name].to_numpy(np.float64), shape[0] * shape[1])
    return added.astype(np.float64).reshape(shape)


def _by(rows: pd.DataFrame, name: str, tasks: int) -> Floats:
    """(M,) sums of one column."""
    added = np.bincount(rows["row"].to_numpy(np.int64), rows[name].to_numpy(np.float64), tasks)
    return added.astype(np.float64)


def _ratio(above: ArrayLike, below: ArrayLike) -> Floats:
    number, parts = np.asarray(below, np.float64), np.asarray(above, np.float64)
    return np.where(number > 0, parts / np.where(number > 0, number, 1.0), np.nan)


def _number(nano: ArrayLike) -> float | None:
    """Nanodollars in dollars."""
    amount = float(np.asarray(nano))
    return None if np.isnan(amount) else amount / NANO
