"""What a cascade saves against sending everything to its strong tier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from cascade_otel.analysis.money import NANO
from cascade_otel.storage.failure import GIVEN_UP, failed

ENOUGH_AUDITS = 30
"""Fewer audits say too little about what the strong tier would have cost."""
FEW = 0.01
"""Up to this share of a tier's calls may lack a cost."""
TRACE = ["trace_hi", "trace_lo"]
Source = Literal["audits", "estimated", "unknown"]
AUDITS: Source = "audits"
ESTIMATED: Source = "estimated"


@dataclass(frozen=True)
class Spending:
    """What calls cost, and what they would have cost with the strong tier alone; None: unknown."""

    cost: float | None = None
    savings: float | None = None
    source: Source = "unknown"
    cheap_per_call: float | None = None
    strong_per_call: float | None = None
    reason: str = ""
    """Why the savings are unknown, where a tier is to blame."""

    @property
    def break_even(self) -> float | None:
        """Escalation rate above which the cascade costs more than the strong tier alone."""
        if self.cheap_per_call is None or not self.strong_per_call:
            return None
        return 1 - self.cheap_per_call / self.strong_per_call


@dataclass(frozen=True)
class Strongest:
    """What a task's strongest tier was asked: in production, and in audits of calls that did not reach it."""

    reached: int
    reached_cost: float
    audited: int
    audited_cost: float


def strong_only(kept: int, strongest: Strongest) -> tuple[float | None, Source]:
    """What a task's calls had cost with the strongest tier alone, in its costs' unit, and how that is known.

    The ``kept`` calls that did not reach it are priced at the mean of audits or, where there are few, of
    calls that did. None: neither has a price.
    """
    if strongest.audited and strongest.audited >= min(ENOUGH_AUDITS, kept):
        each, source = strongest.audited_cost / strongest.audited, AUDITS
    elif strongest.reached:
        each, source = strongest.reached_cost / strongest.reached, ESTIMATED
    else:
        return None, "unknown"
    return strongest.reached_cost + each * kept, source


def without_cost(visits: pd.DataFrame) -> str:
    """Why nothing can be said about savings: a tier that records no cost; empty where each does.

    A call of unknown cost is not free, so one such tier leaves the savings of all unknown.

    Args:
        visits: production tier calls of cascades, any number to a row: task, tier, ``done`` (calls that
            neither failed nor were given up) and ``costed`` (calls that have a cost).
    """
    counted = visits.groupby(["task", "tier"], observed=True, as_index=False)[["done", "costed"]].sum()
    missing = counted["done"] - counted["costed"]
    if not (missing > FEW * counted["done"]).any():
        return ""
    share = missing / counted["done"].clip(lower=1)
    worst = int(share.to_numpy().argmax())
    name = "".join(c if c.isprintable() else "?" for c in str(counted["tier"].iloc[worst]))[:48]
    part = f" for {share.iloc[worst]:.0%} of its calls" if counted["costed"].iloc[worst] else ""
    return f"tier {name} records no cost{part}"


def spending(calls: pd.DataFrame, tiers: pd.DataFrame) -> Spending:
    """Cost of cascade calls, and savings against sending every one of them to the strongest tier of its task.

    What the strong tier would have cost for the calls it did not get is known from audits of them, else taken
    to be what it cost for those it got. Savings are those of the tasks where one of both is known, and
    unknown where a tier records no cost.

    Args:
        calls: decided production calls, with task, trace, escalated and cost_nano.
        tiers: tier rows of every purpose, with task, tier, trace, purpose, cost_nano, outcome, error_type,
            reason, ``first`` and ``last``.
    """
    costed = calls[calls["cost_nano"].notna()]
    if costed.empty:
        return Spending()
    cost = float(costed["cost_nano"].sum()) / NANO
    production = tiers[(tiers["purpose"] == "") & tiers["task"].isin(calls["task"].unique())]
    done = ~failed(production) & ~production["outcome"].isin(GIVEN_UP)
    visits = production[["task", "tier"]].assign(done=done, costed=production["cost_nano"].notna())
    if reason := without_cost(visits):
        return Spending(cost, reason=reason)
    first = production[production["first"]]["cost_nano"].dropna()
    cheap = float(first.mean()) / NANO if len(first) else None
    strong = dict(iter(tiers[tiers["last"] & tiers["cost_nano"].notna()].groupby("task", observed=True)))
    spent, alone, told, sources = 0.0, 0.0, 0, set()
    for task, own in costed.groupby("task", observed=True):
        if task not in strong:
            continue
        kept, strongest = _strongest(own, strong[task])
        against, source = strong_only(kept, strongest)
        if against is not None:
            spent, alone, told = spent + float(own["cost_nano"].sum()), alone + against, told + len(own)
            sources.add(source)
    if not alone:
        return Spending(cost, cheap_per_call=cheap)
    return Spending(
        cost=cost,
        savings=1 - spent / alone,
        source=AUDITS if sources == {AUDITS} else ESTIMATED,
        cheap_per_call=cheap,
        strong_per_call=alone / NANO / told,
    )


def _strongest(calls: pd.DataFrame, strong: pd.DataFrame) -> tuple[int, Strongest]:
    """How many calls of one task did not reach its strongest tier, and what that was asked."""
    sent, audited = (
        strong[strong["purpose"] == purpose].groupby(TRACE)["cost_nano"].sum() for purpose in ("", "audit")
    )
    keyed = pd.MultiIndex.from_frame(calls[TRACE])
    # Several calls may share a trace: those that were not escalated did not reach what the others did.
    reached = keyed.isin(sent.index) & calls["escalated"].to_numpy(bool)
    audits = audited.reindex(keyed[~reached & keyed.isin(audited.index)])
    cost = float(sent[sent.index.isin(keyed[reached])].sum())
    return int((~reached).sum()), Strongest(int(reached.sum()), cost, len(audits), float(audits.sum()))
