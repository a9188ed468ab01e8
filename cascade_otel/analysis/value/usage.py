"""What a window's calls come to per task, from what the store has added up: who answered, how often.

Under head sampling each kept span says for how many it stands. Sums keep the total of these weights, so every
count here is one of calls before sampling as far as spans of one task, tier and path were kept alike.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cascade_otel.statistics.causes.blocks import ratio_interval
from cascade_otel.statistics.intervals import wilson
from cascade_otel.storage import schema
from cascade_otel.storage.reading.rollup import Reader

Floats = NDArray[np.float64]
MOST_BLOCKS = 30
FEWEST_DAYS = 10
"""Windows of fewer days are cut into stretches of hours."""
COUNTS = (
    "n", "decided", "escalated", "errors", "accepted", "exhausted", "outlived", "repeated", "cancelled",
    "abandoned", "costed", "cost_nano", "compared", "agreed", "weight_ppm",
)  # fmt: skip
BY = ("kind", "task", "tier", "tier_index", "purpose")
COSTS = (
    "n",
    "errors",
    "cancelled",
    "abandoned",
    "escalated",
    "repeated",
    "costed",
    "cost_nano",
    "weight_ppm",
)
"""Of ``COUNTS``, what savings are made of."""


def blocks(start_hour: int, end_hour: int) -> list[tuple[int, int]]:
    """A window cut into at most thirty or so stretches [start, end): of UTC days, or of hours if short."""
    if end_hour - start_hour >= 24 * FEWEST_DAYS:
        first = start_hour // 24 * 24
        step = 24 * math.ceil((end_hour - first) / (24 * MOST_BLOCKS))
    else:
        first, step = start_hour, max(1, math.ceil((end_hour - start_hour) / MOST_BLOCKS))
    edges = [start_hour, *range(first + step, end_hour, step), end_hour]
    return list(itertools.pairwise(edges)) if end_hour > start_hour else []


def sums(reader: Reader, start_hour: int, end_hour: int, task: str | None = None) -> pd.DataFrame:
    """Counts of every task (or one), tier, purpose and block. Columns: ``BY``, block, ``COUNTS``."""
    cut = blocks(start_hour, end_hour)
    if task is not None:
        # Of one task the hours are few enough for a single question.
        hourly = reader.sums_by(("hour", *BY), start_hour, end_hour, task, COUNTS)
        starts = np.array([first for first, _ in cut])
        return hourly.assign(block=np.searchsorted(starts, hourly["hour"].to_numpy(), side="right") - 1)
    found = [
        reader.sums_by(BY, *block, counts=COUNTS).assign(block=number) for number, block in enumerate(cut)
    ]
    empty = pd.DataFrame(columns=[*BY, "block", *COUNTS])
    return pd.concat([frame for frame in found if len(frame)] or [empty], ignore_index=True)


def standing(sums: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """The counts ``names`` of each row as of all calls that the kept ones stand for, as floats."""
    each = sums["weight_ppm"].astype(float) / 1e6 / sums["n"].clip(lower=1).astype(float)
    return sums[list(names)].astype(float).mul(each, axis=0)


def roles(sums: pd.DataFrame) -> pd.DataFrame:
    """Of each task its ``first`` tier, which most calls enter by, and its strongest, ``last`` ('' where one
    tier is all there is). Index: task.

    The first has the smallest index, and of several with the same the most calls. A tier that was only asked
    in audits is the strongest all the same.
    """
    tiers = sums[(sums["kind"] == schema.TIER) & (sums["tier"] != "")]
    places = tiers.assign(place=tiers["tier_index"].where(tiers["tier_index"] >= 0, 1 << 20).astype(int))
    production, audits = (places[places["purpose"] == purpose] for purpose in ("", "audit"))
    named = ["task", "tier"]
    ordered = production.groupby(named, as_index=False, observed=True).agg(
        place=("place", "min"), n=("n", "sum")
    )
    ordered = ordered.sort_values(["place", "n", "tier"], ascending=[True, False, True], kind="stable")
    audited = audits.groupby(named, as_index=False, observed=True).agg(place=("place", "min"))
    ranked = pd.concat([ordered[[*named, "place"]], audited]).sort_values("place", kind="stable")
    found = pd.DataFrame(
        {
            "first": ordered.drop_duplicates("task").set_index("task")["tier"],
            "last": ranked.drop_duplicates("task", keep="last").set_index("task")["tier"],
        }
    ).fillna("")
    found = found.assign(last=found["last"].where(found["last"] != found["first"], ""))
    return found.rename_axis(None)


@dataclass(frozen=True)
class Flow:
    """Decided production calls of M tasks in B blocks: whole cascade calls, or where there is no cascade
    around a tier that tier's.
    """

    tasks: tuple[str, ...]
    calls: Floats
    """(M, B)"""
    escalated: Floats
    """(M, B)"""
    outside: NDArray[np.bool_]
    """(M,) is there no cascade around the task's tier?"""

    def of(self, rows: NDArray[np.int64]) -> tuple[float, float, float] | None:
        """Escalation rate of some tasks together with its 90 % interval; None without calls."""
        calls, escalated = self.calls[rows].sum(0), self.escalated[rows].sum(0)
        total, hits = float(calls.sum()), float(escalated.sum())
        if not total:
            return None
        ends = ratio_interval(escalated, calls)
        if ends is None:
            low, high = wilson(hits, total)
            ends = float(low), float(high)
        return hits / total, max(ends[0], 0.0), min(ends[1], 1.0)


def flow(sums: pd.DataFrame) -> Flow:
    """The decisions of every task.

    Calls that failed, were cancelled or given up came to none; earlier versions recorded them as not
    escalated.
    """
    tasks, blocks = pd.Index(sorted(sums["task"].unique())), pd.Index(sorted(sums["block"].unique()))
    production = sums[sums["purpose"] == ""]
    calls = production[production["kind"] == schema.CASCADE]
    ended = calls["accepted"] + calls["exhausted"] + calls["outlived"] + calls["repeated"]
    told = ended + calls["cancelled"] + calls["abandoned"] > 0
    most = ended.where(told, calls["n"] - calls["errors"])
    own = calls["decided"].clip(upper=most)
    calls = calls.assign(decided=own, escalated=calls["escalated"].clip(upper=own))
    outside = ~tasks.isin(calls["task"].unique())
    alone = production[(production["kind"] == schema.TIER) & (production["tier"] == production["first"])]
    rows = pd.concat([calls, alone[alone["task"].isin(tasks[outside])]])
    counts = standing(rows, ("decided", "escalated"))
    place = tasks.get_indexer(pd.Index(rows["task"])) * len(blocks)
    place = place + blocks.get_indexer(pd.Index(rows["block"]))
    shape = len(tasks), len(blocks)
    decided, escalated = (
        np.bincount(place, counts[name].to_numpy(), shape[0] * shape[1]).astype(np.float64).reshape(shape)
        for name in ("decided", "escalated")
    )
    return Flow(tuple(map(str, tasks)), decided, escalated, outside)


def first_tiers(sums: pd.DataFrame) -> pd.DataFrame:
    """What first tiers decided and how often strongest ones agreed with them. Index: task.

    Columns: accepted and escalated (calls); audited, agreed (audits and their agreements, weighted) and
    audits (as many as there are); compared, confirmed (escalated calls whose answers were compared, and in
    which they agreed, weighted).
    """
    production = sums["purpose"] == ""
    first = sums[production & (sums["kind"] == schema.TIER) & (sums["tier"] == sums["first"])]
    audits = sums[(sums["purpose"] == "audit") & (sums["tier"] == sums["last"]) & (sums["last"] != "")]
    names = ("decided", "escalated", "compared", "agreed")
    own, checks = (
        standing(rows, names).groupby(rows["task"], observed=True).sum() for rows in (first, audits)
    )
    found = pd.DataFrame(
        {
            "accepted": own["decided"] - own["escalated"],
            "escalated": own["escalated"],
            "compared": own["compared"],
            "confirmed": own["agreed"],
            "audited": checks["compared"],
            "agreed": checks["agreed"],
            "audits": audits.groupby("task", observed=True)["compared"].sum(),
        }
    )
    return found.fillna(0.0).astype(float).rename_axis(None)
