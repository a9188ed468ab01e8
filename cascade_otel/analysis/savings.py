"""What a cascade saves against sending everything to its strong tier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from cascade_otel.analysis.money import NANO

ENOUGH_AUDITS = 30
"""Fewer audits say too little about what the strong tier would have cost."""
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

    @property
    def break_even(self) -> float | None:
        """Escalation rate above which the cascade costs more than the strong tier alone."""
        if self.cheap_per_call is None or not self.strong_per_call:
            return None
        return 1 - self.cheap_per_call / self.strong_per_call


def spending(calls: pd.DataFrame, tiers: pd.DataFrame) -> Spending:
    """Cost of cascade calls, and savings against sending every one of them to the strongest tier.

    What the strong tier would have cost for the calls it did not get is known from audits of them, else taken
    to be what it cost for those it got.

    Args:
        calls: decided production calls, with trace, escalated and cost_nano.
        tiers: tier rows of every purpose, with trace, purpose, cost_nano, ``first`` and ``last``.
    """
    costed = calls[calls["cost_nano"].notna()]
    if costed.empty:
        return Spending()
    cost = float(costed["cost_nano"].sum()) / NANO
    first = tiers[tiers["first"] & (tiers["purpose"] == "")]["cost_nano"].dropna()
    cheap = float(first.mean()) / NANO if len(first) else None
    strong = tiers[tiers["last"] & tiers["cost_nano"].notna()]
    sent, audited = (
        strong[strong["purpose"] == purpose].groupby(TRACE)["cost_nano"].sum().rename("strong")
        for purpose in ("", "audit")
    )
    keyed = costed.set_index(pd.MultiIndex.from_frame(costed[TRACE]))
    # Several calls may share a trace: those that were not escalated did not reach what the others did.
    reached = keyed.index.isin(sent.index) & keyed["escalated"].to_numpy(bool)
    kept, checked = ~reached, keyed.index.isin(audited.index)
    cost_reached = float(sent[sent.index.isin(keyed.index[reached])].sum()) / NANO
    audits = audited.reindex(keyed.index[kept & checked]) / NANO
    if len(audits) and len(audits) >= min(ENOUGH_AUDITS, int(kept.sum())):
        per_kept, source = float(audits.mean()), AUDITS
    elif reached.any():
        per_kept, source = cost_reached / int(reached.sum()), ESTIMATED
    else:
        return Spending(cost, cheap_per_call=cheap)
    alone = cost_reached + per_kept * int(kept.sum())
    return Spending(
        cost=cost,
        savings=1 - cost / alone if alone else None,
        source=source if alone else "unknown",
        cheap_per_call=cheap,
        strong_per_call=alone / len(costed),
    )
