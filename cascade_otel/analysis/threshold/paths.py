"""What each call cost and how long it took, and what it had been on the path it did not take."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.analysis.money import NANO

TRACE = ["trace_hi", "trace_lo"]
ENOUGH_AUDITS = 30
"""Fewer audits say too little."""

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Paths:
    """Of N calls cost and seconds, if the first tier's answer is accepted and if not. nan: unknown."""

    cost_accepted: Floats
    cost_escalated: Floats
    seconds_accepted: Floats
    seconds_escalated: Floats

    def part(self, rows: Bools) -> Paths:
        """Those of some of the calls."""
        return Paths(
            self.cost_accepted[rows],
            self.cost_escalated[rows],
            self.seconds_accepted[rows],
            self.seconds_escalated[rows],
        )


def paths(calls: pd.DataFrame, own_tier: pd.DataFrame, cascades: pd.DataFrame) -> Paths:
    """Both paths of each call.

    An escalated call, had it been accepted, would have been its first tier alone. An accepted one, had it
    been escalated, would have cost its audit more, where it was audited; else the mean of audits, or where
    they are few what escalated calls cost beyond the first tier. What it would have taken longer is drawn
    from what escalated calls took longer.

    Args:
        calls: N rows: trace, ``escalated``, ``cost_nano`` and ``duration_ns`` of the first tier,
            ``audit_cost_nano``.
        own_tier: every row of the first tier, retries among them: trace, start_ns, duration_ns, cost_nano.
        cascades: rows of cascade calls: trace, duration_ns, cost_nano.
    """
    escalated = calls["escalated"].to_numpy(bool)
    visits = _visits(own_tier)
    # Where several cascade calls share a trace, it is not known whose a tier's call was.
    single = cascades.drop_duplicates(TRACE, keep=False)[[*TRACE, "cost_nano", "duration_ns"]]
    whole = calls[TRACE].merge(single.merge(visits, on=TRACE, suffixes=("", "_own")), "left", TRACE)
    cost, seconds = _nano(whole["cost_nano"]), _positive(whole["duration_ns"])
    own_cost = _else(_nano(whole["cost_nano_own"]), _nano(calls["cost_nano"]))
    own_seconds = _else(_positive(whole["duration_ns_own"]), _positive(calls["duration_ns"]))
    cost_accepted = np.where(escalated, own_cost, _else(cost, own_cost))
    seconds_accepted = np.where(escalated, own_seconds, _else(seconds, own_seconds))
    audit = _nano(calls["audit_cost_nano"])
    audited, beyond = _known(audit), _known((cost - own_cost)[escalated])
    prices = audited if len(audited) >= ENOUGH_AUDITS or not len(beyond) else beyond
    price = float(prices.mean()) if len(prices) else np.nan
    longer = _known((seconds - own_seconds)[escalated])
    drawn = np.random.default_rng(0).choice(longer, len(calls)) if len(longer) else np.nan
    return Paths(
        cost_accepted=cost_accepted,
        cost_escalated=np.where(escalated, cost, cost_accepted + _else(audit, np.full(len(calls), price))),
        seconds_accepted=seconds_accepted,
        seconds_escalated=np.where(escalated, seconds, seconds_accepted + drawn),
    )


def _visits(own_tier: pd.DataFrame) -> pd.DataFrame:
    """What the first tier's calls of a trace, retries among them, cost and took together."""
    if not own_tier.duplicated(TRACE).any():
        return own_tier[[*TRACE, "cost_nano", "duration_ns"]]
    ended = own_tier.assign(end_ns=own_tier["start_ns"] + own_tier["duration_ns"])
    by_trace = ended.groupby(TRACE)
    cost = by_trace["cost_nano"].sum(min_count=1)
    lasted = by_trace["end_ns"].max() - by_trace["start_ns"].min()
    return pd.DataFrame({"cost_nano": cost, "duration_ns": lasted}).reset_index()


def _nano(column: pd.Series[float]) -> Floats:
    return np.asarray(column.to_numpy(float, na_value=np.nan) / NANO, np.float64)


def _positive(column: pd.Series[float]) -> Floats:
    seconds = _nano(column)
    return np.where(seconds > 0, seconds, np.nan)  # a log without latencies is recorded with none


def _else(first: Floats, second: Floats) -> Floats:
    return np.where(np.isnan(first), second, first)


def _known(values: Floats) -> Floats:
    return np.asarray(values[~np.isnan(values)], np.float64)
